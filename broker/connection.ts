import type { Socket } from 'node:net'
import { decodeConnect, returnCodes } from './packets/connect-packet.ts'
import type { ConnectPacket, Will } from './packets/connect-packet.ts'
import { FrameParser, frameStatus } from './packets/frame-parser.ts'
import type { Gate } from './gate.ts'
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

/** Bytes held of a client before its CONNACK, and the largest CONNECT. */
const unauthenticatedBytes = 65_536
const connectTimeoutMs = 5000
/** Acknowledgements and PINGRESPs that may wait for a client that does not read before it is not read either. */
const unreadReplyBytes = 65_536
/** Packets handled before the event loop gets its turn. */
const packetsPerTurn = 1024

const pingResponse = Buffer.from([0xd0, 0x00])

/**
 * One client's socket: cuts it into packets and gives each to the side that it belongs to, publisher or subscriber.
 *
 * States: connect (waiting for CONNECT) → opening (CONNECT was passed on, nothing before CONNACK 0) → open → closed.
 * A packet that cannot be handled yet blocks the connection: it stays at the front of the parser with everything behind
 * it, reading goes on up to the held bytes (PINGREQs there are answered), then the socket is paused until unblocked.
 */
export class Connection implements Watched, PublisherHost, SubscriberHost {
  readonly address: string
  clientId: string | undefined
  clientIdBytes: Buffer = Buffer.alloc(0)
  user: Buffer | undefined
  lastTick: number
  silentTicks = ticksOf(connectTimeoutMs)
  readonly #gate: Gate
  readonly #socket: Socket
  readonly #parser = new FrameParser()
  readonly #out: Outbound
  #state: 'connect' | 'opening' | 'open' | 'closed' = 'connect'
  #blocked: BlockReason | undefined
  #paused = false
  /** Whether the gate counts bytes of this connection. */
  #holds = false
  #inputEnded = false
  #session: Session | undefined
  #will: Will | undefined
  #publisher: PublisherSide | undefined
  #subscriber: SubscriberSide | undefined

