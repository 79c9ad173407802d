import type { Logger } from 'pino'
import { isMissing, type FilePort } from './files.ts'
import { saveMarks, type Marks } from './marks.ts'

/** Committed segments stay at least this long, unless the disk is full or `keep` says less. */
const graceMs = 60_000
const diskCheckMs = 1000

/** A segment that is not written any more. */
export interface SealedSegment {
  readonly path: string
  readonly first: number
  readonly end: number
  readonly bytes: number
}

interface KeptSegment extends SealedSegment {
  /** Monotonic time of its commit, or undefined. */
  committedAtMs: number | undefined
}

/** The journal's bounds on disk; see JournalOptions. */
export interface RetentionLimits {
  readonly maxBytes: number
  readonly reserveBytes: number
  readonly whenFull: 'reject-new' | 'drop-oldest'
  readonly keep: { readonly timeMs: number; readonly bytes: number; readonly leastMs?: number }
}

export interface RetentionOptions {
  readonly files: FilePort
  readonly folder: string
  readonly log: Logger
  readonly limits: RetentionLimits
  readonly segments: readonly SealedSegment[]
  readonly marks: Marks
  readonly heldFrom: number
  readonly monotonic: () => number
  /** Called when `heldFrom` alone keeps a segment: `pressed` where space is wanted and not only a bound of `keep` passed. */
  readonly onHeld: (pressed: boolean) => void
}

/** What retention needs to know of the segment that is being written, and of what is not written yet. */
export interface Unsealed {
  readonly first: number
  readonly end: number
  readonly bytes: number
  readonly pendingBytes: number
  /** The disk said that it has no space. */
  readonly refused: boolean
}

/**
 * Decides which sealed segments go, and removes them. Committed ones go when a bound of `keep` is passed, or the disk is
 * full; others only with drop-oldest, and only after the marks say durably that they were dropped.
 */
export class Retention {
  /** Every record below has its outcome, as far as it was told. */
  committed: number
  /** Nothing at or above it goes by the bounds of `keep`: somebody may have to read it again. */
  keepFrom = Infinity
  /** Nothing at or above it goes, whatever is passed, dropped or full. */
  heldFrom: number
  /** Free disk space is below the reserve. */
  diskFull = false
  droppedRecords = 0
  failures = 0
  readonly #options: RetentionOptions
  readonly #segments: KeptSegment[]
  readonly #pins = new Set<{ readonly from: number }>()
  #marks: Marks
  /** Ordinal behind the newest record that was removed. */
  #goneBelow: number
  #diskCheckedMs = -Infinity
  #failing = false

  constructor(options: RetentionOptions) {
    this.#options = options
    this.#segments = options.segments.map(segment => ({ ...segment, committedAtMs: undefined }))
    this.#marks = options.marks
    this.committed = options.marks.committedBelow
    this.heldFrom = options.heldFrom
    this.#goneBelow = options.segments[0]?.first ?? Math.max(options.marks.committedBelow, options.marks.droppedBelow)
  }

