import type { DuckDBDataChunk, DuckDBValue } from '@duckdb/node-api'
import { TidegateError } from '../errors.ts'
import type { Field, FieldValue, Source } from '../telemetry.ts'
import type { EmbeddedCatalogue, Series } from './embedded-catalogue.ts'
import { cut, int64Max, int64Min, max, min, pieceStatement, type Remaining, remainingAfter } from './embedded-pieces.ts'
import type { EmbeddedPoints } from './embedded-points.ts'
import type { EmbeddedStatements } from './embedded-statements.ts'
import type { Aggregate, AggregateRow, LatestValue, RawRow, RowQuery } from './port.ts'

/** Rows in one chunk of an answer, and values that are made into rows before the event loop turns. */
const chunkRows = 1000
const chunkValues = 5000
/** Values that one statement fetches: little at first, since most answers are small; texts may be long. */
const firstPieceValues = 10_000
const firstPieceTexts = 1000
const laterPieceValues = 40_000
const laterPieceChars = 4 * 1024 ** 2

/** How an answer is read: which columns each value or group has, and what becomes of them. */
interface Plan<Entry, Row> {
  readonly selected: readonly Series[]
  readonly query: RowQuery
  /** 1 for raw rows. */
  readonly everyNs: bigint
  readonly columns: string
  readonly grouped: boolean
  readonly firstWidthNs: bigint
  entry(series: Series, value: (column: number) => DuckDBValue): Entry
  row(source: Source, timeNs: bigint, fields: Entry[]): Row
}

/** Values as a piece's statement answered them, by column; rank and time come first. */
class Piece {
  readonly #columns: DuckDBValue[][] = []
  #chars = 0

  readonly take = (chunk: DuckDBDataChunk): void => {
    for (let column = 0; column < chunk.columnCount; column += 1) {
      const values = chunk.getColumnValues(column)
      for (const value of values) if (typeof value === 'string') this.#chars += value.length
      const all = this.#columns[column]
      if (all === undefined) this.#columns.push(values)
      else for (const value of values) all.push(value)
    }
  }

  get size(): number {
    return this.#columns[0]?.length ?? 0
  }

  /** Characters of all texts. */
  get chars(): number {
    return this.#chars
  }

