import { encodePacket } from './encoding.ts'
import { malformed, protocolError } from './reason-codes.ts'
import type { Fault } from './reason-codes.ts'
import { topicFilterFault } from './topics.ts'

/** A SUBSCRIBE or UNSUBSCRIBE. */
export interface FilterList {
  readonly packetId: number
  /** In order, as often as they come. */
  readonly filters: readonly string[]
  /** The QoS asked for with each; none in UNSUBSCRIBE. */
  readonly qos: readonly number[]
}

/** Reads a SUBSCRIBE (MQTT 3.1.1 §3.8): packet id, then at least one filter with its QoS. */
export function decodeSubscribe(buffer: Buffer, start: number, end: number): FilterList | Fault {
  return decodeFilters(buffer, start, end, 1)
}

/** Reads an UNSUBSCRIBE (MQTT 3.1.1 §3.10): packet id, then at least one filter. */
export function decodeUnsubscribe(buffer: Buffer, start: number, end: number): FilterList | Fault {
  return decodeFilters(buffer, start, end, 0)
}

function decodeFilters(buffer: Buffer, start: number, end: number, qosBytes: 0 | 1): FilterList | Fault {
  if (end - start < 2) return malformed('packet is cut')
  const packetId = buffer.readUInt16BE(start)
  if (packetId === 0) return protocolError('packet id is 0')
  const filters: string[] = []
  const qos: number[] = []
  let at = start + 2
  while (at < end) {
    if (end - at < 2) return malformed('topic filter is cut')
    const filterEnd = at + 2 + buffer.readUInt16BE(at)
    if (filterEnd + qosBytes > end) return malformed('topic filter is cut')
    const fault = topicFilterFault(buffer, at + 2, filterEnd)
    if (fault !== undefined) return fault
    const asked = qosBytes === 0 ? undefined : buffer[filterEnd]
    // [MQTT-3.8.3-4].
    if (asked !== undefined && asked > 2) return protocolError('requested QoS is not 0, 1 or 2')
    if (asked !== undefined) qos.push(asked)
    filters.push(buffer.toString('utf8', at + 2, filterEnd))
    at = filterEnd + qosBytes
  }
  return filters.length === 0 ? protocolError('packet has no topic filter') : { packetId, filters, qos }
}

/** A SUBACK with these return codes. */
export function encodeSuback(packetId: number, returnCodes: Uint8Array): Buffer {
  return encodePacket(0x90, Buffer.from([packetId >> 8, packetId & 0xff]), returnCodes)
}

/** An UNSUBACK (MQTT 3.1.1 §3.11). */
export function encodeUnsuback(packetId: number): Buffer {
  return Buffer.from([0xb0, 2, packetId >> 8, packetId & 0xff])
}
