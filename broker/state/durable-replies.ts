interface Reply {
  readonly number: number
  /** Place in the log before which everything must be durable; Infinity while it waits for a whole snapshot. */
  place: number
  readonly send: () => void
}

/** Replies that wait until what they answer is durable, in order. */
export class DurableReplies {
  #waiting: Reply[] = []
  /** Number of the next one. */
  next = 0

  get size(): number {
    return this.#waiting.length
  }

  add(place: number, send: () => void): void {
    this.#waiting.push({ number: this.next++, place, send })
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
