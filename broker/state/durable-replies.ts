import type { ReplyHost } from '../routing/session-changes.ts'

/** Replies of closed connections are looked for when there are more than so many, and twice as many as were left. */
const leastSwept = 1024

interface Reply {
  readonly number: number
  /** Place in the log before which everything must be durable; Infinity while it waits for a whole snapshot. */
  place: number
  readonly send: () => void
  readonly host: ReplyHost | undefined
}

/**
 * Replies that wait until what they answer is durable, in order. Those of connections that were closed meanwhile are let go
 * of, so that clients which give up and come again while the disk fails do not add up.
 */
export class DurableReplies {
  #waiting: Reply[] = []
  /** Number of the next one. */
  next = 0
  #sweepAt = leastSwept

  get size(): number {
    return this.#waiting.length
  }

  add(place: number, send: () => void, host?: ReplyHost): void {
    this.#waiting.push({ number: this.next++, place, send, host })
    if (this.#waiting.length < this.#sweepAt) return
    this.#waiting = this.#waiting.filter(reply => reply.host?.closed !== true)
    this.#sweepAt = Math.max(leastSwept, this.#waiting.length * 2)
  }

  /** Of those before a number, the ones that wait for a whole snapshot wait for this one. */
  settle(before: number, place: number): void {
    for (const reply of this.#waiting) if (reply.number < before && reply.place === Infinity) reply.place = place
  }

  /** Sends those for which everything before a place was needed. */
  release(durable: number): void {
    let ready = 0
    while ((this.#waiting[ready]?.place ?? Infinity) <= durable) ready += 1
    for (const { send } of this.#waiting.splice(0, ready)) send()
  }
}
