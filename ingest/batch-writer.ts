import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import type { Storage } from '../storage/port.ts'
import type { Checkpoint, Point } from '../telemetry.ts'
import type { SealedBatch } from './batch-builder.ts'
import type { Clock } from './clock.ts'
import type { DeadLetters } from './dead-letters.ts'
import type { RewriteFloor } from './rewrite-floor.ts'
import type { Settlement } from './settlement.ts'
import { settleBatch } from './settlement.ts'
import { WriteTurns } from './write-turns.ts'

export interface BatchWriterOptions {
  readonly storage: Storage
  readonly deadLetters: DeadLetters
  /** The one that ingest begins with. */
  readonly checkpoint: Checkpoint
  readonly floor: RewriteFloor
  /** Called with each checkpoint that has become durable. Must not block. */
  readonly onCheckpoint: (checkpoint: Checkpoint) => void
  readonly clock: Clock
  readonly log: Logger
}

/** What an attempt is about, for the log: ordinals [from, to). */
interface Run {
  readonly from: number
  readonly to: number
}

const firstBackOffMs = 200
const longestBackOffMs = 5000

/**
 * Everything that reaches the store passes here, one write at a time, and again until the store has it: an error never
 * costs a reading, whatever it says.
 */
export class BatchWriter {
  readonly #options: BatchWriterOptions
  readonly #turns = new WriteTurns()
  #checkpoint: Checkpoint
  retries = 0
  writeMs = 0

  constructor(options: BatchWriterOptions) {
    this.#options = options
    this.#checkpoint = options.checkpoint
  }

  /** The durable checkpoint. Within an attempt it stays as it is. */
  get checkpoint(): Checkpoint {
    return this.#checkpoint
  }

  /** Resolves when the batch, its dead letters and the checkpoint are durable; undefined when the signal came first. */
  async write(batch: SealedBatch, base: Checkpoint, signal: AbortSignal): Promise<Settlement | undefined> {
    const { storage, deadLetters, floor } = this.#options
    return await this.steadily(batch, signal, async () => {
      let settlement: Settlement | undefined
      await storage.write(batch.write, async rejected => {
        const settled = await settleBatch(batch, rejected, base, deadLetters)
        floor.note(batch.from)
        settlement = { ...settled, checkpoint: this.#withFloor(settled.checkpoint) }
        return settlement.checkpoint
      })
      if (settlement === undefined) throw new TidegateError('TG_BUG', 'the store wrote a batch without settling it')
      this.#durable(settlement.checkpoint)
      return settlement
    })
  }

  /**
   * Writes points of records from that ordinal on again, inside of an attempt. Position and totals stay; answers how many
   * points the store refused. Without points it makes the floor durable.
   */
  async rewrite(points: readonly Point[], from: number): Promise<number> {
    let refused = 0
    let checkpoint = this.#checkpoint
    await this.#options.storage.write({ points, fields: [], devices: [] }, rejected => {
      refused = rejected.length
      if (points.length > 0) this.#options.floor.note(from)
      checkpoint = this.#withFloor(this.#checkpoint)
      return Promise.resolve(checkpoint)
    })
    this.#durable(checkpoint)
    return refused
  }

  /** Makes attempts, each when it is its turn, until one succeeds; undefined when the signal came first. */
  async steadily<Result>({ from, to }: Run, signal: AbortSignal, attempt: () => Promise<Result>): Promise<Result | undefined> {
    const { clock, log } = this.#options
    let backOffMs = firstBackOffMs
    let failures = 0
    while (!signal.aborted) {
      try {
        const result = await this.#turns.take(async () => (signal.aborted ? undefined : await this.#timed(attempt)))
        if (failures > 0) log.info({ from, to, failures }, 'the store takes batches again')
        return result
      } catch (error) {
        const code = error instanceof TidegateError ? error.code : 'TG_BUG'
        if (failures === 0) log.warn({ code, err: error, from, to }, 'a batch waits for the store')
        failures += 1
      }
      this.retries += 1
      await clock.sleep(backOffMs, signal)
      backOffMs = Math.min(backOffMs * 2, longestBackOffMs)
    }
    return undefined
  }

  async #timed<Result>(attempt: () => Promise<Result>): Promise<Result> {
    const startMs = performance.now()
    try {
      return await attempt()
    } finally {
      this.writeMs += performance.now() - startMs
    }
  }

  #withFloor({ journal, position, since, totals }: Checkpoint): Checkpoint {
    const rewriteFrom = this.#options.floor.below(position)
    return { journal, position, since, totals, ...(rewriteFrom === undefined ? {} : { rewriteFrom }) }
  }

  #durable(checkpoint: Checkpoint): void {
    this.#checkpoint = checkpoint
    this.#options.onCheckpoint(checkpoint)
  }
}
