/**
 * The dead letters: records that could not be stored, whole and as they came, with the reason. They are a second journal,
 * so that they are as durable as the first one; letter-entry.ts has what it holds.
 *
 * A letter is kept until it is replayed or purged, which appends its tombstone, or evicted: at the cap the oldest entries go,
 * tombstones included. What lies before the bound (letter-bound.ts) is gone; the bound says how many letters that were, so
 * that kept, tombstoned and evicted add up to all that ever were, after any crash.
 *
 * Invariants: a record gets one letter; a letter is replayed or purged when its tombstone is durable, not before; the bound
 * passes only letters of records below the durable checkpoint, since a record beyond it is worked off again after a crash
 * and its letter must be found then. So the cap may be exceeded by what one batch dead-letters.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import type { JournalBatch, JournalRecord, JournalWriter } from '../journal/record.ts'
import { receivedNs } from '../journal/record.ts'
import { addEntry, LetterBlocks } from './letter-blocks.ts'
import type { LetterBound, LetterBoundFile, LetteredRecords } from './letter-bound.ts'
import { startingBound } from './letter-bound.ts'
import type { AccountedRecords, CountingOptions, LetterAccounts } from './letter-count.ts'
import { countLetters } from './letter-count.ts'
import { untilDurable } from './letter-durability.ts'
import type { DeadLetter, LetterFate } from './letter-entry.ts'
import { decodeLetter, encodeLetter, encodeLost, encodeTombstones, sizeOfEntry } from './letter-entry.ts'
import type { LetterSelection } from './letter-selection.ts'
import { buildLetterTest } from './letter-selection.ts'
import type { RefusalReason } from './refusals.ts'

export type { LetterAccounts } from './letter-count.ts'
export type { DeadLetter } from './letter-entry.ts'
export type { LetterSelection } from './letter-selection.ts'

export interface DeadLettersOptions {
  /** The journal of the letters, which removes nothing by itself; whoever opened it closes it. */
  readonly journal: JournalWriter
  /** Reads ordinals [from, to) of that journal, in order (journal/scan.ts with its folder). */
  readonly scan: (range: { readonly from: number; readonly to: number }) => AsyncIterable<JournalBatch>
  readonly bound: LetterBoundFile
  /** Bytes kept; the oldest letters are evicted beyond. */
  readonly maxBytes: number
  readonly records: LetteredRecords
  readonly log: Logger
}

export interface DeadLetterQuery extends LetterSelection {
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

/** Bytes of letters in one page at most (and one letter at least), so that an answer is bounded whatever the payloads are. */
const pageBytes = 1024 * 1024
/** Letters looked at for one page at most, so that a filter that matches nothing ends. */
const scannedPerPage = 20_000
/** Letters that are replayed or purged together, at most. */
const changedTogether = 256
/** The bound moves by this part of the cap at least, or by this much. */
const leastFreedShare = 1 / 32
const leastFreedBytes = 1024 * 1024

export class DeadLetters {
  readonly #options: DeadLettersOptions
  readonly #blocks = new LetterBlocks()
  /**
   * Ordinals of records, not yet below the checkpoint, that have their letter, and when they were received: a journal that
   * lost its end gives its ordinals again.
   */
  readonly #recent = new Map<number, { readonly letter: number; readonly received: bigint }>()
  #settled: number
  #bound: LetterBound
  #saveFailed = false
  #freeing: Promise<void> | undefined
  #changing = false
  #pins = 0

