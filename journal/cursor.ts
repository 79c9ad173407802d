import type { Logger } from 'pino'
import { isMissing, loadFile, type FilePort } from './files.ts'
import { FrameWalker } from './frame-walker.ts'
import { decodeFrame, decodeSegmentHeader, frameOrdinal, segmentHeaderBytes } from './frame.ts'
import { loadMarks } from './marks.ts'
import { quarantineRegion } from './quarantine.ts'
import type { JournalBatch, JournalGap, JournalRecord } from './record.ts'
import { surveySegment, type Damage, type FrameRun } from './survey.ts'
import { listSegments, nextFirst, segmentFor, type SegmentFile } from './segments.ts'

export interface CursorOptions {
  readonly files: FilePort
  readonly folder: string
  /** First ordinal to deliver. */
  readonly from: number
  readonly log: Logger
  /** Whether damaged bytes are copied to the folder `quarantine`; default true. Without it nothing is written. */
  readonly quarantine?: boolean
}

interface OpenSegment {
  file: SegmentFile
  readonly fd: number
  readonly marker: number
  walker: FrameWalker
  /** Undefined while frames come in order. */
  plan: Plan | undefined
}

/** How a segment is read in which frames are damaged, missing or out of order: run by run, up to an ordinal. */
interface Plan {
  /** The first one is being read. */
  readonly runs: FrameRun[]
  readonly below: number
  /** Offset at which reading goes on afterwards. */
  readonly behind: number
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
 * Whatever is odd (a gap, an end, a missing file) is looked at again in a fresh list before it counts as missing, and the
 * rest of the segment is surveyed, so that what is missing here and lies further behind is found.
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
  /** Damage of this segment up to this offset is counted. */
  #counted = { sequence: -1, to: 0 }

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
      const { walker, plan, file } = open
      const step = walker.step()
      if (step === 'more') {
        // What is here is delivered before more is read: latency first, and the windows are large.
        if (bytes > maxBytes / 2) return
        await walker.fill()
        continue
      }
      const ordinal = step === 'frame' ? frameOrdinal(walker.bytes, walker.at) : Infinity
      if (ordinal < this.position) continue
      if (ordinal > this.position || ordinal >= (plan === undefined ? file.end : (plan.runs[0]?.end ?? 0))) {
        if (plan !== undefined) await this.#follow(open, plan, gaps)
        else if (!(await this.#resolve(open, ordinal, limit, gaps))) return
        continue
      }
      if (walker.damage !== undefined) await this.#countDamage(open, { bytes: walker.damage.bytes, regions: [walker.damage] })
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
    const { files, folder, log } = this.#options
    for (;;) {
      const segments = await listSegments(files, folder)
      const file = segmentFor(segments, this.position)
      if (file === undefined) {
        const behind = nextFirst(segments, this.position)
        const to = Math.min(behind, limit)
        const from = this.position
        const records = await this.#addGap(to, gaps)
        if (records > 0) log.warn({ code: 'TG_JOURNAL_DAMAGED', from, to, records }, 'records of the journal are missing')
        return undefined
      }
      try {
        const marker = await this.#loadMarker(segments)
        const fd = await files.open(file.path, 'read')
        this.#open = { file, fd, marker, walker: new FrameWalker(files, fd, marker), plan: undefined }
        return this.#open
      } catch (error) {
        // Removed between the list and here.
        if (!isMissing(error)) throw error
      }
    }
  }

  /**
   * Called where the next frame is not that of the position but a later one (Infinity: there is none). Another segment may
   * have the position by now; else the rest of this one is surveyed. False when there is nothing more to read.
   */
  async #resolve(open: OpenSegment, ordinal: number, limit: number, gaps: JournalGap[]): Promise<boolean> {
    const { files, folder, log } = this.#options
    const { fd, marker, walker } = open
    const from = this.position
    const segments = await listSegments(files, folder)
    const file = segmentFor(segments, from)
    if (file !== undefined && file.sequence !== open.file.sequence) {
      await this.close()
      return true
    }
    if (file !== undefined) open.file = file
    // The open segment may be gone from the folder and still be read.
    const end = file?.end ?? nextFirst(segments, from)
    const below = Math.min(end, limit)
    if (ordinal === Infinity && below === Infinity) {
      walker.restart()
      return false
    }
    const offset = ordinal === Infinity ? walker.offset : (walker.damage?.offset ?? walker.offset - walker.frameBytes)
    const survey = await surveySegment({ files, fd, marker, offset }, { from, below })
    const surveyedTo = below === Infinity ? (survey.runs.at(-1)?.end ?? from) : below
    const records = surveyedTo - from - survey.found
    let bytes = await this.#countDamage(open, survey.between)
    if ((survey.runs.at(-1)?.end ?? from) < surveyedTo) bytes += await this.#countDamage(open, survey.behind)
    if (records > 0 || bytes > 0)
      log.warn(
        { code: 'TG_JOURNAL_DAMAGED', segment: open.file.name, from, to: surveyedTo, records, bytes },
        'records of the journal are damaged'
      )
    const plan = { runs: [{ offset, first: from, end: from }, ...survey.runs], below: surveyedTo, behind: survey.highestEnd }
    open.plan = plan
    await this.#follow(open, plan, gaps)
    return true
  }

  /** Goes on to the next run of a plan; what is between is a gap. Behind the last one frames are read as they come again. */
  async #follow(open: OpenSegment, plan: Plan, gaps: JournalGap[]): Promise<void> {
    const { files } = this.#options
    // A run that ends before its end was damaged after the survey.
    await this.#addGap(plan.runs.shift()?.end ?? plan.below, gaps)
    const next = plan.runs[0]
    await this.#addGap(next?.first ?? plan.below, gaps)
    open.walker = new FrameWalker(files, open.fd, open.marker, next?.offset ?? plan.behind)
    if (next !== undefined) return
    open.plan = undefined
    if (this.position >= open.file.end) await this.close()
  }

  /** Counts damage that is not counted yet, keeps copies of it, and returns its bytes. */
  async #countDamage({ file, fd }: OpenSegment, { bytes, regions }: Damage): Promise<number> {
    const { files, folder, quarantine } = this.#options
    if (this.#counted.sequence !== file.sequence) this.#counted = { sequence: file.sequence, to: 0 }
    const fresh = regions.filter(region => region.offset >= this.#counted.to)
    if (fresh.length === 0) return 0
    const known = regions.reduce((sum, region) => sum + (region.offset < this.#counted.to ? region.bytes : 0), 0)
    for (const region of fresh) {
      this.#counted.to = Math.max(this.#counted.to, region.offset + region.bytes)
      if (quarantine !== false) await quarantineRegion(files, folder, file.name, fd, region)
    }
    this.counts.damagedBytes += bytes - known
    return bytes - known
  }

  /** Moves the position; what is between is dropped as far as the marks say so, and damaged beyond. Returns how many are. */
  async #addGap(to: number, gaps: JournalGap[]): Promise<number> {
    if (to === Infinity || to <= this.position) return 0
    const { files, folder } = this.#options
    const droppedBelow = (await loadMarks(files, folder))?.droppedBelow ?? 0
    const border = Math.min(to, Math.max(this.position, droppedBelow))
    if (border > this.position) {
      gaps.push({ from: this.position, to: border, kind: 'dropped' })
      this.counts.droppedRecords += border - this.position
    }
    if (to > border) {
      gaps.push({ from: border, to, kind: 'damaged' })
      this.counts.damagedRecords += to - border
    }
    this.position = to
    return to - border
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
