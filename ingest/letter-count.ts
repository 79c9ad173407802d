import { setImmediate as nextTurn } from 'node:timers/promises'
import type { DeadLettersOptions } from './dead-letters.ts'
import { addEntry, LetterBlocks } from './letter-blocks.ts'
import { startingBound } from './letter-bound.ts'

/** Records of a journal whose letters are counted: ordinals [since, below). */
export interface AccountedRecords {
  readonly journal: string
  readonly since: number
  readonly below: number
}

/** What has become of them. */
export interface LetterAccounts {
  readonly kept: number
  /** Replayed or purged. */
  readonly tombstoned: number
  /** Gone because of the cap. */
  readonly evicted: number
}

export interface CountingOptions {
  /** Reads the letters' journal; default as they do. For a count that is not to say again and again what is damaged. */
  readonly scan?: DeadLettersOptions['scan']
  /** Awaited now and then, so that something else may run; default the next turn of the event loop. */
  readonly rest?: () => Promise<unknown>
  readonly signal?: AbortSignal
}

/**
 * Counts letters from the files alone. `missing` is the first ordinal that could not be read, Infinity without one. Undefined
 * when the signal came first.
 */
export async function countLetters(
  letters: Pick<DeadLettersOptions, 'journal' | 'bound' | 'scan'>,
  records: AccountedRecords,
  { rest = nextTurn, signal, scan = letters.scan }: CountingOptions
): Promise<{ readonly accounts: LetterAccounts; readonly missing: number } | undefined> {
  const { journal, bound } = letters
  const { durable } = journal
  const { below, records: gone } = startingBound(await bound.load(), journal, { ...records, position: records.below })
  const blocks = new LetterBlocks()
  let missing = Infinity
  for await (const batch of scan({ from: below, to: durable })) {
    for (const record of batch.records) addEntry(blocks, record, records)
    for (const gap of batch.gaps) missing = Math.min(missing, gap.from)
    await rest()
    if (signal?.aborted === true) return undefined
  }
  const { kept, replayed, purged } = blocks.counted
  return { accounts: { kept, tombstoned: replayed + purged + gone.tombstoned, evicted: gone.evicted }, missing }
}
