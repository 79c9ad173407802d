/**
 * One rewrite: records that had their outcome already are read and decoded again, in order, and their points are written
 * into the store again.
 *
 * "Later wins, field by field" must hold afterwards although ingest goes on meanwhile: a record that is written again must
 * not win over a later one of the same source and time. So a pass has two parts. The first, over [from, to), writes what is
 * selected. The second goes on to the checkpoint, until it has caught up with ingest, and writes again only the points that
 * may meet one of those (a filter of fixed size remembers them; what it takes for one of them by mistake is written once
 * more, which changes nothing). Between the two an older value may be seen; at the end the store holds what it holds when
 * every record is ingested once, in order.
 *
 * The second part takes turns with ingest that are at least twice as long as what ingest has written in between, so that
 * it catches up whatever comes.
 */
import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import type { JournalRecord, JournalSource } from '../journal/record.ts'
import { BatchBuilder, noLetters } from './batch-builder.ts'
import type { BatchBounds } from './batch-builder.ts'
import type { BatchWriter } from './batch-writer.ts'
import type { Clock } from './clock.ts'
import type { Decoded, Decoder } from './decoder.ts'
import { DecodingTurns, longPayload } from './decoding-turns.ts'
import { PointFilter } from './point-filter.ts'
import { RecordCursor } from './record-cursor.ts'

/** What a pass writes again. */
export interface RewriteSelection {
  /** Ordinals [from, to) that are looked at. */
  readonly from: number
  readonly to: number
  /** Which of them are in the range that was asked for; default all. */
  readonly inRange?: (record: JournalRecord) => boolean
  /** Which of those are written; default all. */
  readonly selects?: (record: JournalRecord) => boolean
}

export interface RewritePassOptions {
  readonly selection: RewriteSelection
  readonly source: JournalSource
  readonly decoder: Decoder
  readonly writer: BatchWriter
  readonly bounds: BatchBounds
  readonly clock: Clock
  readonly log: Logger
  /** Called between two reads of the first part; resolves when the pass may go on, with false when it need not. */
  readonly between: () => Promise<boolean>
}

/** What a pass did so far. */
export interface RewriteCounts {
  /** Records in the range that could be read, and the ordinals between which they are. */
  records: number
  first: number | undefined
  behind: number
  /** Of those: a route ignores them, or nothing of them was ever stored (they are dead letters). */
  ignored: number
  deadLettered: number
  /** Points written, those of later records that were written again for the sake of the order included. */
  points: number
  /** Points that the store refuses. */
  refused: number
  /** Records in the range that no one can read any more. */
  damaged: number
  dropped: number
}

const readRecords = 2048
const readBytes = 1024 * 1024
const readAgainMs = 1000
/** Records in a turn of the second part, at least. */
const turnRecords = 20_000

export class RewritePass {
  readonly counts: RewriteCounts
  readonly #options: RewritePassOptions
  readonly #turns: DecodingTurns
  readonly #filter = new PointFilter()
  #at: number
  #builder: BatchBuilder
  /** What was read and is not worked off. */
  #cursor: RecordCursor | undefined
  /** The last record was in the range; and what was missing behind it. */
  #wasInRange = false
  #missing = { damaged: 0, dropped: 0 }

  constructor(options: RewritePassOptions) {
    const { from } = options.selection
    this.#options = options
    this.#turns = new DecodingTurns(options.decoder, options.log)
    this.#at = from
    this.#builder = new BatchBuilder(from, noLetters)
    this.counts = {
      records: 0,
      first: undefined,
      behind: from,
      ignored: 0,
      deadLettered: 0,
      points: 0,
      refused: 0,
      damaged: 0,
      dropped: 0
    }
  }

  /** Ordinal that is looked at next. */
  get position(): number {
    return this.#at
  }

