import { readFully, type FilePort } from './files.ts'
import {
  checkFrame,
  claimedFrameBytes,
  frameDamaged,
  frameHeaderBytes,
  frameIncomplete,
  frameOrdinal,
  markerBytes,
  segmentHeaderBytes
} from './frame.ts'

const windowBytes = 256 * 1024
/** Room in front of a window that is read ahead, for the frame that the window before it ends in. */
const aheadRoomBytes = 16 * 1024

/** A window that is being read while the one before it is walked. */
interface Ahead {
  readonly offset: number
  /** The window begins at `aheadRoomBytes`. */
  readonly buffer: Buffer
  /** Bytes read, or undefined when that failed. */
  readonly got: Promise<number | undefined>
}

/** Bytes of a segment that are no frame. */
export interface DamagedRegion {
  readonly offset: number
  readonly bytes: number
}

/**
 * Walks the frames of an open segment file. `step` looks at what was read and does no I/O; when it says `more`, `fill`
 * reads on. After `frame`, the frame is bytes[at …); bytes are not reused, so views into them stay good.
 *
 * Behind a full window the next one is read while this one is walked, so that whoever reads much never waits for the
 * disk and the checks in turn (`npm run bench -- recovery`).
 */
export class FrameWalker {
  bytes: Buffer = Buffer.alloc(0)
  at = 0
  /** Whole length of the current frame. */
  frameBytes = 0
  /** What lay between the frame before and this one, or before the end. */
  damage: DamagedRegion | undefined
  /** Highest ordinal that a damaged frame with a good header claims behind the last good one, or −1. */
  damagedOrdinal = -1
  readonly #files: FilePort
  readonly #fd: number
  readonly #marker: number
  readonly #markerBytes: Buffer
  #scratch: Buffer | undefined
  #ahead: Ahead | undefined
  /** File offset of bytes[0]. */
  #base: number
  #next = 0
  #atEndOfFile = false
  #damageFrom: number | undefined

  constructor(files: FilePort, fd: number, marker: number, offset = segmentHeaderBytes) {
    this.#files = files
    this.#fd = fd
    this.#marker = marker
    this.#markerBytes = markerBytes(marker)
    this.#base = offset
  }

  /** File offset behind the last good frame. */
  get offset(): number {
    return this.#damageFrom ?? this.#base + this.#next
  }

  /** Forgets what was read, so that the next look sees the file as it is now. */
  restart(): void {
    this.#base = this.offset
    this.#next = 0
    this.bytes = Buffer.alloc(0)
    this.#ahead = undefined
    this.#atEndOfFile = false
    this.#damageFrom = undefined
  }

  /** Moves on to the next frame that checks. */
  step(): 'frame' | 'more' | 'end' {
    for (;;) {
      const result = checkFrame(this.bytes, this.#next, this.bytes.length, this.#marker)
      if (result > 0) {
        this.at = this.#next
        this.frameBytes = result
        this.#next += result
        this.damage = undefined
        this.damagedOrdinal = -1
        if (this.#damageFrom !== undefined) this.#endDamage(this.#base + this.at)
        return 'frame'
      }
      if (result === frameIncomplete && !this.#atEndOfFile) return 'more'
      if (this.#next >= this.bytes.length) return this.#end()
      this.#skip(result)
      if (this.#next + frameHeaderBytes > this.bytes.length) return this.#atEndOfFile ? this.#end() : 'more'
    }
  }

  /** Reads on from the frame that `step` could not finish. */
  async fill(): Promise<void> {
    const rest = this.bytes.length - this.#next
    const offset = this.#base + this.#next
    if (!(await this.#takeAhead(rest, offset))) await this.#read(rest, offset)
    this.#base = offset
    this.#next = 0
  }

  async #read(rest: number, offset: number): Promise<void> {
    const wanted = rest >= frameHeaderBytes ? claimedFrameBytes(this.bytes, this.#next) : 0
    const size = Math.max(windowBytes, wanted)
    const scratch = this.#scratch !== undefined && this.#scratch.length >= size ? this.#scratch : Buffer.allocUnsafeSlow(size)
    const got = await readFully(this.#files, this.#fd, scratch, size, offset)
    this.#atEndOfFile = got <= rest
    // A nearly full buffer is given away; of a nearly empty one a copy is, so that a short record pins few bytes.
    const give = got > size / 2
    this.bytes = give ? scratch.subarray(0, got) : Buffer.from(scratch.subarray(0, got))
    this.#scratch = give || size > windowBytes ? undefined : scratch
    if (got === size) this.#readAhead(offset + got)
  }

  /** Goes on with the window that was read ahead, the unfinished frame in front of it; false when there is none that fits. */
  async #takeAhead(rest: number, offset: number): Promise<boolean> {
    const ahead = this.#ahead
    this.#ahead = undefined
    if (ahead === undefined || ahead.offset !== offset + rest || rest > aheadRoomBytes) return false
    const got = await ahead.got
    if (got === undefined || got === 0) return false
    const start = aheadRoomBytes - rest
    this.bytes.copy(ahead.buffer, start, this.#next)
    this.bytes = ahead.buffer.subarray(start, aheadRoomBytes + got)
    this.#atEndOfFile = false
    if (got === windowBytes) this.#readAhead(ahead.offset + got)
    return true
  }

  #readAhead(offset: number): void {
    const buffer = Buffer.allocUnsafeSlow(aheadRoomBytes + windowBytes)
    const window = buffer.subarray(aheadRoomBytes)
    // What fails is read again, and reported, when its turn has come.
    const got = readFully(this.#files, this.#fd, window, windowBytes, offset).catch(() => undefined)
    this.#ahead = { offset, buffer, got }
  }

  #skip(result: number): void {
    this.#damageFrom ??= this.#base + this.#next
    if (result === frameDamaged) this.damagedOrdinal = Math.max(this.damagedOrdinal, frameOrdinal(this.bytes, this.#next))
    const found = this.bytes.indexOf(this.#markerBytes, this.#next + 1)
    // The last three bytes may be the beginning of a marker.
    this.#next = found === -1 ? Math.max(this.#next + 1, this.bytes.length - 3) : found
  }

  #end(): 'end' {
    this.damage = undefined
    if (this.#damageFrom !== undefined) {
      const from = this.#damageFrom
      this.#endDamage(this.#base + this.bytes.length)
      this.#damageFrom = from
    }
    return 'end'
  }

  #endDamage(to: number): void {
    const offset = this.#damageFrom ?? to
    this.damage = { offset, bytes: to - offset }
    this.#damageFrom = undefined
  }
}
