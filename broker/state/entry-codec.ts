/**
 * The byte layout of an entry, which is the payload of a record of the log. A record's frame has length and CRC, so there are
 * none here; its client id is that of the session, and empty for an entry without one.
 *
 * One byte says the kind; the fields follow in the order in which they are written here. Numbers take one to eight bytes of
 * seven bits, the lowest first, and bit 7 says that another follows; strings and bytes have their length before them.
 *
 * A message's expiry is kept as the wall clock at which the message was taken, since a monotonic clock begins anew with its
 * process: `wallOffsetMs` is what the wall clock is ahead of the monotonic one.
 */
import type { Message } from '../routing/message.ts'
import type { Subscription } from '../routing/subscription.ts'
import { ByteReader } from './byte-reader.ts'
import type { ByteWriter } from './byte-writer.ts'
import type { DeliveryProgress, QueuedDelivery, SentDelivery, SessionEntry, StateEntry } from './entry.ts'

const kinds = {
  begin: 1,
  end: 2,
  stands: 3,
  session: 4,
  subscriptions: 5,
  message: 6,
  queued: 7,
  retained: 8,
  resumed: 9,
  opened: 16,
  detached: 17,
  ended: 18,
  subscribed: 19,
  unsubscribed: 20,
  released: 21,
  progress: 22
} as const satisfies Record<StateEntry['kind'], number>

/** Fewest bytes that an element of a list takes. */
const least = { number: 1, text: 1, pair: 2, subscription: 3, queued: 4, sent: 3 } as const
const flag = { released: 4, retained: 8, retain: 16 } as const
const subscriptionFlag = { noLocal: 4, retainAsPublished: 8, identifier: 64 } as const

/** Writes an entry without its client id. */
export function encodeEntry(writer: ByteWriter, entry: StateEntry, wallOffsetMs: number): void {
  writer.byte(kinds[entry.kind])
  switch (entry.kind) {
    case 'begin':
      writer.number(entry.version)
      writer.text(entry.journal)
      return writer.number(entry.position)
    case 'resumed':
      writer.text(entry.journal)
      return writer.number(entry.position)
    case 'end':
      return writer.number(entry.begin)
    case 'stands':
    case 'ended':
      return writer.number(entry.position)
    case 'session':
      return encodeSession(writer, entry)
    case 'subscriptions':
      return encodeList(writer, entry.subscriptions, encodeSubscription)
    case 'message':
    case 'retained':
      return encodeMessage(writer, entry.message, wallOffsetMs)
    case 'queued':
      return encodeList(writer, entry.deliveries, encodeQueued)
    case 'opened':
    case 'detached':
      writer.number(entry.position)
      return writer.number(entry.expirySeconds)
    case 'subscribed':
      writer.number(entry.position)
      return encodeSubscription(writer, entry.subscription)
    case 'unsubscribed':
      writer.number(entry.position)
      return writer.text(entry.filter)
    case 'released':
      writer.number(entry.position)
      return writer.number(entry.packetId)
    case 'progress':
      writer.number(entry.position)
      return encodeProgress(writer, entry.progress)
  }
}

/** Reads an entry; undefined when it is none that this version knows. Payload and properties are views into the bytes. */
export function decodeEntry(clientId: string, bytes: Uint8Array, wallOffsetMs: number): StateEntry | undefined {
  const reader = new ByteReader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  const entry = decodeKind(reader, clientId, wallOffsetMs)
  return reader.finished ? entry : undefined
}

function decodeKind(reader: ByteReader, clientId: string, wallOffsetMs: number): StateEntry | undefined {
  switch (reader.byte()) {
    case kinds.begin:
      return { kind: 'begin', version: reader.number(), journal: reader.text(), position: reader.number() }
    case kinds.resumed:
      return { kind: 'resumed', journal: reader.text(), position: reader.number() }
    case kinds.end:
      return { kind: 'end', begin: reader.number() }
    case kinds.stands:
      return { kind: 'stands', position: reader.number() }
    case kinds.session:
      return decodeSession(reader, clientId)
    case kinds.subscriptions:
      return { kind: 'subscriptions', clientId, subscriptions: decodeList(reader, least.subscription, decodeSubscription) }
    case kinds.message:
      return { kind: 'message', message: decodeMessage(reader, wallOffsetMs) }
    case kinds.queued:
      return { kind: 'queued', clientId, deliveries: decodeList(reader, least.queued, decodeQueued) }
    case kinds.retained:
      return { kind: 'retained', message: decodeMessage(reader, wallOffsetMs) }
    case kinds.opened:
      return { kind: 'opened', clientId, position: reader.number(), expirySeconds: reader.number() }
    case kinds.detached:
      return { kind: 'detached', clientId, position: reader.number(), expirySeconds: reader.number() }
    case kinds.ended:
      return { kind: 'ended', clientId, position: reader.number() }
    case kinds.subscribed:
      return { kind: 'subscribed', clientId, position: reader.number(), subscription: decodeSubscription(reader) }
    case kinds.unsubscribed:
      return { kind: 'unsubscribed', clientId, position: reader.number(), filter: reader.text() }
    case kinds.released:
      return { kind: 'released', clientId, position: reader.number(), packetId: reader.number() }
    case kinds.progress:
      return { kind: 'progress', clientId, position: reader.number(), progress: decodeProgress(reader) }
    default:
      return undefined
  }
}

function encodeList<Element>(
  writer: ByteWriter,
  elements: readonly Element[],
  encode: (writer: ByteWriter, element: Element) => void
): void {
  writer.number(elements.length)
  for (const element of elements) encode(writer, element)
}

