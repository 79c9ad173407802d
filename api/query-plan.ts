/** The parameters of GET /api/v1/query, and what they ask of the store. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { TidegateError } from '../errors.ts'
import { aggregates } from '../storage/port.ts'
import type { Aggregate, Order, RowCursor, Selection } from '../storage/port.ts'
import { decodePosition } from '../telemetry.ts'
import { bindingOf, decodeCursor, encodeCursor } from './cursors.ts'
import { parameterError } from './problems.ts'
import { msToNs, parseDurationMs, parseTime, quoted, TimeFormat } from './times.ts'

const Name = Type.String({ minLength: 1, maxLength: 1_024 })

/** A list of field names: comma-separated, repeated or both. */
export const FieldList = Type.Array(Type.String({ minLength: 1, maxLength: 4_096 }), {
  maxItems: 100,
  description: 'Field names, comma-separated or repeated (default: all)'
})

export const QueryParameters = Type.Object({
  measurement: Type.Optional(Name),
  device: Type.Optional(Type.Array(Name, { maxItems: 100, description: 'Repeatable: any of them' })),
  tag: Type.Optional(
    Type.Array(Type.String({ pattern: '^[^:]+:', maxLength: 2_048 }), {
      maxItems: 20,
      description: 'name:value, repeatable: all of them',
      examples: [['room:kitchen']]
    })
  ),
  fields: Type.Optional(FieldList),
  from: Type.Optional(
    Type.String({
      description: 'Inclusive; ISO 8601 with a zone or epoch milliseconds (default: an hour before now, or before an earlier `to`)'
    })
  ),
  to: Type.Optional(
    Type.String({
      description: 'Exclusive; ISO 8601 with a zone or epoch milliseconds (default: everything, with readings whose clock runs ahead)'
    })
  ),
  every: Type.Optional(
    Type.String({ description: 'Bucket of an aggregated query: 1s to 30d, or auto (at most 300 buckets)', examples: ['5m'] })
  ),
  agg: Type.Optional(
    Type.Array(Type.String({ maxLength: 200 }), {
      maxItems: aggregates.length,
      description: `With every: comma-separated or repeated, of ${aggregates.join(' ')} (default mean)`
    })
  ),
  order: Type.Optional(Type.Union([Type.Literal('asc'), Type.Literal('desc')], { description: 'asc (default) or desc by time' })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100_000, description: 'Items at most: 1 to 100000 (default 1000)' })),
  cursor: Type.Optional(
    Type.String({ minLength: 1, maxLength: 12_000, description: 'nextCursor of the page before, with the same parameters' })
  ),
  format: Type.Optional(
    Type.Union([Type.Literal('json'), Type.Literal('csv'), Type.Literal('ndjson')], { description: 'json (default), csv or ndjson' })
  ),
  epoch: Type.Optional(TimeFormat),
  after: Type.Optional(Type.String({ description: 'A position: waits until that record has its outcome' })),
  timeout: Type.Optional(Type.String({ description: 'How long after waits: 1ms to 60s (default 5s), else 504', examples: ['5s'] }))
})

/** What a query asks of the store and of the encoder. */
export interface QueryPlan {
  readonly selection: Selection
  readonly order: Order
  readonly limit: number
  readonly after?: RowCursor
  /** Undefined for a raw query. */
  readonly everyNs: bigint | undefined
  /** In the order of the port's table; empty for a raw query. */
  readonly aggregates: readonly Aggregate[]
  readonly format: 'json' | 'csv' | 'ndjson'
  readonly epoch: TimeFormat
  /** The record to wait for before the query starts. */
  readonly waitForOrdinal: number | undefined
  readonly timeoutMs: number
  /** The cursor for the page behind a row. */
  cursorBehind(row: { readonly timeNs: bigint; readonly source: { readonly key: string } }): string
}

export interface PlanContext {
  readonly nowMs: number
  readonly futureMs: number
  readonly journal: string
}

/**
 * The plan for checked parameters. A query that goes on by a cursor keeps the range and the buckets that its first page
 * had, whatever the clock says meanwhile.
 * @throws TidegateError TG_PARAMETER_INVALID or TG_POSITION_FOREIGN, naming the parameter
 */
