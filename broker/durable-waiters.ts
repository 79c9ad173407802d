import { TidegateError } from '../errors.ts'

interface DurableWaiter {
  readonly ordinal: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** Who waits for a record that did not come over MQTT to be durable, in the order of the ordinals. */
export class DurableWaiters {
  readonly #waiters: DurableWaiter[] = []

  get count(): number {
    return this.#waiters.length
  }

  /** Resolves when the record is durable. Ordinals only rise. @throws TidegateError TG_JOURNAL_CLOSED when `close` comes first */
  async wait(ordinal: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#waiters.push({ ordinal, resolve, reject })
    })
  }

  /** Says that every record below the ordinal is durable. */
  release(durable: number): void {
    let ready = 0
    for (const waiter of this.#waiters) {
      if (waiter.ordinal >= durable) break
      waiter.resolve()
      ready += 1
    }
    if (ready > 0) this.#waiters.splice(0, ready)
  }

  /** Those that still wait are told that it did not come to that. */
  close(): void {
    for (const { reject } of this.#waiters.splice(0))
      reject(new TidegateError('TG_JOURNAL_CLOSED', 'the edge stopped before the publish was durable'))
  }
}
