import type { Dice } from './dice.ts'
import type { Happening, SimulatedTime } from './simulated-time.ts'

/** What became of a record, as the service sees it. */
export type Outcome = 'stored' | 'dropped' | 'damaged'

interface Commit {
  readonly atMs: number
  readonly position: number
}

const lostMs = 5000

/**
 * The checkpoint and the outcomes, as the database keeps them: a commit is there as a whole or not at all, and survives a
 * loss of power once it returned. A forgetful one has lost its last five seconds when it comes back.
 */
export class SimulatedCatalogue {
  readonly outcomes = new Map<number, Outcome>()
  readonly #time: SimulatedTime
  readonly #dice: Dice
  /** Nothing of it is left. */
  lost = false
  /** Ordinal of the first outcome. */
  since: number
  #commits: Commit[]
  #underWay: { readonly happening: Happening; readonly apply: () => void } | undefined

  constructor(time: SimulatedTime, dice: Dice, position: number) {
    this.#time = time
    this.#dice = dice
    this.since = position
    this.#commits = [{ atMs: time.monotonicMs, position }]
  }

  get position(): number {
    return this.#commits.at(-1)?.position ?? 0
  }

  /** Resolves when the outcomes and the position behind them are durable. */
  async commit(outcomes: ReadonlyMap<number, Outcome>, position: number): Promise<void> {
    await new Promise<void>(resolve => {
      const apply = (): void => {
        this.#underWay = undefined
        for (const [ordinal, outcome] of outcomes) {
          if (this.outcomes.has(ordinal)) throw new Error(`ordinal ${ordinal} has a second outcome`)
          this.outcomes.set(ordinal, outcome)
        }
        this.#commits.push({ atMs: this.#time.monotonicMs, position })
        resolve()
      }
      this.#underWay = { happening: this.#time.after(this.#dice.between(0, 6), apply), apply }
    })
  }

  /** Its process ends: a commit under way happened, or not. */
  stop(forgets: 'nothing' | 'seconds' | 'everything'): void {
    if (this.#underWay !== undefined) {
      this.#time.cancel(this.#underWay.happening)
      if (this.#dice.oneIn(2)) this.#underWay.apply()
      this.#underWay = undefined
    }
    this.lost ||= forgets === 'everything'
    if (forgets !== 'seconds') return
    const [first, ...later] = this.#commits
    this.#commits = [...(first === undefined ? [] : [first]), ...later.filter(({ atMs }) => atMs <= this.#time.monotonicMs - lostMs)]
    for (const ordinal of this.outcomes.keys()) if (ordinal >= this.position) this.outcomes.delete(ordinal)
  }

  /** Starts anew: it was lost, or the journal lost what was committed. */
  startAt(position: number): void {
    this.lost = false
    this.since = position
    this.#commits = [{ atMs: this.#time.monotonicMs, position }]
    this.outcomes.clear()
  }
}
