import type { Session } from './session.ts'

/** Steps of all sessions together before the event loop gets its turn, and of one before the next one's. */
const stepsPerTurn = 1024
const stepsAtOnce = 64

/** The sessions that have more to send than one go allows: they take turns, a bounded number of steps for each of the loop. */
export class DeliveryTurns {
  readonly #sessions = new Set<Session>()
  #scheduled = false

  /** The session goes on in its turn. */
  add(session: Session): void {
    this.#sessions.add(session)
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#run())
  }

  #run(): void {
    this.#scheduled = false
    let steps = 0
    const again: Session[] = []
    for (const session of this.#sessions) {
      if (steps >= stepsPerTurn) break
      this.#sessions.delete(session)
      const taken = session.deliveries.pump(stepsAtOnce)
      steps += taken + 1
      if (taken === stepsAtOnce) again.push(session)
    }
    // At the end, behind those whose turn did not come.
    for (const session of again) this.#sessions.add(session)
    const [next] = this.#sessions
    if (next !== undefined) this.add(next)
  }
}
