import { malformed, protocolError } from './reason-codes.ts'
import type { Fault } from './reason-codes.ts'
import { topicNameFault } from './topics.ts'

/** Where the parts of a PUBLISH lie in the buffer that it was read from. One object is reused for every packet. */
export interface PublishPacket {
  qos: 0 | 1 | 2
  retain: boolean
  dup: boolean
  /** 0 for QoS 0. */
  packetId: number
  topicStart: number
  topicEnd: number
  /** The payload ends where the packet does. */
  payloadStart: number
}

/** An object to decode into. */
export function buildPublishPacket(): PublishPacket {
  return { qos: 0, retain: false, dup: false, packetId: 0, topicStart: 0, topicEnd: 0, payloadStart: 0 }
}

export const publishFaults = {
  cut: malformed('PUBLISH is cut'),
  dup: malformed('DUP is set on QoS 0'),
  packetId: protocolError('packet id is 0')
} as const

/**
 * Reads a PUBLISH (MQTT 3.1.1 §3.3) into the object and returns why it is refused, or undefined. Fills an object that is
 * reused instead of making one per message, since this runs for every message of every device.
 */
export function decodePublish(buffer: Buffer, header: number, start: number, end: number, into: PublishPacket): Fault | undefined {
  if (end - start < 2) return publishFaults.cut
  const topicStart = start + 2
  const topicEnd = topicStart + (((buffer[start] ?? 0) << 8) | (buffer[start + 1] ?? 0))
  if (topicEnd > end) return publishFaults.cut
  const fault = topicNameFault(buffer, topicStart, topicEnd)
  if (fault !== undefined) return fault
  const qos = (header >> 1) & 3
  into.retain = (header & 1) !== 0
  into.dup = (header & 8) !== 0
  into.topicStart = topicStart
  into.topicEnd = topicEnd
  if (qos === 0) {
    into.qos = 0
    into.packetId = 0
    into.payloadStart = topicEnd
    return into.dup ? publishFaults.dup : undefined
  }
  into.qos = qos === 1 ? 1 : 2
  if (topicEnd + 2 > end) return publishFaults.cut
  into.packetId = ((buffer[topicEnd] ?? 0) << 8) | (buffer[topicEnd + 1] ?? 0)
  into.payloadStart = topicEnd + 2
  return into.packetId === 0 ? publishFaults.packetId : undefined
}
