import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { TidegateError } from '../errors.ts'
import { blankRecord } from '../journal/record.ts'
import type { AppendRecord, JournalHold, JournalTail, JournalWriter, TailRecord } from '../journal/record.ts'
import { Acknowledgements } from './acknowledgements.ts'
import type { Connection } from './connection.ts'
import { HeldBytes } from './held-bytes.ts'
import { KeepAlive } from './keep-alive.ts'
import type { PublishPacket } from './packets/publish-packet.ts'
import { reasonCodes } from './packets/reason-codes.ts'
import type { Fault } from './packets/reason-codes.ts'
import type { PublisherHost } from './publisher-side.ts'
import type { Refusals } from './refusals.ts'
import { Resends } from './resends.ts'
import type { RememberedClient } from './resends.ts'
import { recordedMessage } from './recorded-message.ts'
import type { KeptSessions } from './routing/kept-sessions.ts'
import type { Router } from './routing/router.ts'
import type { Session } from './routing/session.ts'
import type { SessionRequest } from './routing/sessions.ts'
import type { BrokerStatistics } from './statistics.ts'
import { Waiting } from './waiting.ts'
import { Wills } from './wills.ts'
import type { DueWill } from './wills.ts'

/** What append answers instead of an ordinal. */
export const notTaken = { journal: -1, routing: -2 } as const

/** A record's parts as append takes them, without what the gate fills in. */
export type Publish = Pick<AppendRecord, 'clientId' | 'user' | 'topic' | 'payload' | 'qos' | 'retain' | 'will' | 'properties' | 'received'>

export interface GateOptions {
  readonly journal: JournalWriter & JournalTail & JournalHold
  readonly keptSessions: KeptSessions | undefined
  readonly router: Router
  readonly limits: Config['limits']
  readonly maxPacketBytes: number
  readonly anonymous: Config['access']['anonymous']
  readonly statistics: BrokerStatistics
  readonly refusals: Refusals
  readonly log: Logger
  /** Clock that is never set, in ms. */
  readonly monotonic: () => number
  /** Called at most once a turn with the client ids that came and went. */
  readonly onConnections: (change: { readonly connected: readonly string[]; readonly disconnected: readonly string[] }) => void
}

/** Publishes from elsewhere than MQTT that wait for the disk at most. */
const maxForeignPublishes = 10_000
/** Time that a client has to close its side after ours, in milliseconds. */
const lingerMs = 1000

/** What all connections share: the journal, the acknowledgements, the sessions, and who waits for what. */
export class Gate {
  readonly router: Router
  readonly limits: Config['limits']
  readonly maxPacketBytes: number
  readonly statistics: BrokerStatistics
  readonly log: Logger
  readonly acknowledgements = new Acknowledgements()
  readonly waiting: Waiting
  readonly held: HeldBytes
  readonly resends: Resends
  /** Open QoS 2 ids of one session at most. */
  readonly maxReceivedIds: number
  readonly #options: GateOptions
  readonly #journal: JournalWriter & JournalTail & JournalHold
  readonly #wills: Wills
  readonly #connections = new Set<Connection>()
  readonly #keepAlive: KeepAlive
  readonly #durableWaiters: { readonly ordinal: number; readonly resolve: () => void; readonly reject: (error: Error) => void }[] = []
  readonly #detach: (() => void)[]
  #changes = new Map<string, boolean>()
  /** One object for all records: append copies. */
  readonly #record: AppendRecord = blankRecord()

