import { Type } from 'typebox'
import type { ApiPorts } from '../ports.ts'
import { FieldList, QueryParameters, splitList } from '../query-plan.ts'
import { opened, problemResponses } from '../routing.ts'
import type { Api } from '../routing.ts'
import { TimeFormat } from '../times.ts'

const schema = {
  operationId: 'followStream',
  summary: 'Readings as they are stored (Server-Sent Events)',
  description:
    'One event a message, sent after its commit: id is its position, data is { position, items }. Last-Event-ID resumes behind ' +
    'that message. Where that is not possible any more, one event of type gap comes first, with data { from, to }: positions ' +
    'from (inclusive) to (exclusive) that the client may have missed; live events follow. A client that does not read is cut off.',
  tags: ['readings'],
  headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ description: 'Position of the last event that was seen' })) }),
  querystring: Type.Object({
    device: QueryParameters.properties.device,
    measurement: QueryParameters.properties.measurement,
    fields: Type.Optional(FieldList),
    epoch: Type.Optional(TimeFormat)
  }),
  response: {
    200: { description: 'Events until one side ends', content: { 'text/event-stream': { schema: Type.String() } } },
    ...problemResponses
  }
} as const

/** GET /api/v1/stream. */
export function streamRoutes(api: Api, ports: ApiPorts): void {
  api.get('/api/v1/stream', { schema }, async (request, reply) => {
    const { device, measurement, fields, epoch = 'iso' } = request.query
    const filter = { devices: new Set(device), measurement, fields: new Set(splitList('fields', fields)), epoch }
    const stream = opened(ports.stream())
    stream.admit()
    reply.hijack()
    const response = reply.raw
    for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) response.setHeader(name, value)
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' })
    // small events must not wait for the acknowledgement of the one before
    request.socket.setNoDelay?.(true)
    stream.connect(response, filter, request.headers['last-event-id'])
    return reply
  })
}