  rank(index: number): number {
    return Number(this.#columns[0]?.[index])
  }

  timeNs(index: number): bigint {
    return BigInt(String(this.#columns[1]?.[index]))
  }

  value(index: number, column: number): DuckDBValue {
    return this.#columns[column + 2]?.[index] ?? null
  }
}

/** Answers the port's queries from the tables of points and latest values. */
export class EmbeddedReading {
  readonly #catalogue: EmbeddedCatalogue
  readonly #points: EmbeddedPoints
  readonly #statements: EmbeddedStatements

  constructor(catalogue: EmbeddedCatalogue, points: EmbeddedPoints, statements: EmbeddedStatements) {
    this.#catalogue = catalogue
    this.#points = points
    this.#statements = statements
  }

  raw(query: RowQuery): AsyncIterable<readonly RawRow[]> {
    return this.#rows<Field, RawRow>({
      selected: this.#catalogue.select(query.selection),
      query,
      everyNs: 1n,
      columns: 'p.value, p.integer, p.text',
      grouped: false,
      firstWidthNs: 2n ** 64n,
      entry: (series, value) => ({ name: series.field, value: storedValue(series, value(0), value(1), value(2)) }),
      row: (source, timeNs, fields) => ({ source, timeNs, fields })
    })
  }

  aggregate(
    query: RowQuery & { readonly everyNs: bigint; readonly aggregates: readonly Aggregate[] }
  ): AsyncIterable<readonly AggregateRow[]> {
    const wanted = [...new Set(query.aggregates)]
    const anyType = wanted.some(forEveryType)
    const selected = this.#catalogue.select(query.selection).filter(one => anyType || isNumeric(one))
    const types = new Set(selected.map(one => one.type))
    const columns: string[] = []
    /** For each aggregate: the column it is in for floats, integers (and booleans), and strings. */
    const places = wanted.map(aggregate => {
      const place = (source: string): number => columns.push(aggregateSql(aggregate, source)) - 1
      return {
        aggregate,
        float: types.has('float') ? place('p.value') : -1,
        integer: types.has('integer') || (types.has('boolean') && forEveryType(aggregate)) ? place('p.integer') : -1,
        string: types.has('string') && forEveryType(aggregate) ? place('p.text') : -1
      }
    })
    const buckets = BigInt(Math.max(1, Math.floor(firstPieceValues / Math.max(1, selected.length))))
    return this.#rows<AggregateRow['fields'][number], AggregateRow>({
      selected: columns.length === 0 ? [] : selected,
      query,
      everyNs: query.everyNs,
      columns: columns.join(', '),
      grouped: true,
      firstWidthNs: buckets * query.everyNs,
      entry: (series, value) => {
        const values: Partial<Record<Aggregate, FieldValue>> = {}
        for (const place of places) {
          if (!isNumeric(series) && !forEveryType(place.aggregate)) continue
          const column = series.type === 'float' ? place.float : series.type === 'string' ? place.string : place.integer
          const found = aggregatedValue(series, place.aggregate, value(column))
          if (found !== undefined) values[place.aggregate] = found
        }
        return { name: series.field, values }
      },
      row: (source, timeNs, fields) => ({ source, timeNs, fields })
    })
  }

  async latest(device: string, fields: readonly string[], signal: AbortSignal): Promise<readonly LatestValue[]> {
    const selected = this.#catalogue.select({ devices: [device], tags: [], fields })
    if (selected.length === 0) return []
    const found: LatestValue[] = []
    const sql = `
      SELECT w.rank, l.ts, l.value, l.integer, l.text
      FROM latest l JOIN (
        SELECT unnest(list) AS series, generate_subscripts(list, 1) - 1 AS rank FROM (SELECT CAST($ids AS INTEGER[]) AS list)
      ) w ON l.series = w.series
      ORDER BY w.rank`
    const piece = new Piece()
    await this.#statements.run({ sql, values: { ids: `[${selected.map(one => one.id).join(',')}]` }, types: {} }, signal, piece.take)
    for (let index = 0; index < piece.size; index += 1) {
      const series = selected[piece.rank(index)]
      if (series === undefined) continue
      const value = storedValue(series, piece.value(index, 0), piece.value(index, 1), piece.value(index, 2))
      found.push({ source: series.source, field: series.field, value, timeNs: piece.timeNs(index) })
    }
    return found
  }

  async *#rows<Entry, Row>(plan: Plan<Entry, Row>): AsyncGenerator<readonly Row[], void, undefined> {
    const { selected, query, everyNs } = plan
    const { order, selection } = query
    const extent = this.#points.extentOf(selected)
    if (extent === undefined) return
    const fromNs = max(max(selection.fromNs, extent.leastNs), int64Min + everyNs)
    const range = { fromNs, toNs: min(min(selection.toNs, extent.greatestNs + 1n), int64Max) }
    const perRow = mostOfOneSource(selected)
    let remaining: Remaining = remainingAfter(range, order, everyNs, selected, query.after)
    let width = plan.firstWidthNs
    let rowsLeft = query.limit
    let pieceValues = Math.max(selected.some(one => one.type === 'string') ? firstPieceTexts : firstPieceValues, perRow)
    while (rowsLeft > 0 && remaining.fromNs < remaining.toNs) {
      const { piece: window, rest } = cut(remaining, order, everyNs, width)
      // One more than is needed tells a piece that is full from one that has ended.
      const limit = Math.min(pieceValues, rowsLeft * perRow) + 1
      const piece = new Piece()
      const statement = pieceStatement({ selected, piece: window, order, everyNs, columns: plan.columns, grouped: plan.grouped, limit })
      try {
        await this.#statements.run(statement, query.signal, piece.take)
      } catch (error) {
        // Of long texts already the vectors that DuckDB reads are large, and only of times in the window it reads the texts.
        const narrower = ((window.toNs - window.fromNs) / (16n * everyNs)) * everyNs
        const tooLarge = error instanceof TidegateError && error.code === 'TG_QUERY_TOO_LARGE'
        if (!tooLarge || (limit <= perRow + 1 && narrower === 0n)) throw error
        pieceValues = Math.max(Math.floor(limit / 8), perRow)
        width = max(narrower, everyNs)
        continue
      }
      const full = piece.size >= limit
      const end = full ? startOfLastRow(piece, selected) : piece.size
      let made: Made<Row> = { rows: [], next: 0 }
      while (made.next < end && rowsLeft > 0) {
        made = makeRows(plan, piece, made.next, end, Math.min(rowsLeft, chunkRows))
        rowsLeft -= made.rows.length
        yield made.rows
        await new Promise(resolve => setImmediate(resolve))
      }
      if (!full) {
        remaining = rest
        // Wide steps over times without points.
        width *= piece.size === 0 ? 16n : 4n
        continue
      }
      const timeNs = piece.timeNs(end - 1)
      remaining = remainingAfter(remaining, order, everyNs, selected, {
        timeNs,
        sourceKey: selected[piece.rank(end - 1)]?.source.key ?? ''
      })
      const covered = (order === 'asc' ? timeNs - window.fromNs : window.toNs - timeNs) / everyNs
      width = max(covered * 4n, 1n) * everyNs
      const fitting = Math.floor(laterPieceChars / Math.max(1, piece.chars / piece.size))
      pieceValues = Math.max(Math.min(laterPieceValues, fitting), perRow)
    }
  }
}

