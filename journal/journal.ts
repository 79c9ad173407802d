/**
 * The writing side of the journal: append, group commit, bounds and recovery from a failing disk.
 *
 * States: accepting, until something speaks against it; full, when too much is not yet durable, not yet committed, or the
 * disk is at or near its end; failing, while groups cannot be written for another reason; closed. Only accepting takes
 * records.
 *
 * Invariants: one group at a time is written, in order; a record is below `durable` only after the write (sync os) and
 * the fdatasync (sync fsync) of its bytes returned; what is not durable stays in memory, encoded, so that after a failure
 * the same bytes go to a new segment.
 */
import { TidegateError } from '../errors.ts'
import { isNoSpace, nodeFiles } from './files.ts'
import { checkLengths } from './frame.ts'
import { Listeners } from './listeners.ts'
import type { JournalOptions, JournalStats } from './options.ts'
import { groupBytes, Pending } from './pending.ts'
import { ReceivedTime } from './received-time.ts'
import type { AppendRecord, JournalHold, JournalState, JournalTail, JournalWriter, TailRecord } from './record.ts'
import { refusalOf } from './refusal.ts'
import { Repeating } from './repeating.ts'
import { openRepaired, type RepairResult } from './repair.ts'
import { Retention, type Unsealed } from './retention.ts'
import { SegmentWriter } from './segment-writer.ts'
import { SteadyWriter } from './steady-writer.ts'
import { visitTail } from './tail.ts'
import { Waiters } from './waiters.ts'

const defaultPendingBytes = 8 * 1024 * 1024
const tidyIntervalMs = 1000

export type { JournalOptions, JournalStats } from './options.ts'

/** A journal opened for writing; see JournalWriter. One per folder at a time: hold the folder's lock. */
export class Journal implements JournalWriter, JournalTail, JournalHold, AsyncDisposable {
  readonly uuid: string
  /** What positions name: the UUID, or that of the timeline which began when it was restored from a backup. */
  readonly timeline: string
  readonly #options: JournalOptions
  readonly #clock: () => number
  readonly #monotonic: () => number
  readonly #pending: Pending
  readonly #pendingLimit: number
  readonly #time: ReceivedTime
  readonly #retention: Retention
  readonly #writer: SegmentWriter
  readonly #steady: SteadyWriter
  readonly #tidying: Repeating
  readonly #repaired: RepairResult
  readonly #durableListeners: Listeners<number>
  readonly #readableListeners: Listeners<number>
  readonly #stateListeners: Listeners<JournalState>
  readonly #tidyTimer: NodeJS.Timeout
  #head: number
  #written: number
  #durable: number
  #state: JournalState = 'accepting'
  /** Pending bytes above which the state is looked at again. */
  #room = 0
  #groupTimer: NodeJS.Timeout | undefined
  #groupDue = false
  #busy = false
  #writing: Promise<void> | undefined
  #closing = false
  #closed: Promise<void> | undefined
  #ackScheduled = false
  readonly #drains = new Waiters()
  #appendedRecords = 0
  #appendedBytes = 0
  #groups = 0
  #syncs = 0
  #syncMs = 0

  /**
   * Opens the journal in a folder, repaired, and creates it when there is none.
   * @throws TidegateError TG_DATA_UNWRITABLE when the folder cannot be made, read or written
   */
  static async open(options: JournalOptions): Promise<Journal> {
    const { files = nodeFiles, folder, log, pendingBytes = defaultPendingBytes } = options
    const repaired = await openRepaired({ files, folder, log, pendingBytes })
    if (options.sync !== 'fsync') {
      log.warn({ sync: options.sync }, 'publishes are acknowledged before they are on the disk; a crash of the machine can lose them')
    }
    return new Journal(options, repaired)
  }

