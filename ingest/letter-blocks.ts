/**
 * What is known of the entries of the letters' journal without their bytes: one byte each, in blocks of 64 ordinals, so
 * that a cap of 256 MiB costs a few MiB of memory. The oldest blocks go first, as a whole.
 *
 * The byte of a letter is its reason (index in the table, from 1) and, in the upper bits, its fate and whether it counts for
 * the ledger; the byte of anything else is 0.
 */
import type { JournalRecord } from '../journal/record.ts'
import type { LetterFate, OrdinalRuns } from './letter-entry.ts'
import { decodeEntry, sizeOfEntry } from './letter-entry.ts'
import type { RefusalReason } from './refusals.ts'
import { isReason, refusalReasons } from './refusals.ts'

/** Letters by what became of them. */
export interface LetterCounts {
  readonly kept: number
  readonly replayed: number
  readonly purged: number
}

/** A block, or what some blocks have together. */
export interface LetterBlock {
  /** Ordinal behind its last one. */
  readonly below: number
  readonly bytes: number
  /** All letters, and those that count for the ledger. */
  readonly all: LetterCounts
  readonly counted: LetterCounts
  /** Greatest ordinal of a record of the present journal that has a letter here; -1 without one. */
  readonly lastRecord: number
}

/** A letter as the blocks keep it. */
export interface BlockLetter {
  readonly reason: RefusalReason
  /** Whether it counts for the ledger. */
  readonly counted: boolean
  /** Ordinal of its record when that is of the present journal. */
  readonly record: number | undefined
}

type Tally = { -readonly [Key in keyof LetterCounts]: LetterCounts[Key] }
interface Block {
  bytes: number
  lastRecord: number
  readonly all: Tally
  readonly counted: Tally
  readonly letters: Uint8Array
}

const blockLetters = 64
const reasons = Object.keys(refusalReasons).filter(isReason)
const codes = new Map(reasons.map((reason, index) => [reason, index + 1]))
const reasonBits = 0x1f
const fateBits = { replayed: 0x20, purged: 0x40 } as const
const countedBit = 0x80

export class LetterBlocks {
  /** By ordinal / 64, ascending. */
  readonly #blocks = new Map<number, Block>()
  readonly #all: Tally = noLetters()
  readonly #counted: Tally = noLetters()
  readonly #reasons = new Map<RefusalReason, number>()
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  get all(): LetterCounts {
    return this.#all
  }

  get counted(): LetterCounts {
    return this.#counted
  }