  get segments(): readonly SealedSegment[] {
    return this.#segments
  }

  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0)
  }

  get pins(): number {
    return this.#pins.size
  }

  get droppedBelow(): number {
    return this.#marks.droppedBelow
  }

  add(segment: SealedSegment): void {
    this.#segments.push({ ...segment, committedAtMs: segment.end <= this.committed ? this.#options.monotonic() : undefined })
  }

  /** The last word counts: a service that lost its catalogue starts again further back. */
  commit(ordinal: number, keepFrom: number): void {
    this.committed = ordinal
    this.keepFrom = keepFrom
    const now = this.#options.monotonic()
    for (const segment of this.#segments) {
      if (segment.end > ordinal) segment.committedAtMs = undefined
      else segment.committedAtMs ??= now
    }
  }

  /** Keeps every segment with records from the ordinal on, whatever bound is passed. Returns the function that lets go. */
  pin(from: number): () => void {
    const pin = { from }
    this.#pins.add(pin)
    return () => void this.#pins.delete(pin)
  }

  /** Bytes on disk of what is not committed; a segment that is committed in part counts in proportion. */
  uncommittedBytes(unsealed: Unsealed): number {
    let sum = uncommittedShare(unsealed, this.committed)
    for (const segment of this.#segments) sum += uncommittedShare(segment, this.committed)
    return sum
  }

  /** True when the disk should be looked at again. */
  get diskCheckDue(): boolean {
    return this.#options.monotonic() - this.#diskCheckedMs >= diskCheckMs
  }

  /** Looks at the disk when that is due and removes what may go. Never throws: what fails is counted and tried again. True when something went. */
  async tidy(unsealed: () => Unsealed): Promise<boolean> {
    const before = this.#segments.length
    try {
      if (this.diskCheckDue) await this.#checkDisk()
      await this.#removeVoid()
      const removed = await this.#removeCommitted(unsealed)
      if (this.#options.limits.whenFull === 'drop-oldest') await this.#dropOldest(unsealed, removed)
      if (this.#segments.some(({ end }) => end > this.#marks.committedBelow && end <= this.committed)) await this.saveCommitted()
      if (this.#failing) this.#options.log.info('segments can be removed again')
      this.#failing = false
    } catch (error) {
      this.failures++
      if (!this.#failing) this.#options.log.warn({ code: 'TG_JOURNAL_FAILING', err: error }, 'segments cannot be removed')
      this.#failing = true
    }
    return this.#segments.length < before
  }

  /** Writes down how far records are committed, so that the next start counts its space rightly. */
  async saveCommitted(): Promise<void> {
    const committedBelow = Math.max(this.committed, this.#goneBelow)
    if (this.#marks.committedBelow === committedBelow) return
    await this.#saveMarks({ ...this.#marks, committedBelow })
  }

  async #saveMarks(marks: Marks): Promise<void> {
    await saveMarks(this.#options.files, this.#options.folder, marks)
    this.#marks = marks
  }

  /** What was left of writing that failed: a later segment begins at the same ordinal or before. */
  async #removeVoid(): Promise<void> {
    for (const segment of this.#segments.filter(({ first, end }) => end <= first)) await this.#remove(segment)
  }

  async #checkDisk(): Promise<void> {
    const { files, folder, limits, monotonic, log } = this.#options
    // Before the answer: a disk that gives none is asked again in a second, and does not keep tidying from its work.
    this.#diskCheckedMs = monotonic()
    const full = (await files.freeBytes(folder)) < limits.reserveBytes
    if (full && !this.diskFull)
      log.warn({ code: 'TG_JOURNAL_FULL', reserveBytes: limits.reserveBytes }, 'free disk space is below the reserve')
    if (!full && this.diskFull) log.info('free disk space is above the reserve again')
    this.diskFull = full
  }

  /** Returns how many went. For a full disk one goes at a time: systems free space later than they unlink. */
  async #removeCommitted(unsealed: () => Unsealed): Promise<number> {
    const { limits, monotonic } = this.#options
    let removed = 0
    for (;;) {
      const oldest = this.#segments[0]
      if (oldest?.committedAtMs === undefined || this.#isPinned(oldest)) break
      // On the clock that is never set: a step of the other would let go of all at once, or of nothing for years.
      const ageMs = monotonic() - oldest.committedAtMs
      const past = ageMs > limits.keep.timeMs || this.#committedBytes() > limits.keep.bytes
      const spare = past && ageMs >= (limits.keep.leastMs ?? graceMs) && oldest.end <= this.keepFrom
      const forced = removed === 0 && (this.diskFull || unsealed().refused)
      if ((!spare && !forced) || this.#isHeld(oldest, forced)) break
      // First what says that nothing is missing; but a full disk may take no marks before a segment is gone.
      if (oldest.end > this.#marks.committedBelow) await this.saveCommitted().catch(() => undefined)
      // The newest segment is what says where the ordinals go on; before it goes, the marks must say so.
      const { first, end } = unsealed()
      if (this.#segments.length === 1 && end === first) await this.saveCommitted()
      await this.#remove(oldest)
      removed++
    }
    if (removed === 0) return 0
    await this.saveCommitted()
    await this.#options.files.syncFolder(this.#options.folder)
    if (this.diskFull) await this.#checkDisk()
    return removed
  }

  async #dropOldest(unsealed: () => Unsealed, removed: number): Promise<void> {
    const { limits, log } = this.#options
    for (let dropped = 0; ; dropped++) {
      const state = unsealed()
      const over = this.uncommittedBytes(state) + state.pendingBytes > limits.maxBytes
      const forced = removed + dropped === 0 && (this.diskFull || state.refused)
      const oldest = this.#segments.find(segment => segment.end > this.committed)
      if (oldest === undefined || this.#isPinned(oldest) || (!over && !forced) || this.#isHeld(oldest, true)) return
      await this.#saveMarks({ ...this.#marks, droppedBelow: Math.max(oldest.end, this.#marks.droppedBelow) })
      await this.#remove(oldest)
      if (this.droppedRecords === 0)
        log.warn({ code: 'TG_JOURNAL_FULL', from: oldest.first, to: oldest.end }, 'the journal is full and drops its oldest records')
      this.droppedRecords += oldest.end - Math.max(oldest.first, this.committed)
      if (this.diskFull) await this.#checkDisk()
    }
  }

  #isPinned(segment: SealedSegment): boolean {
    for (const { from } of this.#pins) if (segment.end > from) return true
    return false
  }

  #isHeld({ end }: SealedSegment, pressed: boolean): boolean {
    if (end <= this.heldFrom) return false
    this.#options.onHeld(pressed)
    return true
  }

  #committedBytes(): number {
    return this.#segments.reduce((sum, segment) => sum + (segment.end <= this.committed ? segment.bytes : 0), 0)
  }

  async #remove(segment: KeptSegment): Promise<void> {
    try {
      await this.#options.files.unlink(segment.path)
    } catch (error) {
      if (!isMissing(error)) throw error
    }
    this.#segments.splice(this.#segments.indexOf(segment), 1)
    if (segment.end > segment.first) this.#goneBelow = Math.max(this.#goneBelow, segment.end)
  }
}

function uncommittedShare(segment: { readonly first: number; readonly end: number; readonly bytes: number }, committed: number): number {
  if (committed >= segment.end || segment.end <= segment.first) return 0
  if (committed <= segment.first) return segment.bytes
  return Math.ceil((segment.bytes * (segment.end - committed)) / (segment.end - segment.first))
}
