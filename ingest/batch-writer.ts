import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import type { Storage } from '../storage/port.ts'
import type { Checkpoint } from '../telemetry.ts'
import type { SealedBatch } from './batch-builder.ts'
import type { Clock } from './clock.ts'
import type { DeadLetters } from './dead-letters.ts'
import type { Settlement } from './settlement.ts'
import { settleBatch } from './settlement.ts'

export interface BatchWriterOptions {
  readonly storage: Storage
  readonly deadLetters: DeadLetters
  readonly clock: Clock
  readonly log: Logger
}

const firstBackOffMs = 200
const longestBackOffMs = 5000

/** Writes one batch at a time, and again until the store has it: an error never costs a reading, whatever it says. */
export class BatchWriter {
  readonly #options: BatchWriterOptions
  retries = 0
  writeMs = 0

  constructor(options: BatchWriterOptions) {
    this.#options = options
  }

  /** Resolves when the batch, its dead letters and the checkpoint are durable; undefined when the signal came first. */
  async write(batch: SealedBatch, base: Checkpoint, signal: AbortSignal): Promise<Settlement | undefined> {
    const { clock, log } = this.#options
    let backOffMs = firstBackOffMs
    let failures = 0
    while (!signal.aborted) {
      const startMs = performance.now()
      try {
        const settlement = await this.#attempt(batch, base)
        if (failures > 0) log.info({ from: batch.from, to: batch.to, failures }, 'the store takes batches again')
        return settlement
      } catch (error) {
        const code = error instanceof TidegateError ? error.code : 'TG_BUG'
        if (failures === 0) log.warn({ code, err: error, from: batch.from, to: batch.to }, 'a batch waits for the store')
        failures += 1
      } finally {
        this.writeMs += performance.now() - startMs
      }
      this.retries += 1
      await clock.sleep(backOffMs, signal)
      backOffMs = Math.min(backOffMs * 2, longestBackOffMs)
    }
    return undefined
  }

  async #attempt(batch: SealedBatch, base: Checkpoint): Promise<Settlement> {
    const { storage, deadLetters } = this.#options
    let settlement: Settlement | undefined
    await storage.write(batch.write, async rejected => {
      settlement = await settleBatch(batch, rejected, base, deadLetters)
      return settlement.checkpoint
    })
    if (settlement === undefined) throw new TidegateError('TG_BUG', 'the store wrote a batch without settling it')
    return settlement
  }
}
