import { Type } from 'typebox'
import { TidegateError } from '../../errors.ts'
import type { DeviceEntry, LatestValue } from '../../storage/port.ts'
import type { Field } from '../../telemetry.ts'
import { bindingOf, decodeCursor, encodeCursor } from '../cursors.ts'
import { RawItem, rawItemToJson } from '../items.ts'
import type { ApiPorts } from '../ports.ts'
import { FieldList, splitList } from '../query-plan.ts'
import { listOf, problemResponses, requireStorage, textResponses, watchClient } from '../routing.ts'
import type { Api } from '../routing.ts'
import { msToNs, quoted, Time, TimeFormat, timeToValue } from '../times.ts'

const head = {
  device: Type.String(),
  firstSeen: Time,
  lastSeen: Time,
  online: Type.Union([Type.Boolean(), Type.Null()], {
    description: 'Is the client that last published for it connected? null for line protocol and HTTP'
  }),
  measurements: Type.Array(Type.String())
}

const Device = Type.Object({ ...head, fields: Type.Array(Type.String(), { description: 'Names, each once, sorted' }) }, { title: 'Device' })

const DeviceDetail = Type.Object(
  {
    ...head,
    fields: Type.Array(
      Type.Object({
        measurement: Type.String(),
        name: Type.String(),
        type: Type.Union([Type.Literal('float'), Type.Literal('integer'), Type.Literal('boolean'), Type.Literal('string')]),
        unit: Type.Union([Type.String(), Type.Null()])
      })
    ),
    counters: Type.Object({ messages: Type.Integer(), points: Type.Integer() })
  },
  { title: 'DeviceDetail' }
)

const DevicePath = Type.Object({ device: Type.String({ minLength: 1, description: 'The device id; a / in it is percent-encoded' }) })

const DeviceParameters = Type.Object({
  search: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: 'A part of the id, in upper or lower case' })),
  cursor: Type.Optional(
    Type.String({ minLength: 1, maxLength: 12_000, description: 'nextCursor of the page before, with the same search' })
  ),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000, description: 'Devices at most: 1 to 1000 (default 100)' })),
  epoch: Type.Optional(TimeFormat)
})

/** GET /api/v1/devices, /devices/{device} and /devices/{device}/latest. */
export function deviceRoutes(api: Api, ports: ApiPorts): void {
  const isOnline = (entry: DeviceEntry): boolean | null => (entry.clientId === undefined ? null : ports.isOnline(entry.clientId))
  const tags = ['devices']

  api.route({
    method: 'GET',
    url: '/api/v1/devices',
    schema: {
      operationId: 'listDevices',
      summary: 'Devices by name',
      tags,
      querystring: DeviceParameters,
      response: { 200: listOf(Device, 'A page of devices'), ...problemResponses }
    },
    handler: async request => {
      const { search, cursor, limit = 100, epoch = 'iso' } = request.query
      const binding = bindingOf('devices', { search })
      const after = cursor === undefined ? undefined : decodeCursor(binding, cursor, 1)[0]
      const entries = await requireStorage(ports).catalogue.devices({
        ...(search === undefined ? {} : { search }),
        ...(after === undefined ? {} : { after }),
        limit: limit + 1
      })
      const page = entries.slice(0, limit)
      const last = page.at(-1)
      return {
        items: page.map(entry => ({ ...headOf(entry, isOnline(entry), epoch), fields: fieldNames(entry) })),
        nextCursor: entries.length > limit && last !== undefined ? encodeCursor(binding, [last.device]) : null
      }
    }
  })

  api.route({
    method: 'GET',
    url: '/api/v1/devices/:device',
    schema: {
      operationId: 'getDevice',
      summary: 'One device, with the types of its fields and its counters',
      tags,
      params: DevicePath,
      querystring: Type.Object({ epoch: Type.Optional(TimeFormat) }),
      response: { 200: DeviceDetail, ...problemResponses }
    },
    handler: async request => {
      const entry = await requireDevice(ports, request.params.device)
      return {
        ...headOf(entry, isOnline(entry), request.query.epoch ?? 'iso'),
        fields: entry.fields.map(({ measurement, name, type, unit }) => ({ measurement, name, type, unit: unit ?? null })),
        counters: { messages: entry.messages, points: entry.points }
      }
    }
  })

  api.get(
    '/api/v1/devices/:device/latest',
    {
      schema: {
        operationId: 'getLatest',
        summary: 'The newest value of each field by event time',
        description: 'Fields of one source that share their time come as one item; the newest item first.',
        tags,
        params: DevicePath,
        querystring: Type.Object({ fields: Type.Optional(FieldList), epoch: Type.Optional(TimeFormat) }),
        response: textResponses({ 200: listOf(RawItem, 'All of them: nextCursor is always null') })
      }
    },
    async (request, reply) => {
      const { fields, epoch = 'iso' } = request.query
      const wanted = splitList('fields', fields)
      const { signal } = watchClient(reply)
      await requireDevice(ports, request.params.device)
      const values = await requireStorage(ports).latest(request.params.device, wanted, signal)
      const items = groupLatest(values).map(row => rawItemToJson(row, epoch))
      return reply.type('application/json; charset=utf-8').send(`{"items":[${items.join(',')}],"nextCursor":null}`)
    }
  )
}

async function requireDevice(ports: ApiPorts, device: string): Promise<DeviceEntry> {
  const entry = await requireStorage(ports).catalogue.device(device)
  if (entry === undefined) throw new TidegateError('TG_DEVICE_UNKNOWN', `no device ${quoted(device)}`, { context: { parameter: 'device' } })
  return entry
}

function headOf(entry: DeviceEntry, online: boolean | null, epoch: TimeFormat) {
  return {
    device: entry.device,
    firstSeen: timeToValue(msToNs(entry.firstSeenMs), epoch),
    lastSeen: timeToValue(msToNs(entry.lastSeenMs), epoch),
    online,
    measurements: [...entry.measurements]
  }
}

function fieldNames(entry: DeviceEntry): string[] {
  return [...new Set(entry.fields.map(field => field.name))].toSorted()
}

interface LatestRow {
  readonly source: LatestValue['source']
  readonly timeNs: bigint
  readonly fields: Field[]
}

function groupLatest(values: readonly LatestValue[]): readonly LatestRow[] {
  const rows = new Map<string, LatestRow>()
  for (const { source, timeNs, field, value } of values) {
    const key = `${timeNs} ${source.key}`
    const row = rows.get(key)
    if (row === undefined) rows.set(key, { source, timeNs, fields: [{ name: field, value }] })
    else row.fields.push({ name: field, value })
  }
  for (const row of rows.values()) row.fields.sort((a, b) => (a.name < b.name ? -1 : 1))
  return [...rows.values()].toSorted((a, b) =>
    a.timeNs === b.timeNs ? (a.source.key < b.source.key ? -1 : 1) : a.timeNs > b.timeNs ? -1 : 1
  )
}
