/**
 * What the embedded store does in the background: it forgets what is older than the retention, and it sorts hours that have
 * ended by (series, time), so that a query for one device skips most of the file. Both work in pieces, each a transaction of
 * bounded size between the transactions of ingest; neither changes an answer.
 */
import { BIGINT, INTEGER } from '@duckdb/node-api'
import { TidegateError } from '../errors.ts'
import { AgeClock, type AgeClockOptions, ageClockTable } from './embedded-age-clock.ts'
import type { EmbeddedDatabase } from './embedded-database.ts'
import { bucketOf } from './embedded-pieces.ts'
import type { EmbeddedPoints } from './embedded-points.ts'
import type { EmbeddedStatements } from './embedded-statements.ts'

export interface EmbeddedUpkeepOptions extends AgeClockOptions {
  /** Rows that one transaction sorts at most, when no single series has more in an hour. Default 1,000,000. */
  readonly pieceRows?: number
  /** An hour with fewer rows is left as it is, since its series share row groups anyway. Default 100,000. */
  readonly leastRows?: number
}

export const upkeepTables = `CREATE TABLE IF NOT EXISTS compacted (hour BIGINT NOT NULL, rows BIGINT NOT NULL); ${ageClockTable}`

const everyMs = 3_600_000
const firstAfterMs = 60_000
const hourNs = 3_600_000_000_000n
const dayNs = 24n * hourNs
/** An hour is sorted when it ended this long ago; what comes later makes it due again once it is a twentieth of the hour. */
const settledNs = 600_000_000_000n
const looseShare = 0.05

export class EmbeddedUpkeep {
  readonly #database: EmbeddedDatabase
  readonly #statements: EmbeddedStatements
  readonly #points: EmbeddedPoints
  readonly #options: EmbeddedUpkeepOptions
  readonly #ageClock: AgeClock
  readonly #stop = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #work: Promise<void> = Promise.resolve()

  constructor(database: EmbeddedDatabase, statements: EmbeddedStatements, points: EmbeddedPoints, options: EmbeddedUpkeepOptions) {
    this.#database = database
    this.#statements = statements
    this.#points = points
    this.#options = options
    this.#ageClock = new AgeClock(database, options)
  }

  /** Works once an hour from now on, the first time after a minute. */
  start(): void {
    this.#schedule(firstAfterMs)
  }

  /** Deletes the points that are older than the retention, by a clock that can be believed, and answers how many there were. */
  async expire(): Promise<number> {
    const cutoff = BigInt((await this.#ageClock.look()) - Math.trunc(this.#options.retentionMs)) * 1_000_000n
    let expired = 0
    while (!this.#stop.signal.aborted) {
      const oldest = (await this.#database.read('SELECT min(ts) FROM points WHERE ts < $cutoff', { cutoff }))[0]?.[0]
      if (typeof oldest !== 'bigint') break
      const end = bucketOf(oldest, dayNs) + dayNs
      expired += await this.#expireBelow(end < cutoff ? end : cutoff)
    }
    if (expired > 0) this.#options.log.info({ points: expired }, 'points past their retention are deleted')
    return expired
  }

  /** Sorts the hours that are due and answers how many there were. */
  async compact(): Promise<number> {
    const due = await this.#dueHours()
    let sorted = 0
    for (const { hour, rows } of due) {
      if (this.#stop.signal.aborted) break
      const started = performance.now()
      await this.#sortHour(hour, rows)
      sorted += 1
      this.#options.log.debug({ hour: Number(hour / hourNs), rows, ms: Math.round(performance.now() - started) }, 'hour is sorted')
    }
    return sorted
  }

  /** Ends after the piece that runs. */
  async close(): Promise<void> {
    this.#stop.abort()
    clearTimeout(this.#timer)
    await this.#work
  }

  #schedule(afterMs: number): void {
    if (this.#stop.signal.aborted) return
    this.#timer = setTimeout(() => {
      this.#work = this.#run()
    }, afterMs)
    this.#timer.unref()
  }

  async #run(): Promise<void> {
    try {
      await this.expire()
      await this.compact()
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#options.log.warn({ err: error, code: codeOf(error) }, 'upkeep of the store is put off')
    }
    this.#schedule(everyMs)
  }

  async #expireBelow(end: bigint): Promise<number> {
    return await this.#database.transaction(async transaction => {
      const { connection } = transaction
      const { rowsChanged } = await connection.run('DELETE FROM points WHERE ts < $end', { end }, { end: BIGINT })
      await connection.run('DELETE FROM latest WHERE ts < $end', { end }, { end: BIGINT })
      await connection.run('DELETE FROM compacted WHERE hour + $length <= $end', { end, length: hourNs }, { end: BIGINT, length: BIGINT })
      await connection.run('UPDATE tally SET expired = expired + $expired', { expired: BigInt(rowsChanged) }, { expired: BIGINT })
      transaction.afterCommit(() => this.#points.forgetBelow(end))
      return rowsChanged
    })
  }

