import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { TidegateError } from '../errors.ts'
import { refusalOf } from '../journal/refusal.ts'
import { blankRecord } from '../journal/record.ts'
import type { AppendRecord, JournalHold, JournalTail, JournalWriter, TailRecord } from '../journal/record.ts'
import { accessFault } from './access.ts'
import { Acknowledgements } from './acknowledgements.ts'
import { utf8, viewOf } from './byte-views.ts'
import type { Connection } from './connection.ts'
import { DurableWaiters } from './durable-waiters.ts'
import { HeldBytes } from './held-bytes.ts'
import { KeepAlive } from './keep-alive.ts'
import type { PublishPacket } from './packets/publish-packet.ts'
import type { Fault } from './packets/reason-codes.ts'
import { Presence } from './presence.ts'
import type { ConnectionsChange } from './presence.ts'
import type { PublisherHost } from './publisher-side.ts'
import { Rates } from './rates.ts'
import type { Refusals } from './refusals.ts'
import { Resends } from './resends.ts'
import type { RememberedClient } from './resends.ts'
import { recordedMessage } from './recorded-message.ts'
import type { KeptSessions } from './routing/kept-sessions.ts'
import type { Router } from './routing/router.ts'
import type { Session } from './routing/session.ts'
import type { SessionRequest } from './routing/sessions.ts'
import type { BrokerStatistics } from './statistics.ts'
import type { TopicInterest } from './topic-interest.ts'
import { UnreadBytes } from './unread-bytes.ts'
import { Waiting } from './waiting.ts'
import type { BlockReason } from './waiting.ts'
import { Wills } from './wills.ts'
import type { DueWill } from './wills.ts'

/** What append answers instead of an ordinal. */
export const notTaken = { journal: -1, routing: -2 } as const

/** A record's parts as append takes them, without what the gate fills in. */
export type Publish = Pick<AppendRecord, 'clientId' | 'user' | 'topic' | 'payload' | 'qos' | 'retain' | 'will' | 'properties' | 'received'>

/** Who publishes over a connection. */
export interface PublishSource {
  readonly client: RememberedClient
  readonly interest: TopicInterest
}

export interface GateOptions {
  readonly journal: JournalWriter & JournalTail & JournalHold
  readonly keptSessions: KeptSessions | undefined
  readonly router: Router
  readonly limits: Config['limits']
  readonly maxPacketBytes: number
  readonly maxKeepAliveSeconds: number
  readonly anonymous: Config['access']['anonymous']
  readonly statistics: BrokerStatistics
  readonly refusals: Refusals
  readonly log: Logger
  /** Clock that is never set, in ms. */
  readonly monotonic: () => number
  /** Called at most once a turn with the client ids that came and went. */
  readonly onConnections: (change: ConnectionsChange) => void
}

/** Publishes from elsewhere than MQTT that wait for the disk at most. */
const maxForeignPublishes = 10_000
/** What all connections share: the journal, the acknowledgements, the sessions, and who waits for what. */
export class Gate {
  readonly router: Router
  readonly limits: Config['limits']
  readonly maxPacketBytes: number
  readonly maxKeepAliveSeconds: number
  readonly statistics: BrokerStatistics
  readonly log: Logger
  readonly acknowledgements = new Acknowledgements()
  readonly waiting: Waiting
  readonly held: HeldBytes
  readonly unread: UnreadBytes
  readonly resends: Resends
  readonly rates: Rates
  /** Open QoS 2 ids of one session at most. */
  readonly maxReceivedIds: number
  readonly #options: GateOptions
  readonly #journal: JournalWriter & JournalTail & JournalHold
  readonly #wills: Wills
  readonly #connections = new Set<Connection>()
  readonly #keepAlive: KeepAlive
  readonly #presence: Presence
  readonly #durableWaiters = new DurableWaiters()
  readonly #detach: (() => void)[]
  /** One object for all records: append copies. */
  readonly #record: AppendRecord = blankRecord()

