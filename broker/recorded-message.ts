import type { TailRecord } from '../journal/record.ts'
import type { Message } from './routing/message.ts'

/** The message that a record of the journal is, with bytes of its own. */
export function recordedMessage({ ordinal, topic, payload, qos, retain, clientId }: TailRecord): Message {
  return {
    ordinal,
    topic: utf8(topic),
    payload: Buffer.from(payload),
    qos,
    retain,
    clientId: utf8(clientId),
    properties: undefined,
    expiry: undefined
  }
}

function utf8(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}
