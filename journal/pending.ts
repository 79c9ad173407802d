import { maskBytes } from './frame-mask.ts'
import { encodeFrame, frameBytesOf, markerBytes } from './frame.ts'
import type { AppendRecord } from './record.ts'

/** Bytes of a group that make it due, and the usual size of the buffers that records are encoded into. */
export const groupBytes = 256 * 1024
const keptBuffers = 4

/** A run of encoded frames: bytes[0 … length) with the ordinals [first, end). */
export interface Chunk {
  readonly bytes: Buffer
  length: number
  readonly first: number
  end: number
}

/**
 * Records that are appended and not yet durable, encoded as they will be on disk. Records go into the open group;
 * `take` closes it and hands it over for writing, `release` gives its buffers back.
 */
export class Pending {
  /** Bytes of all frames held: open and taken. */
  bytes = 0
  /** Bytes of the open group. */
  openBytes = 0
  readonly #marker: Buffer
  #open: Chunk[] = []
  #last: Chunk | undefined
  readonly #spare: Buffer[] = []

  constructor(marker: number) {
    this.#marker = markerBytes(marker)
  }

  /** Encodes a record into the open group. */
  append(record: AppendRecord, ordinal: number, receivedMs: number, receivedSubNs: number): void {
    const room = frameBytesOf(record) + maskBytes
    let chunk = this.#last
    if (chunk === undefined || chunk.length + room > chunk.bytes.length) chunk = this.#addChunk(room, ordinal)
    const before = chunk.length
    chunk.length = encodeFrame(chunk.bytes, chunk.length, this.#marker, ordinal, receivedMs, receivedSubNs, record)
    chunk.end = ordinal + 1
    this.bytes += chunk.length - before
    this.openBytes += chunk.length - before
  }

  /** Closes the open group and returns its chunks, in order. */
  take(): readonly Chunk[] {
    const taken = this.#open
    this.#open = []
    this.#last = undefined
    this.openBytes = 0
    return taken
  }

  /** Forgets chunks that were taken. */
  release(chunks: readonly Chunk[]): void {
    for (const chunk of chunks) {
      this.bytes -= chunk.length
      if (chunk.bytes.length === groupBytes && this.#spare.length < keptBuffers) this.#spare.push(chunk.bytes)
    }
  }

  #addChunk(size: number, ordinal: number): Chunk {
    const bytes = size > groupBytes ? Buffer.allocUnsafeSlow(size) : (this.#spare.pop() ?? Buffer.allocUnsafeSlow(groupBytes))
    const chunk = { bytes, length: 0, first: ordinal, end: ordinal }
    this.#open.push(chunk)
    this.#last = chunk
    return chunk
  }
}
