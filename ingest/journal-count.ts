import type { JournalBatch } from '../journal/record.ts'
import type { Pace } from './pace.ts'
import { RecordCursor } from './record-cursor.ts'

/** Reads ordinals [from, to) of a journal, in order (journal/scan.ts with its folder). */
export type Scan = (range: { readonly from: number; readonly to: number }) => AsyncIterable<JournalBatch>

export interface JournalCountOptions {
  readonly scan: Scan
  /** The ordinals to look for, [from, to); `to` is durable. */
  readonly from: number
  readonly to: number
  /** The checkpoint's position at the moment: what lies below has its outcome and need not be found. */
  readonly position: () => number
  readonly pace: Pace
  readonly signal: AbortSignal
}

/** What a reader really finds. */
export interface JournalCount {
  /** The ordinals that count, [from, to): those without an outcome when the count ended. */
  readonly from: number
  readonly to: number
  /** Records that were read, and ordinals that are known to be dropped. */
  readonly found: number
  readonly firstMissing: number | undefined
}

interface Run {
  readonly from: number
  readonly to: number
}

/** Runs of missing records that are kept apart; a journal with more is not read to its end. */
const mostRuns = 1000

/**
 * Counts what a fresh reader finds of the journal. Ingest goes on meanwhile and segments with an outcome may be removed, so
 * only ordinals count that still have none when everything is read: those the journal has to have had all the time.
 */
export async function countJournal(options: JournalCountOptions): Promise<JournalCount> {
  const { scan, position, pace, signal } = options
  let { from: at, to } = options
  const missing: Run[] = []
  while (at < to && !signal.aborted) {
    let ended = true
    for await (const batch of scan({ from: at, to })) {
      at = batch.to
      addMissing(batch, missing)
      if (missing.length >= mostRuns) to = at
      await pace.rest()
      ended = at >= to
      // Ingest has come by: go on where it is.
      if (ended || signal.aborted || position() > at) break
      ended = true
    }
    if (ended && at < to) missing.push({ from: at, to })
    at = ended ? to : Math.max(at, position())
  }
  // Ingest may be beyond the end of the range by now.
  const from = Math.max(options.from, Math.min(to, position()))
  const expected = Math.max(0, to - from)
  const lost = missing.filter(run => run.to > from)
  const lostRecords = lost.reduce((sum, run) => sum + run.to - Math.max(run.from, from), 0)
  const [first] = lost
  return { from, to, found: expected - lostRecords, firstMissing: first === undefined ? undefined : Math.max(first.from, from) }
}

/** Adds the ordinals of a batch that are neither in a record nor dropped. */
function addMissing(batch: JournalBatch, missing: Run[]): void {
  const cursor = new RecordCursor(batch, batch.from)
  let at = batch.from
  for (let step = cursor.next(); step !== undefined; step = cursor.next()) {
    const to = step.kind === 'record' ? step.record.ordinal + 1 : step.to
    if (step.kind === 'gap' && step.why === 'damaged') missing.push({ from: at, to })
    at = to
  }
}
