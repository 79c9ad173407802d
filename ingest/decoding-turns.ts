import type { Logger } from 'pino'
import type { JournalRecord } from '../journal/record.ts'
import type { BatchBuilder } from './batch-builder.ts'
import type { Decoded, Decoder } from './decoder.ts'

/** Decoding lets others run at least this often. */
const turnMs = 3

/**
 * Decodes records into a batch and shares the event loop: between records when `giveWay` is called, and inside long ones.
 * A decoder that fails costs its record, which becomes a dead letter, and no other.
 */
export class DecodingTurns {
  readonly #decoder: Decoder
  readonly #log: Logger
  #decodeMs = 0
  #sinceMs = 0

  constructor(decoder: Decoder, log: Logger) {
    this.#decoder = decoder
    this.#log = log
  }

  /** Time spent between begin and end, without what others took. */
  get decodeMs(): number {
    return this.#decodeMs
  }

  begin(): void {
    this.#sinceMs = performance.now()
  }

  end(): void {
    this.#decodeMs += performance.now() - this.#sinceMs
  }

  /** Lets others run when it is time. */
  async giveWay(): Promise<void> {
    if (performance.now() - this.#sinceMs < turnMs) return
    this.end()
    await new Promise(resolve => setImmediate(resolve))
    this.begin()
  }

  /** Decodes a record whose payload is short, at once. */
  addShort(builder: BatchBuilder, record: JournalRecord): void {
    let decoded: Decoded
    try {
      decoded = this.#decoder.decode(record)
    } catch (error) {
      decoded = this.#failed(record, error)
    }
    builder.add(record, decoded)
  }

  /** Decodes a record whose payload may be long, in steps. */
  async addLong(builder: BatchBuilder, record: JournalRecord): Promise<void> {
    let decoded: Decoded | undefined
    try {
      const steps = this.#decoder.decodeInSteps(record)
      while (decoded === undefined) {
        const step = steps.next()
        if (step.done === true) decoded = step.value
        await this.giveWay()
      }
    } catch (error) {
      decoded = this.#failed(record, error)
    }
    const adding = builder.addInSteps(record, decoded)
    while (adding.next().done !== true) await this.giveWay()
  }

  #failed(record: JournalRecord, error: unknown): Decoded {
    this.#log.error({ code: 'TG_BUG', err: error, ordinal: record.ordinal, topic: record.topic }, 'decoding failed')
    const detail = error instanceof Error ? error.message : 'unknown'
    return { outcome: 'deadLettered', route: '', points: [], refusals: [{ reason: 'decoder-failed', detail }], kind: undefined }
  }
}
