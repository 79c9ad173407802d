import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Logger } from 'pino'
import { nodeFiles, type FilePort } from '../../journal/files.ts'
import { Journal } from '../../journal/journal.ts'
import { blankRecord, type AppendRecord, type JournalState } from '../../journal/record.ts'
import { scan } from '../../journal/scan.ts'
import { ByteWriter } from './byte-writer.ts'
import { decodeEntry, encodeEntry } from './entry-codec.ts'
import type { StateEntry } from './entry.ts'

export interface StateLogOptions {
  /** Folder of the log; made when missing. */
  readonly folder: string
  /** As for the journal; see JournalOptions. */
  readonly sync: 'fsync' | 'os' | 'none'
  readonly syncDelayMs: number
  readonly log: Logger
  /** Wall clock in ms, and the clock that is never set. */
  readonly clock: () => number
  readonly monotonic: () => number
  /** Default: the disk. */
  readonly files?: FilePort | undefined
}

/** An entry as it is read: its place in the log, and when it was written. */
export interface ReadEntry {
  readonly at: number
  readonly receivedMs: number
  readonly entry: StateEntry
}

/** What reading the log could not make out. */
export interface StateLoss {
  /** Entries that are damaged or missing, and those that are no entry of this version. */
  damagedEntries: number
  unknownEntries: number
}

const mebibyte = 1024 * 1024
const segmentBytes = 8 * mebibyte
/** Bytes that wait for the disk while a snapshot or progress is written: enough for a group under way and the next one. */
const busyBytes = mebibyte
/** Bytes that wait for the disk above which changes are not taken: a wait that passes, and no reason to write all anew. */
const changesPendingBytes = 32 * mebibyte
/** As much more is left for the snapshot that makes up for those. */
const pendingBytes = 48 * mebibyte
/** Segments that a snapshot replaced go after this time, so that a start can still read one of the two, whichever is damaged. */
const replacedMs = 5000

/**
 * The log of sessions and retained messages: a second journal by the same code, with its group commit, its repair of what a
 * crash left and its recovery of a disk that failed. It is bounded by what it is told, since what a snapshot replaced is
 * removed; and it may use up the reserve of the disk, which is what lets a full journal drop records behind a new snapshot.
 */
export class StateLog {
  readonly #journal: Journal
  readonly #options: StateLogOptions
  readonly #writer = new ByteWriter()
  readonly #record: AppendRecord = blankRecord()

  /** @throws TidegateError TG_DATA_UNWRITABLE when the folder cannot be made, read or written */
  static async open(options: StateLogOptions): Promise<StateLog> {
    const { folder, sync, syncDelayMs, log, clock, monotonic, files } = options
    const journal = await Journal.open({
      folder,
      sync,
      syncDelayMs,
      segmentBytes,
      maxBytes: Number.MAX_SAFE_INTEGER,
      reserveBytes: 0,
      pendingBytes,
      whenFull: 'reject-new',
      keep: { timeMs: 0, bytes: 0, leastMs: replacedMs },
      log,
      clock,
      monotonic,
      ...(files !== undefined && { files })
    })
    return new StateLog(journal, options)
  }

  private constructor(journal: Journal, options: StateLogOptions) {
    this.#journal = journal
    this.#options = options
  }

  /** Place of the next entry. */
  get head(): number {
    return this.#journal.head
  }

  /** Entries before this place are as durable as `sync` promises. */
  get durable(): number {
    return this.#journal.durable
  }

  get state(): JournalState {
    return this.#journal.state
  }

  /** Bytes of its files. */
  get diskBytes(): number {
    return this.#journal.stats.diskBytes
  }

  get appendedBytes(): number {
    return this.#journal.appendedBytes
  }

  get quarantinedFiles(): number {
    return this.#journal.stats.quarantinedFiles
  }

  /** Bytes that wait for the disk. */
  get pendingBytes(): number {
    return this.#journal.stats.pendingBytes
  }

  /** True when what can wait should. */
  get isBusy(): boolean {
    return this.#journal.state !== 'accepting' || this.pendingBytes > busyBytes
  }

  onDurable(listener: (durable: number) => void): void {
    this.#journal.onDurable(listener)
  }

  onState(listener: (state: JournalState) => void): void {
    this.#journal.onState(listener)
  }

  /** The same for a change, which leaves room for what makes up for changes that were not taken. */
  appendChange(entry: StateEntry): number | undefined {
    return this.pendingBytes > changesPendingBytes ? undefined : this.append(entry)
  }

  /** Writes an entry behind all others and returns its place; undefined when the log takes none at the moment. */
  append(entry: StateEntry): number | undefined {
    if (this.#journal.state !== 'accepting') return undefined
    const record = this.#record
    this.#writer.clear()
    encodeEntry(this.#writer, entry, this.#wallOffsetMs)
    record.clientId = 'clientId' in entry ? Buffer.from(entry.clientId) : nothing
    record.payload = this.#writer.bytes
    return this.#journal.append(record)
  }

  /**
   * Resolves when a snapshot may go on: the event loop had its turn, and what waited for the disk is written, however much has
   * come since. False when the log is closed.
   */
  async room(): Promise<boolean> {
    await nextTurn()
    const waiting = this.#journal.head
    while (this.#journal.state !== 'closed' && this.pendingBytes > busyBytes && this.#journal.readable < waiting) await this.#moved()
    return this.#journal.state !== 'closed'
  }

  /** Resolves with true when the disk keeps up, and with false when nothing is taken. */
  async keepsUp(): Promise<boolean> {
    await nextTurn()
    while (this.#journal.state === 'accepting' && this.pendingBytes > busyBytes) await this.#moved()
    return this.#journal.state === 'accepting'
  }

  /** Resolves when every entry is in the files, as durable as `sync` promises; false when the log was closed before. */
  async written(): Promise<boolean> {
    return await this.#journal.drain().then(
      () => true,
      () => false
    )
  }

  /** Lets go of all before a place. */
  forgetBelow(place: number): void {
    this.#journal.commit(place)
  }

  /** What was there when the log was opened, in order; what is missing is counted. */
  async *read(loss: StateLoss): AsyncGenerator<ReadEntry, void, void> {
    const { folder, log, files = nodeFiles } = this.#options
    for await (const { records, gaps } of scan({ folder, log, files, to: this.#journal.readable })) {
      for (const { from, to, kind } of gaps) if (kind === 'damaged') loss.damagedEntries += to - from
      for (const { ordinal, receivedMs, clientId, payload } of records) {
        const entry = decodeEntry(clientId, payload, this.#wallOffsetMs)
        if (entry === undefined) loss.unknownEntries += 1
        else yield { at: ordinal, receivedMs, entry }
      }
    }
  }

  async close(): Promise<void> {
    await this.#journal.close()
  }

  /** Resolves when a group was written, or the state is another one. */
  async #moved(): Promise<void> {
    await new Promise<void>(resolve => {
      const ends = [this.#journal.onReadable(() => end()), this.#journal.onState(() => end())]
      const end = (): void => {
        for (const remove of ends) remove()
        resolve()
      }
    })
  }

  get #wallOffsetMs(): number {
    return Math.round(this.#options.clock() - this.#options.monotonic())
  }
}

const nothing = new Uint8Array()