  constructor(options: GateOptions) {
    this.#options = options
    this.#presence = new Presence(options.onConnections)
    this.#journal = options.journal
    this.router = options.router
    this.limits = options.limits
    this.maxPacketBytes = options.maxPacketBytes
    this.maxKeepAliveSeconds = options.maxKeepAliveSeconds
    this.statistics = options.statistics
    this.log = options.log
    this.maxReceivedIds = Math.max(4096, options.limits.inFlight * 4)
    this.waiting = new Waiting(options.journal)
    this.held = new HeldBytes(options.limits.heldBytesTotal, options.maxPacketBytes, options.statistics)
    this.unread = new UnreadBytes(options.limits.unreadBytesTotal)
    this.resends = new Resends({
      limit: options.limits.remembered,
      limitBytes: options.limits.rememberedBytes,
      onEvicted: () => {
        this.statistics.rememberedEvicted += 1
      },
      monotonic: options.monotonic
    })
    this.rates = new Rates(options.limits, options.monotonic)
    this.#wills = new Wills(
      due => this.#appendWill(due),
      () => {
        this.statistics.willsDropped += 1
      }
    )
    this.#keepAlive = new KeepAlive(this.#connections, () => this.#onTick())
    this.router.onRoom(() => this.#resume('routing'))
    this.acknowledgements.release(this.#journal.durable)
    this.router.release(this.#journal.durable)
    this.#detach = [
      this.#journal.onDurable(durable => this.#onDurable(durable)),
      this.#journal.onState(state => {
        if (state === 'accepting') this.#resume('journal')
      })
    ]
  }

  /** The round that keep alive counts in. */
  get tick(): number {
    return this.#keepAlive.tick
  }

  /** Ordinal of the newest record. */
  get lastOrdinal(): number {
    return this.#journal.head - 1
  }

  /** Records taken and not durable, wills not taken, messages not routed, replies that wait for sessions: what a stop waits for. */
  get unfinished(): number {
    const replies = this.#options.keptSessions?.replyingSoon ?? 0
    return this.acknowledgements.waiting + this.#durableWaiters.count + this.router.queued + this.#wills.waiting + replies
  }

  get willsWaiting(): { readonly count: number; readonly bytes: number } {
    return { count: this.#wills.waiting, bytes: this.#wills.bytes }
  }

  /** Publishes from elsewhere that wait for the disk. */
  get foreignWaiting(): number {
    return this.#durableWaiters.count
  }

  /** How many connections wait for what; a walk over all of them. */
  waitingByReason(): ReadonlyMap<BlockReason, number> {
    const counts = new Map<BlockReason, number>()
    for (const { blocked } of this.#connections) {
      if (blocked !== undefined) counts.set(blocked, (counts.get(blocked) ?? 0) + 1)
    }
    return counts
  }

  /** Wills whose delay is not over. */
  get delayedWills(): number {
    return this.#wills.delayed
  }

  add(connection: Connection): void {
    this.#connections.add(connection)
  }

  /** Why a client may not come in, or undefined. */
  admit(connection: Connection): Fault | undefined {
    return accessFault(this.#options.anonymous, connection.address)
  }

  /** The session for a CONNECT, or undefined when there is no room for it. */
  openSession(request: SessionRequest, connection: Connection): { readonly session: Session; readonly present: boolean } | undefined {
    const opened = this.router.sessions.open(request, connection)
    // What the last connection left is due when its session has ended, and not when that goes on [MQTT-3.1.3-9].
    if (opened?.present === true) this.#wills.cancel(request.clientId)
    else this.#wills.expedite(request.clientId)
    return opened
  }

  assignClientId(): Buffer {
    return Buffer.from(`tg-${randomUUID()}`)
  }

  connected(connection: Connection): void {
    this.statistics.connectsAccepted += 1
    this.statistics.connections += 1
    this.#presence.note(connection.clientId, true)
  }

  disconnected(connection: Connection, session: Session | undefined, wasOpen: boolean): void {
    this.#connections.delete(connection)
    this.waiting.delete(connection)
    if (session?.connection === connection) this.router.sessions.detach(session)
    if (!wasOpen) return
    this.statistics.connections -= 1
    this.#presence.note(connection.clientId, false)
  }

  countRefusal(address: string, clientId: string | undefined, reason: string): void {
    const { refusedByReason } = this.statistics
    this.statistics.connectsRefused += 1
    refusedByReason.set(reason, (refusedByReason.get(reason) ?? 0) + 1)
    this.#options.refusals.add(address, clientId, reason)
  }

  countViolation(address: string, clientId: string | undefined, reason: string): void {
    this.statistics.violations += 1
    this.#options.refusals.add(address, clientId, reason)
  }

  /** Client ids that are connected now. */
  connectedClientIds(): readonly string[] {
    const ids: string[] = []
    for (const connection of this.#connections) {
      if (connection.clientId !== undefined && connection.isOpen) ids.push(connection.clientId)
    }
    return ids
  }

  /**
   * Reads from the journal which publishes may be sent again and, with what was kept of them, the sessions and retained
   * messages. When that fails, publishes that are sent again will be stored twice; the edge serves all the same.
   */
  async recall(): Promise<void> {
    const { monotonic, keptSessions } = this.#options
    const startMs = monotonic()
    const visit = (record: TailRecord): void => {
      if (record.packetId > 0) this.resends.recall(record)
    }
    try {
      if (keptSessions === undefined) await this.#journal.readTail(Infinity, visit)
      else await keptSessions.recall({ router: this.router, journal: this.#journal, messageOf: recordedMessage, visit })
    } catch (error) {
      this.log.warn({ code: 'TG_JOURNAL_FAILING', err: error }, 'the newest records cannot be read: what is sent again is stored twice')
    }
    const { count, bytes } = this.resends
    this.log.debug({ publishes: count, bytes, tookMs: Math.round(monotonic() - startMs) }, 'read what may be sent again')
  }

  /** The record of a PUBLISH: views into the packet, in an object that is used again for the next one. */
  recordOf(publisher: PublisherHost, buffer: Buffer, publish: PublishPacket, payloadEnd: number): AppendRecord {
    const record = this.#record
    record.clientId = publisher.clientIdBytes
    record.user = publisher.user
    record.topic = viewOf(buffer, publish.topicStart, publish.topicEnd)
    record.payload = viewOf(buffer, publish.payloadStart, payloadEnd)
    record.qos = publish.qos
    record.retain = publish.retain
    record.dup = publish.dup
    record.will = false
    record.packetId = publish.packetId
    record.properties = undefined
    record.received = undefined
    return record
  }

  /**
   * Appends a publish of a connection and returns its ordinal, or why it is not taken now. Decodes the topic only of what
   * is wanted or to be retained: what nobody wants costs no string and no copy here.
   */
  append(record: AppendRecord, source: PublishSource): number {
    return this.#appendRecord(record, source)
  }

  /** Appends a publish that comes from elsewhere than a PUBLISH packet; subscribers get it if it is to be routed. */
  appendPublish(publish: Publish, routed = true): number {
    return this.#appendRecord(Object.assign(this.#record, publish, { dup: false, packetId: 0 }), undefined, routed)
  }

  /** False when as many publishes from elsewhere wait for the disk as may. */
  get takesForeign(): boolean {
    return this.#durableWaiters.count < maxForeignPublishes
  }

  /** Resolves when the record is durable. */
  async durable(ordinal: number): Promise<void> {
    if (ordinal < this.#journal.durable) return
    await this.#durableWaiters.wait(ordinal)
  }

  /** Publishes the will of a connection that has ended, when its delay is over or its session ends, whichever is first. */
  publishWill(due: DueWill, session: Session): void {
    const delaySeconds = Math.min(due.will.delaySeconds, session.expirySeconds)
    if (delaySeconds === 0) this.#wills.add(due)
    else this.#wills.delay(session.clientId, due, this.#options.monotonic() + delaySeconds * 1000)
  }

  /** Releases what became durable before its acknowledgement was queued (a journal that does not wait for the disk). */
  releaseOverdue(): void {
    if (this.acknowledgements.overdue) this.#onDurable(this.acknowledgements.durable)
  }

  /** Handles no further packets: what clients send from now on stays unacknowledged. */
  stopReading(): void {
    for (const connection of this.#connections) connection.stopReading()
    this.#wills.expediteAll()
  }

  /** True when the journal takes records again as soon as the disk has caught up. */
  get journalBehind(): boolean {
    return this.#journal.state === 'behind'
  }

  /** Why the journal does not take a publish at the moment. */
  journalRefusal(): TidegateError {
    return refusalOf(this.#journal.state)
  }

  /** Ends all connections. */
  dismissAll(): void {
    for (const connection of this.#connections) connection.dismiss()
  }

  /** Publishes from elsewhere that are not durable by now are told so. */
  close(): void {
    this.#keepAlive.stop()
    this.waiting.stop()
    for (const detach of this.#detach) detach()
    this.#durableWaiters.close()
  }

  #appendRecord(record: AppendRecord, source?: PublishSource, routed = true): number {
    const { router } = this
    const wanted = record.retain || (routed && !router.idle && this.#wants(record, source))
    if (this.#journal.state !== 'accepting') return notTaken.journal
    if (wanted && !router.hasRoom()) return notTaken.routing
    let ordinal: number
    try {
      ordinal = this.#journal.append(record)
    } catch {
      // Whatever it is, the publish is not taken; the tick tries again.
      return notTaken.journal
    }
    if (source !== undefined && record.packetId > 0) this.resends.remember(source.client, record, ordinal)
    if (wanted) {
      router.push(recordedMessage(record, ordinal, this.#options.monotonic))
      // A journal that does not wait for the disk has told of it already.
      if (ordinal < this.#journal.durable) router.release(this.#journal.durable)
    }
    return ordinal
  }

  #wants({ topic, qos }: AppendRecord, source: PublishSource | undefined): boolean {
    return source === undefined ? this.router.wants(utf8(topic), qos) : source.interest.wants(this.router, topic, qos)
  }

  #appendWill({ clientId, user, will }: DueWill): boolean {
    const { topic, payload, qos, retain, properties } = will
    if (this.appendPublish({ clientId, user, topic, payload, qos, retain, will: true, properties, received: undefined }) < 0) return false
    this.statistics.wills += 1
    return true
  }

  #onDurable(durable: number): void {
    this.acknowledgements.release(durable)
    this.router.release(durable)
    this.#durableWaiters.release(durable)
  }

  #onTick(): void {
    this.resends.expire()
    this.rates.expire()
    this.unread.look()
    this.#wills.tick(this.#options.monotonic())
    this.router.expire()
    if (this.#journal.state === 'accepting') this.#resume('journal')
    if (this.waiting.any('routing') && this.router.hasRoom()) this.#resume('routing')
  }

  #resume(reason: 'journal' | 'routing'): void {
    this.#wills.retry()
    this.waiting.resume(reason)
  }
}
