/**
 * The dead letters: records that could not be stored, whole and as they came, with the reason. They are a second journal,
 * so that they are as durable as the first one.
 *
 * A letter is a record with the received time, client id, user, topic and payload of the original; its properties are JSON:
 * `{ journal, ordinal, reason, detail, properties? }`, where journal and ordinal name the original and `properties` are its
 * own, in base64. Letters are kept up to a cap in bytes. The oldest go first, in blocks of 64 by ordinal, so that opening
 * finds the same bound again; all that ever were is the journal's head, so what was evicted is what lies below the bound.
 */
import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import type { JournalBatch, JournalRecord, JournalWriter } from '../journal/record.ts'
import { receivedNs } from '../journal/record.ts'
import { isObject } from './codecs/json.ts'
import type { RefusalReason } from './refusals.ts'
import { refusalReasons } from './refusals.ts'
import { TopicPattern, patternFault } from './topic-pattern.ts'

export interface DeadLettersOptions {
  /**
   * The journal of the letters, opened with `whenFull: 'drop-oldest'` and nothing to keep after the commit; whoever opened
   * it closes it.
   */
  readonly journal: JournalWriter
  /** Reads ordinals [from, to) of that journal, in order (journal/scan.ts with its folder). */
  readonly scan: (range: { readonly from: number; readonly to: number }) => AsyncIterable<JournalBatch>
  /** Bytes kept; the oldest letters are evicted beyond. */
  readonly maxBytes: number
  /** The journal that the records come from, and the ordinal from which ingest goes on. */
  readonly records: { readonly journal: string; readonly position: number }
  readonly log: Logger
}

export interface DeadLetter {
  /** Its own ordinal among the letters. */
  readonly ordinal: number
  /** Of the record that it was. */
  readonly recordJournal: string
  readonly recordOrdinal: number
  readonly receivedMs: number
  readonly receivedNs: bigint
  readonly clientId: string
  readonly user: string | undefined
  readonly topic: string
  readonly payload: Uint8Array
  readonly reason: RefusalReason
  readonly detail: string
}

export interface DeadLetterQuery {
  readonly reason?: string
  /** An MQTT topic filter. */
  readonly topic?: string
  /** Received time: from (inclusive) to (exclusive), ns. */
  readonly fromNs?: bigint
  readonly toNs?: bigint
  /** Only letters behind this one. */
  readonly after?: number
  readonly limit: number
}

export interface DeadLetterPage {
  /** Oldest first. */
  readonly items: readonly DeadLetter[]
  /** All letters that are kept, by reason. */
  readonly counts: Readonly<Partial<Record<RefusalReason, number>>>
  /** Pass it as `after` to read on; undefined at the end. There may be more although there are fewer items than `limit`. */
  readonly next: number | undefined
}

interface Block {
  bytes: number
  letters: number
  readonly counts: Map<RefusalReason, number>
}

/** Bytes of letters in one page at most (and one letter at least), so that an answer is bounded whatever the payloads are. */
const pageBytes = 1024 * 1024
/** Letters looked at for one page at most, so that a filter that matches nothing ends. */
const scannedPerPage = 20_000
const blockLetters = 64
/** What a letter costs beside its strings and payload, roughly. */
const letterBytes = 64

export class DeadLetters {
  readonly #options: DeadLettersOptions
  /** By ordinal / 64, ascending. */
  readonly #blocks = new Map<number, Block>()
  /** Ordinals of records, not yet below the checkpoint, that have their letter. */
  readonly #recent = new Set<number>()
  #bytes = 0
  #evictedBelow = 0

  /** Reads what is there: sizes, reasons, and which records from the position on have their letter already. */
  static async open(options: DeadLettersOptions): Promise<DeadLetters> {
    const letters = new DeadLetters(options)
    const { journal, position } = options.records
    for await (const record of letters.#scan(0)) {
      const letter = decodeLetter(record)
      letters.#count(record.ordinal, sizeOf(record), letter?.reason ?? 'decoder-failed')
      if (letter?.recordJournal === journal && letter.recordOrdinal >= position) letters.#recent.add(letter.recordOrdinal)
    }
    letters.#evict()
    return letters
  }

