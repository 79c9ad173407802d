/**
 * Opening a journal after whatever happened to it. Only the tail is read: the last segments up to 64 MiB, the last one
 * always whole. What lies before is checked when it is read.
 *
 * The end of the last segment is one of three: torn (a frame that the file ends in, or zeros: never acknowledged as a
 * whole; cut), damaged (a frame that does not check: its ordinal is used up, counted and quarantined), or clean. Appending
 * always begins a new segment, so nothing is ever glued to an old end.
 */
import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import { arrangeSegments } from './arrange.ts'
import { errnoOf, isNoSpace, readFully, type FilePort } from './files.ts'
import {
  checkFrame,
  claimedFrameBytes,
  decodeSegmentHeader,
  frameHeaderBytes,
  frameIncomplete,
  leastFrameBytes,
  segmentHeaderBytes
} from './frame.ts'
import { findSegments, identifyJournal } from './identify.ts'
import { saveMarks, type Marks } from './marks.ts'
import { proveFolder, proveTail } from './proof.ts'
import { quarantineFile, quarantineRegion } from './quarantine.ts'
import type { SealedSegment } from './retention.ts'
import { listSegments, type SegmentFile } from './segments.ts'
import { surveySegment, type Damage } from './survey.ts'

const tailBytes = 64 * 1024 * 1024

export interface RepairOptions {
  readonly files: FilePort
  readonly folder: string
  readonly log: Logger
  /** Bytes of a group, but for its last record. */
  readonly pendingBytes: number
}

/** What opening found. */
export interface RepairResult {
  readonly marks: Marks
  readonly head: number
  readonly nextSequence: number
  readonly segments: readonly SealedSegment[]
  /** Received time of the last record, zeros when there is none. */
  readonly lastReceived: { readonly ms: number; readonly subNs: number }
  readonly damagedRecords: number
  readonly damagedBytes: number
  /** Bytes of torn ends that were cut. */
  readonly cutBytes: number
  /** Files that were moved to quarantine. */
  readonly quarantinedFiles: number
}

interface TailCounts {
  damagedRecords: number
  damagedBytes: number
  cutBytes: number
  quarantinedFiles: number
}

interface CheckedSegment {
  /** Ordinal behind the last one that it uses up; its first when it holds nothing. */
  readonly end: number
  readonly bytes: number
  readonly received: { readonly ms: number; readonly subNs: number } | undefined
}

/**
 * Opens the folder of a journal, repaired, or makes it.
 * @throws TidegateError TG_DATA_UNWRITABLE when the folder cannot be made, read or written
 */
export async function openRepaired(options: RepairOptions): Promise<RepairResult> {
  try {
    await options.files.makeFolder(options.folder)
    return await repair(options)
  } catch (error) {
    if (error instanceof TidegateError) throw error
    throw new TidegateError(
      'TG_DATA_UNWRITABLE',
      `cannot open the journal in ${options.folder} (setting: data): ${errnoOf(error) ?? String(error)}`,
      {
        context: { setting: 'data', folder: options.folder },
        cause: error
      }
    )
  }
}

async function repair(options: RepairOptions): Promise<RepairResult> {
  const { files, folder, log } = options
  const found = await findSegments(options)
  const marks = await identifyJournal(options, found)
  const quarantinedFiles = await arrangeSegments(options, found, marks)
  const counts: TailCounts = { damagedRecords: 0, damagedBytes: 0, cutBytes: 0, quarantinedFiles }
  let last: CheckedSegment | undefined
  let checkedBytes = 0
  let behind = Infinity
  // Newest first: what turns out to hold nothing goes away, and the one before it becomes the last.
  for (const segment of (await listSegments(files, folder)).toReversed()) {
    if (checkedBytes >= tailBytes) break
    const checked = await checkSegment(options, marks.marker, { ...segment, end: behind }, counts)
    if (checked === undefined) continue
    last ??= checked
    checkedBytes += checked.bytes
    behind = segment.first
  }
  const kept = await listSegments(files, folder)
  const head = Math.max(last?.end ?? 0, marks.committedBelow, marks.droppedBelow)
  const segments: SealedSegment[] = []
  for (const { path, first, end } of kept) {
    const stat = await files.stat(path)
    segments.push({ path, first, end: Math.min(end, head), bytes: stat?.bytes ?? 0 })
  }
  const damaged = counts.damagedRecords + counts.damagedBytes + counts.quarantinedFiles > 0
  // A torn end alone is what a crash leaves behind.
  if (damaged || counts.cutBytes > 0)
    log.warn({ ...(damaged ? { code: 'TG_JOURNAL_DAMAGED' } : {}), ...counts, head }, 'the journal was repaired')
  await saveMarks(files, folder, marks).catch((error: unknown) => {
    // A full disk must not keep the process from starting.
    if (!isNoSpace(error)) throw error
  })
  await proveFolder(files, folder, log)
  const nextSequence = Math.max(0, ...kept.map(segment => segment.sequence)) + 1
  return { marks, head, nextSequence, segments, lastReceived: last?.received ?? { ms: 0, subNs: 0 }, ...counts }
}