  /** Letters kept, by reason. */
  reasonCounts(): Readonly<Partial<Record<RefusalReason, number>>> {
    return Object.fromEntries(this.#reasons)
  }

  /** Adds the next entry; without a letter only its bytes. */
  add(ordinal: number, bytes: number, letter?: BlockLetter): void {
    const index = Math.floor(ordinal / blockLetters)
    let block = this.#blocks.get(index)
    if (block === undefined) {
      block = { bytes: 0, lastRecord: -1, all: noLetters(), counted: noLetters(), letters: new Uint8Array(blockLetters) }
      this.#blocks.set(index, block)
    }
    block.bytes += bytes
    this.#bytes += bytes
    if (letter === undefined) return
    const { reason, counted, record = -1 } = letter
    block.letters[ordinal % blockLetters] = (codes.get(reason) ?? 0) | (counted ? countedBit : 0)
    block.lastRecord = Math.max(block.lastRecord, record)
    this.#tally(block, 'kept', counted, 1)
    this.#countReason(reason, 1)
  }

  /** Is it a letter that is here and has no tombstone? */
  isKept(ordinal: number): boolean {
    const state = this.#blocks.get(Math.floor(ordinal / blockLetters))?.letters[ordinal % blockLetters] ?? 0
    return (state & reasonBits) !== 0 && (state & (fateBits.replayed | fateBits.purged)) === 0
  }

  /** Gives letters a tombstone; what is no letter, or has one, stays as it is. Blocks that are not here are passed over. */
  bury(runs: OrdinalRuns, fate: LetterFate): void {
    for (const [from, to] of runs) {
      for (let ordinal = from; ordinal < to; ordinal += 1) {
        const block = this.#blocks.get(Math.floor(ordinal / blockLetters))
        if (block === undefined) ordinal += blockLetters - 1 - (ordinal % blockLetters)
        else if (this.isKept(ordinal)) this.#bury(block, ordinal, fate)
      }
    }
  }

  /** Does it count for the ledger? */
  isCounted(ordinal: number): boolean {
    return ((this.#blocks.get(Math.floor(ordinal / blockLetters))?.letters[ordinal % blockLetters] ?? 0) & countedBit) !== 0
  }

  /** Letters that count for the ledger no more, whatever their fate. */
  disown(runs: OrdinalRuns): void {
    for (const [from, to] of runs) {
      for (let ordinal = from; ordinal < to; ordinal += 1) {
        const block = this.#blocks.get(Math.floor(ordinal / blockLetters))
        if (block === undefined) ordinal += blockLetters - 1 - (ordinal % blockLetters)
        else if (this.isCounted(ordinal)) this.#disown(block, ordinal % blockLetters)
      }
    }
  }

  /** The blocks, oldest first. */
  *oldest(): Generator<LetterBlock, void, void> {
    for (const [index, block] of this.#blocks) yield { ...block, below: (index + 1) * blockLetters }
  }

  /** Forgets the blocks below an ordinal, which is the end of one. */
  dropBelow(below: number): void {
    for (const [index, block] of this.#blocks) {
      if ((index + 1) * blockLetters > below) return
      this.#blocks.delete(index)
      this.#bytes -= block.bytes
      for (const fate of ['kept', 'replayed', 'purged'] as const) {
        this.#all[fate] -= block.all[fate]
        this.#counted[fate] -= block.counted[fate]
      }
      for (const state of block.letters) {
        const reason = reasons[(state & reasonBits) - 1]
        if (reason !== undefined && (state & (fateBits.replayed | fateBits.purged)) === 0) this.#countReason(reason, -1)
      }
    }
  }

  #bury(block: Block, ordinal: number, fate: LetterFate): void {
    const place = ordinal % blockLetters
    const state = block.letters[place] ?? 0
    const reason = reasons[(state & reasonBits) - 1]
    const counted = (state & countedBit) !== 0
    block.letters[place] = state | fateBits[fate]
    this.#tally(block, 'kept', counted, -1)
    this.#tally(block, fate, counted, 1)
    if (reason !== undefined) this.#countReason(reason, -1)
  }

  #disown(block: Block, place: number): void {
    const state = block.letters[place] ?? 0
    const fate = (state & fateBits.replayed) !== 0 ? 'replayed' : (state & fateBits.purged) !== 0 ? 'purged' : 'kept'
    block.letters[place] = state & ~countedBit
    block.counted[fate] -= 1
    this.#counted[fate] -= 1
  }

  #tally(block: Block, fate: keyof LetterCounts, counted: boolean, by: 1 | -1): void {
    block.all[fate] += by
    this.#all[fate] += by
    if (!counted) return
    block.counted[fate] += by
    this.#counted[fate] += by
  }

  #countReason(reason: RefusalReason, by: 1 | -1): void {
    const count = (this.#reasons.get(reason) ?? 0) + by
    if (count === 0) this.#reasons.delete(reason)
    else this.#reasons.set(reason, count)
  }
}

/**
 * Adds what was read; letters of records of this journal, [since, below), count for the ledger. Returns the ordinal of its
 * record where it is a letter of one of this journal.
 */
export function addEntry(
  blocks: LetterBlocks,
  record: JournalRecord,
  { journal, since, below }: { readonly journal: string; readonly since: number; readonly below: number }
): number | undefined {
  const entry = decodeEntry(record)
  if (entry?.kind !== 'letter') {
    blocks.add(record.ordinal, sizeOfEntry(record))
    if (entry?.kind === 'tombstones') blocks.bury(entry.runs, entry.fate)
    if (entry?.kind === 'lost') blocks.disown(entry.runs)
    return undefined
  }
  const { reason, recordJournal, recordOrdinal } = entry
  const own = recordJournal === journal ? recordOrdinal : undefined
  const counted = own !== undefined && own >= since && own < below
  blocks.add(record.ordinal, sizeOfEntry(record), { reason, counted, record: own })
  return own
}

function noLetters(): Tally {
  return { kept: 0, replayed: 0, purged: 0 }
}
