import type { Socket } from 'node:net'
import { acknowledgement } from './acknowledgements.ts'
import { decodeConnect, returnCodes } from './connect-packet.ts'
import type { ConnectPacket, Will } from './connect-packet.ts'
import { FrameParser, frameStatus } from './frame-parser.ts'
import { notTaken } from './gate.ts'
import type { BlockReason, Gate } from './gate.ts'
import { ticksOf } from './keep-alive.ts'
import type { Watched } from './keep-alive.ts'
import { Outbound } from './outbound.ts'
import { buildPublishPacket, decodePublish } from './publish-packet.ts'
import type { Session } from './sessions.ts'
import { SubscriberSide } from './subscriber-side.ts'
import type { SubscriberHost } from './subscriber-side.ts'
import { decodeSubscribe, decodeUnsubscribe } from './subscribe-packet.ts'

/** Bytes held of a client before its CONNACK, and the largest CONNECT. */
const unauthenticatedBytes = 65_536
const connectTimeoutMs = 5000
/** Acknowledgements and PINGRESPs that may wait for a client that does not read before it is not read either. */
const unreadReplyBytes = 65_536
/** Packets handled before the event loop gets its turn. */
const packetsPerTurn = 1024

const pingResponse = Buffer.from([0xd0, 0x00])
/** One object for all connections: a publish is decoded and appended in one go. */
const publish = buildPublishPacket()

/**
 * One client's socket: cuts it into packets, answers for the publisher's side and passes the subscriber's side on.
 *
 * States: connect (waiting for CONNECT) → opening (CONNECT was passed on, nothing before CONNACK 0) → open → closed.
 * A packet that cannot be handled yet blocks the connection: it stays at the front of the parser with everything behind
 * it, reading goes on up to the held bytes (PINGREQs there are answered), then the socket is paused until unblocked.
 */
export class Connection implements Watched, SubscriberHost {
  readonly address: string
  clientId: string | undefined
  clientIdBytes: Buffer = Buffer.alloc(0)
  user: Buffer | undefined
  lastTick: number
  silentTicks = ticksOf(connectTimeoutMs)
  /** Acknowledgements of this connection that wait for the disk. */
  unacknowledged = 0
  readonly #gate: Gate
  readonly #socket: Socket
  readonly #parser = new FrameParser()
  readonly #out: Outbound
  #state: 'connect' | 'opening' | 'open' | 'closed' = 'connect'
  #blocked: BlockReason | undefined
  #paused = false
  #held = 0
  #inputEnded = false
  #session: Session | undefined
  #will: Will | undefined
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

