/**
 * Looking at a folder of segments without changing a byte of it: what `journal ls` and `journal verify` report. The folder
 * may be one that a running process writes, removes from and adds to.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { loadFile, whileOpen, type FilePort } from './files.ts'
import { decodeSegmentHeader, segmentHeaderBytes, type SegmentHeader } from './frame.ts'
import { loadMarks, type Marks } from './marks.ts'
import { classifyEnd, endOfDamage } from './segment-end.ts'
import { listSegments, type SegmentFile } from './segments.ts'
import { surveySegment, type Survey } from './survey.ts'

/** A run of ordinals [from, to) that cannot be read, and why. */
export interface UnreadableRun {
  readonly from: number
  readonly to: number
  /** damaged: bytes that do not check stand in their place. missing: nothing does. dropped: as the marks say. */
  readonly kind: 'damaged' | 'missing' | 'dropped'
}

/** A segment as its name, header and marks describe it. */
export interface SegmentEntry {
  readonly name: string
  readonly first: number
  /** Ordinal behind its last record. */
  readonly end: number
  readonly bytes: number
  /** What the header says of the file: of this journal, of another one, or nothing that can be read. */
  readonly header: 'good' | 'foreign' | 'unreadable'
  readonly createdMs: number | undefined
  /** Undefined for the last one, which may still be written. */
  readonly sealedMs: number | undefined
  /** Whether its records have their outcome, as far as the marks say; they are at times behind. */
  readonly committed: 'yes' | 'partly' | 'no'
}

/** A segment with every byte of it read. */
export interface VerifiedSegment extends SegmentEntry {
  /** Records that check. */
  readonly records: number
  readonly damagedRecords: number
  /** Bytes that are no frame, the header among them. */
  readonly damagedBytes: number
  readonly missingRecords: number
  readonly droppedRecords: number
  /** Bytes of a last record that was never acknowledged as a whole. */
  readonly tornBytes: number
}

/** What a journal is, by its marks, or the newest header where there are none. */
export interface JournalFacts {
  readonly folder: string
  /** Undefined when neither marks nor a header say. */
  readonly uuid: string | undefined
  readonly timeline: string | undefined
  readonly marks: 'good' | 'missing or damaged'
  readonly committedBelow: number
  readonly droppedBelow: number
}

/** What `ls` shows of a journal. */
export interface JournalListing extends JournalFacts {
  readonly segments: readonly SegmentEntry[]
}

/** What `verify` found in a journal. */
export interface JournalVerification extends JournalFacts {
  readonly segments: readonly VerifiedSegment[]
  /** Records missing before the first segment. */
  readonly missingBefore: number
  /** The first 100 runs that cannot be read, in order. */
  readonly runs: readonly UnreadableRun[]
  /** True when nothing is damaged or missing; what was dropped and a torn tail are no damage. */
  readonly whole: boolean
}

const runsShown = 100
const looksAtAnEnd = 4
const lookAgainMs = 50

interface Surveyed {
  readonly facts: JournalFacts
  readonly marker: number
  readonly found: readonly { readonly segment: SegmentFile; readonly header: SegmentHeader | undefined; readonly entry: SegmentEntry }[]
}

/** What the folder of a journal says of itself. */
export async function describeJournal(files: FilePort, folder: string): Promise<JournalFacts> {
  return (await survey(files, folder)).facts
}

/** The segments of a folder, oldest first; of the last one every byte is read, of the others the header. */
export async function listJournal(files: FilePort, folder: string): Promise<JournalListing> {
  const { facts, marker, found } = await survey(files, folder)
  const segments: SegmentEntry[] = []
  for (const { segment, entry } of found) {
    if (segment.end !== Infinity) segments.push(entry)
    else {
      const walked = await walk(files, segment, marker, () => undefined)
      if (walked !== undefined) segments.push(ended(entry, walked.end, facts.committedBelow))
    }
  }
  return { ...facts, segments }
}

