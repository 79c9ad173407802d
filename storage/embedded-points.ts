import { BIGINT, BOOLEAN, type DuckDBConnection, DOUBLE, INTEGER, TINYINT, VARCHAR } from '@duckdb/node-api'
import type { Point, Source } from '../telemetry.ts'
import type { Series } from './embedded-catalogue.ts'
import type { EmbeddedTransaction } from './embedded-database.ts'
import { int64Max, max, min } from './embedded-pieces.ts'
import { prepareStaging, stage } from './embedded-rows.ts'

/** Tables of the embedded store. A boolean is 0 or 1 in `integer`; columns that are NULL throughout take no space. */
export const pointTables = `
CREATE TABLE IF NOT EXISTS points (series INTEGER NOT NULL, ts BIGINT NOT NULL, value DOUBLE, integer BIGINT, text VARCHAR);
CREATE TABLE IF NOT EXISTS latest (series INTEGER NOT NULL, ts BIGINT NOT NULL, value DOUBLE, integer BIGINT, text VARCHAR);
CREATE TABLE IF NOT EXISTS tally (inserted BIGINT NOT NULL, replaced BIGINT NOT NULL, expired BIGINT NOT NULL);
INSERT INTO tally SELECT 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM tally);
`

const stagedPoints = {
  name: 'staged_points',
  columns: [
    { name: 'series', type: INTEGER },
    { name: 'ts', type: BIGINT },
    { name: 'value', type: DOUBLE },
    { name: 'integer', type: BIGINT },
    { name: 'text', type: VARCHAR },
    // May be in the table already.
    { name: 'known', type: BOOLEAN },
    // 0: not the newest of its series · 1: it is, in place of another · 2: it is the first of its series.
    { name: 'newest', type: TINYINT }
  ]
} as const

/** Ranges of time that one batch deletes from at most; every one is a statement. */
const maxRanges = 16
const rowsPerTurn = 8192
const rangeGapNs = 600_000_000_000n

/** What one batch did to the table of points. */
export interface PointsWritten {
  readonly inserted: number
  readonly replaced: number
}

/**
 * Writes points so that the same series and time is in the table once. The greatest time of each series is kept in memory:
 * whatever is above it cannot be in the table, and spares looking for it.
 */
export class EmbeddedPoints {
  /** By series number; undefined while the series has no point. */
  #greatestNs: (bigint | undefined)[] = []
  /** No point is below it. */
  #leastNs = int64Max

  async load(connection: DuckDBConnection): Promise<void> {
    this.#greatestNs = []
    const least = (await (await connection.run('SELECT min(ts) FROM points')).getRows())[0]?.[0]
    this.#leastNs = typeof least === 'bigint' ? least : int64Max
    for await (const rows of (await connection.stream('SELECT series, ts FROM latest')).yieldRows()) {
      for (const [series, ts] of rows) if (typeof ts === 'bigint') this.#greatestNs[Number(series)] = ts
    }
  }

  /** Writes the points and keeps tally. `numberOf` answers the series' number. */
  async write(
    points: readonly Point[],
    numberOf: (source: Source, field: string) => number,
    within: EmbeddedTransaction
  ): Promise<PointsWritten> {
    const { connection } = within
    const rows = await this.#rows(points, numberOf)
    let leastNs = int64Max
    for (const { timeNs } of points) if (timeNs < leastNs) leastNs = timeNs
    const inserted = rows.series.length
    if (inserted === 0) return { inserted, replaced: 0 }
    await prepareStaging(connection, stagedPoints)
    await stage(connection, stagedPoints, [rows.series, rows.ts, rows.value, rows.integer, rows.text, rows.known, rows.newest])
    let replaced = 0
    for (const { from, to } of rangesOf(rows.ts.filter((_, index) => rows.known[index] === true))) {
      const result = await connection.run(
        `DELETE FROM points USING staged_points s
         WHERE s.known AND points.series = s.series AND points.ts = s.ts AND points.ts BETWEEN $from AND $to`,
        { from, to },
        { from: BIGINT, to: BIGINT }
      )
      replaced += result.rowsChanged
    }
    await connection.run('INSERT INTO points SELECT series, ts, value, integer, text FROM staged_points')
    await connection.run(`
      UPDATE latest SET ts = s.ts, value = s.value, integer = s.integer, text = s.text
      FROM staged_points s WHERE s.newest = 1 AND latest.series = s.series`)
    if (rows.newest.includes(2))
      await connection.run('INSERT INTO latest SELECT series, ts, value, integer, text FROM staged_points WHERE newest = 2')
    await connection.run('UPDATE tally SET inserted = inserted + $inserted, replaced = replaced + $replaced', { inserted, replaced })
    within.afterCommit(() => {
      this.#leastNs = min(this.#leastNs, leastNs)
      for (const [series, index] of rows.newestOf) this.#greatestNs[series] = rows.ts[index]
    })
    return { inserted, replaced }
  }

