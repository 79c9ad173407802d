import { TidegateError } from '../errors.ts'

interface Waiter {
  readonly ordinal: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Waiters held at most. */
const waitersKept = 10_000

/** Those who wait until a record has its outcome. */
export class PositionWaiters {
  #waiters: Waiter[] = []
  #closed = false

  /**
   * Resolves when the position has passed the ordinal.
   * @throws the signal's reason; TidegateError TG_QUERY_BUSY beyond 10,000 waiters, TG_STORE_UNAVAILABLE when closed
   */
  async wait(ordinal: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#closed) throw closedError()
    if (this.#waiters.length >= waitersKept) throw new TidegateError('TG_QUERY_BUSY', 'too many requests wait for a position')
    let abort: (() => void) | undefined
    try {
      await new Promise<void>((resolve, reject) => {
        const waiter = { ordinal, resolve, reject }
        this.#waiters.push(waiter)
        abort = () => {
          this.#waiters = this.#waiters.filter(each => each !== waiter)
          reject(signal.reason instanceof Error ? signal.reason : new TidegateError('TG_POSITION_TIMEOUT', 'no outcome yet'))
        }
        signal.addEventListener('abort', abort)
      })
    } finally {
      if (abort !== undefined) signal.removeEventListener('abort', abort)
    }
  }

  reached(position: number): void {
    if (this.#waiters.length === 0) return
    const waiters = this.#waiters
    this.#waiters = waiters.filter(({ ordinal }) => ordinal >= position)
    for (const { ordinal, resolve } of waiters) if (ordinal < position) resolve()
  }

  close(): void {
    this.#closed = true
    for (const { reject } of this.#waiters.splice(0)) reject(closedError())
  }
}

function closedError(): TidegateError {
  return new TidegateError('TG_STORE_UNAVAILABLE', 'ingest is closed')
}
