import type { EventEmitter } from 'node:events'
import { Aedes } from 'aedes'
import type { AedesPublishPacket, Client } from 'aedes'
import type { Logger } from 'pino'
import type { Config } from '../../config.ts'
import { Emitter } from './emitter.ts'
import type { Listener } from './emitter.ts'
import type { Link } from './link.ts'
import { Persistence } from './persistence.ts'
import type { StoredPacket } from './persistence.ts'
import type { BrokerStatistics } from '../statistics.ts'

/** A message on its way to subscribers. */
export interface RoutedMessage {
  /** Its record's; subscribers get it when that is durable. */
  readonly ordinal: number
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly clientId: string
}

/** The parts of an aedes client that its types leave out. */
type RoutedClient = Client & {
  readonly clean: boolean
  readonly conn: Link
  readonly subscriptions: Readonly<Record<string, Subscription>>
  deliverQoS(packet: object, done: () => void): void
}

/** A subscription of a connection: what aedes takes for its QoS, and what was granted once that is not the same. */
interface Subscription {
  qos: number
  granted?: 0 | 1 | 2
  readonly func: Listener
}

/** The aedes side of one connection. */
export interface RouteHandle {
  /** Complete when it returns: the subscriptions of the connection are gone. */
  close(): void
}

const maxQueuedMessages = 10_000
const maxQueuedBytes = 16 * 1024 * 1024
const messagesPerTurn = 128
const bytesPerTurn = 131_072
const outboundBytes = 1024 * 1024
/** A QoS above all. */
const unlimitedQos = 3

/**
 * Sessions, subscriptions and retained messages: aedes behind one queue. Messages enter the queue as they are appended
 * and leave it in the order of their ordinals when they are durable, one after another, each when the one before has been
 * given to all its subscribers, since aedes drops for a subscriber what comes out of order. Nobody waits for a subscriber
 * to read: one that lets 1 MiB wait (or the largest packets four times over) is disconnected.
 */
export class Router {
  readonly #aedes: Aedes
  readonly #emitter: Emitter
  readonly #persistence: Persistence
  readonly #statistics: BrokerStatistics
  readonly #log: Logger
  readonly #maxOutboundBytes: number
  #onRoom: () => void = () => {}
  #queue: RoutedMessage[] = []
  #front = 0
  #bytes = 0
  #durable = 0
  #emitting = false
  #pumping = false
  #scheduled = false
  #starved = false

