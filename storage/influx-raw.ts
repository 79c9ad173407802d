import type { Field, Source } from '../telemetry.ts'
import { maxTimeNs, minTimeNs } from './influx-lines.ts'
import { type Range, rawStatement } from './influx-ql.ts'
import { compareText, type MeasurementSelection, timeOf, valueOf } from './influx-sources.ts'
import type { InfluxSeries } from './influx-connection.ts'
import type { RawRow, RowQuery } from './port.ts'

/** Runs statements and calls `take` with each part of the answer until it says that this was enough. */
export type RunStatements = (statements: string, signal: AbortSignal, take: (series: InfluxSeries) => 'more' | 'enough') => Promise<void>

/** Rows that all measurements together fetch at once, and how long an answer may get before it is cut. */
const pieceRows = 8000
const pieceLength = 8 * 1024 ** 2
const chunkRows = 1000

/**
 * The raw rows of a query. InfluxQL orders by time within a measurement and leaves rows of one time in any order, so each
 * measurement is read in pieces that end between two times, sorted by source there, and merged with the others.
 */
export async function* rawRows(
  selections: readonly MeasurementSelection[],
  query: RowQuery,
  run: RunStatements
): AsyncGenerator<readonly RawRow[], void, undefined> {
  const share = Math.ceil(pieceRows / Math.max(1, selections.length))
  const readers = selections.map(selection => new MeasurementReader(selection, query, share, run))
  let left = query.limit
  let chunk: RawRow[] = []
  while (left > 0) {
    for (const reader of readers) if (reader.head === undefined) await reader.fill(left)
    let first: MeasurementReader | undefined
    for (const reader of readers) {
      if (reader.head !== undefined && (first?.head === undefined || compareRows(query.order, reader.head, first.head) < 0)) first = reader
    }
    const row = first?.take()
    if (row === undefined) break
    left -= 1
    if (chunk.push(row) < chunkRows) continue
    yield chunk
    chunk = []
    await new Promise(resolve => setImmediate(resolve))
  }
  if (chunk.length > 0) yield chunk
}

/** Rows of one measurement in order, fetched piece by piece. */
class MeasurementReader {
  readonly #selection: MeasurementSelection
  readonly #query: RowQuery
  readonly #share: number
  readonly #run: RunStatements
  #rows: readonly RawRow[] = []
  #next = 0
  #fromNs: bigint
  #toNs: bigint

  constructor(selection: MeasurementSelection, query: RowQuery, share: number, run: RunStatements) {
    this.#selection = selection
    this.#query = query
    this.#share = share
    this.#run = run
    const { fromNs, toNs } = query.selection
    this.#fromNs = fromNs < minTimeNs ? minTimeNs : fromNs
    this.#toNs = toNs > maxTimeNs ? maxTimeNs + 1n : toNs
    // Rows at the cursor's own time are read again; those up to the cursor are left out below.
    const after = query.after?.timeNs
    if (after === undefined) return
    if (query.order === 'asc' && after > this.#fromNs) this.#fromNs = after
    if (query.order === 'desc' && after < this.#toNs) this.#toNs = after + 1n
  }

  /** The next row; undefined until filled, and at the end. */
  get head(): RawRow | undefined {
    return this.#rows[this.#next]
  }

  take(): RawRow | undefined {
    this.#next += 1
    return this.#rows[this.#next - 1]
  }

  /** Fetches until there is a row or nothing is left. */
  async fill(wanted: number): Promise<void> {
    while (this.head === undefined && this.#fromNs < this.#toNs) await this.#fetch(wanted)
  }

  async #fetch(wanted: number): Promise<void> {
    const { order, selection, signal, after } = this.#query
    const { measurement, sources, fields } = this.#selection
    const { devices, tags } = selection
    const range: Range = { measurement, fromNs: this.#fromNs, toNs: this.#toNs, devices, tags }
    let full = false
    let seen = 0
    let boundNs: bigint | undefined
    const rows: RawRow[] = []
    // The sources that the catalogue knows are not all that may be there, so a piece of one single time is asked for anew with a greater limit.
    for (let limit = Math.min(this.#share, wanted) + sources.length + 1; ; limit *= 4) {
      full = false
      seen = 0
      rows.length = 0
      let firstNs: bigint | undefined
      boundNs = undefined
      const statement = rawStatement(
        range,
        fields.map(field => field.name),
        order,
        limit
      )
      await this.#run(statement, signal, ({ columns, values, read }) => {
        const names = columns.slice(1 + fields.length)
        for (const value of values) {
          const timeNs = timeOf(value[0])
          firstNs ??= timeNs
          boundNs = timeNs
          seen += 1
          const source = this.#selection.source(names, value.slice(1 + fields.length))
          if (source !== undefined) rows.push({ source, timeNs, fields: fieldsOf(value, fields) })
        }
        full = seen >= limit || (read > pieceLength && boundNs !== firstNs)
        return full ? 'enough' : 'more'
      })
      if (!full || boundNs !== firstNs) break
    }
    if (full && boundNs !== undefined) {
      // The last time may have further rows.
      while (rows.at(-1)?.timeNs === boundNs) rows.pop()
      if (order === 'asc') this.#fromNs = boundNs
      else this.#toNs = boundNs + 1n
    } else {
      this.#fromNs = this.#toNs
    }
    rows.sort((a, b) => compareRows(order, a, b))
    this.#next = 0
    this.#rows = after === undefined ? rows : rows.filter(row => row.timeNs !== after.timeNs || row.source.key > after.sourceKey)
  }
}

function fieldsOf(value: readonly unknown[], fields: MeasurementSelection['fields']): readonly Field[] {
  const found: Field[] = []
  for (const [at, field] of fields.entries()) {
    const known = valueOf(field.type, value[at + 1])
    if (known !== undefined) found.push({ name: field.name, value: known })
  }
  return found
}

/** The port's order: time, then source key. */
export function compareRows(
  order: RowQuery['order'],
  a: { readonly timeNs: bigint; readonly source: Source },
  b: { readonly timeNs: bigint; readonly source: Source }
): number {
  if (a.timeNs !== b.timeNs) return a.timeNs < b.timeNs === (order === 'asc') ? -1 : 1
  return compareText(a.source.key, b.source.key)
}
