import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { encodePosition } from '../../telemetry.ts'
import { bindingOf, decodeCursor, encodeCursor } from '../cursors.ts'
import { encodePayload, payloadMembers } from '../payload-text.ts'
import type { ApiPorts, DeadLetter, LetterSelection } from '../ports.ts'
import { parameterError } from '../problems.ts'
import { NextCursor, problemResponses, watchClient } from '../routing.ts'
import type { Api } from '../routing.ts'
import { parseTime, Time, TimeFormat, timeToValue } from '../times.ts'

const DeadLetterItem = Type.Object(
  {
    position: Type.String({ description: 'Position in the journal of the record that it was' }),
    time: Time,
    clientId: Type.String(),
    topic: Type.String(),
    ...payloadMembers,
    reason: Type.String(),
    detail: Type.String()
  },
  { title: 'DeadLetter' }
)

/** Which dead letters: the same members as parameters and in a body. */
const filters = {
  reason: Type.Optional(Type.String({ minLength: 1, maxLength: 100 })),
  topic: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: 'An MQTT topic filter' })),
  from: Type.Optional(Type.String({ description: 'Received time, inclusive; ISO 8601 with a zone or epoch milliseconds' })),
  to: Type.Optional(Type.String({ description: 'Received time, exclusive; ISO 8601 with a zone or epoch milliseconds' }))
}
const Filters = Type.Object(filters)
type Filters = Static<typeof Filters>
const FiltersBody = Type.Object(filters, {
  additionalProperties: false,
  description: 'Filters, where they are not parameters; may be empty'
})
const Count = Type.Integer({ minimum: 0 })

const listSchema = {
  operationId: 'listDeadLetters',
  summary: 'Messages that could not be stored, and why',
  tags: ['operations'],
  querystring: Type.Object({
    ...filters,
    cursor: Type.Optional(
      Type.String({ minLength: 1, maxLength: 12_000, description: 'nextCursor of the page before, with the same parameters' })
    ),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000, description: 'Dead letters at most: 1 to 1000 (default 100)' })),
    epoch: Type.Optional(TimeFormat)
  }),
  response: {
    200: Type.Object(
      {
        items: Type.Array(DeadLetterItem),
        nextCursor: NextCursor,
        counts: Type.Record(Type.String(), Type.Integer(), { description: 'Dead letters kept, by reason, whatever is selected' })
      },
      { description: 'A page of dead letters' }
    ),
    ...problemResponses
  }
} as const

const replaySchema = {
  operationId: 'replayDeadLetters',
  summary: 'Sends dead letters through the pipeline again',
  description:
    'With their received time, client id and user, as new records; subscribers do not get them again. A letter is gone when ' +
    'its new record is durable. What cannot be stored this time either becomes a new dead letter. Ends early when the client ' +
    'goes away.',
  tags: ['operations'],
  querystring: Filters,
  body: FiltersBody,
  response: {
    200: Type.Object(
      {
        replayed: Type.Integer({ minimum: 0, description: 'Letters that are records again, durably' }),
        failed: Type.Integer({ minimum: 0, description: 'Letters that were refused for good; they are kept' }),
        remaining: Type.Integer({
          minimum: 0,
          description: 'Selected letters that are kept: those that failed, and those that it did not come to'
        }),
        error: Type.Union(
          [Type.Object({ code: Type.String({ description: 'A code of docs/errors.md' }), message: Type.String() }), Type.Null()],
          { description: 'Why letters remain; null when none does' }
        )
      },
      { title: 'Replay', description: 'What became of the letters that were selected' }
    ),
    ...problemResponses
  }
} as const

const purgeSchema = {
  operationId: 'purgeDeadLetters',
  summary: 'Purges dead letters: they are gone for good, and counted',
  description: 'Without filters all of them. The answer comes when it is durable. Ends early when the client goes away.',
  tags: ['operations'],
  querystring: Filters,
  body: FiltersBody,
  response: {
    200: Type.Object({ purged: Count }, { description: 'How many are gone' }),
    ...problemResponses
  }
} as const

/** GET and DELETE /api/v1/dead-letters, POST /api/v1/dead-letters/replay. */
export function deadLetterRoutes(api: Api, ports: ApiPorts): void {
  // a scope of its own: here the body may be empty, whatever its type says
  void api.register(async plain => {
    const scope = plain.withTypeProvider<TypeBoxTypeProvider>()
    const parseJson = scope.getDefaultJsonParser('error', 'error')
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
      if (body.length === 0) done(null, {})
      else void parseJson(request, String(body), done)
    })
    scope.post('/api/v1/dead-letters/replay', { schema: replaySchema }, async (request, reply) => {
      const selection = selectionOf(eitherOf(request.query, request.body))
      const { error, ...counts } = await ports.deadLetters.replay(selection, watchClient(reply).signal)
      return { ...counts, error: error === undefined ? null : { code: error.code, message: error.message } }
    })
    scope.delete('/api/v1/dead-letters', { schema: purgeSchema }, async (request, reply) => {
      const selection = selectionOf(eitherOf(request.query, request.body))
      return { purged: await ports.deadLetters.purge(selection, watchClient(reply).signal) }
    })
  })

  api.get('/api/v1/dead-letters', { schema: listSchema }, async (request, reply) => {
    const { reason, topic, from, to, cursor, limit = 100, epoch = 'iso' } = request.query
    const binding = bindingOf('dead-letters', { reason, topic, from, to })
    const page = await ports.deadLetters.list({
      ...selectionOf(request.query),
      ...(cursor === undefined ? {} : { after: parseAfter(binding, cursor) }),
      limit,
      signal: watchClient(reply).signal
    })
    return {
      items: page.items.map(letter => encodeLetter(letter, ports.journal, epoch)),
      nextCursor: page.next === undefined ? null : encodeCursor(binding, [String(page.next)]),
      counts: { ...page.counts }
    }
  })
}

/** Filters given in two ways could disagree: each is given once. */
function eitherOf(query: Filters, body: Filters): Filters {
  for (const name of ['reason', 'topic', 'from', 'to'] as const) {
    if (query[name] !== undefined && body[name] !== undefined) throw parameterError(name, 'given as a parameter and in the body')
  }
  return { ...query, ...body }
}

function selectionOf({ reason, topic, from, to }: Filters): LetterSelection {
  return {
    ...(reason === undefined ? {} : { reason }),
    ...(topic === undefined ? {} : { topic }),
    ...(from === undefined ? {} : { fromNs: parseTime('from', from) }),
    ...(to === undefined ? {} : { toNs: parseTime('to', to) })
  }
}

function encodeLetter(letter: DeadLetter, journal: string, epoch: TimeFormat) {
  return {
    position: encodePosition(journal, letter.ordinal),
    time: timeToValue(letter.receivedNs, epoch),
    clientId: letter.clientId,
    topic: letter.topic,
    ...encodePayload(letter.payload),
    reason: letter.reason,
    detail: letter.detail
  }
}

function parseAfter(binding: string, cursor: string): number {
  const [text = ''] = decodeCursor(binding, cursor, 1)
  if (!/^\d{1,15}$/.test(text)) throw parameterError('cursor', 'not a cursor')
  return Number(text)
}