interface Made<Row> {
  readonly rows: readonly Row[]
  /** Index of the first value that is not in them. */
  readonly next: number
}

function makeRows<Entry, Row>(plan: Plan<Entry, Row>, piece: Piece, from: number, end: number, most: number): Made<Row> {
  const rows: Row[] = []
  let next = from
  while (next < end && rows.length < most && next - from < chunkValues) {
    const first = plan.selected[piece.rank(next)]
    if (first === undefined) break
    const timeNs = piece.timeNs(next)
    const entries: Entry[] = []
    for (; next < end && piece.timeNs(next) === timeNs; next += 1) {
      const series = plan.selected[piece.rank(next)]
      if (series === undefined || series.source !== first.source) break
      const index = next
      entries.push(plan.entry(series, column => piece.value(index, column)))
    }
    rows.push(plan.row(first.source, timeNs, entries))
  }
  return { rows, next }
}

/** Index of the first value of the last row, which may lack values that did not fit into the piece. */
function startOfLastRow(piece: Piece, selected: readonly Series[]): number {
  let start = piece.size - 1
  const timeNs = piece.timeNs(start)
  const source = selected[piece.rank(start)]?.source
  while (start > 0 && piece.timeNs(start - 1) === timeNs && selected[piece.rank(start - 1)]?.source === source) start -= 1
  return start
}

function mostOfOneSource(selected: readonly Series[]): number {
  let most = 0
  let count = 0
  for (const [index, one] of selected.entries()) {
    count = selected[index - 1]?.source === one.source ? count + 1 : 1
    if (count > most) most = count
  }
  return most
}

function isNumeric(series: Series): boolean {
  return series.type === 'float' || series.type === 'integer'
}

/** Booleans and strings have these; numbers have all. */
function forEveryType(aggregate: Aggregate): boolean {
  return aggregate === 'count' || aggregate === 'first' || aggregate === 'last'
}

/** `source` is one of our columns. DuckDB's quantile_disc is the nearest rank: the smallest value with rank ≥ ceil(q·n). */
function aggregateSql(aggregate: Aggregate, source: string): string {
  switch (aggregate) {
    case 'mean':
      // avg() of integers is off by a last digit where the sum is beyond 2^53.
      return `${sumSql(source)} / count(${source})`
    case 'sum':
      return sumSql(source)
    case 'min':
    case 'max':
    case 'count':
      return `${aggregate}(${source})`
    case 'first':
      return `arg_min(${source}, p.ts)`
    case 'last':
      return `arg_max(${source}, p.ts)`
    case 'p50':
    case 'p95':
    case 'p99':
      return `quantile_disc(${source}, 0.${aggregate.slice(1)})`
  }
}

/** The double nearest to the exact sum. DuckDB's own cast of its 128-bit sums rounds twice; that of a text rounds once. */
function sumSql(source: string): string {
  return source === 'p.integer' ? `CAST(CAST(sum(${source}) AS VARCHAR) AS DOUBLE)` : `CAST(sum(${source}) AS DOUBLE)`
}

function aggregatedValue(series: Series, aggregate: Aggregate, value: DuckDBValue): FieldValue | undefined {
  if (value === null) return undefined
  if (aggregate === 'count') return Number(value)
  if (series.type === 'boolean') return value === 1n
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined
  return typeof value === 'bigint' || typeof value === 'string' ? value : undefined
}

function storedValue(series: Series, value: DuckDBValue, integer: DuckDBValue, text: DuckDBValue): FieldValue {
  if (typeof value === 'number') return value
  if (typeof integer === 'bigint') return series.type === 'boolean' ? integer !== 0n : integer
  return typeof text === 'string' ? text : ''
}
