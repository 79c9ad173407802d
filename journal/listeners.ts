import type { Logger } from 'pino'

/** Functions that want to know of a value. One that throws is logged and stops neither the others nor the caller. */
export class Listeners<Value> {
  readonly #listeners = new Set<(value: Value) => void>()
  readonly #log: Logger

  constructor(log: Logger) {
    this.#log = log
  }

  /** Returns the function that removes it. */
  add(listener: (value: Value) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  notify(value: Value): void {
    for (const listener of this.#listeners) {
      try {
        listener(value)
      } catch (error) {
        this.#log.error({ code: 'TG_BUG', err: error }, 'a listener of the journal threw')
      }
    }
  }
}
