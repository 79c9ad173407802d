/**
 * Aggregated rows. InfluxQL answers source by source, so the range is read in windows of time whose answers fit into
 * memory, each sorted by bucket and source; a window grows while little is in it and shrinks when there is too much.
 *
 * percentile() of InfluxQL rounds the rank n·p/100 to the nearest whole number, nearest rank takes the next higher one. They
 * differ where the fraction is above 0 and below one half: there the value is one rank above. With 2^k ≤ n < 2^(k+1) that is
 * percentile(p + 50/2^k), so a second statement asks for exactly those k that occur.
 */
import type { FieldValue, Source } from '../telemetry.ts'
import { maxTimeNs, minTimeNs } from './influx-lines.ts'
import { groupStatement, quoteName, type Range } from './influx-ql.ts'
import { compareRows, type RunStatements } from './influx-raw.ts'
import { type MeasurementSelection, timeOf, valueOf } from './influx-sources.ts'
import type { Aggregate, AggregateRow, RowQuery } from './port.ts'

type AggregateQuery = RowQuery & { readonly everyNs: bigint; readonly aggregates: readonly Aggregate[] }
type Percentile = 'p50' | 'p95' | 'p99'
type SelectedField = MeasurementSelection['fields'][number]

/** One field of one bucket while it is made. */
interface Entry {
  readonly name: string
  readonly values: Partial<Record<Aggregate, FieldValue>>
}
interface Bucket {
  readonly source: Source
  readonly timeNs: bigint
  readonly entries: readonly Entry[]
}
/** A value that the second statement answers: rank one above what percentile() said. */
interface Correction {
  readonly percentile: Percentile
  readonly argument: number
}

const firstValues = 10_000
const mostRows = 20_000
const chunkRows = 1000

/** The rows of an aggregated query. */
export async function* aggregateRows(
  selections: readonly MeasurementSelection[],
  query: AggregateQuery,
  run: RunStatements
): AsyncGenerator<readonly AggregateRow[], void, undefined> {
  const { order, everyNs, after } = query
  const asc = order === 'asc'
  let fromNs = query.selection.fromNs < minTimeNs ? minTimeNs : query.selection.fromNs
  let toNs = query.selection.toNs > maxTimeNs ? maxTimeNs + 1n : query.selection.toNs
  if (after !== undefined && asc && after.timeNs > fromNs) fromNs = after.timeNs
  if (after !== undefined && !asc && after.timeNs + everyNs < toNs) toNs = after.timeNs + everyNs
  const series = selections.reduce((count, one) => count + one.sources.length * one.fields.length, 0)
  if (series === 0) return
  let buckets = BigInt(Math.max(1, Math.floor(firstValues / series)))
  let left = query.limit
  while (left > 0 && fromNs < toNs) {
    const window = asc
      ? { fromNs, toNs: least(toNs, bucketOf(fromNs, everyNs) + buckets * everyNs) }
      : { fromNs: greatest(fromNs, bucketOf(toNs - 1n, everyNs) - (buckets - 1n) * everyNs), toNs }
    const { rows: found, tooMany } = await readWindow(selections, query, window, run, buckets === 1n ? Number.POSITIVE_INFINITY : mostRows)
    if (tooMany) {
      buckets = fewerBuckets(found, selections, asc ? window.fromNs : window.toNs, everyNs, buckets)
      continue
    }
    if (found.length < mostRows / 8) buckets *= 4n
    if (asc) fromNs = window.toNs
    else toNs = window.fromNs
    const rows = found
      .filter(row => after === undefined || row.timeNs !== after.timeNs || row.source.key > after.sourceKey)
      .toSorted((a, b) => compareRows(order, a, b))
    for (let at = 0; at < rows.length && left > 0; at += chunkRows) {
      const chunk = rows.slice(at, at + Math.min(chunkRows, left))
      left -= chunk.length
      yield chunk
      await new Promise(resolve => setImmediate(resolve))
    }
  }
}

