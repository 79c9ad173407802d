import type { Delivery } from '../routing/delivery.ts'
import { varintBytes } from './encoding.ts'
import { encodeProperty } from './properties.ts'

/** What a PUBLISH to a subscriber of MQTT 5 has besides its delivery. */
export interface Outgoing5 {
  readonly packetId: number
  readonly dup: boolean
  /** Seconds that the message has left; undefined when it never expires. */
  readonly expirySeconds: number | undefined
  /** 0 without one. */
  readonly topicAlias: number
  /** The client knows the topic by its alias, so that it is left out. */
  readonly topicKnown: boolean
}

const nothing = Buffer.alloc(0)

/** The fixed and the variable header of a PUBLISH of MQTT 5 (§3.3); the payload is sent behind it. */
export function encodePublish5(delivery: Delivery, outgoing: Outgoing5): Buffer {
  const { message, qos, retain, identifiers } = delivery
  const { packetId, dup, expirySeconds, topicAlias, topicKnown } = outgoing
  const topicBytes = topicKnown ? 0 : Buffer.byteLength(message.topic)
  const own = ownProperties(expirySeconds, topicAlias, identifiers)
  const kept = message.properties ?? nothing
  const propertiesLength = own.length + kept.length
  const idBytes = qos === 0 ? 0 : 2
  const length = 2 + topicBytes + idBytes + varintBytes(propertiesLength) + propertiesLength + message.payload.length
  const head = Buffer.allocUnsafe(1 + varintBytes(length) + length - message.payload.length)
  head[0] = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0)
  let at = writeVarint(head, length, 1)
  at = head.writeUInt16BE(topicBytes, at)
  if (!topicKnown) at += head.write(message.topic, at)
  if (qos > 0) at = head.writeUInt16BE(packetId, at)
  at = writeVarint(head, propertiesLength, at)
  at += own.copy(head, at)
  kept.copy(head, at)
  return head
}

function ownProperties(expirySeconds: number | undefined, topicAlias: number, identifiers: readonly number[]): Buffer {
  if (expirySeconds === undefined && topicAlias === 0 && identifiers.length === 0) return nothing
  return Buffer.concat([
    ...(topicAlias === 0 ? [] : [encodeProperty('topicAlias', topicAlias)]),
    ...(expirySeconds === undefined ? [] : [encodeProperty('messageExpiryInterval', expirySeconds)]),
    ...identifiers.map(identifier => encodeProperty('subscriptionIdentifier', identifier))
  ])
}

function writeVarint(into: Buffer, value: number, at: number): number {
  let rest = value
  let position = at
  for (; rest > 127; rest >>>= 7) into[position++] = (rest & 127) | 128
  into[position] = rest
  return position + 1
}
