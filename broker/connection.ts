import type { Socket } from 'node:net'
import { decodeConnect, returnCodes } from './packets/connect-packet.ts'
import type { ConnectPacket, Will } from './packets/connect-packet.ts'
import type { Gate } from './gate.ts'
import { Intake, pingResponse } from './intake.ts'
import type { ConnectionState, IntakeHost } from './intake.ts'
import { ticksOf } from './keep-alive.ts'
import type { Watched } from './keep-alive.ts'
import { Outbound } from './outbound.ts'
import { PublisherSide } from './publisher-side.ts'
import type { Outcome, PublisherHost } from './publisher-side.ts'
import { neverExpires } from './routing/session.ts'
import type { Session } from './routing/session.ts'
import { SubscriberSide } from './subscriber-side.ts'
import type { SubscriberHost } from './subscriber-side.ts'
import { decodeSubscribe, decodeUnsubscribe } from './packets/subscribe-packet.ts'
import type { BlockReason } from './waiting.ts'

const connectTimeoutMs = 5000
/** Acknowledgements and PINGRESPs that may wait for a client that does not read before it is not read either. */
const unreadReplyBytes = 65_536

/** One client: takes the packets of its socket and gives each to the side that it belongs to, publisher or subscriber. */
export class Connection implements Watched, IntakeHost, PublisherHost, SubscriberHost {
  readonly address: string
  clientId: string | undefined
  clientIdBytes: Buffer = Buffer.alloc(0)
  user: Buffer | undefined
  lastTick: number
  silentTicks = ticksOf(connectTimeoutMs)
  readonly #gate: Gate
  readonly #socket: Socket
  readonly #out: Outbound
  readonly #intake: Intake
  #state: ConnectionState = 'connect'
  #session: Session | undefined
  #will: Will | undefined
  #publisher: PublisherSide | undefined
  #subscriber: SubscriberSide | undefined

  constructor(gate: Gate, socket: Socket, address: string) {
    this.#gate = gate
    this.#socket = socket
    this.#out = new Outbound(socket, gate.statistics)
    this.#intake = new Intake({ host: this, gate, socket, out: this.#out })
    this.address = address
    this.lastTick = gate.tick
  }

