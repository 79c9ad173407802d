import { BIGINT } from '@duckdb/node-api'
import type { Logger } from 'pino'
import type { EmbeddedDatabase } from './embedded-database.ts'

/** The last Belief. */
export const ageClockTable =
  'CREATE TABLE IF NOT EXISTS age_clock (believed BIGINT NOT NULL, aside BIGINT NOT NULL, doubted BIGINT NOT NULL);'

const dayMs = 86_400_000
const bigints = { believed: BIGINT, aside: BIGINT, doubted: BIGINT }

export interface AgeClockOptions {
  readonly retentionMs: number
  /** Now, ms since 1970. */
  readonly clock: () => number
  /** Clock that is never set, in ms. */
  readonly monotonic: () => number
  readonly log: Logger
}

interface Belief {
  /** Ms since 1970. */
  readonly ms: number
  /** How far from it the wall clock was, where that is doubted, else 0; and for how long of running it has been there. */
  readonly asideMs: number
  readonly doubtedMs: number
}

/**
 * The time by which points are too old. A wall clock that is suddenly years ahead would make everything too old at once, so
 * where it is further than a day (or the retention, where that is shorter) from what was known plus the time that has run
 * since, it is believed only after it has been so for as long. The time known is kept in the database; time in which nothing
 * ran counts as a step, too, and delays deleting.
 */
export class AgeClock {
  readonly #database: EmbeddedDatabase
  readonly #options: AgeClockOptions
  readonly #mostMs: number
  #lookedAtMs: number

  constructor(database: EmbeddedDatabase, options: AgeClockOptions) {
    this.#database = database
    this.#options = options
    this.#mostMs = Math.min(dayMs, options.retentionMs)
    this.#lookedAtMs = options.monotonic()
  }

  /** Looks at the clocks, keeps what follows, and answers the time, ms since 1970: never later than the wall clock says. */
  async look(): Promise<number> {
    const { clock, monotonic, log } = this.#options
    const [wallMs, ranMs] = [Math.trunc(clock()), monotonic()]
    const before = await this.#load()
    const now = this.#believe(before, wallMs, Math.trunc(ranMs - this.#lookedAtMs))
    await this.#database.transaction(async ({ connection }) => {
      await connection.run('DELETE FROM age_clock')
      const values = { believed: BigInt(now.ms), aside: BigInt(now.asideMs), doubted: BigInt(now.doubtedMs) }
      await connection.run('INSERT INTO age_clock VALUES ($believed, $aside, $doubted)', values, bigints)
    })
    this.#lookedAtMs = ranMs
    if (now.asideMs !== 0 && now.doubtedMs === 0)
      log.warn({ wallMs, believedMs: now.ms }, 'the wall clock is far from what it was: points are deleted by it when it has stayed there')
    if (now.asideMs === 0 && before !== undefined && before.asideMs !== 0)
      log.info({ wallMs }, 'points are deleted by the wall clock again')
    return Math.min(now.ms, wallMs)
  }

  #believe(before: Belief | undefined, wallMs: number, elapsedMs: number): Belief {
    const believed = { ms: wallMs, asideMs: 0, doubtedMs: 0 }
    if (before === undefined) return believed
    const expectedMs = before.ms + elapsedMs
    const asideMs = wallMs - expectedMs
    if (Math.abs(asideMs) <= this.#mostMs) return believed
    const stayed = before.asideMs !== 0 && Math.abs(asideMs - before.asideMs) <= this.#mostMs
    const doubtedMs = stayed ? before.doubtedMs + elapsedMs : 0
    return stayed && doubtedMs >= this.#mostMs ? believed : { ms: expectedMs, asideMs, doubtedMs }
  }

  /** A database from before this clock knows when a device was last heard of. */
  async #load(): Promise<Belief | undefined> {
    const row = (await this.#database.read('SELECT believed, aside, doubted FROM age_clock'))[0]
    if (row !== undefined) return { ms: Number(row[0]), asideMs: Number(row[1]), doubtedMs: Number(row[2]) }
    const seen = (await this.#database.read('SELECT max(last_seen) FROM devices'))[0]?.[0]
    return typeof seen === 'bigint' ? { ms: Number(seen), asideMs: 0, doubtedMs: 0 } : undefined
  }
}
