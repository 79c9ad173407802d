import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { encodePosition } from '../../telemetry.ts'
import type { ApiPorts } from '../ports.ts'
import { parameterError } from '../problems.ts'
import { problemResponses } from '../routing.ts'
import type { Api } from '../routing.ts'

const mediaTypes = ['application/json', 'application/octet-stream']
const maxTopicBytes = 256
const maxTopicLevels = 16

const schema = {
  operationId: 'publish',
  summary: 'Publishes one message, as a QoS 1 publish by the client http does',
  description: 'The body is the payload, as it is. The answer comes when the message is durable.',
  tags: ['readings'],
  consumes: mediaTypes,
  querystring: Type.Object({
    topic: Type.String({ minLength: 1, maxLength: maxTopicBytes, description: 'an MQTT topic name, without wildcards' })
  }),
  response: {
    202: Type.Object(
      { position: Type.String({ description: 'Position of the record; `after` of a query waits for it' }) },
      { description: 'Durable' }
    ),
    ...problemResponses
  }
} as const

/** POST /api/v1/telemetry. */
export function telemetryRoutes(api: Api, ports: ApiPorts): void {
  // a scope of its own: here JSON is a payload like any other and is not parsed
  void api.register(async plain => {
    const scope = plain.withTypeProvider<TypeBoxTypeProvider>()
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser(mediaTypes, { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
    scope.post('/api/v1/telemetry', { schema, config: { accepts: mediaTypes } }, async (request, reply) => {
      const { topic } = request.query
      const fault = topicFault(topic)
      if (fault !== undefined) throw parameterError('topic', fault)
      const payload = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
      const ordinal = await ports.append({ topic, payload })
      return await reply.code(202).send({ position: encodePosition(ports.journal, ordinal) })
    })
  })
}

/** Why a text is no topic name that can be published to; undefined when it is one [MQTT-3.3.2-2, 4.7.3-1 to 4.7.3-3]. */
export function topicFault(topic: string): string | undefined {
  if (topic === '') return 'a topic has at least one character'
  if (/[+#]/.test(topic)) return 'a topic name has no wildcard'
  if (/\p{Surrogate}/u.test(topic)) return 'not valid UTF-8'
  if (topic.includes('\0')) return 'a topic has no null character'
  if (topic === '$SYS' || topic.startsWith('$SYS/')) return '$SYS belongs to the server'
  if (Buffer.byteLength(topic) > maxTopicBytes) return `more than ${maxTopicBytes} bytes`
  if (topic.split('/').length > maxTopicLevels) return `more than ${maxTopicLevels} levels`
  return undefined
}
