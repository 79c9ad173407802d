import type { Socket } from 'node:net'
import { endings } from './endings.ts'
import type { Ending } from './endings.ts'
import type { Gate } from './gate.ts'
import type { Holder } from './held-bytes.ts'
import { ticksOf } from './keep-alive.ts'
import type { Outbound } from './outbound.ts'
import { FrameParser, frameStatus } from './packets/frame-parser.ts'
import { listenToBytes } from './shared-read-socket.ts'
import type { ClientRate } from './rates.ts'
import { Slice } from './turns.ts'
import type { BlockReason, Waiter } from './waiting.ts'

/** Bytes held of a client before its CONNACK, and the largest CONNECT. */
const unauthenticatedBytes = 65_536
const connectHeader = 0x10

const publishType = 3
/** How long a client that has ended its side is kept, while its CONNACK or a packet before the end waits. */
const openingEndedTicks = ticksOf(5000)
const endedTicks = ticksOf(60_000)

export const pingResponse = Buffer.from([0xd0, 0x00])

/** connect (waiting for CONNECT) → opening (CONNECT was passed on, nothing before CONNACK 0) → open → closed. */
export type ConnectionState = 'connect' | 'opening' | 'open' | 'closed'

/** The connection, as what reads its socket sees it. */
export interface IntakeHost extends Waiter, Holder {
  readonly state: ConnectionState
  /** Round of the last packet. */
  lastTick: number
  /** Rounds without a packet after which it is over. */
  silentTicks: number
  /** Handles the packet that the parser is at; false when it blocked the connection or closed it. */
  handle(header: number): boolean
  finish(ending: Ending): void
}

/**
 * Reads one client's socket, cuts what comes into packets and hands them over one by one.
 *
 * A packet that cannot be handled yet blocks: it stays at the front of the parser with everything behind it, reading goes
 * on up to the held bytes (PINGREQs there are answered), then the socket is paused until unblocked.
 */
export class Intake {
  readonly parser = new FrameParser()
  /** Undefined while every rate is allowed. */
  rate: ClientRate | undefined
  readonly #host: IntakeHost
  readonly #gate: Gate
  readonly #socket: Socket
  readonly #out: Outbound
  readonly #slice = new Slice()
  #blocked: BlockReason | undefined
  #paused = false
  /** Whether the gate counts bytes of this connection. */
  #holds = false
  #inputEnded = false

  constructor(options: { readonly host: IntakeHost; readonly gate: Gate; readonly socket: Socket; readonly out: Outbound }) {
    this.#host = options.host
    this.#gate = options.gate
    this.#socket = options.socket
    this.#out = options.out
  }

  /** What the packet at the front waits for. */
  get blocked(): BlockReason | undefined {
    return this.#blocked
  }

  get inputEnded(): boolean {
    return this.#inputEnded
  }

  /** A client that does not read its replies has no excuse, and one that has ended its side sends nothing. */
  get standsStill(): boolean {
    return this.#paused && this.#blocked !== 'replies' && !this.#inputEnded
  }

