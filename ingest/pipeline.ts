/**
 * read → decode → batch → write → checkpoint. Two batches at most are in memory: one that is written, again and again until
 * the store has it, and one that is filled meanwhile. A batch is handed over when it is full, or when its first record is
 * batchDelay old and the one before is written.
 *
 * Invariants: batches follow each other without a gap, so every ordinal belongs to exactly one; the checkpoint moves only
 * with a written batch; what was read and not written is read again by the next pipeline.
 */
import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { TidegateError } from '../errors.ts'
import type { JournalBatch, JournalSource } from '../journal/record.ts'
import type { Storage } from '../storage/port.ts'
import type { Checkpoint, OutcomeTotals, StoredMessage } from '../telemetry.ts'
import { BatchBuilder } from './batch-builder.ts'
import type { SealedBatch } from './batch-builder.ts'
import { BatchWriter } from './batch-writer.ts'
import type { Clock } from './clock.ts'
import { realClock } from './clock.ts'
import type { DeadLetters } from './dead-letters.ts'
import { Decoder } from './decoder.ts'
import type { DecoderConfig, MappingTest } from './decoder.ts'
import { DecodingTurns, longPayload } from './decoding-turns.ts'
import { PositionWaiters } from './position-waiters.ts'
import { RecordCursor } from './record-cursor.ts'
import type { ReplayRange, ReplayReport } from './replay.ts'
import { RewriteFloor } from './rewrite-floor.ts'
import type { RewriteCause } from './rewriting.ts'
import { Rewriting } from './rewriting.ts'
import type { JournalExtent } from './settlement.ts'
import { startingCheckpoint } from './settlement.ts'

/** A batch that is durable: what its records became. */
export interface Committed {
  /** Ordinals [from, to). */
  readonly from: number
  readonly to: number
  readonly messages: readonly StoredMessage[]
  readonly checkpoint: Checkpoint
}

export interface PipelineOptions {
  /** Opens the reading side at an ordinal; the pipeline closes it. */
  readonly openSource: (from: number) => JournalSource | Promise<JournalSource>
  readonly storage: Storage
  /** Opened with the same starting checkpoint (`startingCheckpoint`); whoever opened them closes them. */
  readonly deadLetters: DeadLetters
  readonly journal: JournalExtent
  readonly config: Pick<Config, 'routes' | 'ingest' | 'limits'>
  /** Ordinal of the oldest record that is kept now; default the journal's oldest at the start. */
  readonly oldest?: () => Promise<number>
  /** Called after each commit, in order. Must not block. */
  readonly onCommitted?: (committed: Committed) => void
  /** Called with each checkpoint that became durable, also where only its `rewriteFrom` has changed. Must not block. */
  readonly onCheckpoint?: (checkpoint: Checkpoint) => void
  /**
   * Called once when ingest cannot go on by itself: a fault of ours, or the journal's reader has ended. Nothing is lost by
   * it; a new start of the service goes on from the checkpoint.
   */
  readonly onStopped?: (error: unknown) => void
  readonly log: Logger
  readonly clock?: Clock
}

/** Plain numbers since the pipeline was opened. */
export interface PipelineStats {
  readonly records: number
  readonly points: number
  readonly batches: number
  readonly retries: number
  readonly decodeMs: number
  /** Time in which decoding stood still because the batch before was not written yet. */
  readonly waitMs: number
  readonly writeMs: number
  /** Durable records without an outcome. */
  readonly lag: number
  /** Readings whose own time lay outside the window, or could not be read. */
  readonly timeOutside: number
  readonly timeUnusable: number
  readonly outcomes: OutcomeTotals
  /** Records that were read again to be written into the store again, by cause. */
  readonly rewritten: Readonly<Record<RewriteCause, number>>
  /** Records are written again at the moment, or wait for it. */
  readonly rewriting: boolean
}

const readRecords = 2048
const readAgainMs = 100
const readBytes = 1024 * 1024

