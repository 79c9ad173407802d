/**
 * One writer at a time, in the order in which they asked: what is written again and what is new never reach the store
 * together, and neither waits for more than one write of the other.
 */
export class WriteTurns {
  #last: Promise<void> = Promise.resolve()

  /** Runs the job when those before it have ended, whatever they ended with. */
  async take<Result>(job: () => Promise<Result>): Promise<Result> {
    const before = this.#last
    let end: (() => void) | undefined
    this.#last = new Promise<void>(resolve => {
      end = resolve
    })
    await before
    try {
      return await job()
    } finally {
      end?.()
    }
  }
}
