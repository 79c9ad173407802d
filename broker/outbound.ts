import type { Socket } from 'node:net'
import { SharedReadSocket } from './shared-read-socket.ts'
import type { BrokerStatistics } from './statistics.ts'

/** More than this is handed to the socket piece by piece instead of being copied together. */
const copiedBytes = 65_536
/** Acknowledgements of 800 packets at least: more are written from a buffer of their own. */
const sharedBytes = 4000
/** Longest acknowledgement: one of MQTT 5 with a reason code. */
const longestBytes = 5
/** What a write takes its bytes from as long as the kernel takes all of them at once; else it keeps them, and a new one follows. */
let shared = Buffer.allocUnsafeSlow(sharedBytes)
/** Most writes have one acknowledgement, of four bytes. */
let single = shared.subarray(0, 4)

/** What leaves on one socket: replies and messages of the present turn, acknowledgements of the present commit. */
export class Outbound {
  readonly #socket: Socket
  readonly #statistics: BrokerStatistics
  readonly #replies: Buffer[] = []
  #replyBytes = 0
  /** The first acknowledgement of a commit, 0 for none, and those behind it. */
  #first = 0
  #others: number[] | undefined

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
    if (this.#first === 0) {
      this.#first = packet
      return true
    }
    this.#others ??= []
    this.#others.push(packet)
    return false
  }

  /** Writes the staged acknowledgements in one write. */
  writeStaged(): void {
    const others = this.#others
    const count = 1 + (others?.length ?? 0)
    const own = count * longestBytes > sharedBytes
    const buffer = own ? Buffer.allocUnsafeSlow(count * longestBytes) : shared
    let length = put(buffer, 0, this.#first)
    this.#first = 0
    if (others !== undefined) {
      for (const packet of others) length = put(buffer, length, packet)
      others.length = 0
    }
    const bytes = !own && length === single.length ? single : buffer.subarray(0, length)
    this.#statistics.acknowledged += count
    this.#statistics.bytesSent += length
    const socket = this.#socket
    if (socket instanceof SharedReadSocket) {
      if (socket.writeAtOnce(bytes) || own) return
    } else socket.write(bytes)
    if (own) return
    shared = Buffer.allocUnsafeSlow(sharedBytes)
    single = shared.subarray(0, 4)
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

/** Writes an acknowledgement at a place and returns where it ends. */
function put(bytes: Buffer, at: number, packet: number): number {
  const code = packet >>> 24
  bytes[at] = (packet >> 16) & 0xff
  bytes[at + 1] = code === 0 ? 2 : 3
  bytes[at + 2] = (packet >> 8) & 0xff
  bytes[at + 3] = packet & 0xff
  if (code === 0) return at + 4
  // Without one it is success (§3.4.2.1).
  bytes[at + 4] = code
  return at + longestBytes
}