  get standsStill(): boolean {
    return this.#paused
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

  /** CONNACK 0 has left on the routing side too: packets behind CONNECT are handled from now on. */
  onOpen(): void {
    if (this.#state !== 'opening') return
    this.#state = 'open'
    this.#gate.connected(this)
    this.unblock('connack')
  }

  onRouteReady(): void {
    this.unblock('route')
  }

  /** Takes an acknowledgement (type << 16 | packet id) for the next write; true when it is the first one. */
  stageAcknowledgement(packet: number): boolean {
    this.unacknowledged -= 1
    if (this.#state === 'closed') return false
    return this.#out.stage(packet)
  }

  /** Writes the staged acknowledgements in one write. */
  writeAcknowledgements(): void {
    if (this.#state === 'closed') return
    this.#out.writeStaged()
    if (this.#blocked === 'inFlight' && this.unacknowledged <= this.#gate.limits.inFlight / 2) this.#gate.resumeSoon(this)
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
    if (this.#state === 'opening') return this.#block('connack')
    if (this.#out.isStuck(unreadReplyBytes)) return this.#block('replies')
    switch (header >> 4) {
      case 3:
        return this.#handlePublish(header)
      case 6:
        return this.#handlePubrel()
      case 12:
        return this.#handlePing()
      case 14:
        return this.#handleDisconnect()
      case 4:
      case 5:
      case 7:
        return this.#packetId() > 0 && this.#passOn()
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
    const opened = this.#gate.openSession(clientId, packet.clean, this)
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
    this.#subscriber = new SubscriberSide({ host: this, out: this.#out, router: this.#gate.router, sessionPresent })
    this.#subscriber.connect(this.clientIdBytes, packet.clean)
    return true
  }

  #handlePublish(header: number): boolean {
    const { buffer, bodyStart, bodyEnd } = this.#parser
    const fault = decodePublish(buffer, header, bodyStart, bodyEnd, publish)
    if (fault !== undefined) {
      this.#gate.statistics.publishesRefused += 1
      this.violate(fault)
      return false
    }
    const { qos, packetId } = publish
    const receivedIds = this.#session?.receivedIds
    if (qos === 2 && receivedIds !== undefined) {
      const known = receivedIds.get(packetId)
      if (known !== undefined) {
        this.#gate.statistics.resends += 1
        this.#reply(acknowledgement.pubrec, packetId, known)
        return true
      }
      if (receivedIds.size >= this.#gate.maxReceivedIds) {
        this.violate('too many QoS 2 publishes without PUBREL')
        return false
      }
    }
    if (qos > 0 && this.unacknowledged >= this.#gate.limits.inFlight) return this.#block('inFlight')
    const ordinal = this.#gate.append(this, buffer, publish, bodyEnd)
    if (ordinal === notTaken.routing) return this.#block('routing')
    if (ordinal === notTaken.journal) {
      if (qos > 0) return this.#block('journal')
      this.#gate.statistics.shed += 1
      return true
    }
    this.#gate.statistics.publishes[qos] += 1
    if (qos === 1) this.#gate.acknowledgements.push(this, acknowledgement.puback, packetId, ordinal)
    else if (qos === 2) {
      receivedIds?.set(packetId, ordinal)
      this.#gate.acknowledgements.push(this, acknowledgement.pubrec, packetId, ordinal)
    }
    return true
  }

  /** [MQTT-4.3.3-2]: the id is free again, and PUBCOMP is owed whether it was known or not. */
  #handlePubrel(): boolean {
    const packetId = this.#packetId()
    if (packetId === 0) return false
    const ordinal = this.#session?.receivedIds.get(packetId) ?? -1
    this.#session?.receivedIds.delete(packetId)
    this.#reply(acknowledgement.pubcomp, packetId, ordinal)
    return true
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
    const subscriber = this.#subscriber
    const filters = this.#session?.filters
    if (subscriber === undefined || filters === undefined) return false
    if (subscriber.blocked) return this.#block('route')
    if (!subscribe) for (const filter of list.filters) filters.delete(filter)
    else if (!subscriber.subscribe(list.filters, filters, this.#gate.limits.subscriptions)) {
      this.violate('too many subscriptions')
      return false
    }
    return this.#passOn()
  }

  /** The packet id of a packet that holds nothing else; 0, and closed, when it does not. */
  #packetId(): number {
    const { buffer, bodyStart, bodyEnd } = this.#parser
    const packetId = bodyEnd - bodyStart === 2 ? buffer.readUInt16BE(bodyStart) : 0
    if (packetId === 0) this.violate('acknowledgement without a packet id')
    return packetId
  }

  /** Gives the current packet to the routing side. */
  #passOn(): boolean {
    if (this.#subscriber === undefined || this.#subscriber.blocked) return this.#block('route')
    this.#subscriber.passOn(Buffer.from(this.#parser.buffer.subarray(this.#parser.start, this.#parser.bodyEnd)))
    return true
  }

  /** Acknowledges at once when nothing before it waits, else in its turn. */
  #reply(type: number, packetId: number, ordinal: number): void {
    const { acknowledgements, lastOrdinal } = this.#gate
    if (this.unacknowledged === 0 && ordinal < acknowledgements.durable) {
      this.#out.reply(Buffer.from([type, 2, packetId >> 8, packetId & 0xff]))
    } else acknowledgements.push(this, type, packetId, lastOrdinal)
  }

  #block(reason: BlockReason): false {
    this.#blocked = reason
    this.#gate.block(this, reason)
    return false
  }

  #answerPings(): void {
    if (this.#state !== 'open') return
    const pings = this.#parser.countPings(this.#gate.maxPacketBytes)
    for (let count = 0; count < pings; count++) this.#out.reply(pingResponse)
    this.#out.flush()
  }

  /** Counts what is held behind a block; pauses above the bounds, and reads again when nothing blocks any more. */
  #accountHeld(): void {
    const gate = this.#gate
    const held = this.#blocked === undefined || this.#state === 'closed' ? 0 : this.#parser.pendingBytes
    gate.statistics.heldBytes += held - this.#held
    this.#held = held
    const bound = this.#state === 'open' ? gate.limits.heldBytes : unauthenticatedBytes
    const pause = held > 0 && (this.#paused || held >= bound || gate.statistics.heldBytes > gate.limits.heldBytesTotal)
    if (pause === this.#paused) return
    this.#paused = pause
    gate.statistics.pausedSockets += pause ? 1 : -1
    if (pause) this.#socket.pause()
    else this.#socket.resume()
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
    this.#parser.clear()
    this.#gate.disconnected(this, this.#session, wasOpen)
    this.#subscriber?.close()
    if (this.#will !== undefined && connackSent) this.#gate.publishWill({ clientId: this.clientIdBytes, user: this.user, will: this.#will })
    this.#gate.endSocket(this.#socket)
  }
}