  /** Looks back one day from the last sorted hour: what comes later than that stays where it was appended. */
  async #dueHours(): Promise<readonly { readonly hour: bigint; readonly rows: number }[]> {
    const done = new Map<bigint, number>()
    for (const [hour, rows] of await this.#database.read('SELECT hour, rows FROM compacted')) {
      if (typeof hour === 'bigint') done.set(hour, Number(rows))
    }
    const end = bucketOf(BigInt(Math.trunc(this.#options.clock())) * 1_000_000n - settledNs, hourNs)
    // Hours that are sorted and have not come yet are from a clock that was ahead.
    const last = [...done.keys()].reduce((greatest, hour) => (hour > greatest && hour < end ? hour : greatest), -(2n ** 62n))
    const due: { hour: bigint; rows: number }[] = []
    const least = this.#options.leastRows ?? 100_000
    const statement = {
      sql: `SELECT ts - ((ts % $hour) + $hour) % $hour AS hour, count(*) AS rows FROM points
            WHERE ts >= $from AND ts < $end GROUP BY 1 HAVING count(*) >= $least ORDER BY 1`,
      values: { hour: hourNs, from: last - dayNs, end, least: BigInt(least) },
      types: { hour: BIGINT, from: BIGINT, end: BIGINT, least: BIGINT }
    }
    await this.#statements.run(statement, this.#stop.signal, chunk => {
      for (const [hour, count] of chunk.getRows()) {
        const rows = Number(count)
        const before = typeof hour === 'bigint' ? done.get(hour) : undefined
        if (typeof hour === 'bigint' && (before === undefined || rows - before > rows * looseShare)) due.push({ hour, rows })
      }
    })
    return due
  }

  async #sortHour(hour: bigint, rows: number): Promise<void> {
    const pieceRows = this.#options.pieceRows ?? 1_000_000
    for (const range of rows <= pieceRows ? [{ first: 0, last: 2 ** 31 - 1 }] : await this.#seriesRanges(hour, pieceRows)) {
      if (this.#stop.signal.aborted) return
      await this.#sortPiece(hour, range)
    }
    await this.#database.transaction(async ({ connection }) => {
      await connection.run('DELETE FROM compacted WHERE hour = $hour', { hour }, { hour: BIGINT })
      await connection.run('INSERT INTO compacted VALUES ($hour, $rows)', { hour, rows: BigInt(rows) }, { hour: BIGINT, rows: BIGINT })
    })
  }

  async #seriesRanges(hour: bigint, pieceRows: number): Promise<readonly SeriesRange[]> {
    const ranges: SeriesRange[] = []
    let first = 0
    let held = 0
    const statement = {
      sql: 'SELECT series, count(*) FROM points WHERE ts >= $from AND ts < $end GROUP BY series ORDER BY series',
      values: { from: hour, end: hour + hourNs },
      types: { from: BIGINT, end: BIGINT }
    }
    await this.#statements.run(statement, this.#stop.signal, chunk => {
      for (const [series, count] of chunk.getRows()) {
        if (held > 0 && held + Number(count) > pieceRows) {
          ranges.push({ first, last: Number(series) - 1 })
          first = Number(series)
          held = 0
        }
        held += Number(count)
      }
    })
    return [...ranges, { first, last: 2 ** 31 - 1 }]
  }

  async #sortPiece(hour: bigint, range: SeriesRange): Promise<void> {
    const values = { from: hour, end: hour + hourNs, first: range.first, last: range.last }
    const types = { from: BIGINT, end: BIGINT, first: INTEGER, last: INTEGER }
    const where = 'ts >= $from AND ts < $end AND series BETWEEN $first AND $last'
    await this.#database.transaction(async ({ connection }) => {
      await connection.run(`CREATE OR REPLACE TEMP TABLE sorting AS SELECT * FROM points WHERE ${where}`, values, types)
      const deleted = await connection.run(`DELETE FROM points WHERE ${where}`, values, types)
      const inserted = await connection.run('INSERT INTO points SELECT * FROM sorting ORDER BY series, ts')
      if (deleted.rowsChanged !== inserted.rowsChanged) {
        throw new TidegateError('TG_BUG', 'Sorting would have changed the number of points', {
          context: { deleted: deleted.rowsChanged, inserted: inserted.rowsChanged }
        })
      }
      await connection.run('DROP TABLE sorting')
    })
  }
}

interface SeriesRange {
  readonly first: number
  readonly last: number
}

function codeOf(error: unknown): string {
  return error instanceof TidegateError ? error.code : 'TG_BUG'
}
