import { Type } from 'typebox'
import { encodePosition } from '../../telemetry.ts'
import { bindingOf, decodeCursor, encodeCursor } from '../cursors.ts'
import { encodePayload, payloadMembers } from '../payload-text.ts'
import type { ApiPorts, DeadLetter } from '../ports.ts'
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

const schema = {
  operationId: 'listDeadLetters',
  summary: 'Messages that could not be stored, and why',
  tags: ['operations'],
  querystring: Type.Object({
    reason: Type.Optional(Type.String({ minLength: 1, maxLength: 100 })),
    topic: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: 'An MQTT topic filter' })),
    from: Type.Optional(Type.String({ description: 'Received time, inclusive; ISO 8601 with a zone or epoch milliseconds' })),
    to: Type.Optional(Type.String({ description: 'Received time, exclusive; ISO 8601 with a zone or epoch milliseconds' })),
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

/** GET /api/v1/dead-letters. */
export function deadLetterRoutes(api: Api, ports: ApiPorts): void {
  api.get('/api/v1/dead-letters', { schema }, async (request, reply) => {
    const { reason, topic, from, to, cursor, limit = 100, epoch = 'iso' } = request.query
    const binding = bindingOf('dead-letters', { reason, topic, from, to })
    const page = await ports.deadLetters.list({
      ...(reason === undefined ? {} : { reason }),
      ...(topic === undefined ? {} : { topic }),
      ...(from === undefined ? {} : { fromNs: parseTime('from', from) }),
      ...(to === undefined ? {} : { toNs: parseTime('to', to) }),
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