  private constructor(options: JournalOptions, repaired: RepairResult) {
    const { files = nodeFiles, folder, log } = options
    const { uuid, marker } = repaired.marks
    this.#options = options
    this.#repaired = repaired
    this.#clock = options.clock ?? Date.now
    this.#monotonic = options.monotonic ?? (() => performance.now())
    this.#pendingLimit = options.pendingBytes ?? defaultPendingBytes
    this.uuid = uuid
    this.timeline = repaired.marks.timeline ?? uuid
    this.#head = this.#written = this.#durable = repaired.head
    this.#time = new ReceivedTime(repaired.lastReceived)
    this.#pending = new Pending(marker)
    this.#retention = new Retention({
      files,
      folder,
      log,
      limits: options,
      segments: repaired.segments,
      marks: repaired.marks,
      heldFrom: options.heldFrom ?? Infinity,
      monotonic: this.#monotonic,
      onHeld: options.onHeld ?? (() => undefined)
    })
    this.#writer = new SegmentWriter({
      files,
      folder,
      uuid,
      marker,
      sequence: repaired.nextSequence,
      // Segments are what drop-oldest drops: an eighth of the bound at most.
      segmentBytes: Math.min(options.segmentBytes, Math.max(4096, Math.floor(options.maxBytes / 8))),
      datasync: options.sync === 'fsync',
      clock: this.#clock,
      onSealed: ({ path, first, end, bytes }) => this.#retention.add({ path, first, end, bytes }),
      onSync: ms => {
        this.#syncs++
        this.#syncMs += ms
      }
    })
    this.#steady = new SteadyWriter({
      writer: this.#writer,
      log,
      onChange: () => {
        this.#updateState()
        this.#tidying.run()
      }
    })
    this.#tidying = new Repeating(async () => {
      // Where space is what failed, what was removed is tried at once, before more is.
      if (await this.#retention.tidy(() => this.#unsealed())) this.#steady.retry()
      this.#updateState()
    })
    this.#durableListeners = new Listeners(log)
    this.#readableListeners = new Listeners(log)
    this.#stateListeners = new Listeners(log)
    this.#tidyTimer = setInterval(() => this.#tidying.run(), tidyIntervalMs).unref()
    this.#updateState()
    this.#tidying.run()
  }

  get head(): number {
    return this.#head
  }

  get durable(): number {
    return this.#durable
  }

  /** Every record below this ordinal can be read from the files; with sync none it may lie behind `durable`. */
  get readable(): number {
    return this.#written
  }

  get state(): JournalState {
    return this.#state
  }

  /** Ordinal of the oldest record that is kept; head when there is none. */
  get oldest(): number {
    return this.#retention.segments[0]?.first ?? this.#writer.active?.first ?? this.#written
  }

  get stats(): JournalStats {
    const unsealed = this.#unsealed()
    return {
      appendedRecords: this.#appendedRecords,
      appendedBytes: this.#appendedBytes,
      groups: this.#groups,
      syncs: this.#syncs,
      syncMs: this.#syncMs,
      segments: this.#retention.segments.length + (this.#writer.active === undefined ? 0 : 1),
      pins: this.#retention.pins,
      diskBytes: this.#retention.bytes + unsealed.bytes,
      uncommittedBytes: this.#retention.uncommittedBytes(unsealed),
      pendingBytes: this.#pending.bytes,
      writeFailures: this.#steady.failures,
      removeFailures: this.#retention.failures,
      droppedRecords: this.#retention.droppedRecords,
      damagedRecords: this.#repaired.damagedRecords,
      damagedBytes: this.#repaired.damagedBytes,
      cutBytes: this.#repaired.cutBytes,
      quarantinedFiles: this.#repaired.quarantinedFiles
    }
  }

  append(record: AppendRecord): number {
    if (this.#state !== 'accepting') throw refusalOf(this.#state, { maxBytes: this.#options.maxBytes, cause: this.#steady.failure })
    checkLengths(record)
    const ordinal = this.#head
    const time = this.#time
    if (record.received === undefined) {
      time.next(this.#clock(), ordinal)
      this.#pending.append(record, ordinal, time.ms, time.subNs)
    } else {
      this.#pending.append(record, ordinal, record.received.ms, record.received.subNs)
    }
    this.#head = ordinal + 1
    this.#appendedRecords++
    if (this.#options.sync === 'none') this.#acknowledgeSoon()
    if (this.#pending.openBytes >= groupBytes) this.#write()
    else if (this.#groupTimer === undefined && !this.#groupDue) this.#startGroupTimer()
    if (this.#pending.bytes > this.#room) this.#updateState()
    return ordinal
  }

  onDurable(listener: (durable: number) => void): () => void {
    return this.#durableListeners.add(listener)
  }

  /** Calls the listener with `readable` after every group that was written. Returns the function that removes it. */
  onReadable(listener: (readable: number) => void): () => void {
    return this.#readableListeners.add(listener)
  }

  onState(listener: (state: JournalState) => void): () => void {
    return this.#stateListeners.add(listener)
  }

  commit(ordinal: number, keepFrom = ordinal): void {
    this.#retention.commit(Math.min(ordinal, this.#head), keepFrom)
    this.#updateState()
    this.#tidying.run()
  }

  get appendedBytes(): number {
    return this.#appendedBytes
  }

  hold(from: number): void {
    this.#retention.heldFrom = from
    this.#tidying.run()
  }

  async readTail(from: number, visit: (record: TailRecord) => void): Promise<void> {
    const { files = nodeFiles, folder } = this.#options
    const { marks, head } = this.#repaired
    await visitTail({ files, folder, marker: marks.marker, from, end: head, visit })
  }

  /**
   * Keeps every segment with records from the ordinal on, whatever bound is passed; a full journal stops taking records
   * before it drops one of them. Resolves when a removal that was under way has ended, with the function that lets go.
   */
  async pin(from: number): Promise<() => void> {
    const release = this.#retention.pin(from)
    await this.#tidying.idle()
    return () => {
      release()
      this.#tidying.run()
    }
  }

  /**
   * Resolves when every record appended so far is written, as durable as `sync` promises.
   * @throws TidegateError TG_JOURNAL_FAILING when the journal was closed before that succeeded
   */
  async drain(): Promise<void> {
    if (this.#written >= this.#head) return
    if (this.#closing) {
      await this.close()
      if (this.#written < this.#head) throw this.#lostError()
      return
    }
    const drained = this.#drains.wait(this.#head)
    this.#groupDue = true
    this.#write()
    await drained
  }

  /** Writes what is pending, with one last attempt when the disk fails, and lets go of the files. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    this.#closing = true
    this.#updateState()
    clearInterval(this.#tidyTimer)
    this.#groupDue = true
    this.#steady.stop()
    this.#write()
    await this.#writing
    this.#clearGroupTimer()
    await this.#tidying.stop()
    await this.#writer.seal()
    await this.#retention.saveCommitted().catch(() => undefined)
    this.#drains.fail(this.#lostError())
  }

  #lostError(): TidegateError {
    return new TidegateError('TG_JOURNAL_FAILING', 'the journal was closed before its last records were written', {
      cause: this.#steady.failure
    })
  }

  #startGroupTimer(): void {
    this.#groupTimer = setTimeout(() => {
      this.#groupTimer = undefined
      this.#groupDue = true
      this.#write()
    }, this.#options.syncDelayMs)
  }

  #clearGroupTimer(): void {
    clearTimeout(this.#groupTimer)
    this.#groupTimer = undefined
  }

  #write(): void {
    if (this.#busy || this.#pending.openBytes === 0) return
    this.#busy = true
    this.#writing = this.#writeGroups()
  }

  async #writeGroups(): Promise<void> {
    while ((this.#groupDue || this.#pending.openBytes >= groupBytes) && this.#pending.openBytes > 0) {
      this.#groupDue = false
      this.#clearGroupTimer()
      const group = this.#pending.take()
      if (!(await this.#steady.write(group))) break
      this.#pending.release(group)
      this.#groups++
      this.#appendedBytes += group.reduce((sum, chunk) => sum + chunk.length, 0)
      this.#advance(group.at(-1)?.end ?? this.#written)
    }
    // Cleared here and not behind the promise: what is appended in between must find the door open.
    this.#groupDue = false
    this.#busy = false
  }

  #advance(end: number): void {
    this.#written = end
    this.#readableListeners.notify(end)
    if (this.#options.sync !== 'none') {
      this.#durable = end
      this.#durableListeners.notify(end)
    }
    this.#drains.reach(end)
    this.#time.watch(this.#clock(), this.#monotonic(), this.#options.log)
    this.#updateState()
    if (this.#retention.diskCheckDue || this.#overSpace()) this.#tidying.run()
  }

  #acknowledgeSoon(): void {
    if (this.#ackScheduled) return
    this.#ackScheduled = true
    setImmediate(() => {
      this.#ackScheduled = false
      this.#durable = this.#head
      this.#durableListeners.notify(this.#durable)
    })
  }

  #unsealed(): Unsealed {
    const active = this.#writer.active
    return {
      first: active?.first ?? this.#written,
      end: active?.end ?? this.#written,
      bytes: active?.bytes ?? 0,
      pendingBytes: this.#pending.bytes,
      refused: isNoSpace(this.#steady.failure)
    }
  }

  #overSpace(): boolean {
    return this.#retention.uncommittedBytes(this.#unsealed()) + this.#pending.bytes > this.#options.maxBytes
  }

  #updateState(): void {
    const { maxBytes, whenFull } = this.#options
    // With drop-oldest the dropping has the length of the pending bound to keep up.
    const space = maxBytes + (whenFull === 'drop-oldest' ? this.#pendingLimit : 0) - this.#retention.uncommittedBytes(this.#unsealed())
    const room = Math.min(this.#pendingLimit, space)
    // Half of the pending bound must be free before the journal accepts again, so that it does not flutter.
    this.#room = this.#state === 'full' || this.#state === 'behind' ? Math.min(this.#pendingLimit / 2, space) : room
    let state: JournalState = 'accepting'
    if (this.#closing) state = 'closed'
    else if (this.#steady.failure !== undefined) state = isNoSpace(this.#steady.failure) ? 'full' : 'failing'
    else if (this.#retention.diskFull || space <= 0 || this.#pending.bytes > space) state = 'full'
    else if (this.#pending.bytes > this.#room) state = 'behind'
    if (state === 'accepting') this.#room = room
    if (state === this.#state) return
    this.#state = state
    this.#stateListeners.notify(state)
  }
}
