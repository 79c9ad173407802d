import { encodePacket } from './encoding.ts'
import { carriers, idOf, PropertyReader } from './properties.ts'
import { malformed, protocolError, reasonCodes } from './reason-codes.ts'
import type { Fault, ReasonCode } from './reason-codes.ts'
import { topicFilterFault } from './topics.ts'

/** One filter of a SUBSCRIBE of MQTT 5 with its options (§3.8.3.1). */
export interface SubscriptionRequest {
  readonly filter: string
  readonly qos: 0 | 1 | 2
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  readonly retainHandling: 0 | 1 | 2
  /** That of the packet. */
  readonly identifier: number | undefined
  /** Why it is refused whoever asks: the reason code of its SUBACK. */
  readonly refusal: ReasonCode | undefined
}

/** A SUBSCRIBE of MQTT 5. */
export interface Subscribe5Packet {
  readonly packetId: number
  /** In order, as often as they come. */
  readonly requests: readonly SubscriptionRequest[]
}

/** An UNSUBSCRIBE of MQTT 5. */
export interface Unsubscribe5Packet {
  readonly packetId: number
  readonly filters: readonly string[]
}

const subscriptionIdentifier = idOf('subscriptionIdentifier')
const sharedPrefix = '$share/'
const reader = new PropertyReader()

/** Reads a SUBSCRIBE (§3.8): packet id, properties, at least one filter with its options. */
export function decodeSubscribe5(buffer: Buffer, start: number, end: number): Subscribe5Packet | Fault {
  const head = decodeHead(buffer, start, end, carriers.subscribe)
  if ('fault' in head) return head
  const requests: SubscriptionRequest[] = []
  for (let at = head.filtersAt; at < end;) {
    const read = readFilter(buffer, at, end)
    if ('fault' in read) return read
    const options = buffer[read.end]
    if (options === undefined || read.end >= end) return malformed('topic filter is cut')
    const request = requestOf(read, options, head.identifier)
    if ('fault' in request) return request
    requests.push(request)
    at = read.end + 1
  }
  return requests.length === 0 ? protocolError('packet has no topic filter') : { packetId: head.packetId, requests }
}

/** Reads an UNSUBSCRIBE (§3.10): packet id, properties, at least one filter. */
export function decodeUnsubscribe5(buffer: Buffer, start: number, end: number): Unsubscribe5Packet | Fault {
  const head = decodeHead(buffer, start, end, carriers.unsubscribe)
  if ('fault' in head) return head
  const filters: string[] = []
  for (let at = head.filtersAt; at < end;) {
    const read = readFilter(buffer, at, end)
    if ('fault' in read) return read
    filters.push(read.filter)
    at = read.end
  }
  return filters.length === 0 ? protocolError('packet has no topic filter') : { packetId: head.packetId, filters }
}

/** A SUBACK with these reason codes. */
export function encodeSuback5(packetId: number, codes: Uint8Array): Buffer {
  return encodePacket(0x90, Buffer.from([packetId >> 8, packetId & 0xff, 0]), codes)
}

/** An UNSUBACK with these reason codes. */
export function encodeUnsuback5(packetId: number, codes: Uint8Array): Buffer {
  return encodePacket(0xb0, Buffer.from([packetId >> 8, packetId & 0xff, 0]), codes)
}

interface Head {
  readonly packetId: number
  readonly identifier: number | undefined
  readonly filtersAt: number
}

function decodeHead(buffer: Buffer, start: number, end: number, carrier: number): Head | Fault {
  if (end - start < 3) return malformed('packet is cut')
  const packetId = buffer.readUInt16BE(start)
  if (packetId === 0) return protocolError('packet id is 0')
  let identifier: number | undefined
  if (reader.open(buffer, start + 2, end, carrier)) {
    while (reader.next()) if (reader.id === subscriptionIdentifier) identifier = reader.number
  }
  return reader.fault ?? { packetId, identifier, filtersAt: reader.bodyEnd }
}

interface ReadFilter {
  readonly filter: string
  readonly end: number
  readonly refusal: ReasonCode | undefined
}

function readFilter(buffer: Buffer, at: number, end: number): ReadFilter | Fault {
  if (end - at < 2) return malformed('topic filter is cut')
  const filterEnd = at + 2 + buffer.readUInt16BE(at)
  if (filterEnd > end) return malformed('topic filter is cut')
  const fault = topicFilterFault(buffer, at + 2, filterEnd)
  // One that is well formed and not taken is refused on its own, not with its connection.
  if (fault !== undefined && fault.code !== reasonCodes.topicFilterInvalid) return fault
  return { filter: buffer.toString('utf8', at + 2, filterEnd), end: filterEnd, refusal: fault?.code }
}

function requestOf({ filter, refusal }: ReadFilter, options: number, identifier: number | undefined): SubscriptionRequest | Fault {
  const qos = options & 3
  const retainHandling = (options >> 4) & 3
  // [MQTT-3.8.3-5].
  if ((options & 0xc0) !== 0) return malformed('reserved subscription option is set')
  if (qos === 3) return protocolError('requested QoS is not 0, 1 or 2')
  if (retainHandling === 3) return protocolError('retain handling is not 0, 1 or 2')
  const noLocal = (options & 4) !== 0
  const shared = filter.startsWith(sharedPrefix)
  // [MQTT-3.8.3-4].
  if (shared && noLocal) return protocolError('no local on a shared subscription')
  return {
    filter,
    qos: qos === 2 ? 2 : qos === 1 ? 1 : 0,
    noLocal,
    retainAsPublished: (options & 8) !== 0,
    retainHandling: retainHandling === 2 ? 2 : retainHandling === 1 ? 1 : 0,
    identifier,
    refusal: shared ? reasonCodes.sharedSubscriptionsNotSupported : refusal
  }
}
