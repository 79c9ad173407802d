/** What `journal ls` and `journal verify` print: positions as clients know them, times in ISO 8601. */
import type {
  JournalFacts,
  JournalListing,
  JournalVerification,
  SegmentEntry,
  UnreadableRun,
  VerifiedSegment
} from '../journal/inspection.ts'
import { encodePosition } from '../telemetry.ts'

type Json = Readonly<Record<string, unknown>>

/** A listing as JSON. */
export function listingToJson(listing: JournalListing): Json {
  return { ...factsToJson(listing), segments: listing.segments.map(segment => segmentToJson(listing, segment)) }
}

/** A verification as JSON, with totals. */
export function verificationToJson(verification: JournalVerification): Json {
  const { segments, missingBefore, whole, runs } = verification
  return {
    ...factsToJson(verification),
    whole,
    totals: totalsOf(verification),
    missingBefore,
    unreadable: runs.map(run => ({ ...runRange(verification, run), kind: run.kind, records: run.to - run.from })),
    segments: segments.map(segment => ({
      ...segmentToJson(verification, segment),
      ok: segment.records,
      damaged: { records: segment.damagedRecords, bytes: segment.damagedBytes },
      missing: segment.missingRecords,
      dropped: segment.droppedRecords,
      tornBytes: segment.tornBytes
    }))
  }
}

/** A listing as a table. */
export function listingText(journal: JournalListing, deadLetters: JournalListing | undefined): string {
  return [listingPart('journal', journal), deadLetters === undefined ? noLetters : listingPart('dead letters', deadLetters)].join('\n\n')
}

/** A verification as a table, what cannot be read, and a last line that says how it is. */
export function verificationText(journal: JournalVerification, deadLetters: JournalVerification | undefined): string {
  return [verifiedPart('journal', journal), deadLetters === undefined ? noLetters : verifiedPart('dead letters', deadLetters)].join('\n\n')
}

/** A run of ordinals for people. */
export function describeRun(facts: Pick<JournalFacts, 'timeline'>, run: Pick<UnreadableRun, 'from' | 'to'>): string {
  const { first, last } = runRange(facts, run)
  return first === last ? first : `${first} to ${last} (${run.to - run.from} records)`
}

const noLetters = 'dead letters: none'

function listingPart(title: string, listing: JournalListing): string {
  const head = ['segment', 'first', 'last', 'records', 'bytes', 'created', 'sealed', 'committed']
  const rows = listing.segments.map(segment => [
    ...segmentCells(segment),
    timeText(segment.createdMs),
    timeText(segment.sealedMs),
    segment.committed
  ])
  return [titleOf(title, listing), tableText(head, rows)].join('\n')
}

function verifiedPart(title: string, verification: JournalVerification): string {
  const { whole, missingBefore, runs } = verification
  const totals = totalsOf(verification)
  const lines = [titleOf(title, verification), verifiedTable(verification)]
  if (verification.marks !== 'good') lines.push('the file `marks` is missing or damaged: what was dropped counts as missing')
  if (missingBefore > 0) lines.push(`${missingBefore} records before the first segment are missing`)
  lines.push(...runs.map(run => `${run.kind}: ${describeRun(verification, run)}`))
  const faults = `${totals.damaged} damaged (${totals.damagedBytes} bytes), ${totals.missing} missing, ${totals.dropped} dropped`
  lines.push(`${title}: ${whole ? 'whole' : 'NOT whole'}; ${totals.ok} records ok, ${faults}, ${totals.tornBytes} bytes torn at the end`)
  return lines.join('\n')
}

function verifiedTable(verification: JournalVerification): string {
  const head = ['segment', 'first', 'last', 'ok', 'damaged', 'bytes', 'missing', 'dropped', 'torn', 'header']
  return tableText(head, verification.segments.map(verifiedCells))
}

function verifiedCells(segment: VerifiedSegment): readonly string[] {
  return [
    segment.name,
    String(segment.first),
    lastText(segment),
    ...[
      segment.records,
      segment.damagedRecords,
      segment.damagedBytes,
      segment.missingRecords,
      segment.droppedRecords,
      segment.tornBytes
    ].map(String),
    segment.header
  ]
}

function totalsOf({ segments, missingBefore }: JournalVerification) {
  const sum = (count: (segment: VerifiedSegment) => number): number => segments.reduce((total, segment) => total + count(segment), 0)
  return {
    segments: segments.length,
    bytes: sum(segment => segment.bytes),
    ok: sum(segment => segment.records),
    damaged: sum(segment => segment.damagedRecords),
    damagedBytes: sum(segment => segment.damagedBytes),
    missing: missingBefore + sum(segment => segment.missingRecords),
    dropped: sum(segment => segment.droppedRecords),
    tornBytes: sum(segment => segment.tornBytes)
  }
}

function factsToJson({ folder, uuid, timeline, marks, committedBelow, droppedBelow }: JournalFacts): Json {
  return { folder, uuid: uuid ?? null, timeline: timeline ?? null, marks, committedBelow, droppedBelow }
}

function segmentToJson(facts: Pick<JournalFacts, 'timeline'>, segment: SegmentEntry): Json {
  const { name, first, end, bytes, header, createdMs, sealedMs, committed } = segment
  const { first: firstPosition, last } = runRange(facts, { from: first, to: end })
  const range = end > first ? { first: firstPosition, last } : { first: firstPosition, last: null }
  return { name, ...range, records: end - first, bytes, header, created: isoOf(createdMs), sealed: isoOf(sealedMs), committed }
}

function runRange({ timeline = '' }: Pick<JournalFacts, 'timeline'>, run: Pick<UnreadableRun, 'from' | 'to'>) {
  return { first: encodePosition(timeline, run.from), last: encodePosition(timeline, run.to - 1) }
}

function segmentCells(segment: SegmentEntry): readonly string[] {
  return [segment.name, String(segment.first), lastText(segment), String(segment.end - segment.first), String(segment.bytes)]
}

function lastText({ first, end }: SegmentEntry): string {
  return end > first ? String(end - 1) : '-'
}

function titleOf(title: string, { folder, timeline }: JournalFacts): string {
  return `${title} ${timeline ?? '(of unknown identity)'} in ${folder}`
}

function isoOf(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString()
}

function timeText(ms: number | undefined): string {
  return isoOf(ms) ?? '-'
}

function tableText(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map(row => row[column]?.length ?? 0)))
  return all
    .map(row =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd()
    )
    .join('\n')
}