  /** The times between which all points of the series lie, both inclusive; undefined when there are none. */
  extentOf(series: readonly Series[]): { readonly leastNs: bigint; readonly greatestNs: bigint } | undefined {
    let greatest: bigint | undefined
    for (const { id } of series) {
      const found = this.#greatestNs[id]
      if (found !== undefined && (greatest === undefined || found > greatest)) greatest = found
    }
    return greatest === undefined ? undefined : { leastNs: this.#leastNs, greatestNs: greatest }
  }

  /** Says that points below the time are no longer in the table. */
  forgetBelow(timeNs: bigint): void {
    this.#leastNs = max(this.#leastNs, timeNs)
    for (const [series, greatestNs] of this.#greatestNs.entries()) {
      if (greatestNs !== undefined && greatestNs < timeNs) this.#greatestNs[series] = undefined
    }
  }

  /** Lets the event loop turn every few milliseconds. */
  async #rows(points: readonly Point[], numberOf: (source: Source, field: string) => number): Promise<Rows> {
    const rows: Rows = { series: [], ts: [], value: [], integer: [], text: [], known: [], newest: [], newestOf: new Map() }
    const highest = new Map<number, bigint>()
    /** Where a series and time is; only looked at from the first time that is not above its predecessors. */
    let places: Map<string, number> | undefined
    let pauseAt = rowsPerTurn
    for (const { source, timeNs, fields } of points) {
      if (rows.series.length >= pauseAt) {
        await new Promise(resolve => setImmediate(resolve))
        pauseAt = rows.series.length + rowsPerTurn
      }
      for (const { name, value } of fields) {
        const series = numberOf(source, name)
        const before = highest.get(series)
        if (before === undefined || timeNs > before) highest.set(series, timeNs)
        else places ??= new Map(rows.series.map((one, index) => [`${one} ${rows.ts[index]}`, index]))
        const index = places?.get(`${series} ${timeNs}`) ?? rows.series.length
        places?.set(`${series} ${timeNs}`, index)
        const greatestNs = this.#greatestNs[series]
        rows.series[index] = series
        rows.ts[index] = timeNs
        rows.value[index] = typeof value === 'number' ? value : null
        rows.integer[index] = typeof value === 'bigint' ? value : typeof value === 'boolean' ? BigInt(value) : null
        rows.text[index] = typeof value === 'string' ? value : null
        rows.known[index] = greatestNs !== undefined && timeNs <= greatestNs
        rows.newest[index] = 0
        if (greatestNs !== undefined && timeNs < greatestNs) continue
        const rival = rows.newestOf.get(series)
        if (rival === undefined || (rows.ts[rival] ?? timeNs) <= timeNs) rows.newestOf.set(series, index)
      }
    }
    for (const [series, index] of rows.newestOf) rows.newest[index] = this.#greatestNs[series] === undefined ? 2 : 1
    return rows
  }
}

interface Rows {
  readonly series: number[]
  readonly ts: bigint[]
  readonly value: (number | null)[]
  readonly integer: (bigint | null)[]
  readonly text: (string | null)[]
  readonly known: boolean[]
  readonly newest: number[]
  /** Index of the newest row of each series that it is to be the latest of. */
  readonly newestOf: Map<number, number>
}

/** Covers the times with few narrow ranges, so that DuckDB skips the row groups between them. */
export function rangesOf(times: readonly bigint[]): readonly { readonly from: bigint; readonly to: bigint }[] {
  // Sorted as int64, which is ten times faster than with a function that compares.
  const sorted = BigInt64Array.from(times).sort()
  const ranges: { from: bigint; to: bigint }[] = []
  for (const time of sorted) {
    const last = ranges.at(-1)
    if (last !== undefined && time - last.to <= rangeGapNs) last.to = time
    else ranges.push({ from: time, to: time })
  }
  if (ranges.length <= maxRanges) return ranges
  // The widest gaps are worth most.
  const gaps = ranges.slice(1).map((range, index) => ({ index, gap: range.from - (ranges[index]?.to ?? range.from) }))
  const kept = new Set(
    gaps
      .toSorted((a, b) => (a.gap > b.gap ? -1 : a.gap < b.gap ? 1 : 0))
      .slice(0, maxRanges - 1)
      .map(({ index }) => index)
  )
  const merged: { from: bigint; to: bigint }[] = []
  for (const [index, range] of ranges.entries()) {
    const last = merged.at(-1)
    if (last === undefined || kept.has(index - 1)) merged.push({ ...range })
    else last.to = range.to
  }
  return merged
}
