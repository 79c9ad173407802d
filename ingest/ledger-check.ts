/**
 * One check of the ledger: four counts that are taken without each other's help, held against each other. All are about one
 * moment, the checkpoint as it stands on disk, while ingest, retention and eviction go on; each says below why what they do
 * meanwhile cannot make it wrong.
 */
import type { Storage, StoreAccounts } from '../storage/port.ts'
import type { Checkpoint } from '../telemetry.ts'
import { outcomes } from '../telemetry.ts'
import type { Clock } from './clock.ts'
import type { Scan } from './journal-count.ts'
import { countJournal, type JournalCount } from './journal-count.ts'
import type { LetterAccounts } from './letter-count.ts'
import { Pace } from './pace.ts'

/** What disagrees: one of the four counts, with what it should be and what it is. */
export interface LedgerFault {
  readonly count: 'outcomes' | 'journal' | 'deadLetters' | 'points'
  readonly expected: number
  readonly found: number
  /** The same in plain words. */
  readonly message: string
}

export interface LedgerCheck {
  /** Wall clock when it began, ms. */
  readonly atMs: number
  /** The records that it is about: below `head`. */
  readonly head: number
  /** Empty when everything agrees. */
  readonly faults: readonly LedgerFault[]
  /** Time that the counts of store and dead letters took. */
  readonly countMs: number
}

export interface LedgerSources {
  /** Ingest as it is at the moment. */
  readonly pipeline: { readonly position: Checkpoint; readonly durable: number; readonly stats: { readonly batches: number } }
  readonly storage: Pick<Storage, 'accounts'>
  readonly scan: Scan
  readonly letters: {
    /**
     * Counted from the files: letters of records that the totals count, below the ordinal. Undefined when they cannot be.
     * With letters of records beyond it no letter is missed, but one too few may be hidden by one that is on its way.
     */
    accounts(below: number, signal: AbortSignal): Promise<LetterAccounts | undefined>
    /** Letters of records that are not below the checkpoint yet. */
    readonly unsettled: number
  }
  readonly clock: Clock
}

/** The letters of a moment between two readings of the totals. */
interface LetterCount {
  readonly accounts: LetterAccounts
  readonly least: number
  readonly most: number
}

/** Share of the time that reading a backlog may have: while ingest works, and while it stands still. */
const shareWhileBusy = 0.05
const shareWhileIdle = 0.25

/**
 * Takes the counts and answers what disagrees; undefined when the signal came first.
 * @throws TidegateError when a count cannot be taken, for example while the database fails
 */
export async function checkLedger(sources: LedgerSources, signal: AbortSignal): Promise<LedgerCheck | undefined> {
  const { pipeline, storage, scan, letters, clock } = sources
  const atMs = Date.now()
  const startedMs = performance.now()
  // Where ingest began anew, the checkpoint on disk is of other totals until the first batch.
  const { position: begun, stats } = pipeline
  const { checkpoint: stored, points } = await storage.accounts()
  const checkpoint = stats.batches === 0 || stored === undefined ? begun : stored
  const accounts = await letters.accounts(checkpoint.position, signal)
  const letterCount = accounts && {
    accounts,
    least: checkpoint.totals.deadLettered,
    most: pipeline.position.totals.deadLettered + letters.unsettled
  }
  const countMs = performance.now() - startedMs

  const head = pipeline.durable
  let { position } = pipeline.position
  const share = (): number => {
    const busy = pipeline.position.position > position
    position = pipeline.position.position
    return busy ? shareWhileBusy : shareWhileIdle
  }
  const journal = await countJournal({
    scan,
    from: checkpoint.position,
    to: head,
    position: () => pipeline.position.position,
    pace: new Pace({ clock, signal, share }),
    signal
  })
  if (signal.aborted) return undefined
  const faults = [outcomeFault(checkpoint), journalFault(journal), letterFault(letterCount), pointFault(points)]
  return { atMs, head, faults: faults.filter(fault => fault !== undefined), countMs }
}

/** Position and totals are one row of the database. */
function outcomeFault({ since, position, totals }: Checkpoint): LedgerFault | undefined {
  const expected = position - since
  const found = outcomes.reduce((sum, outcome) => sum + totals[outcome], 0)
  if (found === expected) return undefined
  return { count: 'outcomes', expected, found, message: `${expected} records were worked off, but their outcomes add up to ${found}` }
}

/** What gets its outcome during the count is left out at its end. */
function journalFault({ from, to, found, firstMissing }: JournalCount): LedgerFault | undefined {
  const expected = to - from
  if (found === expected) return undefined
  const missing =
    expected < 0
      ? `the checkpoint is ${-expected} records ahead of the journal`
      : `${expected - found} of ${expected} records that have no outcome yet cannot be read, the first at ordinal ${firstMissing}: they are damaged or missing, and count as damaged once ingest gets there`
  return { count: 'journal', expected, found, message: missing }
}

/**
 * A letter is durable before the checkpoint counts its record, and stays kept, tombstoned or evicted. So there are never fewer
 * than the checkpoint counts. Evicted ones cannot be told from those of later records: at most there are as many as the next
 * checkpoint counts, and those on their way.
 */
function letterFault(count: LetterCount | undefined): LedgerFault | undefined {
  if (count === undefined) return undefined
  const { kept, tombstoned, evicted } = count.accounts
  const found = kept + tombstoned + evicted
  if (found >= count.least && found <= count.most) return undefined
  const expected = found < count.least ? count.least : count.most
  const where = `${kept} are kept, ${tombstoned} were replayed or purged, ${evicted} evicted`
  return { count: 'deadLetters', expected, found, message: `${expected} records became dead letters, but ${where}` }
}

/** Rows and tally change in the same transactions, retention's included, and are read by one statement. */
function pointFault(points: StoreAccounts['points']): LedgerFault | undefined {
  if (points === undefined) return undefined
  const { counted: found, tally } = points
  const expected = tally.inserted - tally.replaced - tally.expired
  if (found === expected) return undefined
  const why = `${tally.inserted} inserted, ${tally.replaced} replaced, ${tally.expired} expired`
  return { count: 'points', expected, found, message: `the store holds ${found} points, but the tally says ${expected} (${why})` }
}
