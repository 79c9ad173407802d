import type { Logger } from 'pino'

/** A connection that was refused, or ended because of what its client did. */
export interface Refusal {
  /** Milliseconds since 1970. */
  readonly time: number
  readonly address: string
  /** Undefined when it was refused before it said who it is. */
  readonly clientId: string | undefined
  readonly reason: string
}

const kept = 256
const linesPerSecond = 50

/**
 * The last 256 refusals, each with one log line. Above 50 lines a second the rest is only counted, and the count logged,
 * so that a hostile client cannot fill the disk by being refused.
 */
export class Refusals {
  readonly #log: Logger
  readonly #now: () => number
  readonly #ring: Refusal[] = []
  #second = 0
  #lines = 0
  #unlogged = 0

  constructor(log: Logger, now: () => number) {
    this.#log = log
    this.#now = now
  }

  get count(): number {
    return this.#ring.length
  }

  /** Newest last. */
  get list(): readonly Refusal[] {
    return [...this.#ring]
  }

  add(address: string, clientId: string | undefined, reason: string): void {
    const time = this.#now()
    this.#ring.push({ time, address, clientId, reason })
    if (this.#ring.length > kept) this.#ring.shift()
    const second = Math.floor(time / 1000)
    if (second !== this.#second) {
      if (this.#unlogged > 0) this.#log.warn({ count: this.#unlogged }, 'more connections were refused than are logged')
      this.#second = second
      this.#lines = 0
      this.#unlogged = 0
    }
    this.#lines += 1
    if (this.#lines > linesPerSecond) this.#unlogged += 1
    else this.#log.warn({ address, clientId, reason }, 'connection refused')
  }
}
