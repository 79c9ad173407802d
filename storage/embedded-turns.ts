import { TidegateError } from '../errors.ts'

/** A turn that was taken; giving it back lets the next one in. Giving back twice does nothing. */
export interface Turn {
  release(): void
}

interface Waiting {
  start(turn: Turn): void
}

/** Lets a number of jobs run at once and a number wait in the order they came; more are refused. */
export class Turns {
  readonly #atOnce: number
  readonly #queued: number
  readonly #waiting = new Set<Waiting>()
  #running = 0

  constructor(atOnce: number, queued: number) {
    this.#atOnce = atOnce
    this.#queued = queued
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Resolves when it is the caller's turn.
   * @throws TidegateError TG_QUERY_BUSY when the queue is full, TG_QUERY_CANCELLED when the signal aborts
   */
  async take(signal?: AbortSignal): Promise<Turn> {
    if (signal?.aborted === true) throw cancelled(signal)
    if (this.#running < this.#atOnce) return this.#start()
    if (this.#waiting.size >= this.#queued) {
      throw new TidegateError('TG_QUERY_BUSY', 'Too many queries are waiting; try again shortly', {
        context: { waiting: this.#waiting.size }
      })
    }
    return await new Promise<Turn>((resolve, reject) => {
      const waiting: Waiting = {
        start(turn) {
          signal?.removeEventListener('abort', leave)
          resolve(turn)
        }
      }
      const leave = (): void => {
        this.#waiting.delete(waiting)
        reject(cancelled(signal))
      }
      this.#waiting.add(waiting)
      signal?.addEventListener('abort', leave, { once: true })
    })
  }

  #start(): Turn {
    this.#running += 1
    let released = false
    return {
      release: () => {
        if (released) return
        released = true
        this.#running -= 1
        const [next] = this.#waiting
        if (next === undefined) return
        this.#waiting.delete(next)
        next.start(this.#start())
      }
    }
  }
}

/** The error of a query whose caller went away. */
export function cancelled(signal: AbortSignal | undefined): TidegateError {
  return new TidegateError('TG_QUERY_CANCELLED', 'The query was cancelled', { cause: signal?.reason })
}
