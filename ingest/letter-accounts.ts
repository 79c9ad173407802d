import type { JournalRecord } from '../journal/record.ts'
import { isObject } from './codecs/json.ts'
import type { Scan } from './journal-count.ts'
import type { Pace } from './pace.ts'

/** What has become of the dead letters whose records the ledger's totals count. */
export interface LetterAccounts {
  readonly kept: number
  /** Replayed or purged. */
  readonly tombstoned: number
  /** Gone because of the cap. */
  readonly evicted: number
}

export interface LetterCountOptions {
  /** Of the letters' own journal. */
  readonly scan: Scan
  readonly letters: { readonly oldest: number; readonly durable: number }
  /** The records that count: those of this journal, [from, to). */
  readonly records: { readonly journal: string; readonly from: number; readonly to: number }
  readonly pace: Pace
  readonly signal: AbortSignal
}

/**
 * Counts the letters in the files. One that is in no file although its segment is counts as nothing; what lies below the
 * oldest segment is evicted. Undefined when it cannot be known whose the evicted ones were, since letters outlive the totals,
 * and when the signal came first.
 */
export async function countLetters(options: LetterCountOptions): Promise<LetterAccounts | undefined> {
  const { scan, letters, records, pace, signal } = options
  let kept = 0
  let older = 0
  /** Letters come in order, so those that are evicted lie below the first that is found. */
  let first = letters.durable
  for await (const batch of scan({ from: 0, to: letters.durable })) {
    for (const letter of batch.records) {
      first = Math.min(first, letter.ordinal)
      const ordinal = recordOf(letter, records.journal)
      if (ordinal === undefined || ordinal < records.from) older += 1
      else if (ordinal < records.to) kept += 1
    }
    await pace.rest()
    if (signal.aborted) return undefined
  }
  // Read when everything else is: a segment that goes meanwhile is in one of the two, never in both.
  const evicted = Math.min(first, letters.oldest)
  if (evicted > 0 && (older > 0 || records.from > 0)) return undefined
  return { kept, tombstoned: 0, evicted }
}

/** The ordinal of the record that a letter was; undefined for one of another journal. */
function recordOf(letter: JournalRecord, journal: string): number | undefined {
  try {
    const why: unknown = JSON.parse(Buffer.from(letter.properties ?? []).toString('utf8'))
    return isObject(why) && why['journal'] === journal ? Number(why['ordinal']) : undefined
  } catch {
    return undefined
  }
}
