import type { Socket } from 'node:net'
import { endSocket } from './end-socket.ts'
import { endings, silent } from './endings.ts'
import type { Ending } from './endings.ts'
import { decodeAcknowledgement, decodeAcknowledgement5 } from './packets/acknowledgement-packet.ts'
import { encodeConnack, encodeConnack5, encodeRefusal, setSessionPresent } from './packets/connack-packet.ts'
import { decodeConnect } from './packets/connect-packet.ts'
import type { ConnectPacket, ProtocolLevel, Will } from './packets/connect-packet.ts'
import { decodeDisconnect, encodeDisconnect } from './packets/disconnect-packet.ts'
import type { DisconnectPacket } from './packets/disconnect-packet.ts'
import { malformed, reasonCodes } from './packets/reason-codes.ts'
import type { Fault } from './packets/reason-codes.ts'
import type { Gate } from './gate.ts'
import { Intake, pingResponse } from './intake.ts'
import type { ConnectionState, IntakeHost } from './intake.ts'
import { grantedKeepAlive, ticksOf } from './keep-alive.ts'
import type { Watched } from './keep-alive.ts'
import { Outbound } from './outbound.ts'
import { PublisherSide } from './publisher-side.ts'
import type { Outcome, PublisherHost } from './publisher-side.ts'
import { Publishing5 } from './publishing5.ts'
import type { Session } from './routing/session.ts'
import { SubscriberSide } from './subscriber-side.ts'
import type { SubscriberHost } from './subscriber-side.ts'
import { decodeSubscribe, decodeUnsubscribe } from './packets/subscribe-packet.ts'
import { decodeSubscribe5, decodeUnsubscribe5 } from './packets/subscribe5-packet.ts'
import type { BlockReason } from './waiting.ts'

const nothing = Buffer.alloc(0)
const connectTimeoutMs = 5000
/** Acknowledgements and PINGRESPs that may wait for a client that does not read before it is not read either. */
const unreadReplyBytes = 65_536

/** One object for all connections. */
const acknowledged = { packetId: 0, code: 0 }

/** One client: takes the packets of its socket and gives each to the side that it belongs to, publisher or subscriber. */
export class Connection implements Watched, IntakeHost, PublisherHost, SubscriberHost {
  readonly address: string
  clientId: string | undefined
  clientIdBytes: Buffer = nothing
  user: Buffer | undefined
  lastTick: number
  silentTicks = ticksOf(connectTimeoutMs)
  readonly #gate: Gate
  readonly #socket: Socket
  readonly #out: Outbound
  readonly #intake: Intake
  #state: ConnectionState = 'connect'
  /** Undefined until there was a CONNECT of a version that is spoken. */
  #level: ProtocolLevel | undefined
  /** Largest packet that the client takes. */
  #maximumPacketBytes = Infinity
  #session: Session | undefined
  #will: Will | undefined
  #publisher: PublisherSide | undefined
  #subscriber: SubscriberSide | undefined

  constructor(gate: Gate, socket: Socket, address: string) {
    this.#gate = gate
    this.#socket = socket
    this.#out = new Outbound({ host: this, socket, statistics: gate.statistics, unread: gate.unread })
    this.#intake = new Intake({ host: this, gate, socket, out: this.#out })
    this.address = address
    this.lastTick = gate.tick
  }

  get state(): ConnectionState {
    return this.#state
  }

