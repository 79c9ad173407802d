import { Type } from 'typebox'
import { TidegateError } from '../../errors.ts'
import { RawItem, rawItemToJson } from '../items.ts'
import { payloadMembers } from '../payload-text.ts'
import type { ApiPorts } from '../ports.ts'
import { NoParameters, textResponses } from '../routing.ts'
import type { Api } from '../routing.ts'

const Message = Type.Object(
  {
    topic: Type.String({ minLength: 1, maxLength: 256 }),
    ...payloadMembers,
    clientId: Type.Optional(Type.String({ minLength: 1, maxLength: 128, description: 'The client that publishes (default http)' }))
  },
  { additionalProperties: false, title: 'Message' }
)

const schema = {
  operationId: 'testMapping',
  summary: 'What a message would become; nothing is stored',
  tags: ['operations'],
  querystring: NoParameters,
  body: Message,
  response: textResponses({
    200: Type.Object(
      {
        outcome: Type.Union([Type.Literal('stored'), Type.Literal('deadLettered'), Type.Literal('ignored')]),
        route: Type.Union([Type.String(), Type.Null()], { description: 'Pattern of the route that took the topic' }),
        points: Type.Array(RawItem),
        reason: Type.Optional(Type.String({ description: 'Why it would be a dead letter' })),
        detail: Type.Optional(Type.String())
      },
      { description: 'The outcome' }
    )
  })
} as const

/** POST /api/v1/mappings/test. */
export function mappingRoutes(api: Api, ports: ApiPorts): void {
  api.post('/api/v1/mappings/test', { schema }, async (request, reply) => {
    const { topic, payload, payloadBase64, clientId = 'http' } = request.body
    if ((payload === undefined) === (payloadBase64 === undefined)) {
      throw new TidegateError('TG_BODY_INVALID', 'payload: give either payload or payloadBase64', { context: { parameter: 'payload' } })
    }
    const bytes = payload === undefined ? Buffer.from(payloadBase64 ?? '', 'base64') : Buffer.from(payload)
    const { outcome, route, points, reason, detail } = ports.testMapping({ topic, payload: bytes, clientId })
    const facts = JSON.stringify({ outcome, route, reason, detail })
    const items = points.map(point => rawItemToJson(point, 'iso')).join(',')
    return await reply.type('application/json; charset=utf-8').send(`${facts.slice(0, -1)},"points":[${items}]}`)
  })
}
