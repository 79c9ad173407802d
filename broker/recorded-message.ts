import { utf8 } from './byte-views.ts'
import type { TailRecord } from '../journal/record.ts'
import { routedProperties } from './packets/publish5-packet.ts'
import type { Message } from './routing/message.ts'

/** A record's parts that subscribers get. */
export type RecordedParts = Pick<TailRecord, 'clientId' | 'topic' | 'payload' | 'qos' | 'retain' | 'properties'>

/** The message that a record is, with bytes of its own. `takenMs` is when it was taken, by the clock that is never set. */
export function recordedMessage(record: RecordedParts, ordinal: number, takenMs: () => number): Message {
  const { topic, payload, qos, retain, clientId } = record
  const { properties, expirySeconds } = routedProperties(record.properties)
  return {
    ordinal,
    topic: utf8(topic),
    payload: Buffer.from(payload),
    qos,
    retain,
    clientId: utf8(clientId),
    properties: properties && Buffer.from(properties),
    expiry: expirySeconds === undefined ? undefined : { seconds: expirySeconds, takenMs: takenMs() }
  }
}
