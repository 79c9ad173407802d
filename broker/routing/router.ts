import type { Config } from '../../config.ts'
import type { BrokerStatistics } from '../statistics.ts'
import type { DeliveriesShared, Delivery } from './delivery.ts'
import { DeliveryTurns } from './delivery-turns.ts'
import { messageBytes } from './message.ts'
import type { Message } from './message.ts'
import { RetainedMessages } from './retained-messages.ts'
import type { Session, SessionSubscription } from './session.ts'
import type { ReplyHost, SessionChanges } from './session-changes.ts'
import { Sessions } from './sessions.ts'
import { SubscriptionIndex } from './subscription-index.ts'
import { isSame } from './subscription.ts'
import type { Subscription } from './subscription.ts'

export interface RouterOptions {
  readonly limits: Config['limits']
  readonly maxPacketBytes: number
  readonly statistics: BrokerStatistics
  /** Clock that is never set, in ms. */
  readonly monotonic: () => number
  /** Hears of what becomes of persistent sessions. */
  readonly changes?: SessionChanges | undefined
}

const maxQueuedMessages = 10_000
const maxQueuedBytes = 16 * 1024 * 1024
const messagesPerTurn = 128
const deliveriesPerTurn = 512
const bytesPerTurn = 131_072
const connectedBytes = 1024 * 1024
/** Sessions and retained messages that one tick looks at because of their expiry. */
const expiredPerTick = 1000

/**
 * From durable messages to subscribers. Messages enter the queue as they are appended and leave it in the order of their
 * ordinals when they are durable: each is retained if it asks for that, and given to every session that subscribes, some
 * hundred deliveries a turn of the event loop. Nobody waits for a subscriber to read: its session keeps what is on the way
 * to it, up to the bounds of `Deliveries`.
 */
export class Router {
  readonly sessions: Sessions
  readonly retained: RetainedMessages
  /** Largest number of bytes that may wait in one subscriber's socket, and as many again behind it. */
  readonly maxOutboundBytes: number
  readonly #options: RouterOptions
  readonly #index = new SubscriptionIndex()
  readonly #shared: DeliveriesShared
  readonly #turns = new DeliveryTurns()
  #onRoom: () => void = () => {}
  #queue: Message[] = []
  #front = 0
  #bytes = 0
  #durable = 0
  /** The message that is being given to its subscribers, those, and the next one's index. */
  #message: Message | undefined
  #matched: SessionSubscription[] = []
  #recipients: Session[] = []
  #next = 0
  #shareable: Delivery | undefined
  /** Ordinal of the newest message that was retained or cleared, or given to a persistent session; −1 before the first. */
  newestKept = -1
  /** Messages below this ordinal have been routed, or are being. */
  #routedBelow = 0
  #pumping = false
  #scheduled = false
  #starved = false

