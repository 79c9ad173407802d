/**
 * How far the journal of the dead letters is freed, and what lay there: one line of JSON and its CRC-32, replaced as a whole
 * before anything goes, so that after a crash every letter is counted once: below the bound here, above it by its entry.
 */
import { crc32 } from 'node:zlib'
import type { FilePort } from '../journal/files.ts'
import { loadFile, nodeFiles, replaceFile } from '../journal/files.ts'
import { isObject } from './codecs/json.ts'

export interface LetterBound {
  /** The journal of the letters. */
  readonly journal: string
  /** Every entry below this ordinal is gone, or on its way. */
  readonly below: number
  /** Letters that lay below, of records of this journal from this ordinal on: what the totals of its checkpoint count. */
  readonly records: { readonly journal: string; readonly since: number; readonly evicted: number; readonly tombstoned: number }
  /** Letters that lay below, of all journals since the folder was made. */
  readonly totals: { readonly evicted: number; readonly replayed: number; readonly purged: number }
}

/** The records of the journal, as ingest begins with them. */
export interface LetteredRecords {
  readonly journal: string
  /** The checkpoint that ingest goes on from: which records come again, and from which ordinal its totals count. */
  readonly position: number
  readonly since: number
  /** The letter of a record from here on is of one that the journal has lost; default none is. */
  readonly lostFrom?: number
}

/** Where the bound is kept. */
export interface LetterBoundFile {
  /** Undefined when it was never saved, or cannot be read back. */
  load(): Promise<LetterBound | undefined>
  /** When it resolves the bound survives a loss of power. */
  save(bound: LetterBound): Promise<void>
}

const fileName = 'bound'

/** The bound in the folder of the letters' journal. */
export function letterBoundFile(folder: string, files: FilePort = nodeFiles): LetterBoundFile {
  return {
    load: async () => {
      const bytes = await loadFile(files, `${folder}/${fileName}`, 4096)
      return bytes === undefined ? undefined : decodeBound(bytes.toString('latin1'))
    },
    save: async bound => {
      const text = JSON.stringify(bound)
      await replaceFile(files, folder, fileName, Buffer.from(`${text} ${checksum(text)}\n`))
    }
  }
}

/**
 * What was freed, as far as it is of this journal of letters and of these totals: totals of another journal, or begun anew,
 * count only what is still there, since a record that comes again gets its letter again.
 */
export function startingBound(
  saved: LetterBound | undefined,
  journal: { readonly uuid: string; readonly head: number },
  records: LetteredRecords
): LetterBound {
  const known = saved?.journal === journal.uuid ? saved : undefined
  const { position, since } = records
  const goesOn = known?.records.journal === records.journal && known.records.since === since && position > since
  return {
    journal: journal.uuid,
    // A journal that lost its empty end counts its ordinals from further back.
    below: Math.min(known?.below ?? 0, journal.head),
    records: goesOn ? known.records : { journal: records.journal, since, evicted: 0, tombstoned: 0 },
    totals: known?.totals ?? { evicted: 0, replayed: 0, purged: 0 }
  }
}

function decodeBound(line: string): LetterBound | undefined {
  const [, text, sum] = /^(\{.*\}) ([0-9a-f]{8})\n$/.exec(line) ?? []
  if (text === undefined || checksum(text) !== sum) return undefined
  const value: unknown = JSON.parse(text)
  if (!isObject(value)) return undefined
  const { journal, below, records, totals } = value
  if (typeof journal !== 'string' || !isCount(below) || !isObject(records) || !isObject(totals)) return undefined
  const { journal: recordJournal, since, evicted, tombstoned } = records
  if (typeof recordJournal !== 'string' || !isCount(since) || !isCount(evicted) || !isCount(tombstoned)) return undefined
  const { evicted: allEvicted, replayed, purged } = totals
  if (!isCount(allEvicted) || !isCount(replayed) || !isCount(purged)) return undefined
  return {
    journal,
    below,
    records: { journal: recordJournal, since, evicted, tombstoned },
    totals: { evicted: allEvicted, replayed, purged }
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0')
}