/** Surveys one segment of the tail. Undefined when it held nothing and is gone. `end` is Infinity for the last one. */
async function checkSegment(
  options: RepairOptions,
  marker: number,
  segment: SegmentFile,
  counts: TailCounts
): Promise<CheckedSegment | undefined> {
  const { files, folder, log } = options
  const fd = await files.open(segment.path, 'modify')
  let keep: 'keep' | 'remove' | 'quarantine' = 'keep'
  let checked: CheckedSegment
  try {
    const survey = await surveySegment({ files, fd, marker }, { from: segment.first, below: segment.end })
    const { runs, received, claimed } = survey
    const next = runs.at(-1)?.end ?? segment.first
    checked = { end: next, bytes: survey.end, received }
    await countDamage(next - segment.first - survey.found, survey.between)
    if (segment.end !== Infinity) {
      if (next < segment.end) await countDamage(segment.end - next, survey.behind)
      return { ...checked, end: segment.end }
    }
    const end = await classifyEnd(files, fd, survey.end, marker)
    if (end.kind === 'damaged' && (received !== undefined || claimed >= next || end.header)) {
      // A header can claim anything; no more ordinals than frames have room for are believed.
      const believed = claimed < next + end.bytes / leastFrameBytes ? claimed + 1 : 0
      checked = { ...checked, end: Math.max(next + 1, believed) }
      await countDamage(checked.end - next, survey.behind)
    } else if (received === undefined) {
      keep = end.header || end.fileBytes === 0 ? 'remove' : 'quarantine'
    } else if (end.kind === 'torn') {
      counts.cutBytes += end.bytes
      await settle(files.truncate(fd, survey.end), log, segment.name)
    }
    if (keep === 'keep') {
      const from = survey.end - survey.lastFrameBytes - options.pendingBytes
      await proveTail({ files, fd, log, segment: segment.name, from, to: survey.end })
    }
  } finally {
    await files.close(fd)
  }
  if (keep === 'keep') return checked
  let gone: boolean
  if (keep === 'remove') gone = await settle(files.unlink(segment.path), log, segment.name)
  else {
    log.warn({ code: 'TG_JOURNAL_DAMAGED', segment: segment.name }, 'a segment without a record was moved to quarantine')
    gone = await quarantineFile(files, folder, segment.name)
    if (gone) counts.quarantinedFiles++
  }
  // One that cannot be moved away goes on to answer for what begins at its first ordinal, and whoever reads sees it so.
  return gone ? undefined : { ...checked, end: segment.first }

  async function countDamage(records: number, damage: Damage): Promise<void> {
    counts.damagedRecords += records
    counts.damagedBytes += damage.bytes
    for (const region of damage.regions) await quarantineRegion(files, folder, segment.name, fd, region)
  }
}

/** Repairing an old segment may fail: what is appended goes to a new one, and the process must start. */
async function settle(repairing: Promise<void>, log: Logger, segment: string): Promise<boolean> {
  try {
    await repairing
    return true
  } catch (error) {
    log.error({ code: 'TG_JOURNAL_FAILING', err: error, segment }, 'an old segment cannot be repaired on the disk')
    return false
  }
}

export interface SegmentEnd {
  readonly kind: 'clean' | 'torn' | 'damaged'
  /** Bytes behind the last good frame, and of the whole file. */
  readonly bytes: number
  readonly fileBytes: number
  /** Whether the header of the segment is good. */
  readonly header: boolean
}

/** What lies behind the last good frame of the last segment. */
export async function classifyEnd(files: FilePort, fd: number, offset: number, marker: number): Promise<SegmentEnd> {
  const start = Buffer.alloc(segmentHeaderBytes)
  const startBytes = await readFully(files, fd, start, start.length, 0)
  const header = decodeSegmentHeader(start.subarray(0, startBytes)) !== undefined
  const block = Buffer.alloc(256 * 1024)
  let bytes = 0
  let zeros = true
  let claimed = 0
  for (;;) {
    const got = await readFully(files, fd, block, block.length, offset + bytes)
    if (bytes === 0 && got >= frameHeaderBytes && checkFrame(block, 0, got, marker) === frameIncomplete)
      claimed = claimedFrameBytes(block, 0)
    bytes += got
    zeros &&= block.subarray(0, got).every(byte => byte === 0)
    if (got < block.length) break
  }
  const torn = bytes < frameHeaderBytes || claimed > bytes
  return {
    kind: bytes === 0 ? 'clean' : torn || zeros ? 'torn' : 'damaged',
    bytes,
    fileBytes: bytes > 0 ? offset + bytes : startBytes,
    header
  }
}