/**
 * Reads every byte of every segment and checks every frame. Where a running process removes segments meanwhile, they are
 * left out; what stands behind the last whole record of the last segment may be a group that is being written.
 */
export async function verifyJournal(files: FilePort, folder: string): Promise<JournalVerification> {
  const { facts, marker, found } = await survey(files, folder)
  const runs: UnreadableRun[] = []
  const note = (run: UnreadableRun): void => void (runs.length < runsShown && run.to > run.from && runs.push(run))
  const segments: VerifiedSegment[] = []
  let missingBefore = 0
  for (const { segment, entry } of found) {
    const counts = { damaged: 0, missing: 0, dropped: 0 }
    const unreadable: UnreadableRun[] = []
    const count = (whole: UnreadableRun): void => {
      for (const run of splitDropped(whole, facts.droppedBelow)) {
        counts[run.kind] += run.to - run.from
        if (unreadable.length < runsShown) unreadable.push(run)
      }
    }
    const walked = entry.header === 'foreign' ? await passForeign(files, segment, count) : await walk(files, segment, marker, count)
    if (walked === undefined) continue
    if (segments.length === 0) {
      const from = await accountedBelow(files, facts, segment.first)
      missingBefore = Math.max(0, segment.first - from)
      note({ from, to: segment.first, kind: 'missing' })
    }
    unreadable.forEach(note)
    segments.push({
      ...(segment.end === Infinity ? ended(entry, walked.end, facts.committedBelow) : entry),
      records: walked.records,
      damagedRecords: counts.damaged,
      damagedBytes: walked.damagedBytes + (entry.header === 'unreadable' ? Math.min(segmentHeaderBytes, entry.bytes) : 0),
      missingRecords: counts.missing,
      droppedRecords: counts.dropped,
      tornBytes: walked.tornBytes
    })
  }
  const whole =
    missingBefore === 0 &&
    segments.every(({ damagedBytes, damagedRecords, missingRecords }) => damagedBytes + damagedRecords + missingRecords === 0)
  return { ...facts, segments, missingBefore, runs, whole }
}

async function survey(files: FilePort, folder: string): Promise<Surveyed> {
  const segments = await listSegments(files, folder)
  const headers = new Map<SegmentFile, SegmentHeader>()
  for (const segment of segments) {
    const bytes = await loadFile(files, segment.path, segmentHeaderBytes)
    const header = bytes === undefined ? undefined : decodeSegmentHeader(bytes)
    if (header !== undefined) headers.set(segment, header)
  }
  // Behind the list: a segment that goes meanwhile was committed or dropped by then, and these marks say so.
  const marks = await loadMarks(files, folder)
  const known: Pick<Marks, 'uuid' | 'marker' | 'timeline'> | undefined = marks ?? [...headers.values()].at(-1)
  const facts: JournalFacts = {
    folder,
    uuid: known?.uuid,
    timeline: known?.timeline ?? known?.uuid,
    marks: marks === undefined ? 'missing or damaged' : 'good',
    committedBelow: marks?.committedBelow ?? 0,
    droppedBelow: marks?.droppedBelow ?? 0
  }
  const found: Surveyed['found'][number][] = []
  for (const segment of segments) {
    const stat = await files.stat(segment.path)
    if (stat === undefined) continue
    const header = headers.get(segment)
    const end = segment.end === Infinity ? segment.first : segment.end
    const entry: SegmentEntry = {
      name: segment.name,
      first: segment.first,
      end,
      bytes: stat.bytes,
      header: header === undefined ? 'unreadable' : header.uuid === known?.uuid ? 'good' : 'foreign',
      createdMs: header?.createdMs,
      sealedMs: segment.end === Infinity ? undefined : stat.modifiedMs,
      committed: 'no'
    }
    found.push({ segment, header, entry: ended(entry, end, facts.committedBelow) })
  }
  return { facts, marker: known?.marker ?? 0, found }
}