  /** Reads what is there: sizes, reasons, tombstones, and which records from the position on have their letter already. */
  static async open(options: DeadLettersOptions): Promise<DeadLetters> {
    const { journal, records, log } = options
    const saved = await options.bound.load()
    const letters = new DeadLetters(options, startingBound(saved, journal, records))
    if (saved?.journal !== journal.uuid && journal.head > 0) log.warn('it is not known how many dead letters were evicted before')
    // Counts of totals that are no more would be added to those that begin now.
    if (saved === undefined || JSON.stringify(saved) !== JSON.stringify(letters.#bound)) await options.bound.save(letters.#bound)
    journal.commit(letters.#bound.below)
    for await (const batch of letters.#batches(letters.#bound.below, journal.durable)) {
      for (const record of batch) {
        const ordinal = addEntry(letters.#blocks, record, { ...records, below: Infinity })
        if (ordinal !== undefined && ordinal >= records.position)
          letters.#recent.set(ordinal, { letter: record.ordinal, received: receivedNs(record) })
      }
    }
    await letters.#disown(records.lostFrom)
    await letters.#free()
    return letters
  }

  private constructor(options: DeadLettersOptions, bound: LetterBound) {
    this.#options = options
    this.#settled = options.records.position
    this.#bound = bound
  }

  /** Letters kept, and bytes of all entries. */
  get kept(): number {
    return this.#blocks.all.kept
  }

  get bytes(): number {
    return this.#blocks.bytes
  }

  /** Letters that went because of the cap, since the folder was made. */
  get evicted(): number {
    return this.#bound.totals.evicted
  }

  /** Letters that were sent through the pipeline again, since the folder was made. */
  get replayed(): number {
    return this.#bound.totals.replayed + this.#blocks.all.replayed
  }

  /** Letters that somebody wanted gone, since the folder was made. */
  get purged(): number {
    return this.#bound.totals.purged + this.#blocks.all.purged
  }

  /** Does the record, received then, have its letter, also where that has its tombstone? Known from the checkpoint on. */
  has(recordOrdinal: number, recordReceivedNs?: bigint): boolean {
    const known = this.#recent.get(recordOrdinal)?.received
    return known !== undefined && (recordReceivedNs === undefined || recordReceivedNs === known)
  }

  /** How many of the records [from, to) have? Known from the checkpoint on. */
  countIn(from: number, to: number): number {
    let count = 0
    for (const ordinal of this.#recent.keys()) if (ordinal >= from && ordinal < to) count += 1
    return count
  }

  /** Letters of records that are not below the checkpoint yet. */
  get unsettled(): number {
    return this.#recent.size
  }

  /** The durable checkpoint: letters of records below are not asked for again, and may be evicted. */
  forgetBelow(position: number): void {
    for (const ordinal of this.#recent.keys()) if (ordinal < position) this.#recent.delete(ordinal)
    this.#settled = position
    void this.#free()
  }

  /**
   * Appends the letter of a record, unless it has one. Not durable yet: see `durable`. Returns its size in bytes, 0 when
   * there was one.
   * @throws TidegateError TG_JOURNAL_FULL, TG_JOURNAL_FAILING, TG_JOURNAL_CLOSED; then the same call may succeed later
   */
  append(record: JournalRecord, reason: RefusalReason, detail: string): number {
    const received = receivedNs(record)
    if (this.has(record.ordinal, received)) return 0
    if (this.#saveFailed && this.bytes > 2 * this.#options.maxBytes) {
      throw new TidegateError('TG_JOURNAL_FULL', 'the dead letters are full and their folder cannot be written')
    }
    const letter = encodeLetter(record, { journal: this.#options.records.journal, reason, detail })
    const ordinal = this.#options.journal.append(letter)
    this.#recent.set(record.ordinal, { letter: ordinal, received })
    const bytes = sizeOfEntry({ ...record, properties: letter.properties })
    this.#blocks.add(ordinal, bytes, { reason, counted: true, record: record.ordinal })
    return bytes
  }

  /**
   * Resolves when every letter appended so far is durable.
   * @throws TidegateError TG_JOURNAL_FULL, TG_JOURNAL_FAILING or TG_JOURNAL_CLOSED when that cannot be said; they may
   *   become so later
   */
  async durable(): Promise<void> {
    await untilDurable(this.#options.journal)
  }

  /**
   * A page of letters, oldest first.
   * @throws TidegateError TG_PARAMETER_INVALID when the topic is no filter
   */
  async list(query: DeadLetterQuery): Promise<DeadLetterPage> {
    const isSelected = buildLetterTest(query)
    const items: DeadLetter[] = []
    const counts = this.#blocks.reasonCounts()
    const { durable } = this.#options.journal
    let scanned = 0
    let bytes = 0
    for await (const batch of this.#batches((query.after ?? -1) + 1, durable)) {
      for (const record of batch) {
        const letter = this.#keptLetter(record)
        if (letter !== undefined && isSelected(letter)) {
          items.push(letter)
          bytes += sizeOfEntry(record)
        }
        scanned += 1
        if (items.length < query.limit && bytes < pageBytes && scanned < scannedPerPage) continue
        return { items, counts, next: record.ordinal + 1 < durable ? record.ordinal : undefined }
      }
    }
    return { items, counts, next: undefined }
  }

  /**
   * The letters that are kept now and selected, oldest first, in pages of bounded size; letters that come meanwhile are not
   * among them.
   * @throws TidegateError TG_PARAMETER_INVALID when the topic is no filter
   */
  async *pages(selection: LetterSelection): AsyncGenerator<readonly DeadLetter[], void, void> {
    const isSelected = buildLetterTest(selection)
    let page: DeadLetter[] = []
    let bytes = 0
    for await (const batch of this.#batches(0, this.#options.journal.durable)) {
      for (const record of batch) {
        const letter = this.#keptLetter(record)
        if (letter === undefined || !isSelected(letter)) continue
        page.push(letter)
        bytes += sizeOfEntry(record)
        if (page.length < changedTogether && bytes < pageBytes) continue
        yield page
        page = []
        bytes = 0
      }
    }
    if (page.length > 0) yield page
  }

  /**
   * Gives letters of one page their tombstone; resolves when it is durable. May be called again for the same letters.
   * @throws TidegateError TG_JOURNAL_FULL, TG_JOURNAL_FAILING or TG_JOURNAL_CLOSED: it may be durable or not
   */
  async bury(letters: readonly DeadLetter[], fate: LetterFate): Promise<void> {
    // Nothing that the bound counts may change while it is written.
    while (this.#freeing !== undefined) await this.#freeing
    const ordinals = letters
      .map(letter => letter.ordinal)
      .filter(ordinal => this.#blocks.isKept(ordinal))
      .toSorted((a, b) => a - b)
    if (ordinals.length > 0) {
      const tombstones = encodeTombstones(fate, ordinals)
      const ordinal = this.#options.journal.append(tombstones)
      for (const buried of ordinals) this.#blocks.bury([[buried, buried + 1]], fate)
      this.#blocks.add(ordinal, sizeOfEntry(tombstones))
    }
    await this.durable()
    void this.#free()
  }

  /**
   * Does a thing that changes which letters are kept; one at a time.
   * @throws TidegateError TG_DEAD_LETTERS_BUSY while another one is under way
   */
  async change<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#changing) throw new TidegateError('TG_DEAD_LETTERS_BUSY', 'dead letters are being replayed or purged: try again later')
    this.#changing = true
    try {
      return await work()
    } finally {
      this.#changing = false
    }
  }

  /**
   * Counts the letters of records from the files, whatever this process believes; each record has one. Those that are gone
   * are counted by the bound, which may know of records from `below` on. Reads all that is there: some 3 s for a million
   * letters. Undefined when the signal came first, or when entries went meanwhile.
   */
  async accounts(records: AccountedRecords, options: CountingOptions = {}): Promise<LetterAccounts | undefined> {
    const counted = await countLetters(this.#options, records, options)
    // What is freed meanwhile is there for a minute more, but not on a full disk.
    return counted === undefined || counted.missing < this.#bound.below ? undefined : counted.accounts
  }

  /**
   * Frees nothing from now on until the function that it resolves with is called, so that bound and segments can be copied as
   * they are. Beside a copy of the database the pin comes first: a bound must not know of records beyond its checkpoint.
   */
  async pin(): Promise<() => void> {
    this.#pins += 1
    await this.#freeing
    let pinned = true
    return () => {
      if (pinned) this.#pins -= 1
      pinned = false
      void this.#free()
    }
  }

  /** Resolves when nothing is written any more that was begun. Comes before the journal is closed. */
  async close(): Promise<void> {
    await this.#freeing
  }

  /**
   * Lets go of the letters whose records the journal has lost: they are kept, but stand for none that it has, since others get
   * those ordinals. That is written down, so that it holds when the journal has come by.
   */
  async #disown(lostFrom = Infinity): Promise<void> {
    const lost: number[] = []
    for (const [record, { letter }] of this.#recent) {
      const counted = this.#blocks.isCounted(letter)
      if (counted && record < lostFrom) continue
      if (counted) lost.push(letter)
      this.#recent.delete(record)
    }
    if (lost.length === 0) return
    const entry = encodeLost(lost.toSorted((a, b) => a - b))
    for (const letter of lost) this.#blocks.disown([[letter, letter + 1]])
    this.#blocks.add(this.#options.journal.append(entry), sizeOfEntry(entry))
    await this.durable()
    this.#options.log.warn({ letters: lost.length, from: lostFrom }, 'the journal has lost records that are dead letters: those are kept')
  }

  /** Moves the bound when the cap is exceeded or enough lies free before it. Never rejects: the next call tries again. */
  async #free(): Promise<void> {
    if (this.#freeing === undefined && this.#freeable() !== undefined) this.#freeing = this.#freeAll()
    await this.#freeing
  }

  async #freeAll(): Promise<void> {
    let next = this.#freeable()
    while (next !== undefined) next = (await this.#moveBound(next)) ? this.#freeable() : undefined
    this.#freeing = undefined
  }

  async #moveBound(next: LetterBound): Promise<boolean> {
    const { bound, journal, log } = this.#options
    try {
      await bound.save(next)
      const evicted = next.totals.evicted - this.#bound.totals.evicted
      this.#bound = next
      this.#blocks.dropBelow(next.below)
      if (evicted > 0) log.warn({ letters: evicted, below: next.below }, 'the oldest dead letters were evicted')
      if (this.#saveFailed) log.info('the folder of the dead letters can be written again')
      this.#saveFailed = false
      journal.commit(next.below)
      return true
    } catch (error) {
      if (!this.#saveFailed) log.error({ code: 'TG_JOURNAL_FAILING', err: error }, 'dead letters cannot be evicted')
      this.#saveFailed = true
      return false
    }
  }

  /** The bound behind the oldest blocks that may go, or undefined when it is not worth the writing. */
  #freeable(): LetterBound | undefined {
    if (this.#pins > 0) return undefined
    const { maxBytes, journal } = this.#options
    const step = Math.min(leastFreedBytes, maxBytes * leastFreedShare)
    const over = this.#blocks.bytes > maxBytes
    let { below, records, totals } = this.#bound
    let bytes = 0
    for (const block of this.#blocks.oldest()) {
      const wanted = block.all.kept === 0 || (over && this.#blocks.bytes - bytes > maxBytes - step)
      if (!wanted || block.lastRecord >= this.#settled || block.below > journal.durable) break
      bytes += block.bytes
      below = block.below
      const { all, counted } = block
      records = {
        ...records,
        evicted: records.evicted + counted.kept,
        tombstoned: records.tombstoned + counted.replayed + counted.purged
      }
      totals = { evicted: totals.evicted + all.kept, replayed: totals.replayed + all.replayed, purged: totals.purged + all.purged }
    }
    return bytes >= step || (over && bytes > 0) ? { ...this.#bound, below, records, totals } : undefined
  }

  #keptLetter(record: JournalRecord): DeadLetter | undefined {
    return this.#blocks.isKept(record.ordinal) ? decodeLetter(record) : undefined
  }

  async *#batches(from: number, to: number): AsyncGenerator<readonly JournalRecord[], void, void> {
    for await (const { records } of this.#options.scan({ from: Math.max(from, this.#bound.below), to })) {
      yield records
      // Many batches come from one read: without this nothing else would run in between.
      await nextTurn()
    }
  }
}
