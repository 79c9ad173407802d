/**
 * A long answer is read in pieces: each is one statement that ends quickly, so that a slow reader holds nothing in the
 * database, and each looks at a window of time, so that a piece does not read what only later pieces need. The window
 * follows the density that the pieces before it met.
 */
import { BIGINT, type DuckDBType, type DuckDBValue, VARCHAR } from '@duckdb/node-api'
import type { Series } from './embedded-catalogue.ts'
import type { Statement } from './embedded-statements.ts'
import type { Order, RowCursor } from './port.ts'

/** What lies still ahead of a query: [fromNs, toNs), and at the edge that comes first only series from `rank` on. */
export interface Remaining {
  readonly fromNs: bigint
  readonly toNs: bigint
  /** Index into the selected series; 0 at the edge means all. */
  readonly rank: number
}

/** At most so many ids are also given as an IN list, which lets DuckDB skip row groups. */
const listedSeries = 32
export const int64Min = -(2n ** 63n)
export const int64Max = 2n ** 63n - 1n

/** The first multiple of `every` at or below the time; below zero too. */
export function bucketOf(timeNs: bigint, everyNs: bigint): bigint {
  const rest = timeNs % everyNs
  return rest < 0n ? timeNs - rest - everyNs : timeNs - rest
}

/** The part of the selected range behind the cursor. Times are those of rows: of buckets when `everyNs` is over 1. */
export function remainingAfter(
  range: { readonly fromNs: bigint; readonly toNs: bigint },
  order: Order,
  everyNs: bigint,
  selected: readonly Series[],
  after: RowCursor | undefined
): Remaining {
  if (after === undefined) return { ...range, rank: 0 }
  const rank = selected.findIndex(one => one.source.key > after.sourceKey)
  if (order === 'asc') {
    const fromNs = rank === -1 ? after.timeNs + everyNs : after.timeNs
    return {
      fromNs: max(range.fromNs, fromNs),
      toNs: range.toNs,
      rank: rank === -1 || bucketOf(range.fromNs, everyNs) > after.timeNs ? 0 : rank
    }
  }
  const toNs = rank === -1 ? after.timeNs : after.timeNs + everyNs
  return {
    fromNs: range.fromNs,
    toNs: min(range.toNs, toNs),
    rank: rank === -1 || bucketOf(range.toNs - 1n, everyNs) < after.timeNs ? 0 : rank
  }
}

/** The piece of what remains that the next statement looks at, and what is left behind it. `widthNs` is a multiple of everyNs. */
export function cut(
  remaining: Remaining,
  order: Order,
  everyNs: bigint,
  widthNs: bigint
): { readonly piece: Remaining; readonly rest: Remaining } {
  if (order === 'asc') {
    const middle = min(remaining.toNs, bucketOf(remaining.fromNs, everyNs) + widthNs)
    return { piece: { ...remaining, toNs: middle }, rest: { fromNs: middle, toNs: remaining.toNs, rank: 0 } }
  }
  const middle = max(remaining.fromNs, bucketOf(remaining.toNs - 1n, everyNs) + everyNs - widthNs)
  return { piece: { ...remaining, fromNs: middle }, rest: { fromNs: remaining.fromNs, toNs: middle, rank: 0 } }
}

/** The statement of a piece: `columns` of each value, or of each group, as `rank`, `time` and more, in the order of rows. */
export function pieceStatement(options: {
  readonly selected: readonly Series[]
  readonly piece: Remaining
  readonly order: Order
  readonly everyNs: bigint
  readonly columns: string
  readonly grouped: boolean
  readonly limit: number
}): Statement {
  const { selected, piece, order, everyNs, grouped } = options
  const ids = selected.map(one => one.id)
  const values: Record<string, DuckDBValue> = {
    ids: `[${ids.join(',')}]`,
    from: piece.fromNs,
    to: piece.toNs,
    limit: BigInt(options.limit)
  }
  const types: Record<string, DuckDBType> = { ids: VARCHAR, from: BIGINT, to: BIGINT, limit: BIGINT }
  const bind = (name: string, value: bigint): string => {
    values[name] = value
    types[name] = BIGINT
    return `$${name}`
  }
  const time = everyNs === 1n ? 'p.ts' : `p.ts - ((p.ts % ${bind('every', everyNs)}) + $every) % $every`
  const filters = ['p.ts >= $from', 'p.ts < $to']
  if (ids.length <= listedSeries) filters.push(`p.series IN (${ids.map((id, index) => bind(`s${index}`, BigInt(id))).join(', ')})`)
  else filters.push(`p.series BETWEEN ${bind('least', leastOf(ids))} AND ${bind('greatest', -leastOf(ids.map(id => -id)))}`)
  if (piece.rank > 0) {
    const edge = order === 'asc' ? bucketOf(piece.fromNs, everyNs) : bucketOf(piece.toNs - 1n, everyNs)
    const beyond = order === 'asc' ? edge + everyNs : edge
    filters.push(
      `(p.ts ${order === 'asc' ? '>=' : '<'} ${bind('beyond', min(beyond, int64Max))} OR w.rank >= ${bind('rank', BigInt(piece.rank))})`
    )
  }
  const sql = `
    SELECT w.rank AS rank, ${time} AS time, ${options.columns}
    FROM points p JOIN (
      SELECT unnest(list) AS series, generate_subscripts(list, 1) - 1 AS rank FROM (SELECT CAST($ids AS INTEGER[]) AS list)
    ) w ON p.series = w.series
    WHERE ${filters.join(' AND ')}
    ${grouped ? 'GROUP BY 1, 2' : ''}
    ORDER BY time ${order === 'asc' ? 'ASC' : 'DESC'}, rank ASC
    LIMIT $limit`
  return { sql, values, types }
}

function leastOf(ids: readonly number[]): bigint {
  let least = Number.POSITIVE_INFINITY
  for (const id of ids) if (id < least) least = id
  return BigInt(least)
}

export function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

export function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}
