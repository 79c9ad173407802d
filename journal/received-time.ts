import type { Logger } from 'pino'

const stepMs = 1000
const subNsRange = 1_000_000

/**
 * The received time of records: wall clock in ms plus (ordinal mod 10⁶) ns; where that is not greater than the previous
 * record's in the same ms, the ms advances by one. `ms` and `subNs` are those of the last record.
 */
export class ReceivedTime {
  ms: number
  subNs: number
  #clockMs = -1
  /** Wall clock minus monotonic clock, to see steps of the former. */
  #offsetMs: number | undefined

  constructor(last: { readonly ms: number; readonly subNs: number }) {
    this.ms = last.ms
    this.subNs = last.subNs
  }

  /** Moves on to the time of the next record. Sets fields instead of returning: no object per message. */
  next(clockMs: number, ordinal: number): void {
    const subNs = ordinal % subNsRange
    const ms = clockMs === this.#clockMs ? this.ms : clockMs
    this.#clockMs = clockMs
    this.ms = ms === this.ms && subNs <= this.subNs ? ms + 1 : ms
    this.subNs = subNs
  }

  /** Logs a step of the wall clock of more than a second since the last look. */
  watch(clockMs: number, monotonicMs: number, log: Logger): void {
    const offset = clockMs - monotonicMs
    if (this.#offsetMs !== undefined && Math.abs(offset - this.#offsetMs) > stepMs) {
      log.warn({ stepMs: Math.round(offset - this.#offsetMs) }, 'the wall clock was set')
    }
    this.#offsetMs = offset
  }
}
