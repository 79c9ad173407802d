/** The points of a chart in the order of time: bounded in number, one value a time, the later one wins. */
export class PointSeries {
  readonly limit: number
  #timesMs: number[] = []
  #values: number[] = []
  #overflowed = false

  constructor(limit: number) {
    this.limit = limit
  }

  get timesMs(): readonly number[] {
    return this.#timesMs
  }

  get values(): readonly number[] {
    return this.#values
  }

  /** True once points had to go because there were too many. */
  get overflowed(): boolean {
    return this.#overflowed
  }

  /** Adds a point; usually it is the newest one. */
  add(timeMs: number, value: number): void {
    let at = this.#timesMs.length
    while (at > 0 && (this.#timesMs[at - 1] ?? 0) > timeMs) at--
    if (at > 0 && this.#timesMs[at - 1] === timeMs) {
      this.#values[at - 1] = value
      return
    }
    this.#timesMs.splice(at, 0, timeMs)
    this.#values.splice(at, 0, value)
    if (this.#timesMs.length <= this.limit) return
    // a tenth at once, so that this costs little for each point
    this.#forget(Math.ceil(this.limit / 10))
    this.#overflowed = true
  }

  /** Forgets what is older, but the last point before it, so that the line reaches the edge. */
  trim(fromMs: number): void {
    let old = 0
    while (old + 1 < this.#timesMs.length && (this.#timesMs[old + 1] ?? 0) < fromMs) old++
    if (old > 64) this.#forget(old)
  }

  #forget(count: number): void {
    this.#timesMs = this.#timesMs.slice(count)
    this.#values = this.#values.slice(count)
  }
}
