import { Readable } from 'node:stream'
import { RetainedMessages } from './retained-messages.ts'
import type { RetainedLimits } from './retained-messages.ts'
import type { BrokerStatistics } from '../statistics.ts'
import { SubscriptionTrie } from './subscription-trie.ts'

/** A packet as aedes numbers it. A sent QoS 2 message whose PUBREC has come is replaced by its PUBREL. */
export interface StoredPacket {
  readonly cmd: string
  readonly brokerId: string | null
  readonly brokerCounter: number
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  /** Undefined until it was sent. */
  messageId?: number | undefined
}

const messageOverheadBytes = 256
const maxPacketId = 65_535

interface Subscription {
  readonly clientId: string
  readonly topic: string
  readonly qos: 0 | 1 | 2
}

interface StoredSession {
  readonly subscriptions: Map<string, Subscription>
  /** Not acknowledged yet, in order, by the counter that aedes gave them. */
  readonly outgoing: Map<number, StoredPacket>
  /** Packet ids in use, with the counter of their message. */
  readonly sent: Map<number, number>
  lastId: number
}

/** For whom a message is queued, and the QoS granted to it; without one the message keeps its own. */
interface Target {
  readonly clientId: string
  readonly qos?: 0 | 1 | 2
}

interface ClientId {
  readonly id: string
}

export interface PersistenceOptions {
  /** Retained messages at most; a further one is not kept and counted. */
  readonly retained: RetainedLimits
  /** Messages queued for one session at most; a further one is not queued and counted. */
  readonly queuedMessages: number
  /** The same for all sessions together, in bytes. */
  readonly queuedBytes: number
  readonly statistics: BrokerStatistics
}

/**
 * aedes' persistence in memory, with bounds: retained messages, and subscriptions and unacknowledged messages of
 * persistent sessions. Everything happens in the call itself, in call order; the promises are aedes' interface.
 */
export class Persistence {
  readonly #retained: RetainedMessages<StoredPacket>
  readonly #sessions = new Map<string, StoredSession>()
  readonly #subscriptions = new SubscriptionTrie<Subscription>()
  readonly #options: PersistenceOptions
  /** aedes gives the whole list of a SUBSCRIBE once for each of its filters. */
  readonly #stored = new WeakSet<readonly Subscription[]>()
  #queuedBytes = 0

  constructor(options: PersistenceOptions) {
    this.#options = options
    this.#retained = new RetainedMessages(options.retained, bytesOf)
  }

  get retained(): number {
    return this.#retained.size
  }

  /** Subscriptions of QoS 1 and 2 of persistent sessions, connected or not. */
  get subscriptions(): number {
    return this.#subscriptions.size
  }

  /** Rises with every change of subscriptions. */
  get generation(): number {
    return this.#subscriptions.generation
  }

  /** True when a persistent session subscribes to the topic with QoS 1 or 2. */
  matches(topic: string): boolean {
    return this.#subscriptions.matches(topic)
  }

  /** Ends the session of the client: subscriptions and queued messages are gone. */
  forget(clientId: string): void {
    const session = this.#sessions.get(clientId)
    if (session === undefined) return
    for (const [filter, subscription] of session.subscriptions) this.#subscriptions.remove(filter, subscription)
    for (const packet of session.outgoing.values()) this.#queuedBytes -= bytesOf(packet)
    this.#sessions.delete(clientId)
  }

  /** Messages queued for the client that were never sent, in order. */
  unsent(clientId: string): readonly StoredPacket[] {
    const outgoing = this.#sessions.get(clientId)?.outgoing.values() ?? []
    return [...outgoing].filter(packet => packet.messageId === undefined)
  }

  /**
   * Keeps a retained message that a new subscription is sent, until it is acknowledged, and gives it its packet id
   * [MQTT-4.4.0-1]; aedes keeps only what is sent because of an established one. Without room it is sent once.
   */
  keepSent(clientId: string, packet: StoredPacket): void {
    const session = this.#sessionOf(clientId)
    this.#keep(session, packet)
    this.#giveId(session, packet)
  }

  // From here on: the interface that aedes calls.

  async setup(): Promise<void> {}