export function planQuery(parameters: Static<typeof QueryParameters>, context: PlanContext): QueryPlan {
  const { measurement, device, tag, fields, from, to, every, agg, order = 'asc', cursor } = parameters
  if (agg !== undefined && every === undefined) throw parameterError('agg', 'needs every, the length of a bucket')
  const binding = bindingOf('query', { measurement, device, tag, fields, from, to, every, agg, order })
  const start = cursor === undefined ? firstPage(parameters, context) : laterPage(binding, cursor)
  const range = [start.fromNs, start.toNs, start.everyNs ?? 0n].map(String)
  return {
    selection: {
      ...(measurement === undefined ? {} : { measurement }),
      devices: [...new Set(device)],
      tags: (tag ?? []).map(parseTag),
      fields: splitList('fields', fields),
      fromNs: start.fromNs,
      toNs: start.toNs
    },
    order,
    limit: parameters.limit ?? 1_000,
    ...(start.after === undefined ? {} : { after: start.after }),
    everyNs: start.everyNs,
    aggregates: every === undefined ? [] : parseAggregates(agg),
    format: parameters.format ?? 'json',
    epoch: parameters.epoch ?? 'iso',
    waitForOrdinal: parameters.after === undefined ? undefined : parsePosition(parameters.after, context.journal),
    timeoutMs: parseTimeout(parameters.timeout),
    cursorBehind: row => encodeCursor(binding, [...range, String(row.timeNs), row.source.key])
  }
}

/** The names of a list parameter, each once. */
export function splitList(parameter: string, values: readonly string[] | undefined): readonly string[] {
  const names = (values ?? []).flatMap(value => value.split(','))
  if (names.includes('')) throw parameterError(parameter, 'a name in the list is empty')
  return [...new Set(names)]
}

interface PageStart {
  readonly fromNs: bigint
  readonly toNs: bigint
  readonly everyNs: bigint | undefined
  readonly after?: RowCursor
}

const hourNs = msToNs(3_600_000)

function firstPage({ from, to, every }: Static<typeof QueryParameters>, { nowMs, futureMs }: PlanContext): PageStart {
  const nowNs = msToNs(nowMs)
  const toNs = to === undefined ? nowNs + msToNs(futureMs + 1_000) : parseTime('to', to)
  const endNs = toNs < nowNs ? toNs : nowNs
  const fromNs = from === undefined ? endNs - hourNs : parseTime('from', from)
  if (fromNs > toNs) throw parameterError('from', 'lies behind to')
  return { fromNs, toNs, everyNs: every === undefined ? undefined : parseEvery(every, endNs - fromNs) }
}

function laterPage(binding: string, cursor: string): PageStart {
  const values = decodeCursor(binding, cursor, 5)
  const [fromNs, toNs, everyNs, timeNs] = values.slice(0, 4).map(text => (/^-?\d{1,19}$/.test(text) ? BigInt(text) : undefined))
  const sourceKey = values[4]
  if (fromNs === undefined || toNs === undefined || everyNs === undefined || timeNs === undefined || sourceKey === undefined) {
    throw parameterError('cursor', 'not a cursor')
  }
  for (const ns of [fromNs, toNs, everyNs, timeNs]) if (BigInt.asIntN(64, ns) !== ns) throw parameterError('cursor', 'not a cursor')
  return { fromNs, toNs, everyNs: everyNs > 0n ? everyNs : undefined, after: { timeNs, sourceKey } }
}

const [secondMs, minuteMs, dayMs] = [1_000, 60_000, 86_400_000]
const autoSeconds = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800]
const autoBuckets = 300n

function parseEvery(text: string, spanNs: bigint): bigint {
  if (text === 'auto') {
    const seconds = autoSeconds.find(step => msToNs(step * secondMs) * autoBuckets >= spanNs)
    return msToNs(seconds === undefined ? 30 * dayMs : seconds * secondMs)
  }
  const ms = parseDurationMs(text)
  if (ms === undefined || ms < secondMs || ms > 30 * dayMs) {
    throw parameterError('every', `${quoted(text)} is not a duration from 1s to 30d, or auto`)
  }
  return msToNs(ms)
}

function parseTimeout(text: string | undefined): number {
  const ms = text === undefined ? 5 * secondMs : parseDurationMs(text)
  if (ms === undefined || ms < 1 || ms > minuteMs)
    throw parameterError('timeout', `${quoted(text ?? '')} is not a duration from 1ms to 60s`)
  return ms
}

function parseAggregates(values: readonly string[] | undefined): readonly Aggregate[] {
  const names = splitList('agg', values)
  const unknown = names.find(name => !aggregates.some(aggregate => aggregate === name))
  if (unknown !== undefined) throw parameterError('agg', `${quoted(unknown)} is none of ${aggregates.join(' ')}`)
  return names.length === 0 ? ['mean'] : aggregates.filter(aggregate => names.includes(aggregate))
}

function parseTag(text: string): { readonly name: string; readonly value: string } {
  const colon = text.indexOf(':')
  return { name: text.slice(0, colon), value: text.slice(colon + 1) }
}

function parsePosition(text: string, journal: string): number {
  const position = decodePosition(text)
  if (position === undefined) throw parameterError('after', `${quoted(text)} is not a position`)
  if (position.journal !== journal) {
    throw new TidegateError('TG_POSITION_FOREIGN', `after: the position is of journal ${position.journal}, this one is ${journal}`, {
      context: { parameter: 'after' }
    })
  }
  return position.ordinal
}