  constructor(options: RouterOptions) {
    const { limits, statistics, monotonic, changes } = options
    this.#options = options
    this.maxOutboundBytes = Math.max(connectedBytes, options.maxPacketBytes * 4)
    this.retained = new RetainedMessages({ messages: limits.retained, bytes: limits.retainedBytes, now: monotonic })
    this.#shared = {
      queuedMessages: limits.queuedMessages,
      sendWindow: limits.sendWindow,
      queuedBytes: limits.queuedBytes,
      connectedBytes: this.maxOutboundBytes,
      statistics,
      changes,
      now: monotonic,
      kept: { messages: 0, bytes: 0 },
      sentOnly: { bytes: 0 }
    }
    this.sessions = new Sessions({ limit: limits.sessions, index: this.#index, retained: this.retained, shared: this.#shared })
  }

  get statistics(): BrokerStatistics {
    return this.#options.statistics
  }

  /** Clock that is never set, in ms. */
  get monotonic(): () => number {
    return this.#options.monotonic
  }

  /** Calls the listener when the queue has room again after it was full. */
  onRoom(listener: () => void): void {
    this.#onRoom = listener
  }

  /** Subscriptions of connected clients. */
  get subscriptions(): number {
    return this.#index.connected
  }

  /** Rises with every change that may change what `wants` or `idle` answer. */
  get subscriptionsGeneration(): number {
    return this.#index.generation
  }

  /** Messages that wait for the disk or for their turn. */
  get queued(): number {
    return this.#queue.length - this.#front + (this.#message === undefined ? 0 : 1)
  }

  /** Messages kept for sessions, and their bytes. */
  get kept(): { readonly messages: number; readonly bytes: number } {
    return this.#shared.kept
  }

  /** Of the oldest message that has not reached all its sessions; undefined when there is none. */
  get position(): number | undefined {
    return (this.#message ?? this.#queue[this.#front])?.ordinal
  }

  /** True when nobody subscribes to anything, so that no topic needs a look. */
  get idle(): boolean {
    return this.#index.empty
  }

  /** True when the queue takes another message. Who is told no hears from `onRoom`. */
  hasRoom(): boolean {
    const room = this.queued < maxQueuedMessages && this.#bytes < maxQueuedBytes
    if (!room) this.#starved = true
    return room
  }

  /** True when a connected session subscribes to it, or above QoS 0 one that is offline. */
  wants(topic: string, qos: 0 | 1 | 2): boolean {
    return this.#index.wants(topic, qos)
  }

  /** Queues a message until `release` says that its record is durable. Ordinals only rise. */
  push(message: Message): void {
    this.#queue.push(message)
    this.#bytes += messageBytes(message)
  }

  /** Says that records below the ordinal are durable. */
  release(durable: number): void {
    this.#durable = durable
    this.#pump()
  }

  /** Puts back a retained message. */
  restoreRetained(message: Message): void {
    this.#routedBelow = Math.max(this.#routedBelow, message.ordinal + 1)
    this.retained.set(message)
  }

  /** Puts back a subscription of a session that has no connection. */
  restoreSubscription(session: Session, subscription: Subscription): void {
    this.#index.add(session, subscription)
  }

  /** Adds a subscription and sends what is retained for it. */
  subscribe(session: Session, subscription: Subscription): void {
    const known = session.subscriptions.get(subscription.filter)?.subscription
    if (known === undefined || !isSame(known, subscription)) {
      this.#index.add(session, subscription)
      if (session.persistent) this.#options.changes?.subscribed(session.clientId, subscription)
    }
    if (subscription.retainHandling === 2 || (subscription.retainHandling === 1 && known !== undefined)) return
    session.retainedScans.begin(subscription, this.#routedBelow)
    this.resume(session)
  }

  unsubscribe(session: Session, filter: string): void {
    session.retainedScans.end(filter)
    if (this.#index.remove(session, filter) && session.persistent) this.#options.changes?.unsubscribed(session.clientId, filter)
  }

  /** Sends what the session is owed, in its turn. */
  resume(session: Session): void {
    this.#turns.add(session)
  }

  /** Ends what has expired, a bounded part of it at a time. */
  expire(): void {
    this.sessions.expire(expiredPerTick)
    this.retained.expire(expiredPerTick)
  }

  /** Calls `reply` when the changes that it answers are durable: those of its session, which has none once it is clean and open. */
  whenDurable(reply: () => void, host: ReplyHost, session?: Session): void {
    const { changes } = this.#options
    if (changes === undefined || session?.persistent === false) reply()
    else changes.whenDurable(reply, host)
  }

  #pump(): void {
    if (this.#pumping || this.#scheduled) return
    this.#pumping = true
    let messages = 0
    let deliveries = 0
    let bytes = 0
    const touched = new Set<Session>()
    for (;;) {
      if (messages >= messagesPerTurn || deliveries >= deliveriesPerTurn || bytes >= bytesPerTurn) {
        this.#scheduled = true
        setImmediate(() => {
          this.#scheduled = false
          this.#pump()
        })
        break
      }
      const message = this.#message ?? this.#take()
      if (message === undefined) break
      const session = this.#recipients[this.#next]
      if (session === undefined) {
        this.#finish()
        messages += 1
        continue
      }
      this.#next += 1
      deliveries += 1
      bytes += messageBytes(message)
      this.#deliver(message, session)
      touched.add(session)
    }
    for (const session of touched) session.deliveries.flush()
    this.#pumping = false
    this.#compact()
    if (this.#starved && this.queued <= maxQueuedMessages / 2 && this.#bytes <= maxQueuedBytes / 2) {
      this.#starved = false
      this.#onRoom()
    }
  }

  /** The next message that is durable, with its recipients. */
  #take(): Message | undefined {
    const message = this.#queue[this.#front]
    if (message === undefined || message.ordinal >= this.#durable) return undefined
    this.#front += 1
    this.#bytes -= messageBytes(message)
    this.#begin(message)
    return message
  }

  #begin(message: Message): void {
    const { statistics } = this.#options
    const { topic, qos, ordinal } = message
    this.#message = message
    statistics.routed += 1
    this.#matched.length = 0
    this.#index.match(topic, qos, this.#matched)
    // Before it is retained: a subscription that comes while it is being delivered gets it as a retained message.
    for (const { session, subscription } of this.#matched) this.#note(session, subscription, message)
    for (const session of this.#recipients) this.#sendEarlier(session, topic)
    this.#routedBelow = ordinal + 1
    if (!message.retain) return
    this.newestKept = ordinal
    if (message.payload.length === 0) this.retained.delete(topic)
    else if (!this.retained.set(message)) statistics.retainedDropped += 1
  }

  /** Of overlapping subscriptions a session gets a message once, at the highest QoS granted [MQTT-3.3.5-1]. */
  #note(session: Session, { qos, noLocal, retainAsPublished, identifier }: Subscription, { ordinal, clientId }: Message): void {
    if (noLocal && session.clientId === clientId) return
    const { match } = session
    if (match.ordinal !== ordinal) {
      match.ordinal = ordinal
      match.qos = qos
      match.retainAsPublished = retainAsPublished
      match.identifiers = identifier === undefined ? none : [identifier]
      this.#recipients.push(session)
      return
    }
    if (qos > match.qos) match.qos = qos
    if (retainAsPublished) match.retainAsPublished = true
    if (identifier !== undefined) match.identifiers = [...match.identifiers, identifier]
  }

  /** A retained message that the session has yet to get of this topic does not come after a newer one. */
  #sendEarlier({ retainedScans, deliveries }: Session, topic: string): void {
    if (retainedScans.size === 0) return
    for (const delivery of retainedScans.before(topic)) deliveries.offer(delivery)
  }

  /** At the lower QoS of both [MQTT-3.8.4-6]; RETAIN is 0 unless the subscription wants it as published [MQTT-3.3.1-9]. */
  #deliver(message: Message, { match, deliveries, ended, persistent }: Session): void {
    if (ended) return
    if (persistent) this.newestKept = message.ordinal
    const qos = match.qos < message.qos ? match.qos : message.qos
    const retain = message.retain && match.retainAsPublished
    const { identifiers } = match
    let delivery = this.#shareable
    if (delivery === undefined || delivery.qos !== qos || delivery.retain !== retain || identifiers.length > 0) {
      delivery = { message, qos, retain, retained: false, identifiers }
      this.#shareable = identifiers.length > 0 ? undefined : delivery
    }
    deliveries.offer(delivery)
  }

  #finish(): void {
    this.#message = undefined
    this.#recipients.length = 0
    this.#next = 0
    this.#shareable = undefined
  }

  #compact(): void {
    if (this.#front <= 1024 || this.#front * 2 <= this.#queue.length) return
    this.#queue = this.#queue.slice(this.#front)
    this.#front = 0
  }
}

const none: readonly number[] = []