/** How wide a window should be of which `seen` is what its first sources have, when `edgeNs` is where it begins. */
function fewerBuckets(
  seen: readonly AggregateRow[],
  selections: readonly MeasurementSelection[],
  edgeNs: bigint,
  everyNs: bigint,
  buckets: bigint
): bigint {
  const all = selections.reduce((count, one) => count + one.sources.length, 0)
  const share = new Set(seen.map(row => row.source)).size / all
  const distances = seen
    .map(row => (row.timeNs > edgeNs ? row.timeNs - edgeNs : edgeNs - row.timeNs))
    .toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  const distance = distances[Math.floor((distances.length * share) / 2)] ?? 0n
  return greatest(1n, least(distance / everyNs, buckets / 4n))
}

/** The rows of a window; when there are more than `most`, those of some sources. */
async function readWindow(
  selections: readonly MeasurementSelection[],
  query: AggregateQuery,
  window: { readonly fromNs: bigint; readonly toNs: bigint },
  run: RunStatements,
  most: number
): Promise<{ readonly rows: readonly AggregateRow[]; readonly tooMany: boolean }> {
  const rows: AggregateRow[] = []
  for (const selection of selections) {
    const { devices, tags } = query.selection
    const range: Range = { measurement: selection.measurement, ...window, devices, tags }
    const { buckets, tooMany } = await readBuckets(selection, range, query, run, most - rows.length)
    for (const { source, timeNs, entries } of buckets) {
      const fields = entries.map(({ name, values }) => ({ name, values: pick(values, query.aggregates) }))
      const some = fields.filter(field => Object.keys(field.values).length > 0)
      if (some.length > 0) rows.push({ source, timeNs, fields: some })
    }
    if (tooMany) return { rows, tooMany }
  }
  return { rows, tooMany: false }
}

async function readBuckets(
  selection: MeasurementSelection,
  range: Range,
  query: AggregateQuery,
  run: RunStatements,
  most: number
): Promise<{ readonly buckets: readonly Bucket[]; readonly tooMany: boolean }> {
  const { everyNs, signal } = query
  const percentiles = query.aggregates.filter(isPercentile)
  const wanted = new Set<Aggregate>(percentiles.length > 0 ? [...query.aggregates, 'count', 'max'] : query.aggregates)
  const columns = selection.fields.flatMap(field =>
    [...wanted].filter(aggregate => isNumeric(field) || forEveryType(aggregate)).map(aggregate => ({ field, aggregate }))
  )
  if (columns.length === 0) return { buckets: [], tooMany: false }
  const found = new Map<string, Bucket>()
  const corrections = new Map<string, Correction>()
  const pending: { readonly entry: Entry; readonly bucket: string; readonly correction: Correction }[] = []
  const statement = groupStatement(
    range,
    columns.map(({ field, aggregate }) => expression(field, aggregate)),
    everyNs
  )
  let tooMany = false
  await run(statement, signal, ({ tags, values }) => {
    const source = selection.source(Object.keys(tags), Object.values(tags))
    if (source === undefined) return 'more'
    for (const row of values) {
      const timeNs = timeOf(row[0])
      const entries = new Map<string, Entry>()
      for (const [at, { field, aggregate }] of columns.entries()) {
        const value = aggregated(field, aggregate, row[at + 1])
        if (value === undefined) continue
        const entry = entries.get(field.name) ?? { name: field.name, values: {} }
        entries.set(field.name, entry)
        entry.values[aggregate] = value
      }
      const key = `${timeNs} ${source.key}`
      found.set(key, { source, timeNs, entries: [...entries.values()] })
      for (const entry of entries.values()) {
        for (const correction of correctionsOf(entry, percentiles)) {
          corrections.set(correction.percentile + correction.argument, correction)
          pending.push({ entry, bucket: key, correction })
        }
      }
    }
    tooMany = found.size > most
    return tooMany ? 'enough' : 'more'
  })
  if (pending.length > 0 && !tooMany) await correct(selection, range, query, run, { corrections: [...corrections.values()], pending })
  return { buckets: [...found.values()], tooMany }
}