  constructor(options: GateOptions) {
    this.#options = options
    this.#journal = options.journal
    this.router = options.router
    this.limits = options.limits
    this.maxPacketBytes = options.maxPacketBytes
    this.statistics = options.statistics
    this.log = options.log
    this.maxReceivedIds = Math.max(4096, options.limits.inFlight * 4)
    this.waiting = new Waiting(options.journal)
    this.held = new HeldBytes(options.limits.heldBytesTotal, options.maxPacketBytes, options.statistics)
    this.resends = new Resends({
      limit: options.limits.remembered,
      limitBytes: options.limits.rememberedBytes,
      onEvicted: () => {
        this.statistics.rememberedEvicted += 1
      },
      monotonic: options.monotonic
    })
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

  /** Records taken and not durable, wills not taken, messages not routed: what a stop waits for. */
  get unfinished(): number {
    return this.acknowledgements.waiting + this.#durableWaiters.length + this.router.queued + this.#wills.waiting
  }

  /** Wills whose delay is not over. */
  get delayedWills(): number {
    return this.#wills.delayed
  }

  add(connection: Connection): void {
    this.#connections.add(connection)
  }

  /**
   * Why a client may not come in, or undefined. User names and passwords are recorded, never checked: until there is a
   * credential store every client counts as anonymous.
   */
  admit(connection: Connection): Fault | undefined {
    const { anonymous } = this.#options
    if (anonymous === 'any' || (anonymous === 'loopback' && isLoopback(connection.address))) return undefined
    const fault = anonymous === 'never' ? 'anonymous access is off' : 'anonymous access is for this machine only'
    return { fault, code: reasonCodes.notAuthorized }
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
    this.#noteChange(connection.clientId, true)
  }

  disconnected(connection: Connection, session: Session | undefined, wasOpen: boolean): void {
    this.#connections.delete(connection)
    this.waiting.delete(connection)
    if (session?.connection === connection) this.router.sessions.detach(session)
    if (!wasOpen) return
    this.statistics.connections -= 1
    this.#noteChange(connection.clientId, false)
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
    record.topic = buffer.subarray(publish.topicStart, publish.topicEnd)
    record.payload = buffer.subarray(publish.payloadStart, payloadEnd)
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
   * Appends a publish of a connection and returns its ordinal, or why it is not taken now. Decodes the topic only when
   * somebody subscribes or the message is to be retained: what nobody wants costs no string and no copy here.
   */
  append(record: AppendRecord, client: RememberedClient): number {
    return this.#appendRecord(record, client)
  }

  /** Appends a publish that comes from elsewhere than a PUBLISH packet; subscribers get it if it is to be routed. */
  appendPublish(publish: Publish, routed = true): number {
    return this.#appendRecord(Object.assign(this.#record, publish, { dup: false, packetId: 0 }), undefined, routed)
  }

  /** False when as many publishes from elsewhere wait for the disk as may. */
  get takesForeign(): boolean {
    return this.#durableWaiters.length < maxForeignPublishes
  }

  /** Resolves when the record is durable. */
  async durable(ordinal: number): Promise<void> {
    if (ordinal < this.#journal.durable) return
    await new Promise<void>((resolve, reject) => {
      this.#durableWaiters.push({ ordinal, resolve, reject })
    })
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

  /** Sends what is written, then the end; what the client still sends is read away, so that it gets all of it. */
  endSocket(socket: Socket): void {
    if (socket.destroyed) return
    socket.removeAllListeners('data')
    socket.on('error', () => {})
    socket.resume()
    socket.once('end', () => socket.destroySoon())
    if (socket.readableEnded) socket.destroySoon()
    else socket.end()
    const linger = setTimeout(() => socket.destroy(), lingerMs).unref()
    socket.once('close', () => clearTimeout(linger))
  }

  /** Handles no further packets: what clients send from now on stays unacknowledged. */
  stopReading(): void {
    for (const connection of this.#connections) connection.stopReading()
    this.#wills.expediteAll()
  }

  /** Why the journal does not take a publish at the moment. */
  journalRefusal(): TidegateError {
    switch (this.#journal.state) {
      case 'full':
        return new TidegateError('TG_JOURNAL_FULL', 'the journal is full')
      case 'closed':
        return new TidegateError('TG_JOURNAL_CLOSED', 'the journal is closed')
      default:
        return new TidegateError('TG_JOURNAL_FAILING', 'the journal cannot be written')
    }
  }

  /** Ends all connections. */
  dismissAll(): void {
    for (const connection of this.#connections) connection.dismiss()
  }

  /** Publishes from elsewhere that are not durable by now are told so. */
  close(): void {
    this.#keepAlive.stop()
    for (const detach of this.#detach) detach()
    for (const { reject } of this.#durableWaiters.splice(0))
      reject(new TidegateError('TG_JOURNAL_CLOSED', 'the edge stopped before the publish was durable'))
  }

  #appendRecord(record: AppendRecord, client?: RememberedClient, routed = true): number {
    const { router } = this
    const topic = record.retain || (routed && !router.idle) ? utf8(record.topic) : ''
    const wanted = record.retain || (topic !== '' && router.wants(topic, record.qos))
    if (this.#journal.state !== 'accepting') return notTaken.journal
    if (wanted && !router.hasRoom()) return notTaken.routing
    let ordinal: number
    try {
      ordinal = this.#journal.append(record)
    } catch {
      // Whatever it is, the publish is not taken; the tick tries again.
      return notTaken.journal
    }
    if (client !== undefined && record.packetId > 0) this.resends.remember(client, record, ordinal)
    if (wanted) {
      router.push(recordedMessage(record, ordinal, this.#options.monotonic))
      // A journal that does not wait for the disk has told of it already.
      if (ordinal < this.#journal.durable) router.release(this.#journal.durable)
    }
    return ordinal
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
    const waiters = this.#durableWaiters
    let ready = 0
    for (const waiter of waiters) {
      if (waiter.ordinal >= durable) break
      waiter.resolve()
      ready += 1
    }
    if (ready > 0) waiters.splice(0, ready)
  }

  #onTick(): void {
    this.resends.expire()
    this.#wills.tick(this.#options.monotonic())
    this.router.expire()
    if (this.#journal.state === 'accepting') this.#resume('journal')
    if (this.waiting.any('routing') && this.router.hasRoom()) this.#resume('routing')
  }

  #resume(reason: 'journal' | 'routing'): void {
    this.#wills.retry()
    this.waiting.resume(reason)
  }

  #noteChange(clientId: string | undefined, connected: boolean): void {
    if (clientId === undefined) return
    if (this.#changes.size === 0) setImmediate(() => this.#tellChanges())
    this.#changes.set(clientId, connected)
  }

  #tellChanges(): void {
    const changes = this.#changes
    this.#changes = new Map()
    const connected: string[] = []
    const disconnected: string[] = []
    for (const [clientId, isConnected] of changes) (isConnected ? connected : disconnected).push(clientId)
    this.#options.onConnections({ connected, disconnected })
  }
}

function utf8(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.')
}
