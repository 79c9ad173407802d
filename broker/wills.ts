import type { Will } from './packets/connect-packet.ts'

/** A will whose connection has ended. */
export interface DueWill {
  readonly clientId: Buffer
  readonly user: Buffer | undefined
  readonly will: Will
}

const maxWaiting = 10_000
const maxWaitingBytes = 16 * 1024 * 1024

/**
 * Wills that are due and wait because the journal or the queue to subscribers does not take them, oldest first. Above
 * 10,000 wills or 16 MiB a new one is dropped and counted.
 */
export class Wills {
  readonly #publish: (due: DueWill) => boolean
  readonly #onDropped: () => void
  readonly #waiting: DueWill[] = []
  #bytes = 0

  /** `publish` answers false when the will cannot be taken yet. */
  constructor(publish: (due: DueWill) => boolean, onDropped: () => void) {
    this.#publish = publish
    this.#onDropped = onDropped
  }

  get waiting(): number {
    return this.#waiting.length
  }

  get bytes(): number {
    return this.#bytes
  }

  add(due: DueWill): void {
    if (this.#waiting.length === 0 && this.#publish(due)) return
    const bytes = due.will.topic.length + due.will.payload.length
    if (this.#waiting.length >= maxWaiting || this.#bytes + bytes > maxWaitingBytes) {
      this.#onDropped()
      return
    }
    this.#waiting.push(due)
    this.#bytes += bytes
  }

  /** Publishes what waits, as far as it is taken. */
  retry(): void {
    let taken = 0
    for (const due of this.#waiting) {
      if (!this.#publish(due)) break
      this.#bytes -= due.will.topic.length + due.will.payload.length
      taken += 1
    }
    this.#waiting.splice(0, taken)
  }
}
