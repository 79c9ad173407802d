/**
 * Opening a journal after whatever happened to it. Only the tail is read: the last segments up to 64 MiB, the last one
 * always whole. What lies before is checked when it is read.
 *
 * The end of the last segment is one of three: torn (a frame that the file ends in, or zeros: never acknowledged as a
 * whole; cut), damaged (a frame that does not check: its ordinal is used up, counted and quarantined), or clean. Appending
 * always begins a new segment, so nothing is ever glued to an old end.
 */
import { randomInt, randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import { errnoOf, isNoSpace, loadFile, readFully, type FilePort } from './files.ts'
import { FrameWalker } from './frame-walker.ts'
import {
  checkFrame,
  claimedFrameBytes,
  decodeSegmentHeader,
  frameHeaderBytes,
  frameIncomplete,
  frameOrdinal,
  frameReceived,
  segmentHeaderBytes,
  type SegmentHeader
} from './frame.ts'
import { loadMarks, saveMarks, type Marks } from './marks.ts'
import { proveFolder, proveTail } from './proof.ts'
import { quarantineFile, quarantineRegion } from './quarantine.ts'
import type { SealedSegment } from './retention.ts'
import { listSegments, type SegmentFile } from './segments.ts'

const tailBytes = 64 * 1024 * 1024

export interface RepairOptions {
  readonly files: FilePort
  readonly folder: string
  readonly log: Logger
  readonly clock: () => number
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
}

interface TailCounts {
  damagedRecords: number
  damagedBytes: number
  cutBytes: number
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
  const { files, folder, log, clock } = options
  const marks = await identify(options)
  const counts: TailCounts = { damagedRecords: 0, damagedBytes: 0, cutBytes: 0 }
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
    segments.push({ path, first, end: Math.min(end, head), bytes: stat?.bytes ?? 0, sealedMs: stat?.modifiedMs ?? clock() })
  }
  if (counts.damagedRecords > 0 || counts.cutBytes > 0) log.warn({ ...counts, head }, 'the journal was repaired')
  await saveMarks(files, folder, marks).catch((error: unknown) => {
    // A full disk must not keep the process from starting.
    if (!isNoSpace(error)) throw error
  })
  await proveFolder(files, folder, log)
  const nextSequence = Math.max(0, ...kept.map(segment => segment.sequence)) + 1
  return { marks, head, nextSequence, segments, lastReceived: last?.received ?? { ms: 0, subNs: 0 }, ...counts }
}

/**
 * Finds out which journal this is: by its marks, or by the newest header where the marks are missing or agree with no
 * segment. Segments of other journals are moved away.
 */
async function identify({ files, folder, log }: RepairOptions): Promise<Marks> {
  const segments = await listSegments(files, folder)
  const headers = new Map<SegmentFile, SegmentHeader>()
  for (const segment of segments) {
    const bytes = await loadFile(files, segment.path, segmentHeaderBytes)
    const header = bytes === undefined ? undefined : decodeSegmentHeader(bytes)
    if (header !== undefined) headers.set(segment, header)
  }
  const known = [...headers.values()]
  const newest = known.at(-1)
  let marks = await loadMarks(files, folder)
  if (newest !== undefined && (marks === undefined || known.every(header => header.uuid !== marks?.uuid))) {
    if (marks !== undefined) log.warn({ marks: marks.uuid, segments: newest.uuid }, 'the marks are of another journal than the segments')
    marks = { uuid: newest.uuid, marker: newest.marker, droppedBelow: 0, committedBelow: 0 }
  }
  if (marks === undefined) {
    const marker = (await findMarker(files, segments)) ?? randomInt(1, 0x1_0000_0000)
    marks = { uuid: randomUUID(), marker, droppedBelow: 0, committedBelow: 0 }
    log.info({ journal: marks.uuid }, 'a new journal begins')
  }
  for (const [segment, header] of headers) {
    if (header.uuid === marks.uuid) continue
    log.warn({ segment: segment.name, journal: header.uuid }, 'a segment of another journal was moved to quarantine')
    await quarantineFile(files, folder, segment.name)
  }
  return marks
}

