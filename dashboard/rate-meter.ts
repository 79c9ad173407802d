/** Counts per second over the last few seconds, in buckets of a quarter of a second. */
export class RateMeter {
  readonly #windowBuckets = 20
  #buckets: number[] = []
  #bucket = 0
  #sinceMs: number | undefined

  add(nowMs: number, count: number): void {
    this.#advance(nowMs)
    this.#buckets[this.#buckets.length - 1] = (this.#buckets.at(-1) ?? 0) + count
  }

  /** Per second; right from the first second on, since only time that has passed is counted. */
  rate(nowMs: number): number {
    this.#advance(nowMs)
    const total = this.#buckets.reduce((sum, count) => sum + count, 0)
    const seconds = Math.min((nowMs - (this.#sinceMs ?? nowMs)) / 1000, this.#windowBuckets / 4)
    return total / Math.max(1, seconds)
  }

  #advance(nowMs: number): void {
    const bucket = Math.floor(nowMs / 250)
    this.#sinceMs ??= nowMs
    const steps = this.#buckets.length === 0 ? 1 : Math.min(bucket - this.#bucket, this.#windowBuckets)
    for (let step = 0; step < steps; step++) this.#buckets.push(0)
    if (this.#buckets.length > this.#windowBuckets) this.#buckets = this.#buckets.slice(-this.#windowBuckets)
    this.#bucket = Math.max(bucket, this.#bucket)
  }
}