  /** What its next packet waits for. */
  get blocked(): BlockReason | undefined {
    return this.#intake.blocked
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  get standsStill(): boolean {
    return this.#intake.standsStill
  }

  /** Begins to read. */
  start(): void {
    const socket = this.#socket
    socket.on('error', error => this.finish(silent(error.message)))
    socket.on('close', () => this.finish(endings.socketClosed))
    socket.on('drain', () => this.#onDrain())
    this.#intake.start()
  }

  expire(): void {
    if (this.#state === 'connect') this.refuse(endings.noConnect)
    else this.finish(this.#intake.inputEnded ? endings.closedByClient : endings.keepAlive)
  }

  /** Goes on with the packet that blocked, when it blocked for this reason. */
  unblock(reason: BlockReason): void {
    this.#intake.unblock(reason)
  }

  /** Handles no further packets, until it is closed. */
  stopReading(): void {
    if (this.#state === 'closed') return
    this.#intake.stop()
    this.silentTicks = 0
  }

  /** Closes without CONNACK 0; a CONNACK says why, if there was a CONNECT and its version has a word for it. */
  refuse(fault: Fault): void {
    if (this.#state === 'closed') return
    this.#gate.countRefusal(this.address, this.clientId, fault.fault)
    const refusal =
      this.#state === 'connect' && this.#level !== undefined ? encodeRefusal(fault, this.#level, this.#maximumPacketBytes) : undefined
    if (refusal !== undefined) this.#out.send(refusal)
    this.#close(fault)
  }

  /** Closes because of what the client did; its will is published. */
  violate(fault: Fault): void {
    if (this.#state === 'closed') return
    if (this.#state !== 'open') {
      this.refuse(fault)
      return
    }
    this.#gate.countViolation(this.address, this.clientId, fault.fault)
    this.#close(fault)
  }

  /** Closes because the connection is over; its will is published. */
  finish(ending: Ending): void {
    if (this.#state === 'closed') return
    this.#gate.log.debug({ address: this.address, clientId: this.clientId, reason: ending.fault }, 'connection ended')
    this.#close(ending)
  }

  takeOver(): void {
    this.finish(endings.takenOver)
  }

  /** Closes for the stop of the server, without a will: the client is expected to come back. */
  dismiss(): void {
    this.#will = undefined
    this.finish(endings.serverStops)
  }

  handle(header: number): boolean {
    if (this.#state === 'connect') return this.#handleConnect()
    if (this.#out.isStuck(unreadReplyBytes)) return this.#intake.block('replies')
    switch (header >> 4) {
      case 3:
        return this.#publish(header)
      case 4:
      case 5:
      case 6:
      case 7:
        return this.#acknowledgement(header)
      case 12:
        return this.#handlePing()
      case 14:
        return this.#handleDisconnect()
      case 8:
      case 10:
        return this.#handleFilters(header >> 4 === 8)
      case 15:
        return this.#violate(endings.auth)
      default:
        return this.#violate(endings.secondConnect)
    }
  }

  #onDrain(): void {
    this.#subscriber?.onDrain()
    this.unblock('replies')
  }

  #handleConnect(): boolean {
    const { parser } = this.#intake
    const packet = decodeConnect(parser.buffer, parser.bodyStart, parser.bodyEnd)
    this.#level = packet.level
    if ('fault' in packet) return this.#refuse(packet)
    if (packet.level === 5 && parser.lengthPadded) return this.#refuse(malformed('length of CONNECT is not in its shortest form'))
    this.#maximumPacketBytes = packet.maximumPacketBytes
    if (packet.authenticates) return this.#refuse(endings.authentication)
    this.clientIdBytes = packet.clientId.length > 0 ? packet.clientId : this.#gate.assignClientId()
    this.clientId = this.clientIdBytes.toString('utf8')
    const refusal = this.#gate.admit(this)
    return refusal === undefined ? this.#open(packet, this.clientId) : this.#refuse(refusal)
  }

  #open(packet: ConnectPacket, clientId: string): boolean {
    const { level, clean, sessionExpirySeconds: expirySeconds } = packet
    const gate = this.#gate
    const publishing5 = level === 5 ? new Publishing5(gate.limits.inFlight, gate.statistics) : undefined
    const asked = packet.keepAliveSeconds
    const keepAliveSeconds = level === 5 ? grantedKeepAlive(asked, gate.maxKeepAliveSeconds) : asked
    const connack = publishing5 === undefined ? encodeConnack() : this.#connack5(packet, publishing5, keepAliveSeconds)
    if (connack.length > packet.maximumPacketBytes) return this.#refuse(endings.maximumPacketSize)
    const opened = gate.openSession({ clientId, clean, expirySeconds }, this)
    if (opened === undefined) return this.#refuse(endings.tooManySessions)
    const { session, present: resumed } = opened
    this.#state = 'opening'
    this.#session = session
    this.#will = packet.will
    this.user = packet.user
    this.#intake.rate = gate.rates.attach(clientId)
    this.#intake.parser.level = level
    this.silentTicks = ticksOf(keepAliveSeconds * 1500)
    // MQTT 3.1 knows no session present.
    if (resumed && level > 3) setSessionPresent(connack)
    this.#publisher = new PublisherSide({ host: this, out: this.#out, gate, session, resumed, publishing5 })
    this.#subscriber = new SubscriberSide({ host: this, out: this.#out, router: gate.router, session, packet })
    gate.router.whenDurable(() => this.#onOpen(connack), this)
    return true
  }

  #connack5(asked: ConnectPacket, { receiveMaximum, aliases }: Publishing5, keepAliveSeconds: number): Buffer {
    return encodeConnack5({
      receiveMaximum,
      maximumPacketBytes: this.#gate.maxPacketBytes,
      topicAliasMaximum: aliases.maximum,
      assignedClientId: asked.clientId.length > 0 ? undefined : this.clientId,
      serverKeepAliveSeconds: asked.keepAliveSeconds === keepAliveSeconds ? undefined : keepAliveSeconds
    })
  }

  /** The client gets its CONNACK 0, and packets behind CONNECT are handled from now on. */
  #onOpen(connack: Buffer): void {
    if (this.#state !== 'opening') return
    this.#state = 'open'
    this.#subscriber?.open(connack)
    this.#gate.connected(this)
    this.unblock('connack')
  }

  #publish(header: number): boolean {
    return this.#publisher !== undefined && this.#settle(this.#publisher.publish(this.#intake.parser, header))
  }

  /** PUBACK, PUBREC, PUBREL or PUBCOMP. */
  #acknowledgement(header: number): boolean {
    const { parser } = this.#intake
    const fault =
      this.#level === 5
        ? decodeAcknowledgement5(parser, acknowledged)
        : decodeAcknowledgement(parser.buffer, parser.bodyStart, parser.bodyEnd, acknowledged)
    if (fault !== undefined) return this.#violate(fault)
    if (header >> 4 !== 6) {
      this.#subscriber?.acknowledge(header >> 4, acknowledged)
      return true
    }
    return this.#publisher !== undefined && this.#settle(this.#publisher.release(acknowledged.packetId))
  }

  #settle(outcome: Outcome): boolean {
    if (outcome === 'handled') return true
    return outcome === 'closed' ? false : this.#intake.block(outcome)
  }

  #handlePing(): boolean {
    if (this.#intake.parser.bodyEnd !== this.#intake.parser.bodyStart) return this.#violate(endings.pingBody)
    if (!this.#intake.parser.scanned) this.#out.reply(pingResponse)
    return true
  }

  #handleDisconnect(): false {
    const { buffer, bodyStart, bodyEnd } = this.#intake.parser
    if (this.#level === 5) return this.#handleDisconnect5(decodeDisconnect(buffer, bodyStart, bodyEnd))
    return bodyEnd === bodyStart ? this.#leave() : this.#violate(endings.disconnectBody)
  }

  #handleDisconnect5(packet: DisconnectPacket | Fault): false {
    if ('fault' in packet) return this.#violate(packet)
    const { code, sessionExpirySeconds } = packet
    const session = this.#session
    if (session !== undefined && sessionExpirySeconds !== undefined) {
      // §3.14.2.2.2.
      if (!session.persistent && sessionExpirySeconds > 0) return this.#violate(endings.sessionExpiry)
      this.#gate.router.sessions.setExpiry(session, sessionExpirySeconds)
    }
    if (code === reasonCodes.success) return this.#leave()
    // [MQTT-3.14.4-3]: whatever else it says, its will is published.
    this.finish(silent(`client disconnected with reason code ${code}`))
    return false
  }

  #leave(): false {
    this.#will = undefined
    this.#publisher?.disconnect()
    this.finish(endings.disconnected)
    return false
  }

  #handleFilters(subscribe: boolean): boolean {
    if (this.#subscriber?.mustWait(this.#gate.limits.inFlight) === true) return this.#intake.block('inFlight')
    const { buffer, bodyStart, bodyEnd } = this.#intake.parser
    if (this.#level === 5) return this.#handleFilters5(subscribe)
    const list = subscribe ? decodeSubscribe(buffer, bodyStart, bodyEnd) : decodeUnsubscribe(buffer, bodyStart, bodyEnd)
    if ('fault' in list) return this.#violate(list)
    if (subscribe) this.#subscriber?.subscribe(list, this.#gate.limits.subscriptions)
    else this.#subscriber?.unsubscribe(list)
    return true
  }

  #handleFilters5(subscribe: boolean): boolean {
    const { buffer, bodyStart, bodyEnd } = this.#intake.parser
    const list = subscribe ? decodeSubscribe5(buffer, bodyStart, bodyEnd) : decodeUnsubscribe5(buffer, bodyStart, bodyEnd)
    if ('fault' in list) return this.#violate(list)
    if ('requests' in list) this.#subscriber?.subscribe5(list, this.#gate.limits.subscriptions)
    else this.#subscriber?.unsubscribe5(list)
    return !this.closed
  }

  #violate(fault: Fault): false {
    this.violate(fault)
    return false
  }

  #refuse(fault: Fault): false {
    this.refuse(fault)
    return false
  }

  #close({ fault, code }: Ending): void {
    const connackSent = this.#subscriber?.connackSent === true
    if (connackSent || this.#state === 'connect') this.#out.flush()
    const wasOpen = this.#state === 'open'
    if (connackSent && this.#level === 5 && code !== undefined) this.#out.send(encodeDisconnect({ fault, code }, this.#maximumPacketBytes))
    this.#state = 'closed'
    this.#intake.close()
    this.#publisher?.close(this.#intake.parser)
    this.#intake.parser.clear()
    if (this.#intake.rate !== undefined) this.#gate.rates.detach(this.#intake.rate)
    this.#gate.disconnected(this, this.#session, wasOpen)
    this.#subscriber?.close()
    if (connackSent) this.#leaveWill()
    endSocket(this.#socket)
  }

  #leaveWill(): void {
    const { clientIdBytes, user } = this
    const will = this.#will
    if (will === undefined || this.#session === undefined) return
    this.#gate.publishWill({ clientId: clientIdBytes, user, will }, this.#session)
  }
}