  private constructor(options: DeadLettersOptions) {
    this.#options = options
  }

  /** Letters kept, and bytes of them. */
  get kept(): number {
    let letters = 0
    for (const block of this.#blocks.values()) letters += block.letters
    return letters
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Letters that went because of the cap, since the folder was made. */
  get evicted(): number {
    return this.#options.journal.head - this.kept
  }

  /** Does the record have its letter? Known from the checkpoint on. */
  has(recordOrdinal: number): boolean {
    return this.#recent.has(recordOrdinal)
  }

  /** How many of the records [from, to) have? Known from the checkpoint on. */
  countIn(from: number, to: number): number {
    let count = 0
    for (const ordinal of this.#recent) if (ordinal >= from && ordinal < to) count += 1
    return count
  }

  /** Letters of records that are not below the checkpoint yet. */
  get unsettled(): number {
    return this.#recent.size
  }

  /** Letters of records below the checkpoint are not asked for again. */
  forgetBelow(position: number): void {
    for (const ordinal of this.#recent) if (ordinal < position) this.#recent.delete(ordinal)
  }

  /**
   * Appends the letter of a record, unless it has one. Not durable yet: see `durable`. Returns its size in bytes, 0 when
   * there was one.
   * @throws TidegateError TG_JOURNAL_FULL, TG_JOURNAL_FAILING, TG_JOURNAL_CLOSED; then the same call may succeed later
   */
  append(record: JournalRecord, reason: RefusalReason, detail: string): number {
    if (this.#recent.has(record.ordinal)) return 0
    const properties = Buffer.from(
      JSON.stringify({
        journal: this.#options.records.journal,
        ordinal: record.ordinal,
        reason,
        detail,
        ...(record.properties === undefined ? {} : { properties: Buffer.from(record.properties).toString('base64') })
      })
    )
    const ordinal = this.#options.journal.append({
      clientId: Buffer.from(record.clientId),
      user: record.user === undefined ? undefined : Buffer.from(record.user),
      topic: Buffer.from(record.topic),
      payload: record.payload,
      qos: record.qos,
      retain: record.retain,
      dup: record.dup,
      will: record.will,
      packetId: record.packetId,
      properties,
      received: { ms: record.receivedMs, subNs: record.receivedSubNs }
    })
    this.#recent.add(record.ordinal)
    const bytes = sizeOf({ ...record, properties })
    this.#count(ordinal, bytes, reason)
    this.#evict()
    return bytes
  }

  /**
   * Resolves when every letter appended so far is durable.
   * @throws TidegateError TG_JOURNAL_FAILING or TG_JOURNAL_CLOSED when that cannot be said; they may become so later
   */
  async durable(): Promise<void> {
    const { journal } = this.#options
    const goal = journal.head
    if (journal.durable >= goal) return
    await new Promise<void>((resolve, reject) => {
      const stop: (() => void)[] = []
      const settle = (error?: TidegateError): void => {
        for (const each of stop) each()
        if (error === undefined) resolve()
        else reject(error)
      }
      const judge = (): void => {
        if (journal.durable >= goal) settle()
        else if (journal.state === 'closed') settle(new TidegateError('TG_JOURNAL_CLOSED', 'the journal of the dead letters is closed'))
        else if (journal.state === 'failing') {
          settle(new TidegateError('TG_JOURNAL_FAILING', 'the journal of the dead letters cannot be written'))
        }
      }
      stop.push(journal.onDurable(judge), journal.onState(judge))
      judge()
    })
  }

  /**
   * A page of letters, oldest first.
   * @throws TidegateError TG_PARAMETER_INVALID when the topic is no filter
   */
  async list(query: DeadLetterQuery): Promise<DeadLetterPage> {
    const fault = query.topic === undefined ? undefined : patternFault(query.topic)
    if (fault !== undefined) throw new TidegateError('TG_PARAMETER_INVALID', fault, { context: { parameter: 'topic' } })
    const filter = query.topic === undefined ? undefined : new TopicPattern(query.topic)
    const items: DeadLetter[] = []
    const counts = this.#counts()
    const from = Math.max(this.#evictedBelow, (query.after ?? -1) + 1)
    let scanned = 0
    let bytes = 0
    for await (const record of this.#scan(from)) {
      const letter = record.ordinal < this.#evictedBelow ? undefined : decodeLetter(record)
      if (letter !== undefined && matches(letter, query, filter)) {
        items.push(letter)
        bytes += sizeOf(record)
      }
      scanned += 1
      if (items.length < query.limit && bytes < pageBytes && scanned < scannedPerPage) continue
      return { items, counts, next: record.ordinal + 1 < this.#options.journal.head ? record.ordinal : undefined }
    }
    return { items, counts, next: undefined }
  }

  async *#scan(from: number): AsyncGenerator<JournalRecord, void, void> {
    const { scan, journal } = this.#options
    for await (const batch of scan({ from, to: journal.durable })) yield* batch.records
  }

  #counts(): DeadLetterPage['counts'] {
    const counts: Partial<Record<RefusalReason, number>> = {}
    for (const block of this.#blocks.values()) {
      for (const [reason, count] of block.counts) counts[reason] = (counts[reason] ?? 0) + count
    }
    return counts
  }

  #count(ordinal: number, bytes: number, reason: RefusalReason): void {
    const index = Math.floor(ordinal / blockLetters)
    let block = this.#blocks.get(index)
    if (block === undefined) this.#blocks.set(index, (block = { bytes: 0, letters: 0, counts: new Map() }))
    block.bytes += bytes
    block.letters += 1
    block.counts.set(reason, (block.counts.get(reason) ?? 0) + 1)
    this.#bytes += bytes
  }

  #evict(): void {
    for (const [index, block] of this.#blocks) {
      if (this.#bytes <= this.#options.maxBytes || this.#blocks.size === 1) return
      this.#blocks.delete(index)
      this.#bytes -= block.bytes
      this.#evictedBelow = (index + 1) * blockLetters
      this.#options.journal.commit(this.#evictedBelow)
      this.#options.log.warn({ letters: block.letters, below: this.#evictedBelow }, 'the oldest dead letters were evicted')
    }
  }
}

function matches(letter: DeadLetter, query: DeadLetterQuery, filter: TopicPattern | undefined): boolean {
  if (query.reason !== undefined && letter.reason !== query.reason) return false
  if (query.fromNs !== undefined && letter.receivedNs < query.fromNs) return false
  if (query.toNs !== undefined && letter.receivedNs >= query.toNs) return false
  return filter === undefined || filter.match(letter.topic.split('/')) !== undefined
}

function sizeOf(record: Pick<JournalRecord, 'clientId' | 'topic' | 'payload' | 'properties'>): number {
  const { clientId, topic, payload, properties } = record
  return letterBytes + clientId.length + topic.length + payload.byteLength + (properties?.byteLength ?? 0)
}

function decodeLetter(record: JournalRecord): DeadLetter | undefined {
  const why = readProperties(record.properties)
  if (why === undefined) return undefined
  const { ordinal, receivedMs, clientId, user, topic, payload } = record
  return { ordinal, receivedMs, receivedNs: receivedNs(record), clientId, user, topic, payload, ...why }
}

function readProperties(
  properties: Uint8Array | undefined
): Pick<DeadLetter, 'recordJournal' | 'recordOrdinal' | 'reason' | 'detail'> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(properties ?? []).toString('utf8'))
    if (!isObject(value)) return undefined
    const { journal, ordinal, reason, detail } = value
    if (typeof journal !== 'string' || typeof ordinal !== 'number' || typeof detail !== 'string' || !isReason(reason)) return undefined
    return { recordJournal: journal, recordOrdinal: ordinal, reason, detail }
  } catch {
    return undefined
  }
}

function isReason(reason: unknown): reason is RefusalReason {
  return typeof reason === 'string' && Object.hasOwn(refusalReasons, reason)
}
