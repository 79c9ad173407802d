import type { Socket } from 'node:net'
import { SharedReadSocket } from './shared-read-socket.ts'
import type { BrokerStatistics } from './statistics.ts'

/** Acknowledgements of 1,000 packets: more are written from a buffer of their own. */
const sharedBytes = 4000
/** What a write takes its bytes from as long as the kernel takes all of them at once; else it keeps them, and a new one follows. */
let shared = Buffer.allocUnsafeSlow(sharedBytes)
/** Most writes have one acknowledgement. */
let single = shared.subarray(0, 4)

/** What leaves on one socket: replies of the present turn, acknowledgements of the present commit, aedes' packets. */
export class Outbound {
  readonly #socket: Socket
  readonly #statistics: BrokerStatistics
  readonly #replies: Buffer[] = []
  /** The first acknowledgement of a commit, 0 for none, and those behind it. */
  #first = 0
  #others: number[] | undefined

  constructor(socket: Socket, statistics: BrokerStatistics) {
    this.#socket = socket
    this.#statistics = statistics
  }

  /** Bytes that wait for the client to read them. */
  get waitingBytes(): number {
    return this.#socket.writableLength
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
    const own = count * 4 > sharedBytes
    const bytes = own ? Buffer.allocUnsafeSlow(count * 4) : count === 1 ? single : shared.subarray(0, count * 4)
    put(bytes, 0, this.#first)
    this.#first = 0
    if (others !== undefined) {
      for (let index = 1; index < count; index++) put(bytes, index * 4, others[index - 1] ?? 0)
      others.length = 0
    }
    this.#statistics.acknowledged += count
    this.#statistics.bytesSent += bytes.length
    const socket = this.#socket
    if (socket instanceof SharedReadSocket) {
      if (socket.writeAtOnce(bytes) || own) return
    } else socket.write(bytes)
    if (own) return
    shared = Buffer.allocUnsafeSlow(sharedBytes)
    single = shared.subarray(0, 4)
  }

  /** False when the socket asks to wait for 'drain'. */
  send(bytes: Buffer): boolean {
    this.#statistics.bytesSent += bytes.length
    return this.#socket.write(bytes)
  }
}

function put(bytes: Buffer, at: number, packet: number): void {
  bytes[at] = packet >> 16
  bytes[at + 1] = 2
  bytes[at + 2] = (packet >> 8) & 0xff
  bytes[at + 3] = packet & 0xff
}