/** Below this ordinal nothing has to be there. Where that is not all before the first segment, the marks are read again: segments may have gone since. */
async function accountedBelow(files: FilePort, facts: JournalFacts, first: number): Promise<number> {
  const known = Math.max(facts.committedBelow, facts.droppedBelow)
  if (known >= first) return known
  const marks = await loadMarks(files, facts.folder)
  return Math.max(known, marks?.committedBelow ?? 0, marks?.droppedBelow ?? 0)
}

function ended(entry: SegmentEntry, end: number, committedBelow: number): SegmentEntry {
  return { ...entry, end, committed: end <= committedBelow ? 'yes' : entry.first < committedBelow ? 'partly' : 'no' }
}

/** What is missing below the ordinal up to which records were dropped is dropped. */
function splitDropped(run: UnreadableRun, droppedBelow: number): UnreadableRun[] {
  const border = Math.min(run.to, Math.max(run.from, droppedBelow))
  const parts: UnreadableRun[] = [
    { from: run.from, to: border, kind: 'dropped' },
    { ...run, from: border }
  ]
  return parts.filter(({ from, to }) => to > from)
}

interface Walked {
  readonly end: number
  readonly records: number
  readonly damagedBytes: number
  readonly tornBytes: number
}

type OnRun = (run: UnreadableRun) => void

/** Nothing of a segment of another journal is read: opening would move it away. */
async function passForeign(files: FilePort, segment: SegmentFile, onRun: OnRun): Promise<Walked | undefined> {
  const stat = await files.stat(segment.path)
  if (stat === undefined) return undefined
  const end = segment.end === Infinity ? segment.first : segment.end
  onRun({ from: segment.first, to: end, kind: 'missing' })
  return { end, records: 0, damagedBytes: stat.bytes, tornBytes: 0 }
}

/** Reads a segment to its end. Undefined when it went meanwhile. */
async function walk(files: FilePort, segment: SegmentFile, marker: number, onRun: OnRun): Promise<Walked | undefined> {
  return await whileOpen(files, segment.path, async fd => await walkOpen({ files, fd, segment, marker, onRun }))
}

interface OpenSegment {
  readonly files: FilePort
  readonly fd: number
  readonly segment: SegmentFile
  readonly marker: number
  readonly onRun: OnRun
}

async function walkOpen({ files, fd, segment, marker, onRun }: OpenSegment): Promise<Walked> {
  const { first, end } = segment
  for (let look = 1; ; look++) {
    const survey = await surveySegment({ files, fd, marker }, { from: first, below: end })
    const next = survey.runs.at(-1)?.end ?? first
    if (end !== Infinity) {
      reportRuns(survey, first, end, onRun)
      const damagedBytes = survey.between.bytes + (next < end ? survey.behind.bytes : 0)
      return { end, records: survey.found, damagedBytes, tornBytes: 0 }
    }
    const tail = await classifyEnd(files, fd, survey.end, marker)
    const damaged = tail.kind === 'damaged'
    // It may be a group that is being written: then it is whole a moment later.
    if (damaged && look < looksAtAnEnd) {
      await delay(lookAgainMs)
      continue
    }
    const behind = endOfDamage(survey, tail, next)
    reportRuns(survey, first, behind, onRun)
    const damagedBytes = survey.between.bytes + (damaged ? tail.bytes : 0)
    return { end: behind, records: survey.found, damagedBytes, tornBytes: damaged ? 0 : tail.bytes }
  }
}

/** Says which ordinals of [first, end) are not there. They are damaged where damage stands in front of what follows them. */
function reportRuns({ runs, between, behind }: Survey, first: number, end: number, onRun: OnRun): void {
  const damageEnds = new Set(between.regions.map(({ offset, bytes }) => offset + bytes))
  const unnamed = between.bytes > between.regions.reduce((sum, { bytes }) => sum + bytes, 0)
  let next = first
  for (const run of runs) {
    pass(run.first, unnamed || damageEnds.has(run.offset))
    next = run.end
  }
  pass(end, behind.bytes > 0)

  function pass(to: number, damaged: boolean): void {
    if (to > next) onRun({ from: next, to, kind: damaged ? 'damaged' : 'missing' })
  }
}
