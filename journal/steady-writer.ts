import type { Logger } from 'pino'
import { isNoSpace } from './files.ts'
import type { Chunk } from './pending.ts'
import type { SegmentWriter } from './segment-writer.ts'

const firstBackOffMs = 50
const longestBackOffMs = 2000

export interface SteadyWriterOptions {
  readonly writer: SegmentWriter
  readonly log: Logger
  /** Called when writing begins to fail and when it works again. */
  readonly onChange: () => void
}

/** Writes a group until it is written: each failure seals the segment, and the same bytes go to a new one. */
export class SteadyWriter {
  /** Failed attempts since the start. */
  failures = 0
  /** Why writing fails at present, or undefined. */
  failure: unknown
  readonly #options: SteadyWriterOptions
  #stopping = false
  #wake: (() => void) | undefined

  constructor(options: SteadyWriterOptions) {
    this.#options = options
  }

  /** Resolves true when the group is as durable as configured; false when it was stopped before that. */
  async write(group: readonly Chunk[]): Promise<boolean> {
    let backOffMs = 0
    for (;;) {
      try {
        await this.#options.writer.write(group)
        this.#recovered()
        return true
      } catch (error) {
        this.failures++
        await this.#options.writer.seal()
        const failedBefore = this.failure !== undefined
        // The first failure costs only a new segment; the second in a row is a disk that fails.
        if (backOffMs > 0) this.#fails(error)
        if (this.#stopping && failedBefore) return false
        await this.#backOff(backOffMs)
        backOffMs = Math.min(longestBackOffMs, Math.max(firstBackOffMs, backOffMs * 2))
      }
    }
  }

  /** Tries again now instead of after the back-off. */
  retry(): void {
    this.#wake?.()
  }

  /** From now on a disk that fails gets a last attempt and no more. */
  stop(): void {
    this.#stopping = true
    this.#wake?.()
  }

  #fails(error: unknown): void {
    const begins = this.failure === undefined
    this.failure = error
    if (!begins) return
    this.#options.log.error(
      { code: isNoSpace(error) ? 'TG_JOURNAL_FULL' : 'TG_JOURNAL_FAILING', err: error },
      'the journal cannot be written; nothing is acknowledged until it can'
    )
    this.#options.onChange()
  }

  #recovered(): void {
    if (this.failure === undefined) return
    this.failure = undefined
    this.#options.log.info({ writeFailures: this.failures }, 'the journal is written again')
    this.#options.onChange()
  }

  async #backOff(ms: number): Promise<void> {
    if (ms === 0 || this.#stopping) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#wake = undefined
  }
}
