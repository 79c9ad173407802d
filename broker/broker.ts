import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { TidegateError } from '../errors.ts'
import type { JournalHold, JournalTail, JournalWriter } from '../journal/record.ts'
import { Connection } from './connection.ts'
import { Gate, notTaken } from './gate.ts'
import type { Publish } from './gate.ts'
import { Listener } from './listener.ts'
import type { ConnectionsChange } from './presence.ts'
import { Refusals } from './refusals.ts'
import type { Refusal } from './refusals.ts'
import { Router } from './routing/router.ts'
import type { KeptSessions } from './routing/kept-sessions.ts'
import { buildStatistics } from './statistics.ts'
import type { BrokerStatistics } from './statistics.ts'
import type { BlockReason } from './waiting.ts'
import { topicNameFault } from './packets/topics.ts'

export type { ConnectionsChange } from './presence.ts'
export type { Refusal } from './refusals.ts'
export type { BrokerStatistics } from './statistics.ts'

export interface BrokerOptions {
  readonly host: string
  /** 0 takes a free port. */
  readonly port: number
  /** Largest packet after CONNECT, in bytes. */
  readonly maxPacketBytes: number
  /** Longest keep alive of a client of MQTT 5, in ms. Default 65535 s, which is no bound. */
  readonly maxKeepAlive?: number
  readonly anonymous: Config['access']['anonymous']
  readonly limits: Config['limits']
  readonly log: Logger
  /** Wall clock, in milliseconds since 1970. Default Date.now. */
  readonly clock?: () => number
  /** Clock that is never set, in milliseconds. Default performance.now. */
  readonly monotonic?: () => number
  /** Keeps sessions and retained messages over restarts; without it they end with the broker. */
  readonly keptSessions?: KeptSessions
}

/** A publish that does not come from an MQTT connection. */
export interface ForeignPublish {
  readonly clientId: string
  readonly topic: string
  readonly payload: Uint8Array
  readonly user?: string
  /** For a replay: the received time to keep. */
  readonly received?: { readonly ms: number; readonly subNs: number }
  /** Subscribers do not get it. */
  readonly unrouted?: boolean
}

/** Counters since the start and gauges of now. */
export interface BrokerStats extends Readonly<BrokerStatistics> {
  /** Messages that wait for the disk or their turn to reach subscribers. */
  readonly routeQueue: number
  readonly retained: number
  readonly retainedBytes: number
  /** Messages that wait for sessions or that persistent ones have not acknowledged, and their bytes. */
  readonly queued: number
  readonly queuedBytes: number
  /** Subscriptions of connected clients. */
  readonly subscriptions: number
  /** Publishes remembered to recognise those that are sent again, and their memory. */
  readonly remembered: number
  readonly rememberedBytes: number
  readonly persistentSessions: number
  /** Wills whose delay is not over. */
  readonly delayedWills: number
  /** Acknowledgements that wait for the disk. */
  readonly unacknowledged: number
  /** Sockets that wait for their turn to be served. */
  readonly socketsWaiting: number
  /** Bytes that wait for clients to read them. */
  readonly unreadBytes: number
  /** Wills that are due and not taken yet. */
  readonly willsWaiting: number
  readonly willsWaitingBytes: number
  /** Publishes from elsewhere than MQTT that wait for the disk. */
  readonly foreignWaiting: number
  /** Clients without a connection that are over their rate. */
  readonly ratesRemembered: number
  readonly refusalsKept: number
}

const pollMs = 5
const unboundedKeepAliveMs = 65_535_000
const monotonicMs = (): number => performance.now()

/**
 * The MQTT side of the edge: MQTT 3.1, 3.1.1 and 5.0 over TCP. A publish is acknowledged when the journal says that it is
 * durable, never before, and reaches subscribers after that.
 */
