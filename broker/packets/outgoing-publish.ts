import type { Message } from '../routing/message.ts'

/** A PUBLISH for a subscriber. */
export interface OutgoingPublish {
  readonly message: Message
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
}

/**
 * The bytes of a PUBLISH, shared by all subscribers that get the same: above QoS 0 each copies `head` and writes its packet
 * id and DUP flag there. A small payload is part of the head; a large one is sent behind it, and never copied.
 */
export interface EncodedPublish {
  readonly head: Buffer
  /** Where the packet id stands in `head`; 0 for QoS 0. */
  readonly idAt: number
  readonly rest: Buffer | undefined
}

const copiedPayloadBytes = 8192
const dupFlag = 0x08

/** A PUBLISH of MQTT 3.1 and 3.1.1 (§3.3), with packet id 0 above QoS 0. */
export function encodePublish({ message, qos, retain }: OutgoingPublish): EncodedPublish {
  const { topic, payload } = message
  const topicBytes = Buffer.byteLength(topic)
  const idBytes = qos === 0 ? 0 : 2
  const length = 2 + topicBytes + idBytes + payload.length
  const rest = payload.length > copiedPayloadBytes ? payload : undefined
  const topicAt = 1 + lengthBytes(length)
  const idAt = topicAt + 2 + topicBytes
  const head = Buffer.allocUnsafe(idAt + idBytes + (rest === undefined ? payload.length : 0))
  head[0] = 0x30 | (qos << 1) | (retain ? 1 : 0)
  writeLength(head, length)
  head.writeUInt16BE(topicBytes, topicAt)
  head.write(topic, topicAt + 2)
  if (qos > 0) head.writeUInt16BE(0, idAt)
  if (rest === undefined) payload.copy(head, idAt + idBytes)
  return { head, idAt: qos === 0 ? 0 : idAt, rest }
}

/** The head for one subscriber. */
export function headWithId({ head, idAt }: EncodedPublish, packetId: number, dup: boolean): Buffer {
  if (idAt === 0) return head
  const own = Buffer.allocUnsafe(head.length)
  head.copy(own)
  if (dup) own[0] = (own[0] ?? 0) | dupFlag
  own.writeUInt16BE(packetId, idAt)
  return own
}

function lengthBytes(length: number): number {
  return length < 128 ? 1 : length < 16_384 ? 2 : length < 2_097_152 ? 3 : 4
}

function writeLength(into: Buffer, length: number): void {
  let rest = length
  let at = 1
  for (; rest > 127; rest >>= 7) into[at++] = (rest & 127) | 128
  into[at] = rest
}
