import type { Socket } from 'node:net'
import type { BrokerStatistics } from './statistics.ts'

/** More than this is handed to the socket piece by piece instead of being copied together. */
const copiedBytes = 65_536

/** What leaves on one socket: replies and messages of the present turn, acknowledgements of the present commit. */
export class Outbound {
  readonly #socket: Socket
  readonly #statistics: BrokerStatistics
  readonly #replies: Buffer[] = []
  readonly #staged: number[] = []
  #replyBytes = 0

  constructor(socket: Socket, statistics: BrokerStatistics) {
    this.#socket = socket
    this.#statistics = statistics
  }

  /** Bytes that wait for the client to read them. */
  get waitingBytes(): number {
    return this.#socket.writableLength + this.#replyBytes
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
    this.#statistics.bytesSent += bytes.length
    this.#socket.write(bytes)
  }

  /** One system call for all, without a copy. */
  #sendAll(replies: readonly Buffer[]): void {
    this.#socket.cork()
    for (const bytes of replies) this.send(bytes)
    this.#socket.uncork()
  }
}
