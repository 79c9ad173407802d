/** What the journal keeps of one publish, as a reader gets it. */
export interface JournalRecord {
  /** Number of records appended before it since the journal was created. */
  readonly ordinal: number
  /** Received time: whole milliseconds since 1970 and the nanoseconds within the millisecond (0 … 999,999). */
  readonly receivedMs: number
  readonly receivedSubNs: number
  readonly clientId: string
  /** Undefined for an anonymous client. */
  readonly user: string | undefined
  readonly topic: string
  readonly payload: Uint8Array
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly dup: boolean
  /** A last will, journaled when its connection ended. */
  readonly will: boolean
  /** Packet identifier of QoS 1 and 2, else 0. */
  readonly packetId: number
  /** Bytes that the writer wants back as they are: MQTT 5 properties, or why a dead letter is one. */
  readonly properties: Uint8Array | undefined
}

/**
 * What append takes. Strings come as UTF-8 bytes, because the gate has them as bytes; append copies everything, so
 * the caller may reuse the object and its buffers for the next record.
 */
export interface AppendRecord {
  clientId: Uint8Array
  user: Uint8Array | undefined
  topic: Uint8Array
  payload: Uint8Array
  qos: 0 | 1 | 2
  retain: boolean
  dup: boolean
  will: boolean
  packetId: number
  properties: Uint8Array | undefined
  /** Only for a replay: the received time to keep. Otherwise the journal takes its own clock. */
  received: { readonly ms: number; readonly subNs: number } | undefined
}

/** A record without anything in it, for whoever fills one object again and again. */
export function blankRecord(): AppendRecord {
  return {
    clientId: new Uint8Array(),
    user: undefined,
    topic: new Uint8Array(),
    payload: new Uint8Array(),
    qos: 0,
    retain: false,
    dup: false,
    will: false,
    packetId: 0,
    properties: undefined,
    received: undefined
  }
}

/** What readTail hands over of a record: strings as UTF-8 bytes. One object for all, good until the visitor returns. */
export type TailRecord = Pick<AppendRecord, 'clientId' | 'user' | 'topic' | 'payload' | 'qos' | 'retain' | 'packetId' | 'properties'> & {
  ordinal: number
  receivedMs: number
}

/** Nanoseconds since 1970 at which a record was received. */
export function receivedNs(record: { readonly receivedMs: number; readonly receivedSubNs: number }): bigint {
  return BigInt(record.receivedMs) * 1_000_000n + BigInt(record.receivedSubNs)
}

/** A run of ordinals [from, to) that no reader can have any more, and why. */
export interface JournalGap {
  readonly from: number
  readonly to: number
  readonly kind: 'damaged' | 'dropped'
}

/** What one read returns: every ordinal of [from, to) is in it exactly once, as a record or in a gap. */
export interface JournalBatch {
  readonly from: number
  readonly to: number
  readonly records: readonly JournalRecord[]
  readonly gaps: readonly JournalGap[]
}

/**
 * Whether the journal takes records: accepting, or why it does not. `behind` passes as soon as the disk has taken what
 * waits for it in memory; `full` and `failing` last until somebody makes room or the disk works again.
 */
export type JournalState = 'accepting' | 'behind' | 'full' | 'failing' | 'closed'

/** What the rest of the edge uses of the journal's writing side (journal/journal.ts implements it). */
export interface JournalWriter {
  readonly uuid: string
  /** Ordinal that the next record gets. */
  readonly head: number
  /** Every record below this ordinal is as durable as `sync` promises. */
  readonly durable: number
  readonly state: JournalState
  /**
   * Appends a record to the current group and returns its ordinal. Synchronous; never waits for the disk.
   * @throws TidegateError TG_JOURNAL_BEHIND, TG_JOURNAL_FULL, TG_JOURNAL_FAILING or TG_JOURNAL_CLOSED, as the state says
   */
  append(record: AppendRecord): number
  /** Calls the listener with `durable` after every group commit, in order. Returns the function that removes it. */
  onDurable(listener: (durable: number) => void): () => void
  /** Calls the listener when the state changes. Returns the function that removes it. */
  onState(listener: (state: JournalState) => void): () => void
  /**
   * Says that every record below the ordinal has its outcome durably, so that its segments may go when `keep` allows. What
   * is at or above `keepFrom` (default the ordinal) stays nevertheless, unless the disk is full: it may be read again.
   */
  commit(ordinal: number, keepFrom?: number): void
}

/** What the edge reads of its journal when it starts (journal/journal.ts implements it). */
export interface JournalTail {
  /**
   * Visits the newest 64 MiB of the records that were there when the journal was opened, and what lies before them from the
   * ordinal on, in the order of their ordinals; what is damaged is left out.
   */
  readTail(from: number, visit: (record: TailRecord) => void): Promise<void>
}

/** What keeps records of the journal for whoever has to read them again at the next start (journal/journal.ts implements it). */
export interface JournalHold {
  /** Bytes appended since the journal was opened, as far as they are written. */
  readonly appendedBytes: number
  /** Removes nothing from this ordinal on, whatever bound is passed or disk is full, until it is told another. */
  hold(from: number): void
}

/** What the service uses of the journal's reading side (journal/reader.ts implements it). */
export interface JournalSource {
  /** Says how far records are durable; read never goes beyond. */
  advance(durable: number): void
  /**
   * Reads on from where the last read ended. Waits until there is at least one record or gap; resolves with
   * from = to when the source was closed or the signal aborted meanwhile.
   */
  read(limits: { readonly maxRecords: number; readonly maxBytes: number; readonly signal?: AbortSignal }): Promise<JournalBatch>
  close(): Promise<void>
}