  /**
   * Resolves true when all is written and settled, false when `between` said that it need not be, or the signal came. A
   * cancelled pass writes nothing of the range any more, but settles what it has written.
   */
  async run(signal: AbortSignal, cancelled: AbortSignal): Promise<boolean> {
    const { selection, source, writer } = this.#options
    source.advance(selection.to)
    while (this.#at < selection.to && !signal.aborted && !cancelled.aborted) {
      if (!(await this.#options.between())) return false
      await this.#read(signal, true, async () => await this.#flushSteadily(signal))
    }
    await this.#flushSteadily(signal)
    if (this.#filter.empty) return !signal.aborted
    let checkpoint = writer.checkpoint.position
    while (!signal.aborted) {
      const settled = await writer.steadily({ from: this.#at, to: checkpoint }, signal, async () => {
        const { position } = writer.checkpoint
        const goal = Math.min(position, this.#at + Math.max(turnRecords, 2 * (position - checkpoint)))
        checkpoint = position
        source.advance(position)
        await this.#flush()
        while (this.#at < goal && !signal.aborted) await this.#read(signal, false, async () => await this.#flush())
        await this.#flush()
        return this.#at >= position
      })
      if (settled === true) return true
    }
    return false
  }

  /**
   * Reads on once and decodes what it got; `flush` is called whenever the batch is full. When that throws, the next call goes
   * on with what is left.
   */
  async #read(signal: AbortSignal, first: boolean, flush: () => Promise<void>): Promise<void> {
    const { source, selection, bounds } = this.#options
    const cursor = (this.#cursor ??= new RecordCursor(await this.#next(source, signal), this.#at))
    this.#turns.begin()
    for (let count = 1; !signal.aborted; count += 1) {
      const step = cursor.next()
      if (step === undefined) {
        this.#cursor = undefined
        break
      }
      if (step.kind === 'gap') {
        if (first) this.#missing[step.why] += step.to - this.#at
        this.#at = step.to
        continue
      }
      const { record } = step
      const inRange = first && (selection.inRange?.(record) ?? true)
      if (first) this.#see(inRange, record.ordinal)
      const selected = inRange && (selection.selects?.(record) ?? true)
      const long = record.payload.byteLength >= longPayload
      if (selected || !this.#filter.empty) {
        const target = this.#target(selected)
        if (long) await this.#turns.addLong(target, record)
        else this.#turns.addShort(target, record)
      }
      this.#at = record.ordinal + 1
      if (this.#builder.isFull(bounds)) {
        this.#turns.end()
        await flush()
        this.#turns.begin()
      }
      if (long || count % 16 === 0) await this.#turns.giveWay()
    }
    this.#turns.end()
    if (first && this.#at >= selection.to) this.#see(false, this.#at)
  }

  async #next(source: JournalSource, signal: AbortSignal) {
    for (let failures = 0; ; failures += 1) {
      try {
        const batch = await source.read({ maxRecords: readRecords, maxBytes: readBytes, signal })
        if (batch.to > batch.from || signal.aborted) return batch
        throw new TidegateError('TG_JOURNAL_CLOSED', 'the journal was closed while it is read again')
      } catch (error) {
        if (error instanceof TidegateError && error.code === 'TG_JOURNAL_CLOSED') throw error
        const code = error instanceof TidegateError ? error.code : 'TG_BUG'
        if (failures === 0) this.#options.log.error({ code, err: error, position: this.#at }, 'kept records cannot be read')
        await this.#options.clock.sleep(readAgainMs, signal)
        if (signal.aborted) return { from: this.#at, to: this.#at, records: [], gaps: [] }
      }
    }
  }

  /** What is missing has no time: it counts when the record before or behind it is in the range. */
  #see(inRange: boolean, ordinal: number): void {
    if (inRange || this.#wasInRange || this.#options.selection.inRange === undefined) {
      this.counts.damaged += this.#missing.damaged
      this.counts.dropped += this.#missing.dropped
    }
    this.#missing = { damaged: 0, dropped: 0 }
    this.#wasInRange = inRange
    if (!inRange) return
    this.counts.first ??= ordinal
    this.counts.behind = ordinal + 1
  }

  #target(selected: boolean) {
    return {
      add: (record: JournalRecord, decoded: Decoded): void => this.#take(selected, record, decoded),
      addInSteps: (record: JournalRecord, decoded: Decoded) => this.#takeInSteps(selected, record, decoded)
    }
  }

  #take(selected: boolean, record: JournalRecord, decoded: Decoded): void {
    const steps = this.#takeInSteps(selected, record, decoded)
    while (steps.next().done !== true);
  }

  *#takeInSteps(selected: boolean, record: JournalRecord, decoded: Decoded): Generator<void, void, void> {
    if (!selected) {
      const points = decoded.points.filter(point => this.#filter.mayHave(point))
      if (points.length > 0) yield* this.#builder.addInSteps(record, { ...decoded, points })
      return
    }
    this.counts.records += 1
    if (decoded.outcome === 'ignored') this.counts.ignored += 1
    else if (decoded.points.length === 0) this.counts.deadLettered += 1
    if (decoded.points.length === 0) return
    for (const point of decoded.points) this.#filter.add(point)
    yield* this.#builder.addInSteps(record, decoded)
  }

  async #flushSteadily(signal: AbortSignal): Promise<void> {
    if (this.#builder.points === 0) return
    await this.#options.writer.steadily({ from: this.#builder.from, to: this.#at }, signal, async () => await this.#flush())
  }

  /** Writes the batch that was filled and begins another; when that fails the batch is still there. */
  async #flush(): Promise<void> {
    if (this.#builder.points === 0) return
    const { points } = this.#builder.seal([], () => undefined).write
    const refused = await this.#options.writer.rewrite(points, this.#builder.from)
    this.counts.refused += refused
    this.counts.points += points.length - refused
    this.#builder = new BatchBuilder(this.#at, noLetters)
  }
}