  async storeRetained(packet: StoredPacket): Promise<void> {
    if (packet.payload.length === 0) this.#retained.delete(packet.topic)
    else if (!this.#retained.set(packet.topic, { ...packet })) this.#options.statistics.retainedDropped += 1
  }

  createRetainedStreamCombi(filters: readonly string[]): Readable {
    return Readable.from(this.#matchRetained(filters))
  }

  async addSubscriptions(client: ClientId, added: readonly Subscription[]): Promise<void> {
    if (this.#stored.has(added)) return
    this.#stored.add(added)
    const session = this.#sessionOf(client.id)
    for (const { topic, qos } of added) {
      this.#unsubscribe(session, topic)
      const subscription = { clientId: client.id, topic, qos }
      session.subscriptions.set(topic, subscription)
      if (qos > 0) this.#subscriptions.add(topic, subscription)
    }
  }

  async removeSubscriptions(client: ClientId, filters: readonly string[]): Promise<void> {
    const session = this.#sessions.get(client.id)
    if (session !== undefined) for (const filter of filters) this.#unsubscribe(session, filter)
  }

  async subscriptionsByClient(client: ClientId): Promise<readonly Subscription[]> {
    const stored = this.#sessions.get(client.id)?.subscriptions.values() ?? []
    return [...stored].map(subscription => ({ ...subscription }))
  }

  /** One of each client: that with the highest QoS [MQTT-3.3.5-1]. */
  async subscriptionsByTopic(topic: string): Promise<readonly Subscription[]> {
    const byClient = new Map<string, Subscription>()
    for (const subscription of this.#subscriptions.match(topic)) {
      const { clientId, qos } = subscription
      if ((byClient.get(clientId)?.qos ?? 0) < qos) byClient.set(clientId, subscription)
    }
    return [...byClient.values()]
  }

  async cleanSubscriptions(client: ClientId): Promise<void> {
    this.forget(client.id)
  }

  /** Queues at the lower QoS of both [MQTT-3.8.4-6], and as what an established subscription gets [MQTT-3.3.1-9]. */
  async outgoingEnqueue({ clientId, qos = 2 }: Target, packet: StoredPacket): Promise<void> {
    const queued = { ...packet, retain: false, qos: qos < packet.qos ? qos : packet.qos }
    if (!this.#keep(this.#sessionOf(clientId), queued)) this.#options.statistics.offlineDropped += 1
  }

  async outgoingEnqueueCombi(targets: readonly Target[], packet: StoredPacket): Promise<void> {
    for (const target of targets) await this.outgoingEnqueue(target, packet)
  }

  /** Gives a message that is sent for the first time its packet id, or notes that its PUBREC has come. */
  async outgoingUpdate(client: ClientId, packet: StoredPacket): Promise<void> {
    const session = this.#sessions.get(client.id)
    if (session === undefined || packet.messageId === undefined) return
    if (packet.cmd === 'pubrel') {
      const counter = session.sent.get(packet.messageId)
      const message = counter === undefined ? undefined : session.outgoing.get(counter)
      if (message !== undefined) session.outgoing.set(message.brokerCounter, { ...message, cmd: 'pubrel' })
      return
    }
    if (session.outgoing.get(packet.brokerCounter)?.messageId === undefined) this.#giveId(session, packet)
  }

  async outgoingClearMessageId(client: ClientId, packet: { readonly messageId?: number }): Promise<StoredPacket | undefined> {
    const session = this.#sessions.get(client.id)
    if (session === undefined || packet.messageId === undefined) return undefined
    const counter = session.sent.get(packet.messageId)
    if (counter === undefined) return undefined
    const message = session.outgoing.get(counter)
    session.sent.delete(packet.messageId)
    session.outgoing.delete(counter)
    if (message !== undefined) this.#queuedBytes -= bytesOf(message)
    return message
  }

  /** What a returning client gets: everything unacknowledged in order, also what is queued while it is being sent. */
  outgoingStream(client: ClientId): Readable {
    return Readable.from(resends(this.#sessions.get(client.id)))
  }

  async cleanIncoming(): Promise<void> {}

  async putWill(): Promise<void> {}

  async delWill(): Promise<undefined> {
    return undefined
  }

  streamWill(): Readable {
    return Readable.from([])
  }

  *#matchRetained(filters: readonly string[]): Generator<StoredPacket> {
    for (const filter of filters) yield* this.#retained.match(filter)
  }

  #sessionOf(clientId: string): StoredSession {
    let session = this.#sessions.get(clientId)
    if (session === undefined) {
      session = { subscriptions: new Map(), outgoing: new Map(), sent: new Map(), lastId: 0 }
      this.#sessions.set(clientId, session)
    }
    return session
  }

  /** Keeps a message until it is acknowledged; false when the limits leave no room for it. */
  #keep({ outgoing }: StoredSession, packet: StoredPacket): boolean {
    const { queuedMessages, queuedBytes } = this.#options
    const bytes = bytesOf(packet)
    if (outgoing.size >= Math.min(queuedMessages, maxPacketId) || this.#queuedBytes + bytes > queuedBytes) return false
    const replaced = outgoing.get(packet.brokerCounter)
    this.#queuedBytes += bytes - (replaced === undefined ? 0 : bytesOf(replaced))
    outgoing.set(packet.brokerCounter, { ...packet, messageId: undefined })
    return true
  }

  /**
   * The next id that no message of the session has [MQTT-2.3.1-4]. aedes counts from anywhere on with each connection,
   * and would give one out again.
   */
  #giveId(session: StoredSession, packet: StoredPacket): void {
    const { outgoing, sent } = session
    do session.lastId = (session.lastId % maxPacketId) + 1
    while (sent.has(session.lastId) && sent.size < maxPacketId)
    packet.messageId = session.lastId
    const message = outgoing.get(packet.brokerCounter)
    if (message === undefined) return
    message.messageId = session.lastId
    sent.set(session.lastId, packet.brokerCounter)
  }

  #unsubscribe(session: StoredSession, filter: string): void {
    const subscription = session.subscriptions.get(filter)
    if (subscription === undefined) return
    this.#subscriptions.remove(filter, subscription)
    session.subscriptions.delete(filter)
  }
}

/** What a kept message costs: its payload, which several sessions may share, its topic, and the object around them. */
function bytesOf({ topic, payload }: StoredPacket): number {
  return payload.length + topic.length + messageOverheadBytes
}

/** Copies, since aedes writes into what it is given; what was sent before is marked as sent again [MQTT-3.3.1-1]. */
function* resends(session: StoredSession | undefined): Generator<StoredPacket & { readonly dup: boolean }> {
  if (session === undefined) return
  for (const packet of session.outgoing.values()) yield { ...packet, dup: packet.cmd === 'publish' && packet.messageId !== undefined }
}
