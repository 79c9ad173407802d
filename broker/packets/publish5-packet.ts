import { isUtf8 } from 'node:buffer'
import { withoutProperty } from './connect-properties.ts'
import { carriers, idOf, PropertyReader } from './properties.ts'
import { buildPublishPacket, publishFaults } from './publish-packet.ts'
import type { PublishPacket } from './publish-packet.ts'
import { protocolError, reasonCodes } from './reason-codes.ts'
import type { Fault } from './reason-codes.ts'
import { isTopicName, topicNameFault } from './topics.ts'

/** A PUBLISH of MQTT 5. */
export interface Publish5Packet extends PublishPacket {
  /** The properties without their length; they end where they begin when there are none. */
  propertiesStart: number
  propertiesEnd: number
  /** 0 without one; the topic may be empty with one. */
  topicAlias: number
  /** Where the topic alias stands among the properties; −1 without one. */
  aliasStart: number
  /** Whether the client says that the payload is UTF-8. */
  payloadIsText: boolean
}

/** What subscribers get of the properties that a record keeps. */
export interface RoutedProperties {
  /** Without the message expiry. */
  readonly properties: Buffer | undefined
  readonly expirySeconds: number | undefined
}

const id = {
  payloadFormatIndicator: idOf('payloadFormatIndicator'),
  messageExpiryInterval: idOf('messageExpiryInterval'),
  responseTopic: idOf('responseTopic'),
  topicAlias: idOf('topicAlias')
} as const
const topicAliasBytes = 3
const messageExpiryBytes = 5

const faults = {
  empty: protocolError('topic is empty'),
  responseTopic: protocolError('response topic is empty or has a wildcard'),
  payload: { fault: 'payload is not the UTF-8 that it says', code: reasonCodes.payloadFormatInvalid }
} as const

const reader = new PropertyReader()

/** An object to decode into. */
export function buildPublish5Packet(): Publish5Packet {
  return { ...buildPublishPacket(), propertiesStart: 0, propertiesEnd: 0, topicAlias: 0, aliasStart: -1, payloadIsText: false }
}

/**
 * Reads a PUBLISH (MQTT 5.0 §3.3) into the object and returns why it is refused, or undefined. What the server may refuse
 * by a reason code in PUBACK or PUBREC (topic name invalid, payload format invalid) is looked at last: the packet id is
 * in the object then.
 */
export function decodePublish5(buffer: Buffer, header: number, start: number, end: number, into: Publish5Packet): Fault | undefined {
  if (end - start < 2) return publishFaults.cut
  const topicStart = start + 2
  const topicEnd = topicStart + (((buffer[start] ?? 0) << 8) | (buffer[start + 1] ?? 0))
  const qos = (header >> 1) & 3
  const propertiesAt = qos === 0 ? topicEnd : topicEnd + 2
  if (propertiesAt >= end) return publishFaults.cut
  into.qos = qos === 0 ? 0 : qos === 1 ? 1 : 2
  into.retain = (header & 1) !== 0
  into.dup = (header & 8) !== 0
  into.topicStart = topicStart
  into.topicEnd = topicEnd
  into.packetId = qos === 0 ? 0 : ((buffer[topicEnd] ?? 0) << 8) | (buffer[topicEnd + 1] ?? 0)
  if (qos === 0 ? into.dup : into.packetId === 0) return qos === 0 ? publishFaults.dup : publishFaults.packetId
  const fault = readProperties(buffer, propertiesAt, end, into)
  if (fault !== undefined) return fault
  if (topicEnd === topicStart) {
    if (into.topicAlias === 0) return faults.empty
  } else {
    const topicFault = topicNameFault(buffer, topicStart, topicEnd)
    if (topicFault !== undefined) return topicFault
  }
  return into.payloadIsText && !isUtf8(buffer.subarray(into.payloadStart, end)) ? faults.payload : undefined
}

function readProperties(buffer: Buffer, at: number, end: number, into: Publish5Packet): Fault | undefined {
  into.topicAlias = 0
  into.aliasStart = -1
  into.payloadIsText = false
  into.propertiesStart = at + 1
  into.propertiesEnd = at + 1
  into.payloadStart = at + 1
  // Most have none.
  if (buffer[at] === 0) return undefined
  if (!reader.open(buffer, at, end, carriers.publish)) return reader.fault
  while (reader.next()) {
    switch (reader.id) {
      case id.topicAlias:
        into.topicAlias = reader.number
        into.aliasStart = reader.start
        break
      case id.payloadFormatIndicator:
        into.payloadIsText = reader.number === 1
        break
      case id.responseTopic:
        if (!isTopicName(buffer, reader.valueStart, reader.end)) return faults.responseTopic
    }
  }
  into.propertiesStart = reader.bodyStart
  into.propertiesEnd = reader.bodyEnd
  into.payloadStart = reader.bodyEnd
  return reader.fault
}

/**
 * What a record keeps of the properties: all but the topic alias, which means something on its connection only. A view
 * into the packet where that is possible.
 */
export function keptProperties(buffer: Buffer, packet: Publish5Packet): Uint8Array | undefined {
  const { propertiesStart, propertiesEnd, aliasStart } = packet
  if (propertiesStart === propertiesEnd) return undefined
  if (aliasStart < 0) return buffer.subarray(propertiesStart, propertiesEnd)
  return withoutProperty(buffer, propertiesStart, propertiesEnd, { start: aliasStart, bytes: topicAliasBytes })
}

/** Takes the message expiry out of the properties that a record keeps: subscribers get what is left of it. */
export function routedProperties(kept: Uint8Array | undefined): RoutedProperties {
  if (kept === undefined || kept.length === 0) return { properties: undefined, expirySeconds: undefined }
  const buffer = Buffer.from(kept.buffer, kept.byteOffset, kept.length)
  let expirySeconds: number | undefined
  let start = -1
  reader.openBare(buffer, carriers.publish)
  while (reader.next()) {
    if (reader.id !== id.messageExpiryInterval) continue
    expirySeconds = reader.number
    start = reader.start
  }
  return { properties: withoutProperty(buffer, 0, buffer.length, { start, bytes: messageExpiryBytes }), expirySeconds }
}
