import { Type } from 'typebox'
import { TidegateError } from '../../errors.ts'
import type { AggregateRow, Catalogue, RawRow, RowQuery, Selection, Storage } from '../../storage/port.ts'
import { aggregateCsvWriter, csvHeader, maxCsvFields, rawCsvWriter } from '../csv.ts'
import { AggregateItem, aggregateItemToJson, RawItem, rawItemToJson } from '../items.ts'
import type { ApiPorts } from '../ports.ts'
import { parameterError, toTidegateError } from '../problems.ts'
import { planQuery, QueryParameters } from '../query-plan.ts'
import type { QueryPlan } from '../query-plan.ts'
import { holdText, RowText } from '../row-stream.ts'
import type { RowFormat } from '../row-stream.ts'
import { NextCursor, textResponses, requireStorage, watchClient } from '../routing.ts'
import type { Api } from '../routing.ts'

const nextCursorHeader = 'Tidegate-Next-Cursor'

const schema = {
  operationId: 'query',
  summary: 'Readings, raw or aggregated',
  description:
    'Items come in the order of their time, then of their source. JSON carries nextCursor behind the items. CSV and NDJSON are ' +
    `the same rows; their next cursor is in the header ${nextCursorHeader} where the answer is small enough to know it before ` +
    'the body (about 256 KiB), else in the trailer of that name, which the Trailer header announces; neither: this was the last page. ' +
    'CSV columns: time, device, measurement, tags (a JSON object), then one for each field, or field.aggregate.',
  tags: ['readings'],
  querystring: QueryParameters,
  response: textResponses({
    200: {
      description: 'A page of readings',
      headers: {
        [nextCursorHeader]: Type.Optional(Type.String({ description: 'CSV and NDJSON: the cursor of the next page' }))
      },
      content: {
        'application/json': {
          schema: Type.Object({ items: Type.Array(Type.Union([RawItem, AggregateItem])), nextCursor: NextCursor })
        },
        'application/x-ndjson': { schema: Type.String({ description: 'One item a line' }) },
        'text/csv': { schema: Type.String({ description: 'RFC 4180 with a header line' }) }
      }
    }
  })
} as const

/** GET /api/v1/query. */
export function queryRoutes(api: Api, ports: ApiPorts): void {
  const { now = Date.now, stallMs = 30_000, futureMs } = ports.options
  api.get('/api/v1/query', { schema }, async (request, reply) => {
    const plan = planQuery(request.query, { nowMs: now(), futureMs, journal: ports.journal })
    const client = watchClient(reply)
    if (plan.waitForOrdinal !== undefined)
      await waitForOutcome(ports, plan.waitForOrdinal, { timeoutMs: plan.timeoutMs, signal: client.signal })
    const text = rowTextOf(requireStorage(ports), plan, client.signal)
    const held = await holdText(text.slices(), {
      stallMs,
      onStall: () => client.cut(),
      onFault: error => {
        const { code } = toTidegateError(error)
        if (code !== 'TG_QUERY_CANCELLED') request.log.warn({ err: error, code }, 'answer cut off')
      }
    })
    reply.type(contentTypes[plan.format])
    if ('whole' in held) {
      if (plan.format !== 'json' && text.nextCursor !== undefined) reply.header(nextCursorHeader, text.nextCursor)
      return reply.send(held.whole)
    }
    if (plan.format !== 'json') reply.trailer(nextCursorHeader, (_reply, _payload, done) => done(null, text.nextCursor ?? ''))
    return reply.send(held.stream)
  })
}

const contentTypes = {
  json: 'application/json; charset=utf-8',
  csv: 'text/csv; charset=utf-8; header=present',
  ndjson: 'application/x-ndjson; charset=utf-8'
} as const

async function waitForOutcome(
  ports: ApiPorts,
  ordinal: number,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal }
): Promise<void> {
  const timeout = AbortSignal.timeout(timeoutMs)
  try {
    await ports.waitFor(ordinal, AbortSignal.any([signal, timeout]))
  } catch (error) {
    if (!timeout.aborted) throw error
    throw new TidegateError('TG_POSITION_TIMEOUT', `after: the record has no outcome after ${timeoutMs} ms`, {
      context: { parameter: 'after' },
      cause: error
    })
  }
}

function rowTextOf(storage: Storage, plan: QueryPlan, signal: AbortSignal): RowText<RawRow> | RowText<AggregateRow> {
  const { selection, order, limit, after, everyNs, aggregates, epoch } = plan
  const query: RowQuery = { selection, order, limit: limit + 1, ...(after === undefined ? {} : { after }), signal }
  if (everyNs === undefined) {
    return new RowText<RawRow>({
      rows: storage.raw(query),
      limit,
      cursorBehind: row => plan.cursorBehind(row),
      format: () => formatOf<RawRow>(storage, plan, { json: row => rawItemToJson(row, epoch), csv: fields => rawCsvWriter(fields, epoch) })
    })
  }
  return new RowText<AggregateRow>({
    rows: storage.aggregate({ ...query, everyNs, aggregates }),
    limit,
    cursorBehind: row => plan.cursorBehind(row),
    format: () =>
      formatOf<AggregateRow>(storage, plan, {
        json: row => aggregateItemToJson(row, epoch),
        csv: fields => aggregateCsvWriter(fields, aggregates, epoch)
      })
  })
}

async function formatOf<Row>(
  storage: Storage,
  plan: QueryPlan,
  encoders: { json(row: Row): string; csv(fields: readonly string[]): (row: Row) => string }
): Promise<RowFormat<Row>> {
  if (plan.format === 'csv') {
    const fields = await csvFields(storage.catalogue, plan.selection)
    return { head: csvHeader(fields, plan.aggregates), separator: '', encode: encoders.csv(fields), tail: () => '' }
  }
  if (plan.format === 'ndjson') return { head: '', separator: '', encode: row => `${encoders.json(row)}\n`, tail: () => '' }
  return { head: '{"items":[', separator: ',', encode: row => encoders.json(row), tail: jsonTail }
}

function jsonTail(nextCursor: string | undefined): string {
  return `],"nextCursor":${nextCursor === undefined ? 'null' : JSON.stringify(nextCursor)}}`
}

async function csvFields(catalogue: Catalogue, { fields, devices, measurement }: Selection): Promise<readonly string[]> {
  if (fields.length > 0) return fields
  const names = new Set<string>()
  const add = (field: { readonly measurement: string }, name: string): void => {
    if (measurement === undefined || field.measurement === measurement) names.add(name)
  }
  if (devices.length === 0) for (const field of catalogue.fields()) add(field, field.field)
  for (const device of devices) {
    const entry = await catalogue.device(device)
    for (const field of entry?.fields ?? []) add(field, field.name)
  }
  if (names.size > maxCsvFields)
    throw parameterError('fields', `the answer would have ${names.size} columns; choose ${maxCsvFields} at most`)
  return [...names].toSorted()
}
