/**
 * Cuts the bytes of one connection into MQTT control packets (fixed header of MQTT 3.1.1 §2.2), however they were split.
 *
 * A chunk that begins at a packet's border is read where it lies; only an unfinished rest is copied into a buffer of its
 * own, which grows by a factor, so that a packet that arrives byte by byte costs no more than one that arrives whole,
 * and is given back when it is empty. A declared length reserves nothing.
 */
export const frameStatus = { incomplete: 0, complete: 1, malformed: 2, tooLarge: 3 } as const
export type FrameStatus = (typeof frameStatus)[keyof typeof frameStatus]

const nothing = Buffer.alloc(0)
const pingRequest = 0xc0
const auth = 0xf0
const smallBytes = 256

/**
 * First bytes that a client may send: the packet types of a client with the flags that the specification fixes. 1 stands
 * for every version, 3 and 5 for the protocol level that alone has them.
 */
const clientHeaders = buildClientHeaders()

function buildClientHeaders(): Uint8Array {
  const valid = new Uint8Array(256)
  for (const header of [0x10, 0x40, 0x50, 0x62, 0x70, 0x82, 0xa2, 0xc0, 0xe0]) valid[header] = 1
  for (let flags = 0; flags < 16; flags++) if ((flags & 6) !== 6) valid[0x30 | flags] = 1
  // MQTT 3.1 §2.1 allows DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE; MQTT 5.0 has AUTH.
  for (const header of [0x6a, 0x8a, 0xaa]) valid[header] = 3
  valid[auth] = 5
  return valid
}

/** The packets of one connection. The fields header, bodyStart and bodyEnd describe the current one after `next`. */
export class FrameParser {
  /** Bytes that the current packet lies in, from `start`; valid until the next `push`. */
  buffer: Buffer = nothing
  start = 0
  header = 0
  bodyStart = 0
  bodyEnd = 0
  /** Protocol level of the client: what it may send depends on it. */
  level: 3 | 4 | 5 = 4
  #end = 0
  #owned = false
  #scanned = 0

  /** Bytes that were pushed and not consumed. */
  get pendingBytes(): number {
    return this.#end - this.start
  }

  /** True when the length of the current packet has more bytes than it needs, which MQTT 5 forbids [MQTT-1.5.5-1]. */
  get lengthPadded(): boolean {
    return this.bodyStart - this.start > 2 && this.buffer[this.bodyStart - 1] === 0
  }

  /** True when countPings has already been past the current packet. */
  get scanned(): boolean {
    return this.start < this.#scanned
  }

  push(chunk: Buffer): void {
    const rest = this.#end - this.start
    if (rest === 0) {
      this.buffer = chunk
      this.start = 0
      this.#end = chunk.length
      this.#owned = false
      this.#scanned = 0
      return
    }
    if (!this.#owned || this.buffer.length - this.#end < chunk.length) this.#makeRoom(rest, rest + chunk.length)
    chunk.copy(this.buffer, this.#end)
    this.#end += chunk.length
  }

  /** Copies what is pending when it lies in far more memory than it needs, so that a few bytes do not keep 64 KiB. */
  compact(): void {
    const rest = this.pendingBytes
    if (this.buffer.length > Math.max(smallBytes, rest * 4)) this.#move(rest, roomFor(rest))
  }

  /** Reads the packet at the front without taking it. */
  next(maxBytes: number): FrameStatus {
    return this.#frameAt(this.start, maxBytes)
  }

  /** Takes the current packet, so that `next` reads the one behind it. */
  consume(): void {
    this.start = this.bodyEnd
    if (this.start === this.#end) this.clear()
  }

  /** Forgets everything that was pushed. */
  clear(): void {
    this.buffer = nothing
    this.start = 0
    this.#end = 0
    this.#scanned = 0
    this.#owned = false
  }

  /** How many complete PINGREQ lie behind the packet at the front that were not counted before. */
  countPings(maxBytes: number): number {
    let pings = 0
    let at = Math.max(this.#scanned, this.start)
    while (this.#frameAt(at, maxBytes) === frameStatus.complete) {
      if (this.header === pingRequest && this.bodyEnd === this.bodyStart) pings += 1
      at = this.bodyEnd
    }
    this.#scanned = at
    return pings
  }

  #frameAt(at: number, maxBytes: number): FrameStatus {
    const { buffer } = this
    const end = this.#end
    if (at >= end) return frameStatus.incomplete
    const header = buffer[at] ?? 0
    const validity = clientHeaders[header]
    if (validity !== 1 && validity !== this.level) return frameStatus.malformed
    let length = 0
    let position = at + 1
    for (let shift = 0; ; shift += 7) {
      if (position >= end) return frameStatus.incomplete
      const byte = buffer[position] ?? 0
      position += 1
      length += (byte & 0x7f) << shift
      if (byte === 0 && shift > 0 && this.level === 5) return frameStatus.malformed
      if (byte < 0x80) break
      if (shift === 21) return frameStatus.malformed
    }
    if (position - at + length > maxBytes) return frameStatus.tooLarge
    if (position + length > end) return frameStatus.incomplete
    this.header = header
    this.bodyStart = position
    this.bodyEnd = position + length
    return frameStatus.complete
  }

  #makeRoom(rest: number, needed: number): void {
    this.#move(rest, this.#owned && this.buffer.length >= needed ? undefined : roomFor(needed))
  }

  /** Moves what is pending to the front of the buffer, or of a new one of this size. */
  #move(rest: number, size: number | undefined): void {
    const target = size === undefined ? this.buffer : Buffer.allocUnsafeSlow(size)
    this.buffer.copy(target, 0, this.start, this.#end)
    this.buffer = target
    this.#owned = true
    this.#scanned = Math.max(0, this.#scanned - this.start)
    this.start = 0
    this.#end = rest
  }
}

/** Doubles at first, so that pieces are copied seldom; a large packet gets a quarter more, which bounds what lies idle. */
function roomFor(needed: number): number {
  return needed > 65_536 ? Math.ceil(needed * 1.25) : Math.max(smallBytes, needed * 2)
}
