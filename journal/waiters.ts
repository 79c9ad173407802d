interface Waiter {
  readonly upTo: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Promises that wait until a number is reached. */
export class Waiters {
  #waiters: Waiter[] = []

  /** Resolves when `reach` is called with this number or a higher one. */
  wait(upTo: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ upTo, resolve, reject })
    })
  }

  reach(number: number): void {
    if (this.#waiters.length === 0) return
    this.#waiters = this.#waiters.filter(({ upTo, resolve }) => {
      if (upTo <= number) resolve()
      return upTo > number
    })
  }

  /** Rejects all that still wait. */
  fail(error: unknown): void {
    for (const { reject } of this.#waiters.splice(0)) reject(error)
  }
}