/** Replaces the percentiles that are one rank too low. */
async function correct(
  selection: MeasurementSelection,
  range: Range,
  { everyNs, signal }: AggregateQuery,
  run: RunStatements,
  {
    corrections,
    pending
  }: {
    readonly corrections: readonly Correction[]
    readonly pending: readonly { readonly entry: Entry; readonly bucket: string; readonly correction: Correction }[]
  }
): Promise<void> {
  const columns = selection.fields.filter(isNumeric).flatMap(field => corrections.map(correction => ({ field, correction })))
  const place = (name: string, { percentile, argument }: Correction): string => JSON.stringify([name, percentile, argument])
  const placeOf = new Map(columns.map(({ field, correction }, at) => [place(field.name, correction), at]))
  const asked = new Map<string, (typeof pending)[number][]>()
  for (const one of pending) {
    const beside = asked.get(one.bucket)
    if (beside === undefined) asked.set(one.bucket, [one])
    else beside.push(one)
  }
  const expressions = columns.map(
    ({ field, correction }) => `percentile(${quoteName(field.name)}::field, ${correction.argument.toFixed(12)})`
  )
  await run(groupStatement(range, expressions, everyNs), signal, ({ tags, values }) => {
    const source = selection.source(Object.keys(tags), Object.values(tags))
    if (source === undefined) return 'more'
    for (const row of values) {
      for (const { entry, correction } of asked.get(`${timeOf(row[0])} ${source.key}`) ?? []) {
        const at = placeOf.get(place(entry.name, correction)) ?? -1
        const field = columns[at]?.field
        const value = field === undefined ? undefined : valueOf(field.type, row[at + 1])
        if (value !== undefined) entry.values[correction.percentile] = value
      }
    }
    return 'more'
  })
}

/** Corrects what needs no second statement, and answers what does. */
function correctionsOf({ values }: Entry, percentiles: readonly Percentile[]): readonly Correction[] {
  const n = values.count
  if (typeof n !== 'number') return []
  const found: Correction[] = []
  for (const percentile of percentiles) {
    const p = Number(percentile.slice(1))
    const hundredths = (n * p) % 100
    if (hundredths === 0 || hundredths >= 50) continue
    const rank = Math.ceil((n * p) / 100)
    if (rank === n && values.max !== undefined) values[percentile] = values.max
    else found.push({ percentile, argument: p + 50 / 2 ** Math.floor(Math.log2(n)) })
  }
  return found
}

function expression(field: SelectedField, aggregate: Aggregate): string {
  const name = quoteName(field.name)
  switch (aggregate) {
    case 'mean':
    case 'sum':
      // As floats: sums of integers would overflow without a word.
      return `${aggregate}(${name}::float)`
    case 'p50':
    case 'p95':
    case 'p99':
      return `percentile(${name}::field, ${aggregate.slice(1)})`
    case 'min':
    case 'max':
    case 'count':
    case 'first':
    case 'last':
      return `${aggregate}(${name}::field)`
  }
}

function aggregated(field: SelectedField, aggregate: Aggregate, value: unknown): FieldValue | undefined {
  if (value === null || value === undefined) return undefined
  if (aggregate === 'count') return Number(value) === 0 ? undefined : Number(value)
  if (aggregate === 'mean' || aggregate === 'sum') return Number(value)
  return valueOf(field.type, value)
}

function pick(values: Partial<Record<Aggregate, FieldValue>>, aggregates: readonly Aggregate[]): Partial<Record<Aggregate, FieldValue>> {
  const picked: Partial<Record<Aggregate, FieldValue>> = {}
  for (const aggregate of aggregates) {
    const value = values[aggregate]
    if (value !== undefined) picked[aggregate] = value
  }
  return picked
}

function isPercentile(aggregate: Aggregate): aggregate is Percentile {
  return aggregate === 'p50' || aggregate === 'p95' || aggregate === 'p99'
}

function isNumeric(field: SelectedField): boolean {
  return field.type === 'float' || field.type === 'integer'
}

function forEveryType(aggregate: Aggregate): boolean {
  return aggregate === 'count' || aggregate === 'first' || aggregate === 'last'
}

function bucketOf(timeNs: bigint, everyNs: bigint): bigint {
  const rest = timeNs % everyNs
  return rest < 0n ? timeNs - rest - everyNs : timeNs - rest
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

function greatest(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}
