import { writeFully, type FilePort } from './files.ts'
import { encodeSegmentHeader, segmentHeaderBytes, segmentName } from './frame.ts'
import type { Chunk } from './pending.ts'

/** The segment that is being written. */
export interface ActiveSegment {
  readonly name: string
  readonly path: string
  readonly sequence: number
  readonly first: number
  /** Bytes written and, with sync fsync, durable. */
  bytes: number
  /** Ordinal behind its last record that was acknowledged. */
  end: number
}

export interface SegmentWriterOptions {
  readonly files: FilePort
  readonly folder: string
  readonly uuid: string
  readonly marker: number
  /** Sequence number of the first segment that it creates. */
  readonly sequence: number
  readonly segmentBytes: number
  /** Whether a group is followed by fdatasync. */
  readonly datasync: boolean
  readonly clock: () => number
  /** Called when a segment was sealed: nothing is written to it any more. */
  readonly onSealed: (segment: ActiveSegment) => void
  /** Called with the time that an fdatasync took, in ms. */
  readonly onSync: (ms: number) => void
}

/**
 * Writes groups to segment files, one at a time. After a failure the caller seals, which makes the next group begin a new
 * segment: once an fdatasync failed, the kernel may have dropped the pages, and trying the same file again proves nothing.
 */
export class SegmentWriter {
  active: ActiveSegment | undefined
  readonly #options: SegmentWriterOptions
  #fd = -1
  #sequence: number
  #folderSynced = true

  constructor(options: SegmentWriterOptions) {
    this.#options = options
    this.#sequence = options.sequence
  }

  /** Writes a group into one segment and makes it as durable as configured. Throws what the file port throws. */
  async write(chunks: readonly Chunk[]): Promise<void> {
    const { files, segmentBytes } = this.#options
    const first = chunks[0]?.first
    if (first === undefined) return
    const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    if (this.active !== undefined && this.active.end > this.active.first && this.active.bytes + size > segmentBytes) await this.seal()
    const segment = this.active ?? (await this.#create(first))
    let position = segment.bytes
    for (const chunk of chunks) {
      await writeFully(files, this.#fd, chunk.bytes, chunk.length, position)
      position += chunk.length
    }
    if (this.#options.datasync) await this.#sync()
    segment.bytes = position
    segment.end = chunks.at(-1)?.end ?? segment.end
  }

  /**
   * Closes the active segment. One without an acknowledged record is removed, so that failing leaves no heap of files;
   * where that fails it counts as sealed, and is removed when that works.
   */
  async seal(): Promise<void> {
    const { files } = this.#options
    const segment = this.active
    const fd = this.#fd
    this.active = undefined
    this.#fd = -1
    if (fd !== -1) await files.close(fd).catch(() => undefined)
    if (segment === undefined) return
    if (segment.end > segment.first) this.#options.onSealed(segment)
    else await files.unlink(segment.path).catch(() => this.#options.onSealed(segment))
  }

  async #create(first: number): Promise<ActiveSegment> {
    const { files, folder, uuid, marker, clock } = this.#options
    const sequence = this.#sequence++
    const name = segmentName(sequence, first)
    const path = `${folder}/${name}`
    const segment = { name, path, sequence, first, bytes: segmentHeaderBytes, end: first }
    this.#fd = await files.open(path, 'create')
    this.active = segment
    this.#folderSynced = false
    const header = encodeSegmentHeader({ uuid, marker, first, createdMs: clock(), sequence })
    await writeFully(files, this.#fd, header, segmentHeaderBytes, 0)
    return segment
  }

  async #sync(): Promise<void> {
    const { files, folder, onSync } = this.#options
    const begun = performance.now()
    await files.datasync(this.#fd)
    if (!this.#folderSynced) {
      await files.syncFolder(folder)
      this.#folderSynced = true
    }
    onSync(performance.now() - begun)
  }
}