  private constructor(options: RouterOptions) {
    this.#statistics = options.statistics
    this.#log = options.log
    this.#maxOutboundBytes = Math.max(outboundBytes, options.maxPacketBytes * 4)
    this.#emitter = new Emitter(() => {
      this.#emitting = false
      this.#pump()
    })
    this.#persistence = new Persistence({
      retained: { messages: options.limits.retained, bytes: options.limits.retainedBytes },
      queuedMessages: options.limits.queuedMessages,
      queuedBytes: options.limits.queuedBytes,
      statistics: options.statistics
    })
    this.#aedes = new Aedes({
      mq: this.#emitter,
      persistence: this.#persistence,
      concurrency: 0,
      // Both are the gate's business: it bounds what a client sends early, and checked the client id.
      queueLimit: 100_000,
      maxClientsIdLength: 65_535,
      authorizeForward: (client, packet) => this.#forward(asRouted(client), packet)
    })
    this.#aedes.on('subscribe', (_subscriptions, client) => this.#noteGranted(asRouted(client)))
    this.#aedes.on('connackSent', (_packet, client) => this.#noteGranted(asRouted(client)))
    this.#aedes.on('clientReady', client => this.#goLive(asRouted(client)))
    // Without a listener a failure inside aedes would end the process.
    asEmitter(this.#aedes).on('error', error => this.#log.error({ err: error }, 'routing failed'))
  }

  /** A router that is ready to take connections. */
  static async open(options: RouterOptions): Promise<Router> {
    const router = new Router(options)
    await router.#aedes.listen()
    return router
  }

  /** Calls the listener when the queue has room again after it was full. */
  onRoom(listener: () => void): void {
    this.#onRoom = listener
  }

  get subscriptions(): number {
    return this.#emitter.size
  }

  /** Rises with every change that may change what `wants` or `idle` answer. */
  get subscriptionsGeneration(): number {
    return this.#emitter.generation + this.#persistence.generation
  }

  get retained(): number {
    return this.#persistence.retained
  }

  /** Messages that wait for the disk or for their turn. */
  get queued(): number {
    return this.#queue.length - this.#front
  }

  /** True when nobody subscribes to anything, so that no topic needs a look. */
  get idle(): boolean {
    return this.#emitter.size === 0 && this.#persistence.subscriptions === 0
  }

  /** True when the queue takes another message. Who is told no hears from `onRoom`. */
  hasRoom(): boolean {
    const room = this.queued < maxQueuedMessages && this.#bytes < maxQueuedBytes
    if (!room) this.#starved = true
    return room
  }

  /** True when a live subscription, or for QoS 1 and 2 one of an offline persistent session, matches. */
  wants(topic: string, qos: 0 | 1 | 2): boolean {
    return this.#emitter.matches(topic) || (qos > 0 && this.#persistence.matches(topic))
  }

  /** Queues a message until `release` says that its record is durable. Ordinals only rise. */
  push(message: RoutedMessage): void {
    this.#queue.push(message)
    this.#bytes += message.payload.length
  }

  /** Says that records below the ordinal are durable. */
  release(durable: number): void {
    this.#durable = durable
    this.#pump()
  }

  /** Connects a link; its first packet is a CONNECT. `onOpen` is called when aedes has sent its CONNACK. */
  connect(link: Link): RouteHandle {
    const client = this.#aedes.handle(link)
    return { close: () => client.close() }
  }

  /** Calls the listener with each link that may send packets other than CONNECT from now on. */
  onOpen(listener: (link: Link) => void): void {
    this.#aedes.on('connackSent', (_packet, client) => setImmediate(listener, linkOf(client)))
  }

  /** Ends the session of a client that has no connection. */
  forget(clientId: string): void {
    this.#persistence.forget(clientId)
  }

  async close(): Promise<void> {
    await new Promise<void>(resolve => {
      this.#aedes.close(() => resolve())
    })
  }

  #pump(): void {
    if (this.#pumping || this.#scheduled) return
    this.#pumping = true
    let messages = 0
    let bytes = 0
    for (;;) {
      const message = this.#queue[this.#front]
      if (this.#emitting || message === undefined || message.ordinal >= this.#durable) break
      if (messages === messagesPerTurn || bytes >= bytesPerTurn) {
        this.#scheduled = true
        setImmediate(() => {
          this.#scheduled = false
          this.#pump()
        })
        break
      }
      this.#front += 1
      this.#bytes -= message.payload.length
      messages += 1
      bytes += message.payload.length
      this.#publish(message)
    }
    this.#pumping = false
    if (this.#front > 1024 && this.#front * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#front)
      this.#front = 0
    }
    if (this.#starved && this.queued <= maxQueuedMessages / 2 && this.#bytes <= maxQueuedBytes / 2) {
      this.#starved = false
      this.#onRoom()
    }
  }

  #publish({ topic, payload, qos, retain, clientId }: RoutedMessage): void {
    this.#emitting = true
    this.#statistics.routed += 1
    const packet = { cmd: 'publish' as const, topic, payload, qos, retain, dup: false, clientId }
    this.#aedes.publish(packet, error => {
      if (error === undefined || error === null) return
      this.#statistics.routeFailures += 1
      if (!this.#emitting) return
      this.#emitting = false
      this.#pump()
    })
  }

  /** The packet as this client gets it, or null when it does not get it now. aedes hands over a copy. */
  #forward(client: RoutedClient, packet: AedesPublishPacket): AedesPublishPacket | null {
    const { conn: link } = client
    // With an id it comes from the client's queue: a refusal here would delete it there.
    if (packet.messageId !== undefined) return packet
    if (!link.live && !client.clean && packet.qos > 0 && !packet.retain) return null
    if (link.owner.outboundBytes > this.#maxOutboundBytes) {
      setImmediate(() => link.owner.onTooSlow())
      return null
    }
    if (packet.qos !== 0) packet.qos = grantedQos(client.subscriptions, packet.topic, packet.qos)
    if (packet.retain && packet.qos > 0 && !client.clean) this.#persistence.keepSent(client.id, asStored(packet))
    return packet
  }

  /**
   * Of overlapping subscriptions that of QoS 1 or 2 is called first. aedes itself lowers a message to the QoS of the
   * filter that equals its topic, whatever the others grant [MQTT-3.3.5-1]: it is told of none that could.
   */
  #noteGranted({ subscriptions }: RoutedClient): void {
    for (const filter in subscriptions) {
      const subscription = subscriptions[filter]
      if (subscription === undefined || subscription.granted !== undefined) continue
      subscription.granted = subscription.qos === 2 ? 2 : subscription.qos === 1 ? 1 : 0
      subscription.qos = unlimitedQos
      if (subscription.granted > 0) this.#emitter.prefer(subscription.func)
    }
  }

  /**
   * A returning client has got what was queued for it. What was queued while that was being sent follows here, before
   * anything newer.
   */
  #goLive(client: RoutedClient): void {
    if (client.conn.live) return
    client.conn.live = true
    if (client.clean) return
    for (const packet of this.#persistence.unsent(client.id)) {
      // Without a broker id aedes does not take it for one that it has seen.
      client.deliverQoS({ ...packet, brokerId: null }, () => {})
    }
  }
}

export interface RouterOptions {
  readonly limits: Config['limits']
  readonly maxPacketBytes: number
  readonly statistics: BrokerStatistics
  readonly log: Logger
}

/** The QoS that a message is delivered with: the lower of its own and the highest granted [MQTT-3.8.4-6]. */
function grantedQos(subscriptions: RoutedClient['subscriptions'], topic: string, qos: 1 | 2): 0 | 1 | 2 {
  let granted: 0 | 1 | 2 = 0
  let lower = false
  for (const filter in subscriptions) {
    const offered = subscriptions[filter]?.granted ?? 0
    if (offered < qos) lower = true
    if (offered > granted && filterMatches(filter, topic)) granted = offered
    if (granted >= qos) return qos
  }
  return lower ? granted : qos
}

function filterMatches(filter: string, topic: string): boolean {
  if (filter === '#' || filter === topic) return true
  const filterLevels = filter.split('/')
  const levels = topic.split('/')
  for (const [index, level] of filterLevels.entries()) {
    if (level === '#') return true
    if (level !== '+' && level !== levels[index]) return false
    if (index >= levels.length) return false
  }
  return filterLevels.length === levels.length
}

function asRouted(client: Client): RoutedClient {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- aedes' own fields, which its types leave out
  return client as RoutedClient
}

/** aedes numbers what it sends; its types say that it may not. */
function asStored(packet: AedesPublishPacket): StoredPacket {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- see above
  return packet as StoredPacket
}

/** aedes' types know no error event. */
function asEmitter(emitter: object): EventEmitter<{ error: [Error] }> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- see above
  return emitter as EventEmitter<{ error: [Error] }>
}

function linkOf(client: Client): Link {
  return asRouted(client).conn
}
