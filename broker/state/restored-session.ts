import type { Message } from '../routing/message.ts'
import type { Subscription } from '../routing/subscription.ts'
import type { DeliveryProgress, QueuedDelivery, SentDelivery, SessionEntry } from './entry.ts'

/** A message that a session is owed, while it is being put together. */
export interface OwedMessage extends Omit<QueuedDelivery, 'packetId' | 'released'> {
  packetId: number
  released: boolean
  /** Undefined when it is released: nothing but PUBREL is left to send. */
  message: Message | undefined
}

const maxPacketId = 65_535
/** Packet ids that may have been given out since the last that is known: none of them stands for another message. */
const passedOverIds = 32_768

/** A session while it is put together from its snapshot, its changes and the journal. */
export class RestoredSession {
  readonly clientId: string
  /** Place of its snapshot in the log: changes before it are part of that. */
  readonly at: number
  readonly subscriptions = new Map<string, Subscription>()
  readonly receivedIds: Map<number, number>
  expirySeconds: number
  offline: { readonly position: number; readonly sinceMs: number } | undefined
  /** Ordinals below which records of the journal say nothing new: about its messages, and about its QoS 2 ids. */
  routed: number
  head: number
  owed: OwedMessage[] = []
  #lastPacketId: number

  constructor(at: number, entry: Omit<SessionEntry, 'kind'>) {
    this.at = at
    this.clientId = entry.clientId
    this.expirySeconds = entry.expirySeconds
    this.offline = entry.offline
    this.routed = entry.routed
    this.head = entry.head
    this.#lastPacketId = entry.lastPacketId
    this.receivedIds = new Map(entry.receivedIds)
  }

  /** Nothing is known of records from the ordinal on; true when anything was. */
  forgetFrom(ordinal: number): boolean {
    const owed = this.owed.filter(message => message.ordinal < ordinal)
    let changed = owed.length < this.owed.length || this.routed > ordinal || this.head > ordinal
    this.owed = owed
    this.routed = Math.min(this.routed, ordinal)
    this.head = Math.min(this.head, ordinal)
    for (const [packetId, received] of this.receivedIds) {
      if (received >= ordinal) changed = this.receivedIds.delete(packetId) || changed
    }
    if (this.offline !== undefined && this.offline.position > ordinal) {
      changed = true
      this.offline = { ...this.offline, position: ordinal }
    }
    return changed
  }

  /** Takes away what is settled, and says what of the rest was sent, and under which packet id. */
  settle(progress: DeliveryProgress, retainedOf: (ordinal: number) => Message | undefined): void {
    this.#lastPacketId = progress.lastPacketId
    const owed = new Map(this.owed.map(message => [keyOf(message), message]))
    const sent: OwedMessage[] = []
    for (const delivery of progress.sent) {
      const message = owed.get(keyOf(delivery)) ?? missing(delivery, retainedOf)
      if (message === undefined) continue
      owed.delete(keyOf(delivery))
      message.packetId = delivery.packetId
      message.released = delivery.released
      if (delivery.released) message.message = undefined
      sent.push(message)
    }
    const waits = (message: OwedMessage): boolean =>
      message.retained ? message.packetId === 0 : message.ordinal >= progress.sentBelow && !message.released
    this.owed = [...sent, ...[...owed.values()].filter(waits)]
  }

  /**
   * Whatever may have been sent without a word of it being written has to come again with DUP, so it gets a packet id; not one
   * that the client may still have for another message.
   */
  nameSent(): void {
    const taken = new Set(this.owed.map(({ packetId }) => packetId))
    const below = this.offline?.position ?? Infinity
    if (this.offline === undefined) this.#passOver(passedOverIds)
    for (const message of this.owed) {
      if (message.packetId > 0 || message.ordinal >= below || taken.size > maxPacketId) continue
      do this.#passOver(1)
      while (taken.has(this.#lastPacketId))
      message.packetId = this.#lastPacketId
      taken.add(this.#lastPacketId)
    }
  }

  get lastPacketId(): number {
    return this.#lastPacketId
  }

  #passOver(ids: number): void {
    this.#lastPacketId = ((this.#lastPacketId + ids - 1) % maxPacketId) + 1
  }
}

/** Of a message that is both, as a new one and as a retained one, each has a key. */
function keyOf({ ordinal, retained }: SentDelivery | OwedMessage): number {
  return 2 * ordinal + (retained ? 1 : 0)
}

/** What was sent and is in no snapshot: it is released, so that its content is not needed, or a retained message. */
function missing(
  { released, retained, ordinal, packetId }: SentDelivery,
  retainedOf: (ordinal: number) => Message | undefined
): OwedMessage | undefined {
  const message = released ? undefined : retained ? retainedOf(ordinal) : undefined
  if (!released && (message === undefined || message.qos === 0)) return undefined
  const qos = message?.qos === 1 ? 1 : 2
  return { ordinal, qos, packetId, released, retained, retain: retained, identifiers: [], message }
}
