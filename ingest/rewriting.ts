/**
 * Writes kept records into the store again: what a store may have forgotten that died, and what an operator asks for
 * (`journal replay`). No outcome, total or position changes by it.
 *
 * One pass at a time. What is owed to a store that came back goes before a replay, in the middle of it too. The ordinal from
 * which on records are not settled is held in the floor, and with it durable, until a pass is through: a process that dies in
 * between begins again there, and so does this one when a pass fails.
 */
import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import type { JournalSource } from '../journal/record.ts'
import type { BatchBounds } from './batch-builder.ts'
import type { BatchWriter } from './batch-writer.ts'
import type { Clock } from './clock.ts'
import type { Decoder } from './decoder.ts'
import type { ReplayRange, ReplayReport } from './replay.ts'
import { checkTopic, planReplay } from './replay.ts'
import type { RewriteFloor } from './rewrite-floor.ts'
import { RewritePass } from './rewrite-pass.ts'
import type { RewriteCounts, RewriteSelection } from './rewrite-pass.ts'

/** Why records are written again: the service started, the store came back, or somebody asked. */
export const rewriteCauses = ['start', 'outage', 'replay'] as const
export type RewriteCause = (typeof rewriteCauses)[number]

export interface RewritingOptions {
  /** Opens the reading side at an ordinal. */
  readonly openSource: (from: number) => JournalSource | Promise<JournalSource>
  /** Ordinal of the oldest record that is kept now. */
  readonly oldest: () => Promise<number>
  /** Makes a decoder for records that had their outcome already. */
  readonly decoder: () => Decoder
  readonly writer: BatchWriter
  readonly floor: RewriteFloor
  readonly bounds: BatchBounds
  readonly clock: Clock
  readonly log: Logger
}

interface Job {
  readonly cause: RewriteCause
  readonly selection: RewriteSelection
  readonly cancelled: AbortSignal
  readonly onProgress: (pass: RewritePass) => void
  /** Lets go of the floor that is held for it. */
  readonly release: () => void
}

/** What has to be written again without anyone waiting for it: from an ordinal up to the position. */
interface Debt {
  readonly cause: RewriteCause
  readonly from: number
  /** Lets go of the floor that is held for it. */
  readonly release: () => void
}

interface Replay {
  readonly range: ReplayRange
  readonly signal: AbortSignal
  readonly onProgress: (report: ReplayReport) => void
  resolve(report: ReplayReport): void
  reject(error: unknown): void
}

/** A replay is patient: its batches are so much smaller than those of ingest, which waits for one at a time. */
const replayShare = 4
const firstBackOffMs = 200
const longestBackOffMs = 5000
const never = new AbortController().signal

export class Rewriting {
  readonly #options: RewritingOptions
  readonly #closing = new AbortController()
  /** Records that were read again, by cause. */
  readonly records: Record<RewriteCause, number> = { start: 0, outage: 0, replay: 0 }
  #owed: Debt | undefined
  #replay: Replay | undefined
  #running: Promise<void> | undefined

  constructor(options: RewritingOptions) {
    this.#options = options
  }

  /** True from when a rewrite is asked for until it is through. */
  get active(): boolean {
    return this.#running !== undefined
  }

  /** Writes again, as soon as the store takes it, what it may have forgotten: from the ordinal, or the floor, on. */
  owe(cause: 'start' | 'outage', from?: number): void {
    const { writer, floor } = this.#options
    if (this.#closing.signal.aborted) return
    const { position } = writer.checkpoint
    // A write that is under way begins at the position.
    const least = Math.min(from ?? position, floor.below(position) ?? position)
    this.#owed?.release()
    this.#owed = { cause, from: least, release: floor.hold(least) }
    this.#start()
  }

  /** Takes back what could not be written again; what is owed by now stays when it begins no later. */
  #oweStill(debt: Debt): void {
    const owed = this.#owed
    this.#owed = owed === undefined || debt.from < owed.from ? debt : owed
    const other = this.#owed === debt ? owed : debt
    other?.release()
  }