/** The marker of a journal that lost its marks and every header: what a frame right behind a header begins with. */
async function findMarker(files: FilePort, segments: readonly SegmentFile[]): Promise<number | undefined> {
  for (const segment of segments.toReversed()) {
    const bytes = await loadFile(files, segment.path, segmentHeaderBytes + 1024 * 1024)
    if (bytes === undefined || bytes.length < segmentHeaderBytes + frameHeaderBytes) continue
    const marker = bytes.readUInt32LE(segmentHeaderBytes)
    if (checkFrame(bytes, segmentHeaderBytes, bytes.length, marker) > 0) return marker
  }
  return undefined
}

/** Walks one segment of the tail. Undefined when it held nothing and is gone. `end` is Infinity for the last one. */
async function checkSegment(
  options: RepairOptions,
  marker: number,
  segment: SegmentFile,
  counts: TailCounts
): Promise<CheckedSegment | undefined> {
  const { files, folder, log } = options
  const fd = await files.open(segment.path, 'modify')
  let keep: 'keep' | 'remove' | 'quarantine' = 'keep'
  let next = segment.first
  let received: CheckedSegment['received']
  const walker = new FrameWalker(files, fd, marker)
  try {
    for (;;) {
      const step = walker.step()
      if (step === 'more') {
        await walker.fill()
        continue
      }
      if (step === 'end') break
      const ordinal = frameOrdinal(walker.bytes, walker.at)
      if (ordinal >= segment.end) break
      if (ordinal < next) continue
      if (ordinal > next) await countDamage(ordinal - next)
      next = ordinal + 1
      received = frameReceived(walker.bytes, walker.at)
    }
    if (segment.end !== Infinity) {
      if (next < segment.end) await countDamage(segment.end - next)
      return { end: segment.end, bytes: walker.offset, received }
    }
    const end = await classifyEnd(files, fd, walker.offset, marker)
    if (end.kind === 'damaged' && (received !== undefined || walker.damagedOrdinal >= next || end.header)) {
      // A header can claim anything; no more ordinals than frames have room for are believed.
      const claimed = walker.damagedOrdinal < next + end.bytes ? walker.damagedOrdinal + 1 : 0
      const behind = Math.max(next + 1, claimed)
      await countDamage(behind - next)
      next = behind
    } else if (received === undefined) {
      keep = end.header || end.fileBytes === 0 ? 'remove' : 'quarantine'
    } else if (end.kind === 'torn') {
      counts.cutBytes += end.bytes
      await settle(files.truncate(fd, walker.offset), log, segment.name)
    }
    if (keep === 'keep') {
      const from = walker.offset - walker.frameBytes - options.pendingBytes
      await proveTail({ files, fd, log, segment: segment.name, from, to: walker.offset })
    }
  } finally {
    await files.close(fd)
  }
  if (keep === 'keep') return { end: next, bytes: walker.offset, received }
  if (keep === 'quarantine') log.warn({ segment: segment.name }, 'a segment without a record was moved to quarantine')
  const gone =
    keep === 'remove' ? await settle(files.unlink(segment.path), log, segment.name) : await quarantineFile(files, folder, segment.name)
  // One that cannot be moved away goes on to answer for what begins at its first ordinal, and whoever reads sees it so.
  return gone ? undefined : { end: segment.first, bytes: walker.offset, received }

  async function countDamage(records: number): Promise<void> {
    counts.damagedRecords += records
    if (walker.damage === undefined) return
    counts.damagedBytes += walker.damage.bytes
    await quarantineRegion(files, folder, segment.name, fd, walker.damage)
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

interface SegmentEnd {
  readonly kind: 'clean' | 'torn' | 'damaged'
  /** Bytes behind the last good frame, and of the whole file. */
  readonly bytes: number
  readonly fileBytes: number
  /** Whether the header of the segment is good. */
  readonly header: boolean
}

/** What lies behind the last good frame of the last segment. */
async function classifyEnd(files: FilePort, fd: number, offset: number, marker: number): Promise<SegmentEnd> {
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