export class Broker {
  readonly #options: BrokerOptions
  readonly #statistics: BrokerStatistics
  readonly #refusals: Refusals
  readonly #listener: Listener
  readonly #router: Router
  readonly #connectionListeners: ((change: ConnectionsChange) => void)[] = []
  #gate: Gate | undefined
  #closing: Promise<void> | undefined

  private constructor(parts: {
    readonly options: BrokerOptions
    readonly statistics: BrokerStatistics
    readonly refusals: Refusals
    readonly listener: Listener
    readonly router: Router
  }) {
    this.#options = parts.options
    this.#statistics = parts.statistics
    this.#refusals = parts.refusals
    this.#listener = parts.listener
    this.#router = parts.router
  }

  /**
   * Binds the port; nothing is answered before `serve`.
   * @throws TidegateError TG_PORT_TAKEN when the address cannot be bound
   */
  static async bind(options: BrokerOptions): Promise<Broker> {
    const statistics = buildStatistics()
    const { host, port, limits, log, maxPacketBytes } = options
    const refusals = new Refusals(log, options.clock ?? Date.now)
    const listener = await Listener.bind({
      host,
      port,
      connections: limits.connections,
      connectionsPerAddress: limits.connectionsPerAddress,
      acceptsPerSecond: limits.acceptsPerSecond,
      statistics,
      onRefused: (address, reason) => {
        statistics.connectsRefused += 1
        statistics.refusedByReason.set(reason, (statistics.refusedByReason.get(reason) ?? 0) + 1)
        refusals.add(address, undefined, reason)
      }
    })
    const { monotonic = monotonicMs, keptSessions: changes } = options
    const router = new Router({ limits, maxPacketBytes, statistics, monotonic, changes })
    return new Broker({ options, statistics, refusals, listener, router })
  }

  get host(): string {
    return this.#options.host
  }

  /** The port that is bound, also when the options asked for any. */
  get port(): number {
    return this.#listener.port
  }

  /** Newest last, 256 at most. */
  get refusals(): readonly Refusal[] {
    return this.#refusals.list
  }

  get stats(): BrokerStats {
    return {
      ...this.#statistics,
      routeQueue: this.#router.queued,
      retained: this.#router.retained.size,
      retainedBytes: this.#router.retained.bytes,
      queued: this.#router.kept.messages,
      queuedBytes: this.#router.kept.bytes,
      subscriptions: this.#router.subscriptions,
      remembered: this.#gate?.resends.count ?? 0,
      rememberedBytes: this.#gate?.resends.bytes ?? 0,
      delayedWills: this.#gate?.delayedWills ?? 0,
      persistentSessions: this.#router.sessions.persistent,
      unacknowledged: this.#gate?.acknowledgements.waiting ?? 0,
      socketsWaiting: this.#listener.waiting,
      unreadBytes: this.#gate?.unread.bytes ?? 0,
      willsWaiting: this.#gate?.willsWaiting.count ?? 0,
      willsWaitingBytes: this.#gate?.willsWaiting.bytes ?? 0,
      foreignWaiting: this.#gate?.foreignWaiting ?? 0,
      ratesRemembered: this.#gate?.rates.absent ?? 0,
      refusalsKept: this.#refusals.count
    }
  }

  /** QoS 2 publishes of all sessions whose PUBREL has not come; a walk over all of them. */
  receivedIds(): number {
    let ids = 0
    for (const { receivedIds } of this.#router.sessions) ids += receivedIds.size
    return ids
  }

  /** How many connections wait before they handle their next packet, by what they wait for. */
  waitingByReason(): ReadonlyMap<BlockReason, number> {
    return this.#gate?.waitingByReason() ?? new Map<BlockReason, number>()
  }

  /** Starts to serve when the journal's tail is read; sockets that came before are served in their order. */
  async serve(journal: JournalWriter & JournalTail & JournalHold): Promise<void> {
    const { limits, maxPacketBytes, anonymous, log } = this.#options
    const { monotonic = monotonicMs, maxKeepAlive = unboundedKeepAliveMs, keptSessions } = this.#options
    const gate = new Gate({
      journal,
      keptSessions,
      router: this.#router,
      limits,
      maxPacketBytes,
      anonymous,
      statistics: this.#statistics,
      refusals: this.#refusals,
      log,
      monotonic,
      maxKeepAliveSeconds: Math.ceil(maxKeepAlive / 1000),
      onConnections: change => {
        for (const listener of this.#connectionListeners) listener(change)
      }
    })
    await gate.recall()
    if (this.#closing !== undefined) {
      gate.close()
      return
    }
    this.#gate = gate
    this.#listener.open((socket, address) => {
      const connection = new Connection(gate, socket, address)
      gate.add(connection)
      connection.start()
    })
  }