function decodeList<Element>(reader: ByteReader, leastBytes: number, decode: (reader: ByteReader) => Element): Element[] {
  const elements: Element[] = []
  for (let left = reader.count(leastBytes); left > 0; left--) elements.push(decode(reader))
  return elements
}

function encodeSession(writer: ByteWriter, session: SessionEntry): void {
  const { routed, head, expirySeconds, offline, lastPacketId, receivedIds } = session
  writer.number(routed)
  writer.number(head)
  writer.number(expirySeconds)
  writer.number(lastPacketId)
  writer.number(offline === undefined ? 0 : 1)
  if (offline !== undefined) {
    writer.number(offline.position)
    writer.number(offline.sinceMs)
  }
  encodeList(writer, receivedIds, (_, [packetId, ordinal]) => {
    writer.number(packetId)
    writer.number(ordinal)
  })
}

function decodeSession(reader: ByteReader, clientId: string): SessionEntry {
  return {
    kind: 'session',
    clientId,
    routed: reader.number(),
    head: reader.number(),
    expirySeconds: reader.number(),
    lastPacketId: reader.number(),
    offline: reader.number() === 0 ? undefined : { position: reader.number(), sinceMs: reader.number() },
    receivedIds: decodeList(reader, least.pair, () => [reader.number(), reader.number()] as const)
  }
}

function encodeSubscription(writer: ByteWriter, subscription: Subscription): void {
  const { filter, qos, noLocal, retainAsPublished, retainHandling, identifier } = subscription
  writer.byte(
    qos |
      (noLocal ? subscriptionFlag.noLocal : 0) |
      (retainAsPublished ? subscriptionFlag.retainAsPublished : 0) |
      (retainHandling << 4) |
      (identifier === undefined ? 0 : subscriptionFlag.identifier)
  )
  if (identifier !== undefined) writer.number(identifier)
  writer.text(filter)
}

function decodeSubscription(reader: ByteReader): Subscription {
  const flags = reader.byte()
  const identifier = (flags & subscriptionFlag.identifier) === 0 ? undefined : reader.number()
  return {
    filter: reader.text(),
    qos: upToTwo(flags & 3),
    noLocal: (flags & subscriptionFlag.noLocal) !== 0,
    retainAsPublished: (flags & subscriptionFlag.retainAsPublished) !== 0,
    retainHandling: upToTwo((flags >> 4) & 3),
    identifier
  }
}

function encodeMessage(writer: ByteWriter, message: Message, wallOffsetMs: number): void {
  const { ordinal, topic, payload, qos, retain, clientId, properties, expiry } = message
  writer.number(ordinal)
  writer.byte(qos | (retain ? 4 : 0) | (properties === undefined ? 0 : 8) | (expiry === undefined ? 0 : 16))
  writer.text(clientId)
  writer.text(topic)
  if (properties !== undefined) writer.block(properties)
  if (expiry !== undefined) {
    writer.number(expiry.seconds)
    writer.number(Math.max(0, Math.round(expiry.takenMs + wallOffsetMs)))
  }
  writer.rest(payload)
}

function decodeMessage(reader: ByteReader, wallOffsetMs: number): Message {
  const ordinal = reader.number()
  const flags = reader.byte()
  const clientId = reader.text()
  const topic = reader.text()
  const properties = (flags & 8) === 0 ? undefined : reader.block()
  const expiry = (flags & 16) === 0 ? undefined : { seconds: reader.number(), takenMs: reader.number() - wallOffsetMs }
  return { ordinal, topic, payload: reader.rest(), qos: upToTwo(flags & 3), retain: (flags & 4) !== 0, clientId, properties, expiry }
}

function encodeQueued(writer: ByteWriter, { ordinal, qos, packetId, released, retained, retain, identifiers }: QueuedDelivery): void {
  writer.byte(qos | flagsOf(released, retained) | (retain ? flag.retain : 0))
  writer.number(ordinal)
  writer.number(packetId)
  writer.number(identifiers.length)
  for (const identifier of identifiers) writer.number(identifier)
}

function decodeQueued(reader: ByteReader): QueuedDelivery {
  const flags = reader.byte()
  return {
    ordinal: reader.number(),
    packetId: reader.number(),
    identifiers: decodeList(reader, least.number, () => reader.number()),
    qos: (flags & 3) === 2 ? 2 : 1,
    released: (flags & flag.released) !== 0,
    retained: (flags & flag.retained) !== 0,
    retain: (flags & flag.retain) !== 0
  }
}

function encodeProgress(writer: ByteWriter, { sentBelow, lastPacketId, sent }: DeliveryProgress): void {
  writer.number(sentBelow)
  writer.number(lastPacketId)
  encodeList(writer, sent, encodeSent)
}

function decodeProgress(reader: ByteReader): DeliveryProgress {
  return { sentBelow: reader.number(), lastPacketId: reader.number(), sent: decodeList(reader, least.sent, decodeSent) }
}

function encodeSent(writer: ByteWriter, { ordinal, retained, packetId, released }: SentDelivery): void {
  writer.byte(flagsOf(released, retained))
  writer.number(ordinal)
  writer.number(packetId)
}

function decodeSent(reader: ByteReader): SentDelivery {
  const flags = reader.byte()
  return {
    ordinal: reader.number(),
    packetId: reader.number(),
    released: (flags & flag.released) !== 0,
    retained: (flags & flag.retained) !== 0
  }
}

function flagsOf(released: boolean, retained: boolean): number {
  return (released ? flag.released : 0) | (retained ? flag.retained : 0)
}

function upToTwo(value: number): 0 | 1 | 2 {
  return value === 2 ? 2 : value === 1 ? 1 : 0
}
