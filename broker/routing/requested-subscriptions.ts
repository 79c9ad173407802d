import type { Session } from './session.ts'
import type { Subscription } from './subscription.ts'

/**
 * What one SUBSCRIBE asks for, each filter once. It is to be taken as a sequence of SUBSCRIBEs [MQTT-3.8.4-5]: the last one of a
 * filter counts, and retained messages are sent if one of them asks for that. Thousands of times the same filter cost no
 * more than one.
 */
export class RequestedSubscriptions {
  readonly #session: Session
  readonly #byFilter = new Map<string, Subscription>()
  /** Further filters that the session may have. */
  #room: number

  constructor(session: Session, limit: number) {
    this.#session = session
    this.#room = limit - session.subscriptions.size
  }

  /** False when the session may not have so many filters. */
  add(subscription: Subscription): boolean {
    const { filter, retainHandling } = subscription
    const earlier = this.#byFilter.get(filter)
    if (earlier === undefined && !this.#session.subscriptions.has(filter)) {
      if (this.#room <= 0) return false
      this.#room -= 1
    }
    const sendsMore = earlier !== undefined && earlier.retainHandling < retainHandling
    this.#byFilter.set(filter, sendsMore ? { ...subscription, retainHandling: earlier.retainHandling } : subscription)
    return true
  }

  [Symbol.iterator](): IterableIterator<Subscription> {
    return this.#byFilter.values()
  }
}