export class Pipeline implements AsyncDisposable {
  readonly #options: PipelineOptions
  readonly #clock: Clock
  readonly #source: JournalSource
  readonly #decoder: Decoder
  readonly #turns: DecodingTurns
  readonly #writer: BatchWriter
  readonly #rewriting: Rewriting
  readonly #waiters = new PositionWaiters()
  readonly #closing = new AbortController()
  /** Wakes the batch that is being filled from waiting for more. */
  #wake: AbortController | undefined
  #draining = false
  #checkpoint: Checkpoint
  #durable: number
  #next: number
  #reading: Promise<JournalBatch> | undefined
  #cursor: RecordCursor | undefined
  #writing: Promise<void> | undefined
  #running: Promise<void> = Promise.resolve()
  #closed: Promise<void> | undefined
  #records = 0
  #points = 0
  #batches = 0
  #waitMs = 0

  /** Starts to work off the journal where the catalogue says, and says so in the log when that is somewhere new. */
  static async open(options: PipelineOptions): Promise<Pipeline> {
    const { storage, journal, log } = options
    const known = storage.catalogue.checkpoint()
    const { checkpoint, anew } = startingCheckpoint(known, journal)
    const level = anew === undefined || journal.durable === 0 ? 'info' : 'warn'
    log[level]({ position: checkpoint.position, since: checkpoint.since, anew }, 'ingest starts')
    // At once: records that come now would make a checkpoint that is ahead look right, and be passed over.
    if (known !== undefined && anew !== undefined) {
      await storage.write({ points: [], fields: [], devices: [] }, () => Promise.resolve(checkpoint))
    }
    const pipeline = new Pipeline(options, checkpoint, await options.openSource(checkpoint.position))
    pipeline.#source.advance(options.journal.durable)
    // A catalogue that does not say it is of a time when a store that forgets was not thought of.
    const rewriteFrom = checkpoint.rewriteFrom ?? (options.storage.forgetful ? 0 : undefined)
    if (anew === undefined && rewriteFrom !== undefined) pipeline.#rewriting.owe('start', rewriteFrom)
    options.storage.onReturn(() => pipeline.#rewriting.owe('outage'))
    pipeline.#running = pipeline.#run()
    return pipeline
  }

  private constructor(options: PipelineOptions, checkpoint: Checkpoint, source: JournalSource) {
    const { config, storage, deadLetters, log, clock = realClock } = options
    const decoding: DecoderConfig = { routes: config.routes, window: config.ingest.window, limits: config.limits }
    this.#options = options
    this.#clock = clock
    this.#source = source
    this.#checkpoint = checkpoint
    this.#durable = options.journal.durable
    this.#next = checkpoint.position
    this.#decoder = new Decoder(decoding, storage.catalogue, {
      warn: warning => log.warn(warning, '80 % of the series that are allowed exist')
    })
    this.#turns = new DecodingTurns(this.#decoder, log)
    const floor = new RewriteFloor(storage.forgetful, clock)
    const onCheckpoint = options.onCheckpoint ?? (() => undefined)
    this.#writer = new BatchWriter({ storage, deadLetters, checkpoint, floor, onCheckpoint, clock, log })
    this.#rewriting = new Rewriting({
      openSource: options.openSource,
      oldest: options.oldest ?? (() => Promise.resolve(options.journal.oldest)),
      decoder: () => this.#decoder.again(storage.catalogue),
      writer: this.#writer,
      floor,
      bounds: config.ingest,
      clock,
      log
    })
  }

  /** Says how far the journal is durable now. */
  advance(durable: number): void {
    this.#durable = Math.max(this.#durable, durable)
    this.#source.advance(durable)
  }

  /** The durable checkpoint: every record below its position has its outcome. */
  get position(): Checkpoint {
    return this.#checkpoint
  }

  /** How far the journal is durable, as far as ingest was told. */
  get durable(): number {
    return this.#durable
  }

  /** The pieces of the ledger that ingest knows. */
  ledger(): { readonly since: number; readonly position: number; readonly totals: OutcomeTotals } {
    const { since, position, totals } = this.#checkpoint
    return { since, position, totals }
  }

  get stats(): PipelineStats {
    return {
      records: this.#records,
      points: this.#points,
      batches: this.#batches,
      retries: this.#writer.retries,
      decodeMs: this.#turns.decodeMs,
      waitMs: this.#waitMs,
      writeMs: this.#writer.writeMs,
      lag: Math.max(0, this.#durable - this.#checkpoint.position),
      timeOutside: this.#decoder.times.outside,
      timeUnusable: this.#decoder.times.unusable,
      outcomes: this.#checkpoint.totals,
      rewritten: this.#rewriting.records,
      rewriting: this.#rewriting.active
    }
  }

  /** Says what would become of a publish; changes nothing. */
  testMapping(publish: Parameters<Decoder['testMapping']>[0]): MappingTest {
    return this.#decoder.testMapping(publish, this.#options.storage.catalogue)
  }

  /**
   * Resolves when the record has its outcome.
   * @throws the signal's reason, TidegateError TG_QUERY_BUSY beyond 10,000 waiters, TG_STORE_UNAVAILABLE when closed
   */
  async waitFor(ordinal: number, signal: AbortSignal): Promise<void> {
    if (ordinal >= this.#checkpoint.position) await this.#waiters.wait(ordinal, signal)
  }

  /**
   * Writes a range of kept records into the store again, which changes no outcome. Resolves when all of it is there.
   * @throws TidegateError TG_REPLAY_RUNNING, TG_PARAMETER_INVALID, TG_QUERY_CANCELLED when the signal aborts, TG_STOPPING
   */
  async replay(range: ReplayRange, signal: AbortSignal, onProgress: (report: ReplayReport) => void): Promise<ReplayReport> {
    return await this.#rewriting.replay(range, signal, onProgress)
  }

  /** Writes what is durable now without waiting for more. Answers whether all of it has its outcome within the deadline. */
  async drain(deadlineMs: number): Promise<boolean> {
    this.#draining = true
    this.#wake?.abort()
    // What is new goes first; the next start writes again what is left of that.
    void this.#rewriting.close()
    if (this.#durable <= this.#checkpoint.position) return true
    const over = new AbortController()
    const waited = this.waitFor(this.#durable - 1, over.signal).then(
      () => true,
      () => false
    )
    const late = this.#clock.sleep(deadlineMs, over.signal).then(() => false)
    try {
      return await Promise.race([waited, late])
    } finally {
      over.abort()
    }
  }

  /** Ends after the write under way; what is not written stays in the journal. Idempotent. */
  async close(): Promise<void> {
    this.#closed ??= this.#close()
    await this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    this.#closing.abort()
    this.#wake?.abort()
    this.#waiters.close()
    await this.#rewriting.close()
    await this.#source.close()
    await this.#running
    await this.#writing
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    try {
      while (!signal.aborted) {
        const builder = new BatchBuilder(this.#next, this.#options.deadLetters)
        await this.#fill(builder)
        if (builder.empty) continue
        const batch = builder.seal(this.#decoder.types.takeNew(), this.#decoder.budget.seal())
        const waitedFrom = performance.now()
        await this.#writing
        this.#waitMs += performance.now() - waitedFrom
        this.#writing = this.#write(batch)
      }
    } catch (error) {
      this.#waiters.close()
      if (signal.aborted) return
      const code = error instanceof TidegateError ? error.code : 'TG_BUG'
      this.#options.log.fatal({ code, err: error, position: this.#checkpoint.position }, 'ingest has stopped')
      this.#options.onStopped?.(error)
    }
  }

  /** Fills a batch until it has to go. Leaves it empty only when closing. */
  async #fill(builder: BatchBuilder): Promise<void> {
    const { signal } = this.#closing
    const delay = { over: false }
    let due: Promise<undefined> | undefined
    const wake = (this.#wake = new AbortController())
    try {
      while (!signal.aborted) {
        if (this.#cursor !== undefined) await this.#decode(builder, this.#cursor)
        if (builder.isFull(this.#options.config.ingest)) return
        if (!builder.empty) due ??= this.#delay(delay, wake.signal)
        this.#reading ??= this.#read(signal)
        const arrived = this.#reading.then(batch => ({ batch }))
        const next = await Promise.race(due === undefined ? [arrived] : [arrived, delay.over ? this.#written() : due])
        if (next !== undefined) {
          this.#reading = undefined
          this.#cursor = new RecordCursor(next.batch, this.#next)
        } else if (delay.over && this.#writing === undefined) return
      }
    } finally {
      wake.abort()
    }
  }

  async #delay(delay: { over: boolean }, signal: AbortSignal): Promise<undefined> {
    await this.#clock.sleep(this.#draining ? 0 : this.#options.config.ingest.batchDelay, signal)
    delay.over = true
    return undefined
  }

  /**
   * Reads on, again and again while the journal's files cannot be read. Answers nothing only when closing.
   * @throws TidegateError TG_JOURNAL_CLOSED when somebody else has closed the reader: it will never answer again
   */
  async #read(signal: AbortSignal): Promise<JournalBatch> {
    let failures = 0
    for (;;) {
      let batch: JournalBatch
      try {
        batch = await this.#source.read({ maxRecords: readRecords, maxBytes: readBytes, signal })
      } catch (error) {
        if (signal.aborted) return { from: this.#next, to: this.#next, records: [], gaps: [] }
        const code = error instanceof TidegateError ? error.code : 'TG_BUG'
        if (failures === 0) this.#options.log.error({ code, err: error, position: this.#next }, 'the journal cannot be read')
        failures += 1
        await this.#clock.sleep(Math.min(readAgainMs * 2 ** Math.min(failures, 5), 5000), signal)
        continue
      }
      if (failures > 0) this.#options.log.info({ failures, position: this.#next }, 'the journal can be read again')
      if (batch.to > batch.from || signal.aborted) return batch
      throw new TidegateError('TG_JOURNAL_CLOSED', 'the journal was closed while ingest reads it')
    }
  }

  async #written(): Promise<undefined> {
    await this.#writing
    return undefined
  }

  /** Decodes until the batch is full or what was read is used up; lets others run in between. */
  async #decode(builder: BatchBuilder, cursor: RecordCursor): Promise<void> {
    this.#turns.begin()
    for (let count = 1; !builder.isFull(this.#options.config.ingest) && !this.#closing.signal.aborted; count += 1) {
      const step = cursor.next()
      if (step === undefined) {
        this.#cursor = undefined
        break
      }
      const long = step.kind === 'record' && step.record.payload.byteLength >= longPayload
      if (step.kind === 'gap') {
        if (!step.reported) this.#options.log.error({ code: 'TG_BUG', from: this.#next, to: step.to }, 'the journal left out records')
        builder.addGap(step.to, step.why)
      } else if (long) await this.#turns.addLong(builder, step.record)
      else this.#turns.addShort(builder, step.record)
      this.#next = builder.to
      // Looking at the clock costs about as much as a small record.
      if (long || count % 16 === 0) await this.#turns.giveWay()
    }
    this.#turns.end()
  }

  /** Never rejects; does nothing when closing comes first. */
  async #write(batch: SealedBatch): Promise<void> {
    const settlement = await this.#writer.write(batch, this.#checkpoint, this.#closing.signal)
    this.#writing = undefined
    if (settlement === undefined) return
    const { checkpoint, messages } = settlement
    this.#checkpoint = checkpoint
    this.#records += batch.to - batch.from
    this.#points += batch.write.points.length
    this.#batches += 1
    batch.settled()
    this.#options.deadLetters.forgetBelow(checkpoint.position)
    try {
      this.#options.onCommitted?.({ from: batch.from, to: batch.to, messages, checkpoint })
    } catch (error) {
      this.#options.log.error({ code: 'TG_BUG', err: error }, 'a listener to commits failed')
    }
    this.#waiters.reached(checkpoint.position)
  }
}