  constructor(gate: Gate, socket: Socket, address: string) {
    this.#gate = gate
    this.#socket = socket
    this.#out = new Outbound(socket, gate.statistics)
    this.address = address
    this.lastTick = gate.tick
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  /** A client that does not read its replies has no excuse. */
  get standsStill(): boolean {
    return this.#paused && this.#blocked !== 'replies'
  }

  /** Begins to read. */
  start(): void {
    const socket = this.#socket
    socket.on('data', chunk => this.#onData(chunk))
    socket.on('end', () => this.#onEnd())
    socket.on('error', error => this.finish(error.message))
    socket.on('close', () => this.finish('socket closed'))
    socket.on('drain', () => this.#onDrain())
    socket.resume()
  }

  expire(): void {
    if (this.#state === 'connect') this.refuse('no CONNECT within 5 s')
    else this.finish('keep alive expired')
  }

  /** Goes on with the packet that blocked, when it blocked for this reason. */
  unblock(reason: BlockReason): void {
    if (this.#blocked !== reason || this.#state === 'closed') return
    this.#blocked = undefined
    this.lastTick = this.#gate.tick
    this.#drain()
  }

  /** Handles no further packets, until it is closed. */
  stopReading(): void {
    if (this.#state === 'closed') return
    this.#blocked = 'stop'
    this.#socket.pause()
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

  #onData(chunk: Buffer): void {
    if (this.#state === 'closed') return
    this.#gate.statistics.bytesReceived += chunk.length
    this.#parser.push(chunk)
    if (this.#blocked === undefined) {
      this.#drain()
      return
    }
    this.lastTick = this.#gate.tick
    this.#answerPings()
    this.#accountHeld()
  }

  #onEnd(): void {
    this.#inputEnded = true
    // What waits behind a blocked publish is still the client's word: a publisher may send and leave.
    if (this.#blocked === undefined) this.finish('client closed the socket')
  }

  #onDrain(): void {
    this.#subscriber?.onDrain()
    this.unblock('replies')
  }

  #drain(): void {
    const parser = this.#parser
    let packets = 0
    while (this.#state !== 'closed') {
      // Not even looked at: what follows CONNECT must not decide whether the client gets its CONNACK.
      if (this.#state === 'opening' && !this.#block('connack')) break
      const status = parser.next(this.#state === 'connect' ? unauthenticatedBytes : this.#gate.maxPacketBytes)
      if (status === frameStatus.incomplete) break
      if (status !== frameStatus.complete) {
        this.violate(status === frameStatus.tooLarge ? 'packet is too large' : 'packet header is malformed')
        return
      }
      packets += 1
      if (packets > packetsPerTurn) {
        this.#block('turn')
        break
      }
      if (!this.#handle(parser.header)) break
      this.lastTick = this.#gate.tick
      parser.consume()
    }
    if (this.#isClosed()) return
    if (this.#blocked !== undefined && this.#blocked !== 'turn') this.#answerPings()
    this.#out.flush()
    this.#accountHeld()
    if (this.#inputEnded && this.#blocked === undefined) this.finish('client closed the socket')
    this.#gate.releaseOverdue()
  }

  /** Handles the current packet; false when it blocked the connection or closed it. */
  #handle(header: number): boolean {
    if (this.#state === 'connect') {
      if (header !== 0x10) {
        this.refuse('first packet is not CONNECT')
        return false
      }
      return this.#handleConnect()
    }
    if (this.#out.isStuck(unreadReplyBytes)) return this.#block('replies')
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

  #handleConnect(): boolean {
    const { buffer, bodyStart, bodyEnd } = this.#parser
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
    this.#parser.dupAllowed = packet.level === 3
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
    return this.#publisher !== undefined && this.#settle(this.#publisher.publish(this.#parser, header))
  }

  /** [MQTT-4.3.3-2]. */
  #release(): boolean {
    const packetId = this.#packetId()
    return packetId > 0 && this.#publisher !== undefined && this.#settle(this.#publisher.release(packetId))
  }

  #settle(outcome: Outcome): boolean {
    if (outcome === 'handled') return true
    return outcome === 'closed' ? false : this.#block(outcome)
  }

  #handlePing(): boolean {
    if (this.#parser.bodyEnd !== this.#parser.bodyStart) {
      this.violate('PINGREQ has a body')
      return false
    }
    if (!this.#parser.scanned) this.#out.reply(pingResponse)
    return true
  }

  #handleDisconnect(): boolean {
    if (this.#parser.bodyEnd === this.#parser.bodyStart) {
      this.#will = undefined
      this.#publisher?.disconnect()
      this.finish('client disconnected')
    } else this.violate('DISCONNECT has a body')
    return false
  }

  #handleFilters(subscribe: boolean): boolean {
    const { buffer, bodyStart, bodyEnd } = this.#parser
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
    const { buffer, bodyStart, bodyEnd } = this.#parser
    const packetId = bodyEnd - bodyStart === 2 ? buffer.readUInt16BE(bodyStart) : 0
    if (packetId === 0) this.violate('acknowledgement without a packet id')
    return packetId
  }

  #block(reason: BlockReason): false {
    this.#blocked = reason
    this.#gate.waiting.add(this, reason)
    return false
  }

  #answerPings(): void {
    if (this.#state !== 'open') return
    const pings = this.#parser.countPings(this.#gate.maxPacketBytes)
    for (let count = 0; count < pings; count++) this.#out.reply(pingResponse)
    this.#out.flush()
  }

  /**
   * Counts what is held: behind a block, or of a packet whose end has not come. Behind a block the socket is paused above
   * the bounds, and read again when nothing blocks any more.
   */
  #accountHeld(): void {
    const { held, limits } = this.#gate
    const pending = this.#isClosed() ? 0 : this.#parser.pendingBytes
    const blocked = this.#blocked === undefined ? 0 : pending
    if (pending > 0) this.#parser.compact()
    if (pending > 0 || this.#holds) held.account(this, { blocked, unfinished: pending - blocked })
    this.#holds = pending > 0
    if (this.#isClosed()) return
    const bound = this.#state === 'open' ? limits.heldBytes : unauthenticatedBytes
    const pause = blocked > 0 && (this.#paused || blocked >= bound || held.overBlocked)
    if (pause === this.#paused) return
    this.#setPaused(pause)
    if (pause) this.#socket.pause()
    else this.#socket.resume()
  }

  #setPaused(paused: boolean): void {
    if (paused === this.#paused) return
    this.#paused = paused
    this.#gate.statistics.pausedSockets += paused ? 1 : -1
  }

  /** A call, so that the compiler does not take the state for what it was before a packet was handled. */
  #isClosed(): boolean {
    return this.#state === 'closed'
  }

  #close(): void {
    const connackSent = this.#subscriber?.connackSent === true
    if (connackSent || this.#state === 'connect') this.#out.flush()
    const wasOpen = this.#state === 'open'
    this.#state = 'closed'
    this.#accountHeld()
    this.#setPaused(false)
    this.#publisher?.close(this.#parser)
    this.#parser.clear()
    this.#gate.disconnected(this, this.#session, wasOpen)
    if (this.#will !== undefined && connackSent) this.#gate.publishWill({ clientId: this.clientIdBytes, user: this.user, will: this.#will })
    this.#gate.endSocket(this.#socket)
  }
}
