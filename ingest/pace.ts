import type { Clock } from './clock.ts'

export interface PaceOptions {
  readonly clock: Clock
  readonly signal: AbortSignal
  /** The share of the time that the job may have at the moment, above 0 and up to 1. */
  readonly share: () => number
}

/** Work under this many milliseconds goes on without a rest. */
const pieceMs = 5

/** Keeps a long job in the background to a share of the time, in small pieces, so that nothing else waits for it. */
export class Pace {
  readonly #options: PaceOptions
  #sinceMs = performance.now()

  constructor(options: PaceOptions) {
    this.#options = options
  }

  /** To be awaited between two steps of the job. Rests when they have taken some milliseconds; never rejects. */
  async rest(): Promise<void> {
    const workedMs = performance.now() - this.#sinceMs
    if (workedMs < pieceMs) return
    const { clock, signal, share } = this.#options
    await clock.sleep(workedMs / share() - workedMs, signal)
    this.#sinceMs = performance.now()
  }
}
