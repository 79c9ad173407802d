import type { Socket } from 'node:net'
import type { BrokerStatistics } from './statistics.ts'
import type { Unread, UnreadBytes } from './unread-bytes.ts'

/** The connection, as what leaves on its socket sees it. */
export interface OutboundHost {
  violate(reason: string): void
}

/** What leaves on one socket: replies of the present turn, acknowledgements of the present commit, aedes' packets. */
export class Outbound implements Unread {
  readonly #host: OutboundHost
  readonly #socket: Socket
  readonly #statistics: BrokerStatistics
  readonly #unread: UnreadBytes
  #sentBytes = 0
  readonly #replies: Buffer[] = []
  readonly #staged: number[] = []

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

  get waitingBytes(): number {
    return this.#socket.destroyed ? 0 : this.#socket.writableLength
  }

  get readBytes(): number {
    return this.#sentBytes - this.waitingBytes
  }

  /** True when the client reads too little and more than so many bytes wait. */
  isStuck(bytes: number): boolean {
    return this.#socket.writableLength > bytes && this.#socket.writableNeedDrain
  }

  /** Takes a reply for `flush`. */
  reply(bytes: Buffer): void {
    this.#replies.push(bytes)
  }

  /** Writes the replies of this turn in one write. */
  flush(): void {
    const replies = this.#replies
    const [first] = replies
    if (first === undefined) return
    this.send(replies.length === 1 ? first : Buffer.concat(replies))
    replies.length = 0
  }

  /** Takes an acknowledgement (type << 16 | packet id) for `writeStaged`; true when it is the first one. */
  stage(packet: number): boolean {
    return this.#staged.push(packet) === 1
  }

  /** Writes the staged acknowledgements in one write. */
  writeStaged(): void {
    const staged = this.#staged
    const bytes = Buffer.allocUnsafe(staged.length * 4)
    let at = 0
    for (const packet of staged) {
      bytes[at] = packet >> 16
      bytes[at + 1] = 2
      bytes[at + 2] = (packet >> 8) & 0xff
      bytes[at + 3] = packet & 0xff
      at += 4
    }
    this.#statistics.acknowledged += staged.length
    staged.length = 0
    this.send(bytes)
  }

  /** False when the socket asks to wait for 'drain'. */
  send(bytes: Buffer): boolean {
    const socket = this.#socket
    this.#statistics.bytesSent += bytes.length
    this.#sentBytes += bytes.length
    const wantsMore = socket.write(bytes)
    if (socket.writableLength > 0 || this.#unread.has(this)) this.#unread.note(this)
    return wantsMore
  }

  drop(reason: string): void {
    this.#host.violate(reason)
    this.#socket.destroy()
  }
}
