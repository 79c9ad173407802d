import type { Will } from './packets/connect-packet.ts'

/** A will whose connection has ended. */
export interface DueWill {
  readonly clientId: Buffer
  readonly user: Buffer | undefined
  readonly will: Will
}

const maxWaiting = 10_000
const maxWaitingBytes = 16 * 1024 * 1024

interface DelayedWill {
  readonly due: DueWill
  readonly dueMs: number
}

/**
 * Wills that cannot be published yet. Those that are due wait because the journal or the queue to subscribers does not
 * take them, oldest first: above 10,000 wills or 16 MiB a new one is dropped and counted. Those with a delay
 * (MQTT 5.0 §3.1.3.2.2) wait for it, for the end of their session or for their client, which then has none: at the same
 * bounds the one that has waited longest is published early.
 */
export class Wills {
  readonly #publish: (due: DueWill) => boolean
  readonly #onDropped: () => void
  readonly #waiting: DueWill[] = []
  #bytes = 0
  /** By client id: a client has one session, and a session one will. */
  readonly #delayed = new Map<string, DelayedWill>()
  #delayedBytes = 0
  /** No delayed will is due before. */
  #nextMs = Infinity

  /** `publish` answers false when the will cannot be taken yet. */
  constructor(publish: (due: DueWill) => boolean, onDropped: () => void) {
    this.#publish = publish
    this.#onDropped = onDropped
  }

  /** Wills that are due. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** Wills that are not due yet. */
  get delayed(): number {
    return this.#delayed.size
  }

  add(due: DueWill): void {
    if (this.#waiting.length === 0 && this.#publish(due)) return
    const bytes = bytesOf(due)
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
      this.#bytes -= bytesOf(due)
      taken += 1
    }
    this.#waiting.splice(0, taken)
  }

  /** Publishes a will at this time of the clock, unless its client comes back before. */
  delay(clientId: string, due: DueWill, dueMs: number): void {
    this.expedite(clientId)
    this.#delayed.set(clientId, { due, dueMs })
    this.#delayedBytes += bytesOf(due)
    this.#nextMs = Math.min(this.#nextMs, dueMs)
    while (this.#delayed.size > maxWaiting || this.#delayedBytes > maxWaitingBytes) {
      const [oldest] = this.#delayed.keys()
      if (oldest === undefined) return
      this.expedite(oldest)
    }
  }

  /** The client is back in its session: its will is not published [MQTT-3.1.3-9]. */
  cancel(clientId: string): void {
    this.#take(clientId)
  }

  /** The session is over: its will is due. */
  expedite(clientId: string): void {
    const due = this.#take(clientId)
    if (due !== undefined) this.add(due)
  }

  /** Everything is due: who waits would wait in vain. */
  expediteAll(): void {
    for (const clientId of this.#delayed.keys()) this.expedite(clientId)
  }

  /** Publishes what is due by now. */
  tick(nowMs: number): void {
    if (nowMs < this.#nextMs) return
    this.#nextMs = Infinity
    for (const [clientId, { dueMs }] of this.#delayed) {
      if (dueMs <= nowMs) this.expedite(clientId)
      else this.#nextMs = Math.min(this.#nextMs, dueMs)
    }
  }

  #take(clientId: string): DueWill | undefined {
    const delayed = this.#delayed.get(clientId)
    if (delayed === undefined) return undefined
    this.#delayed.delete(clientId)
    this.#delayedBytes -= bytesOf(delayed.due)
    return delayed.due
  }
}

function bytesOf({ will }: DueWill): number {
  return will.topic.length + will.payload.length + (will.properties?.length ?? 0)
}
