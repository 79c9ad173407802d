import type { Delivery } from './delivery.ts'
import type { RetainedCursor } from './retained-cursor.ts'
import type { RetainedMessages } from './retained-messages.ts'
import type { Message } from './message.ts'
import type { Subscription } from './subscription.ts'

interface Scan {
  readonly subscription: Subscription
  readonly cursor: RetainedCursor
  /** Messages from this ordinal on the subscription got as they came. */
  readonly below: number
  /** What was found before the cursor came there. */
  readonly early: Set<Message>
}

/**
 * The retained messages that new subscriptions of one session have yet to get. They are looked for step by step, as the
 * subscriber takes them, so that a SUBSCRIBE to everything holds nobody up and needs no room. A message that is published
 * meanwhile does not wait for that: `before` finds the retained one of its topic, which goes first.
 */
export class RetainedScans {
  readonly #clientId: string
  readonly #retained: RetainedMessages
  readonly #scans = new Map<string, Scan>()

  constructor(clientId: string, retained: RetainedMessages) {
    this.#clientId = clientId
    this.#retained = retained
  }

  /** Subscriptions that have not got all. */
  get size(): number {
    return this.#scans.size
  }

  /** Begins anew for a subscription: with the messages below the ordinal. */
  begin(subscription: Subscription, below: number): void {
    const { filter } = subscription
    this.#scans.delete(filter)
    this.#scans.set(filter, { subscription, cursor: this.#retained.scan(filter), below, early: new Set() })
  }

  end(filter: string): void {
    this.#scans.delete(filter)
  }

  /** Goes on by one step; the message when there is one. */
  step(): Delivery | undefined {
    const [scan] = this.#scans.values()
    if (scan === undefined) return undefined
    const message = scan.cursor.step()
    if (scan.cursor.done) this.#scans.delete(scan.subscription.filter)
    // Looked up again, since it may have expired.
    if (message === undefined || !this.#isOwed(scan, message) || this.#retained.get(message.topic) !== message) return undefined
    return deliveryOf(scan.subscription, message)
  }

  /** What is retained of this topic and was not found yet: it goes before a message that is published to it. */
  before(topic: string): readonly Delivery[] {
    const message = this.#retained.get(topic)
    if (message === undefined) return []
    const found: Delivery[] = []
    for (const scan of this.#scans.values()) {
      const { subscription, cursor, early } = scan
      if (!filterMatches(subscription.filter, topic) || cursor.passed(topic) || !this.#isOwed(scan, message)) continue
      early.add(message)
      found.push(deliveryOf(subscription, message))
    }
    return found
  }

  #isOwed({ subscription, below, early }: Scan, message: Message): boolean {
    if (message.ordinal >= below || early.has(message)) return false
    return !subscription.noLocal || message.clientId !== this.#clientId
  }
}

function deliveryOf({ qos, identifier }: Subscription, message: Message): Delivery {
  const identifiers = identifier === undefined ? [] : [identifier]
  return { message, qos: qos < message.qos ? qos : message.qos, retain: true, retained: true, identifiers }
}

function filterMatches(filter: string, topic: string): boolean {
  const filterLevels = filter.split('/')
  const levels = topic.split('/')
  for (const [index, level] of filterLevels.entries()) {
    if (level === '#') return true
    if (index >= levels.length || (level !== '+' && level !== levels[index])) return false
  }
  return filterLevels.length === levels.length
}