  /** Begins to read. */
  start(): void {
    const socket = this.#socket
    socket.on('end', () => this.#onEnd())
    listenToBytes(socket, (buffer, start, end) => this.#onBytes(buffer, start, end))
  }

  /** Leaves the current packet where it is until `unblock` is called with this reason. */
  block(reason: BlockReason): false {
    this.#blocked = reason
    this.#gate.waiting.add(this.#host, reason)
    return false
  }

  /** Goes on with the packet that blocked, when it blocked for this reason. */
  unblock(reason: BlockReason): void {
    if (this.#blocked !== reason || this.#isClosed()) return
    this.#blocked = undefined
    this.#host.lastTick = this.#gate.tick
    this.#drain()
  }

  /** Hands over no further packets. */
  stop(): void {
    this.#blocked = 'stop'
    this.#socket.pause()
  }

  /** The connection is closed: nothing is held of it any more. What was pushed stays in the parser. */
  close(): void {
    this.#accountHeld()
    this.#setPaused(false)
  }

  #onBytes(buffer: Buffer, start: number, end: number): void {
    if (this.#isClosed()) return
    this.#gate.statistics.bytesReceived += end - start
    this.parser.push(buffer, start, end)
    if (this.#blocked === undefined) {
      this.#drain()
      return
    }
    this.#host.lastTick = this.#gate.tick
    this.#answerPings()
    this.#accountHeld()
  }

  #onEnd(): void {
    this.#inputEnded = true
    // What waits behind a blocked publish is still the client's word: a publisher may send and leave.
    if (this.#blocked === undefined) this.#host.finish(endings.closedByClient)
    else this.#host.silentTicks = this.#host.state === 'opening' ? openingEndedTicks : endedTicks
  }

  #drain(): void {
    const { turns } = this.#gate.waiting
    turns.open(this.#slice)
    this.#handlePackets()
    turns.close(this.#slice)
    if (this.#isClosed()) return
    if (this.#blocked !== undefined && this.#blocked !== 'turn') this.#answerPings()
    this.#out.flush()
    this.#accountHeld()
    if (this.#inputEnded && this.#blocked === undefined) this.#host.finish(endings.closedByClient)
    this.#gate.releaseOverdue()
  }

  /** Hands packets over until one blocks, closes the connection or has not come to its end. */
  #handlePackets(): void {
    const { parser } = this
    const host = this.#host
    const slice = this.#slice
    while (!this.#isClosed()) {
      // Not even looked at: what follows CONNECT must not decide whether the client gets its CONNACK.
      if (host.state === 'opening' && !this.block('connack')) return
      if (host.state === 'connect' && parser.pendingBytes > 0 && parser.firstByte !== connectHeader) {
        host.violate(endings.notConnect)
        return
      }
      const status = parser.next(host.state === 'connect' ? unauthenticatedBytes : this.#gate.maxPacketBytes)
      if (status === frameStatus.incomplete) return
      if (status !== frameStatus.complete) {
        host.violate(status === frameStatus.tooLarge ? endings.tooLarge : endings.header)
        return
      }
      if (!slice.take(parser.bodyEnd - parser.start)) {
        this.block('turn')
        return
      }
      if (this.rate !== undefined && this.#isOverRate(this.rate)) return
      if (!host.handle(parser.header)) return
      if (this.rate !== undefined) this.#charge(this.rate)
      host.lastTick = this.#gate.tick
      parser.consume()
    }
  }

  /** True when the current packet has to wait for the client's rate, and blocked. */
  #isOverRate(rate: ClientRate): boolean {
    const waitMs = isRated(this.parser.header) ? rate.waitMs() : 0
    if (waitMs === 0) return false
    this.#blocked = 'rate'
    this.#gate.waiting.addRate(this.#host, waitMs)
    return true
  }

  #charge(rate: ClientRate): void {
    const { header, start, bodyEnd } = this.parser
    if (isRated(header)) rate.charge(header >> 4 === publishType ? 1 : 0, bodyEnd - start)
  }

  #answerPings(): void {
    if (this.#host.state !== 'open') return
    const pings = this.parser.countPings(this.#gate.maxPacketBytes)
    for (let count = 0; count < pings; count++) this.#out.reply(pingResponse)
    this.#out.flush()
  }

  /**
   * Counts what is held: behind a block, or of a packet whose end has not come. Behind a block the socket is paused above
   * the bounds, and read again when nothing blocks any more.
   */
  #accountHeld(): void {
    const { parser } = this
    const { held, limits } = this.#gate
    const pending = this.#isClosed() ? 0 : parser.pendingBytes
    const blocked = this.#blocked === undefined ? 0 : pending
    if (pending > 0) parser.keep()
    if (pending > 0 || this.#holds) held.account(this.#host, { blocked, unfinished: pending - blocked })
    this.#holds = pending > 0
    if (this.#isClosed()) return
    const bound = this.#host.state === 'open' ? limits.heldBytes : unauthenticatedBytes
    // Between two turns there is nothing to wait for: the kernel keeps the rest.
    const pause = blocked > 0 && (this.#paused || this.#blocked === 'turn' || blocked >= bound || held.overBlocked)
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
    return this.#host.state === 'closed'
  }
}

/** Packets that the rates of a client are about: what it publishes and asks for, not what it answers. */
function isRated(header: number): boolean {
  const type = header >> 4
  return type === publishType || type === 8 || type === 10
}