  get state(): ConnectionState {
    return this.#state
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
    socket.on('error', error => this.finish(error.message))
    socket.on('close', () => this.finish('socket closed'))
    socket.on('drain', () => this.#onDrain())
    this.#intake.start()
  }

  expire(): void {
    if (this.#state === 'connect') this.refuse('no CONNECT within 5 s')
    else this.finish('keep alive expired')
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

  /** Closes without CONNACK 0; a return code is sent before. */
  refuse(reason: string, returnCode?: number): void {
    if (this.#state === 'closed') return
    this.#gate.countRefusal(this.address, this.clientId, reason)
    if (returnCode !== undefined) this.#out.send(Buffer.from([0x20, 2, 0, returnCode]))
    this.#close()
  }

  /** Closes because of what the client did; its will is published. */
  violate(reason: string): void {
    if (this.#state === 'closed') return
    if (this.#state !== 'open') {
      this.refuse(reason)
      return
    }
    this.#gate.countViolation(this.address, this.clientId, reason)
    this.#close()
  }

  /** Closes because the connection is over; its will is published. */
  finish(reason: string): void {
    if (this.#state === 'closed') return
    this.#gate.log.debug({ address: this.address, clientId: this.clientId, reason }, 'connection ended')
    this.#close()
  }

  /** Closes for the stop of the server, without a will: the client is expected to come back. */
  dismiss(): void {
    this.#will = undefined
    this.finish('server stops')
  }

  handle(header: number): boolean {
    if (this.#state === 'connect') {
      if (header !== 0x10) {
        this.refuse('first packet is not CONNECT')
        return false
      }
      return this.#handleConnect()
    }
    if (this.#out.isStuck(unreadReplyBytes)) return this.#intake.block('replies')
    switch (header >> 4) {
      case 3:
        return this.#publish(header)
      case 6:
        return this.#release()
      case 12:
        return this.#handlePing()
      case 14:
        return this.#handleDisconnect()
      case 4:
      case 5:
      case 7:
        return this.#acknowledge(header >> 4)
      case 8:
      case 10:
        return this.#handleFilters(header >> 4 === 8)
      default:
        this.violate('second CONNECT')
        return false
    }
  }

  #onDrain(): void {
    this.#subscriber?.onDrain()
    this.unblock('replies')
  }

  #handleConnect(): boolean {
    const { buffer, bodyStart, bodyEnd } = this.#intake.parser
    const packet = decodeConnect(buffer, bodyStart, bodyEnd)
    if ('fault' in packet) {
      this.refuse(packet.fault, packet.returnCode)
      return false
    }
    this.clientIdBytes = packet.clientId.length > 0 ? packet.clientId : this.#gate.assignClientId()
    this.clientId = this.clientIdBytes.toString('utf8')
    const refusal = this.#gate.admit(this)
    if (refusal !== undefined) {
      this.refuse(refusal, returnCodes.notAuthorized)
      return false
    }
    return this.#open(packet, this.clientId)
  }

  #open(packet: ConnectPacket, clientId: string): boolean {
    const opened = this.#gate.router.sessions.open({ clientId, clean: packet.clean, expirySeconds: packet.clean ? 0 : neverExpires }, this)
    if (opened === undefined) {
      this.refuse('too many persistent sessions', returnCodes.serverUnavailable)
      return false
    }
    this.#state = 'opening'
    this.#session = opened.session
    this.#will = packet.will
    this.user = packet.user
    this.#intake.parser.dupAllowed = packet.level === 3
    this.silentTicks = ticksOf(packet.keepAliveSeconds * 1500)
    const sessionPresent = opened.present && packet.level > 3
    this.#publisher = new PublisherSide({ host: this, out: this.#out, gate: this.#gate, session: opened.session })
    this.#subscriber = new SubscriberSide({ host: this, out: this.#out, router: this.#gate.router, session: opened.session })
    this.#gate.router.whenDurable(() => this.#onOpen(sessionPresent))
    return true
  }

  /** The client gets its CONNACK 0, and packets behind CONNECT are handled from now on. */
  #onOpen(sessionPresent: boolean): void {
    if (this.#state !== 'opening') return
    this.#state = 'open'
    this.#subscriber?.open(sessionPresent)
    this.#gate.connected(this)
    this.unblock('connack')
  }

  #publish(header: number): boolean {
    return this.#publisher !== undefined && this.#settle(this.#publisher.publish(this.#intake.parser, header))
  }

  /** [MQTT-4.3.3-2]. */
  #release(): boolean {
    const packetId = this.#packetId()
    return packetId > 0 && this.#publisher !== undefined && this.#settle(this.#publisher.release(packetId))
  }

  #settle(outcome: Outcome): boolean {
    if (outcome === 'handled') return true
    return outcome === 'closed' ? false : this.#intake.block(outcome)
  }

  #handlePing(): boolean {
    if (this.#intake.parser.bodyEnd !== this.#intake.parser.bodyStart) {
      this.violate('PINGREQ has a body')
      return false
    }
    if (!this.#intake.parser.scanned) this.#out.reply(pingResponse)
    return true
  }

  #handleDisconnect(): boolean {
    if (this.#intake.parser.bodyEnd === this.#intake.parser.bodyStart) {
      this.#will = undefined
      this.#publisher?.disconnect()
      this.finish('client disconnected')
    } else this.violate('DISCONNECT has a body')
    return false
  }

  #handleFilters(subscribe: boolean): boolean {
    const { buffer, bodyStart, bodyEnd } = this.#intake.parser
    const list = subscribe ? decodeSubscribe(buffer, bodyStart, bodyEnd) : decodeUnsubscribe(buffer, bodyStart, bodyEnd)
    if ('fault' in list) {
      this.violate(list.fault)
      return false
    }
    if (subscribe) this.#subscriber?.subscribe(list, this.#gate.limits.subscriptions)
    else this.#subscriber?.unsubscribe(list)
    return true
  }

  #acknowledge(type: number): boolean {
    const packetId = this.#packetId()
    if (packetId > 0) this.#subscriber?.acknowledge(type, packetId)
    return packetId > 0
  }

  /** The packet id of a packet that holds nothing else; 0, and closed, when it does not. */
  #packetId(): number {
    const { buffer, bodyStart, bodyEnd } = this.#intake.parser
    const packetId = bodyEnd - bodyStart === 2 ? buffer.readUInt16BE(bodyStart) : 0
    if (packetId === 0) this.violate('acknowledgement without a packet id')
    return packetId
  }

  #close(): void {
    const connackSent = this.#subscriber?.connackSent === true
    if (connackSent || this.#state === 'connect') this.#out.flush()
    const wasOpen = this.#state === 'open'
    this.#state = 'closed'
    this.#intake.close()
    this.#publisher?.close(this.#intake.parser)
    this.#intake.parser.clear()
    this.#gate.disconnected(this, this.#session, wasOpen)
    if (this.#will !== undefined && connackSent) this.#gate.publishWill({ clientId: this.clientIdBytes, user: this.user, will: this.#will })
    this.#gate.endSocket(this.#socket)
  }
}
