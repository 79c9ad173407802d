import type { Logger } from 'pino'
import { isMissing, loadFile, type FilePort } from './files.ts'
import { FrameWalker } from './frame-walker.ts'
import { decodeFrame, decodeSegmentHeader, frameOrdinal, segmentHeaderBytes } from './frame.ts'
import { loadMarks } from './marks.ts'
import { quarantineRegion } from './quarantine.ts'
import type { JournalBatch, JournalGap, JournalRecord } from './record.ts'
import { listSegments, nextFirst, segmentFor, type SegmentFile } from './segments.ts'

export interface CursorOptions {
  readonly files: FilePort
  readonly folder: string
  /** First ordinal to deliver. */
  readonly from: number
  readonly log: Logger
}

interface OpenSegment {
  file: SegmentFile
  readonly fd: number
  readonly walker: FrameWalker
  /** Damage up to this offset is counted. */
  countedTo: number
}

interface Collected {
  readonly records: JournalRecord[]
  readonly gaps: JournalGap[]
  readonly maxRecords: number
  readonly maxBytes: number
}

/** What a cursor counted since it was made. */
export interface CursorCounts {
  damagedRecords: number
  damagedBytes: number
  droppedRecords: number
}

/**
 * Reads records in order from segment files that another process, or this one, may be writing, removing and adding.
 * Whatever is odd (a gap, an end, a missing file) is looked at again in a fresh list before it counts as missing.
 */
export class JournalCursor {
  /** Ordinal of the next record. */
  position: number
  readonly counts: CursorCounts = { damagedRecords: 0, damagedBytes: 0, droppedRecords: 0 }
  readonly #options: CursorOptions
  #open: OpenSegment | undefined
  #marker: number | undefined
  /** The limit for which the walker's bytes were read; what lies behind it may have been half written. */
  #limit = -1

  constructor(options: CursorOptions) {
    this.#options = options
    this.position = options.from
  }

  /**
   * The records and gaps from `position` on, below `limit`, up to the given numbers of records and bytes (one record at
   * least). With limit Infinity it ends where the files end; there is no gap at that end.
   */
  async next(limit: number, maxRecords: number, maxBytes: number): Promise<JournalBatch> {
    const from = this.position
    const records: JournalRecord[] = []
    const gaps: JournalGap[] = []
    if (limit !== this.#limit) this.#open?.walker.restart()
    this.#limit = limit
    try {
      await this.#collect(limit, { records, gaps, maxRecords, maxBytes })
    } catch (error) {
      // The walker may be ahead of the position: begin again there. What was read already is the caller's.
      await this.close().catch(() => undefined)
      if (this.position === from) throw error
    }
    return { from, to: this.position, records, gaps }
  }

  async #collect(limit: number, into: Collected): Promise<void> {
    const { records, gaps, maxRecords, maxBytes } = into
    let bytes = 0
    while (this.position < limit && records.length < maxRecords && bytes < maxBytes) {
      const open = this.#open ?? (await this.#enter(limit, gaps))
      if (open === undefined) {
        if (limit === Infinity) return
        continue
      }
      const { walker, file } = open
      const step = walker.step()
      if (step === 'more') {
        // What is here is delivered before more is read: latency first, and the windows are large.
        if (bytes > maxBytes / 2) return
        await walker.fill()
        continue
      }
      const ordinal = step === 'frame' ? frameOrdinal(walker.bytes, walker.at) : Infinity
      if (ordinal < this.position) continue
      if (ordinal > this.position || ordinal >= file.end) {
        if (!(await this.#passGap(open, ordinal, limit, gaps))) return
        if (this.#open !== open || ordinal !== this.position || ordinal >= limit) continue
      }
      records.push(decodeFrame(walker.bytes, walker.at))
      bytes += walker.frameBytes
      this.position = ordinal + 1
    }
  }

  async close(): Promise<void> {
    const open = this.#open
    this.#open = undefined
    if (open !== undefined) await this.#options.files.close(open.fd)
  }

  /** Opens the segment of `position`. Undefined when none has it: then the position moved behind a gap, or is the end. */
  async #enter(limit: number, gaps: JournalGap[]): Promise<OpenSegment | undefined> {
    const { files, folder } = this.#options
    for (;;) {
      const segments = await listSegments(files, folder)
      const file = segmentFor(segments, this.position)
      if (file === undefined) {
        await this.#addGap(Math.min(nextFirst(segments, this.position), limit), gaps)
        return undefined
      }
      try {
        const marker = await this.#loadMarker(segments)
        const fd = await files.open(file.path, 'read')
        this.#open = { file, fd, walker: new FrameWalker(files, fd, marker), countedTo: 0 }
        return this.#open
      } catch (error) {
        // Removed between the list and here.
        if (!isMissing(error)) throw error
      }
    }
  }

  /**
   * Called where the segment goes on with a later ordinal than the next one (Infinity: it ends). Looks for a segment that
   * has the position; when there is none, the position moves to what comes next and the run between is a gap. False when
   * there is nothing more to read.
   */
  async #passGap(open: OpenSegment, ordinal: number, limit: number, gaps: JournalGap[]): Promise<boolean> {
    const { files, folder } = this.#options
    const segments = await listSegments(files, folder)
    const file = segmentFor(segments, this.position)
    if (file !== undefined && file.sequence !== open.file.sequence) {
      await this.close()
      return true
    }
    if (file !== undefined) open.file = file
    const behind = nextFirst(segments, this.position)
    if (ordinal === Infinity && behind === Infinity && limit === Infinity) {
      open.walker.restart()
      return false
    }
    const damage = open.walker.damage
    if (damage !== undefined && damage.offset >= open.countedTo) {
      open.countedTo = damage.offset + damage.bytes
      this.counts.damagedBytes += damage.bytes
      await quarantineRegion(files, folder, open.file.name, open.fd, damage)
    }
    await this.#addGap(Math.min(ordinal, behind, limit), gaps)
    if (this.position >= behind) await this.close()
    else if (ordinal === Infinity) open.walker.restart()
    else if (this.position < ordinal) open.walker.back()
    return true
  }

  /** Moves the position; what is between is dropped as far as the marks say so, and damaged beyond. */
  async #addGap(to: number, gaps: JournalGap[]): Promise<void> {
    if (to === Infinity || to <= this.position) return
    const { files, folder, log } = this.#options
    const droppedBelow = (await loadMarks(files, folder))?.droppedBelow ?? 0
    const border = Math.min(to, Math.max(this.position, droppedBelow))
    if (border > this.position) {
      gaps.push({ from: this.position, to: border, kind: 'dropped' })
      this.counts.droppedRecords += border - this.position
    }
    if (to > border) {
      gaps.push({ from: border, to, kind: 'damaged' })
      this.counts.damagedRecords += to - border
      log.warn({ from: border, to }, 'records of the journal are damaged or missing')
    }
    this.position = to
  }

  async #loadMarker(segments: readonly SegmentFile[]): Promise<number> {
    if (this.#marker !== undefined) return this.#marker
    const { files, folder } = this.#options
    const marks = await loadMarks(files, folder)
    if (marks !== undefined) return (this.#marker = marks.marker)
    for (const segment of segments.toReversed()) {
      const bytes = await loadFile(files, segment.path, segmentHeaderBytes)
      const header = bytes === undefined ? undefined : decodeSegmentHeader(bytes)
      if (header !== undefined) return (this.#marker = header.marker)
    }
    return 0
  }
}
