import type { Socket } from 'node:net'
import { endings } from './endings.ts'
import type { Fault } from './packets/reason-codes.ts'
import type { BrokerStatistics } from './statistics.ts'
import type { Unread, UnreadBytes } from './unread-bytes.ts'

/** The connection, as what leaves on its socket sees it. */
export interface OutboundHost {
  violate(fault: Fault): void
}

/** More than this is handed to the socket piece by piece instead of being copied together. */
const copiedBytes = 65_536

/** What leaves on one socket: replies and messages of the present turn, acknowledgements of the present commit. */
export class Outbound implements Unread {
  readonly #host: OutboundHost
  readonly #socket: Socket
  readonly #statistics: BrokerStatistics
  readonly #unread: UnreadBytes
  #sentBytes = 0
  readonly #replies: Buffer[] = []
  readonly #staged: number[] = []
  #replyBytes = 0

  constructor(options: {
    readonly host: OutboundHost
    readonly socket: Socket
    readonly statistics: BrokerStatistics
    readonly unread: UnreadBytes
  }) {
    this.#host = options.host
    this.#socket = options.socket
    this.#statistics = options.statistics
    this.#unread = options.unread
  }

  /** Bytes that wait for the client to read them. */
  get waitingBytes(): number {
    return this.#socket.writableLength + this.#replyBytes
  }

  /** Those of them that the socket has; none when it is destroyed. */
  get unreadBytes(): number {
    return this.#socket.destroyed ? 0 : this.#socket.writableLength
  }

  get readBytes(): number {
    return this.#sentBytes - this.unreadBytes
  }

  /** True when the client reads too little and more than so many bytes wait. */
  isStuck(bytes: number): boolean {
    return this.#socket.writableLength > bytes && this.#socket.writableNeedDrain
  }

  /** Takes a packet, or a part of one, for `flush`; the bytes must not change any more. */
  reply(bytes: Buffer): void {
    this.#replies.push(bytes)
    this.#replyBytes += bytes.length
  }

  /** Writes the replies of this turn in one write. */
  flush(): void {
    const replies = this.#replies
    const [first] = replies
    if (first === undefined) return
    if (replies.length === 1) this.send(first)
    else if (this.#replyBytes <= copiedBytes) this.send(Buffer.concat(replies, this.#replyBytes))
    else this.#sendAll(replies)
    replies.length = 0
    this.#replyBytes = 0
  }

  /** Takes an acknowledgement (reason code << 24 | type << 16 | packet id) for `writeStaged`; true when it is the first one. */
  stage(packet: number): boolean {
    return this.#staged.push(packet) === 1
  }

  /** Writes the staged acknowledgements in one write. */
  writeStaged(): void {
    const staged = this.#staged
    let length = staged.length * 4
    for (const packet of staged) if (packet >>> 24 !== 0) length += 1
    const bytes = Buffer.allocUnsafe(length)
    let at = 0
    for (const packet of staged) {
      const code = packet >>> 24
      bytes[at] = (packet >> 16) & 0xff
      bytes[at + 1] = code === 0 ? 2 : 3
      bytes[at + 2] = (packet >> 8) & 0xff
      bytes[at + 3] = packet & 0xff
      at += 4
      // Without one it is success (§3.4.2.1).
      if (code !== 0) bytes[at++] = code
    }
    this.#statistics.acknowledged += staged.length
    staged.length = 0
    this.send(bytes)
  }

  send(bytes: Buffer): void {
    this.#write(bytes)
    this.#note()
  }

  drop(): void {
    this.#host.violate(endings.unread)
    this.#socket.destroy()
  }

  /** One system call for all, without a copy. */
  #sendAll(replies: readonly Buffer[]): void {
    this.#socket.cork()
    for (const bytes of replies) this.#write(bytes)
    this.#socket.uncork()
    this.#note()
  }

  #write(bytes: Buffer): void {
    this.#statistics.bytesSent += bytes.length
    this.#sentBytes += bytes.length
    this.#socket.write(bytes)
  }

  /** The kernel takes what a client reads at once: only what it did not take is anybody's business. */
  #note(): void {
    if (this.#socket.writableLength > 0 || this.#unread.has(this)) this.#unread.note(this)
  }
}