  /**
   * Writes a range of kept records again. Resolves when all of it is in the store.
   * @throws TidegateError TG_PARAMETER_INVALID for a topic that is no filter, TG_REPLAY_RUNNING, TG_QUERY_CANCELLED when the
   * signal aborts, TG_STOPPING when ingest is closed
   */
  async replay(range: ReplayRange, signal: AbortSignal, onProgress: (report: ReplayReport) => void): Promise<ReplayReport> {
    if (this.#closing.signal.aborted) throw stopping()
    checkTopic(range)
    if (this.#replay !== undefined) throw new TidegateError('TG_REPLAY_RUNNING', 'a replay is running: try again when it has ended')
    return await new Promise<ReplayReport>((resolve, reject) => {
      this.#replay = { range, signal, onProgress, resolve, reject }
      this.#start()
    })
  }

  /** Ends; what is not written again is so by the next start. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { clock, log } = this.#options
    const { signal } = this.#closing
    let failures = 0
    while (!signal.aborted && (this.#owed !== undefined || this.#replay !== undefined)) {
      try {
        if (this.#owed !== undefined) await this.#payOwed()
        else if (this.#replay !== undefined) await this.#answer(this.#replay)
        if (failures > 0) log.info({ failures }, 'records can be written again')
        failures = 0
      } catch (error) {
        const code = error instanceof TidegateError ? error.code : 'TG_BUG'
        if (failures === 0) log.error({ code, err: error }, 'records cannot be written again: what the store is owed is tried until it can')
        // Who waits behind it is told, and need not wait for ever.
        this.#replay?.reject(error)
        this.#replay = undefined
        await clock.sleep(Math.min(firstBackOffMs * 2 ** failures, longestBackOffMs), signal)
        failures += 1
      }
    }
    this.#replay?.reject(stopping())
    this.#replay = undefined
  }

  async #payOwed(): Promise<void> {
    while (this.#owed !== undefined && !this.#closing.signal.aborted) {
      const { log, writer } = this.#options
      // When this fails it is still owed.
      const oldest = await this.#options.oldest()
      const { cause, from, release } = this.#owed
      this.#owed = undefined
      const kept = Math.max(from, oldest)
      // In a turn, so that what was under way when the store died is below it.
      const position = await writer.steadily(
        { from, to: from },
        this.#closing.signal,
        async () => await Promise.resolve(writer.checkpoint.position)
      )
      if (position === undefined) return
      if (kept >= position) {
        release()
        continue
      }
      if (kept > from) log.error({ code: 'TG_STORE_FORGOT', from, kept }, 'the store may have forgotten records that are not kept any more')
      log.info({ cause, from: kept, to: position }, 'the store may have forgotten records: they are written again')
      await this.#pass({ cause, selection: { from: kept, to: position }, cancelled: never, onProgress: () => undefined, release })
    }
  }

  async #answer(replay: Replay): Promise<void> {
    const { writer, floor, oldest } = this.#options
    try {
      const plan = planReplay(replay.range, { oldest: await oldest(), position: writer.checkpoint.position })
      const { from, to, selects, inRange } = plan
      const counts = await this.#pass({
        cause: 'replay',
        selection: { from, to, inRange, selects },
        cancelled: replay.signal,
        onProgress: pass => replay.onProgress(plan.report(pass.counts, pass.position)),
        release: floor.hold(from)
      })
      if (counts === undefined) replay.reject(stopping())
      else if (replay.signal.aborted) replay.reject(new TidegateError('TG_QUERY_CANCELLED', 'the replay was cancelled'))
      else replay.resolve(plan.report(counts, to))
    } catch (error) {
      replay.reject(error)
      throw error
    } finally {
      this.#replay = undefined
    }
  }

  /** Answers what was done; nothing when it was cut off by closing, or by what is owed anew. */
  async #pass({ cause, selection, cancelled, onProgress, release }: Job): Promise<RewriteCounts | undefined> {
    const { openSource, decoder, writer, floor, bounds, clock, log } = this.#options
    const { signal } = this.#closing
    const { from, to } = selection
    let source: JournalSource
    try {
      source = await openSource(from)
    } catch (error) {
      // Of a replay nothing is written yet, and whoever asked is told.
      if (cause === 'replay') release()
      else this.#oweStill({ cause, from, release })
      throw error
    }
    let counted = 0
    const startMs = performance.now()
    const pass = new RewritePass({
      selection,
      source,
      decoder: decoder(),
      writer,
      bounds: cause === 'replay' ? patient(bounds) : bounds,
      clock,
      log,
      between: async () => {
        this.records[cause] += pass.counts.records - counted
        counted = pass.counts.records
        if (this.#owed === undefined) onProgress(pass)
        else if (cause === 'replay') await this.#payOwed()
        else return false
        return true
      }
    })
    let done: boolean
    try {
      if ((writer.checkpoint.rewriteFrom ?? Infinity) > from)
        await writer.steadily({ from, to }, signal, async () => await writer.rewrite([], from))
      done = await pass.run(signal, cancelled)
    } catch (error) {
      this.#oweStill({ cause, from, release })
      throw error
    } finally {
      await source.close()
    }
    this.records[cause] += pass.counts.records - counted
    if (!done) {
      // What is owed anew is held from there on, or lower.
      if (this.#owed !== undefined) release()
      return undefined
    }
    release()
    if (writer.checkpoint.rewriteFrom !== floor.below(writer.checkpoint.position))
      await writer.steadily({ from, to }, signal, async () => await writer.rewrite([], from))
    log.info({ cause, from, to, ...pass.counts, ms: Math.round(performance.now() - startMs) }, 'records were written again')
    return pass.counts
  }
}

function patient({ batchPoints, batchBytes }: BatchBounds): BatchBounds {
  return { batchPoints: Math.ceil(batchPoints / replayShare), batchBytes: Math.ceil(batchBytes / replayShare) }
}

function stopping(): TidegateError {
  return new TidegateError('TG_STOPPING', 'ingest is closed: the next start writes again what is left')
}
