/**
 * What the journal of the dead letters holds, entry by entry.
 *
 * A letter is a record with the received time, client id, user, topic and payload of the original; its properties are JSON:
 * `{ journal, ordinal, reason, detail, properties? }`, where journal and ordinal name the original and `properties` are its
 * own, in base64. Tombstones are a record without a topic whose properties are `{ tombstones: fate }` and whose payload is a
 * JSON list of runs [from, to) of ordinals: the letters that were replayed or purged. They lie behind what they name. Where the
 * properties are `{ lost: true }` it is the letters whose records the journal has lost (without fsync a loss of power may do that):
 * they are letters like others, but count for none of the records that have those ordinals now.
 */
import type { AppendRecord, JournalRecord } from '../journal/record.ts'
import { receivedNs } from '../journal/record.ts'
import { isObject } from './codecs/json.ts'
import type { RefusalReason } from './refusals.ts'
import { isReason } from './refusals.ts'

/** Why a letter has a tombstone: it went through the pipeline again as a new record, or somebody wanted it gone. */
export type LetterFate = 'replayed' | 'purged'

export interface DeadLetter {
  /** Its own ordinal among the entries of the letters' journal. */
  readonly ordinal: number
  /** Of the record that it was. */
  readonly recordJournal: string
  readonly recordOrdinal: number
  readonly receivedMs: number
  /** The nanoseconds within the millisecond. */
  readonly receivedSubNs: number
  readonly receivedNs: bigint
  readonly clientId: string
  readonly user: string | undefined
  readonly topic: string
  readonly payload: Uint8Array
  readonly reason: RefusalReason
  readonly detail: string
}

/** Runs [from, to) of ordinals, ascending. */
export type OrdinalRuns = readonly (readonly [from: number, to: number])[]

/** Which record a letter was, and why it is one. */
type Why = Pick<DeadLetter, 'recordJournal' | 'recordOrdinal' | 'reason' | 'detail'>

export type LetterEntry =
  | ({ readonly kind: 'letter' } & Why)
  | { readonly kind: 'tombstones'; readonly fate: LetterFate; readonly runs: OrdinalRuns }
  | { readonly kind: 'lost'; readonly runs: OrdinalRuns }

/** What a letter costs beside its strings and payload, roughly. */
const entryBytes = 64

/** The record of the letter. */
export function encodeLetter(
  record: JournalRecord,
  why: { readonly journal: string; readonly reason: RefusalReason; readonly detail: string }
): AppendRecord {
  const { journal, reason, detail } = why
  const own = record.properties === undefined ? {} : { properties: Buffer.from(record.properties).toString('base64') }
  return {
    clientId: Buffer.from(record.clientId),
    user: record.user === undefined ? undefined : Buffer.from(record.user),
    topic: Buffer.from(record.topic),
    payload: record.payload,
    qos: record.qos,
    retain: record.retain,
    dup: record.dup,
    will: record.will,
    packetId: record.packetId,
    properties: Buffer.from(JSON.stringify({ journal, ordinal: record.ordinal, reason, detail, ...own })),
    received: { ms: record.receivedMs, subNs: record.receivedSubNs }
  }
}

/** The record of the tombstones of letters, whose ordinals ascend. */
export function encodeTombstones(fate: LetterFate, ordinals: readonly number[]): AppendRecord {
  return encodeRuns({ tombstones: fate }, ordinals)
}

/** The record that says of which letters the journal has lost the record; their ordinals ascend. */
export function encodeLost(ordinals: readonly number[]): AppendRecord {
  return encodeRuns({ lost: true }, ordinals)
}

function encodeRuns(properties: Readonly<Record<string, unknown>>, ordinals: readonly number[]): AppendRecord {
  const runs: [number, number][] = []
  for (const ordinal of ordinals) {
    const last = runs.at(-1)
    if (last?.[1] === ordinal) last[1] = ordinal + 1
    else runs.push([ordinal, ordinal + 1])
  }
  const nothing = new Uint8Array()
  return {
    clientId: nothing,
    user: undefined,
    topic: nothing,
    payload: Buffer.from(JSON.stringify(runs)),
    qos: 0,
    retain: false,
    dup: false,
    will: false,
    packetId: 0,
    properties: Buffer.from(JSON.stringify(properties)),
    received: undefined
  }
}

/** What an entry of the journal says; undefined where it says nothing that is known. */
export function decodeEntry(record: JournalRecord): LetterEntry | undefined {
  const properties = parseJson(record.properties)
  if (!isObject(properties)) return undefined
  const { journal: recordJournal, ordinal: recordOrdinal, reason, detail, tombstones, lost } = properties
  if (tombstones === 'replayed' || tombstones === 'purged') {
    return { kind: 'tombstones', fate: tombstones, runs: decodeRuns(record) }
  }
  if (lost === true) return { kind: 'lost', runs: decodeRuns(record) }
  if (typeof recordJournal !== 'string' || typeof recordOrdinal !== 'number') return undefined
  if (typeof detail !== 'string' || !isReason(reason)) return undefined
  return { kind: 'letter', recordJournal, recordOrdinal, reason, detail }
}

/** The letter that an entry is; undefined when it is none. */
export function decodeLetter(record: JournalRecord): DeadLetter | undefined {
  const entry = decodeEntry(record)
  if (entry?.kind !== 'letter') return undefined
  const { ordinal, receivedMs, receivedSubNs, clientId, user, topic, payload } = record
  const { recordJournal, recordOrdinal, reason, detail } = entry
  const own = { ordinal, receivedMs, receivedSubNs, receivedNs: receivedNs(record), clientId, user, topic, payload }
  return { ...own, recordJournal, recordOrdinal, reason, detail }
}

/** Bytes of an entry on the disk, roughly; the same for what is appended and for what is read. */
export function sizeOfEntry(record: {
  readonly clientId: { readonly length: number }
  readonly topic: { readonly length: number }
  readonly payload: Uint8Array
  readonly properties: Uint8Array | undefined
}): number {
  const { clientId, topic, payload, properties } = record
  return entryBytes + clientId.length + topic.length + payload.byteLength + (properties?.byteLength ?? 0)
}

/** Only what lies before the tombstones themselves can be meant, so that no run is longer than the journal. */
function decodeRuns(record: JournalRecord): OrdinalRuns {
  const value = parseJson(record.payload)
  if (!Array.isArray(value)) return []
  return value.flatMap((run: unknown): [number, number][] => {
    if (!Array.isArray(run)) return []
    const [from, to]: unknown[] = run
    if (typeof from !== 'number' || typeof to !== 'number' || !Number.isSafeInteger(from) || from < 0) return []
    return to > from ? [[from, Math.min(to, record.ordinal)]] : []
  })
}

function parseJson(bytes: Uint8Array | undefined): unknown {
  if (bytes === undefined) return undefined
  try {
    // A view: a million letters are read at a time, and copying each costs as much as parsing it.
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'))
  } catch {
    return undefined
  }
}