  /** Calls the listener, at most once a turn of the event loop, with the client ids that came and went. */
  onConnections(listener: (change: ConnectionsChange) => void): void {
    this.#connectionListeners.push(listener)
  }

  connectedClientIds(): readonly string[] {
    return this.#gate?.connectedClientIds() ?? []
  }

  /**
   * Takes a publish as if it had come with QoS 1, and resolves with its ordinal when it is durable.
   * @throws TidegateError TG_PARAMETER_INVALID or TG_BODY_TOO_LARGE (reject); TG_JOURNAL_BEHIND, TG_JOURNAL_FULL,
   *   TG_JOURNAL_FAILING, TG_JOURNAL_CLOSED or TG_EDGE_BUSY (retry)
   */
  async accept(publish: ForeignPublish): Promise<number> {
    const topic = Buffer.from(publish.topic)
    const fault = topic.toString('utf8') === publish.topic ? topicNameFault(topic, 0, topic.length)?.fault : 'topic is not UTF-8'
    if (fault !== undefined) throw new TidegateError('TG_PARAMETER_INVALID', fault, { context: { parameter: 'topic' } })
    if (publish.payload.length > this.#options.maxPacketBytes) {
      throw new TidegateError('TG_BODY_TOO_LARGE', `the payload is larger than ${this.#options.maxPacketBytes} bytes`)
    }
    const gate = this.#gate
    if (gate === undefined || this.#closing !== undefined) throw new TidegateError('TG_JOURNAL_CLOSED', 'the edge does not take publishes')
    if (!gate.takesForeign) throw new TidegateError('TG_EDGE_BUSY', 'too many publishes wait for the disk')
    const { clientId, user, payload, received, unrouted } = publish
    const record: Publish = {
      clientId: Buffer.from(clientId),
      user: user === undefined ? undefined : Buffer.from(user),
      topic,
      payload,
      qos: 1,
      retain: false,
      will: false,
      properties: undefined,
      received
    }
    const ordinal = gate.appendPublish(record, unrouted !== true)
    if (ordinal === notTaken.routing) throw new TidegateError('TG_EDGE_BUSY', 'subscribers of this topic are behind')
    if (ordinal === notTaken.journal) throw gate.journalRefusal()
    await gate.durable(ordinal)
    return ordinal
  }

  /**
   * Stops: no new sockets; what was appended is acknowledged and routed as far as the deadline allows; the sockets are
   * ended. Idempotent. Wills are not published: their clients are expected to come back.
   */
  async close(deadlineMs: number): Promise<void> {
    this.#closing ??= this.#close(deadlineMs)
    await this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close(1000)
  }

  async #close(deadlineMs: number): Promise<void> {
    const end = performance.now() + deadlineMs
    this.#listener.stop()
    const gate = this.#gate
    gate?.stopReading()
    const unfinished = (): number => gate?.unfinished ?? 0
    while (unfinished() > 0 && performance.now() < end) {
      await new Promise(resolve => {
        setTimeout(resolve, pollMs)
      })
    }
    gate?.dismissAll()
    await this.#listener.close(Math.max(pollMs, end - performance.now()))
    gate?.close()
  }
}
