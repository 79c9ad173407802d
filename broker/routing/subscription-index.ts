import type { Session, SessionSubscription } from './session.ts'
import { SubscriptionTrie } from './subscription-trie.ts'
import type { Subscription } from './subscription.ts'

/**
 * All subscriptions, by what they match. Those of connected sessions get every message, those of sessions without a
 * connection what is above QoS 0 [MQTT-3.1.2-5]; that is two tries, so that asking whether anyone wants a message never
 * looks at who the subscribers are.
 */
export class SubscriptionIndex {
  readonly #connected = new SubscriptionTrie<SessionSubscription>()
  readonly #offline = new SubscriptionTrie<SessionSubscription>()
  #generation = 0

  /** Subscriptions of connected sessions. */
  get connected(): number {
    return this.#connected.size
  }

  /** True when nobody subscribes to anything. */
  get empty(): boolean {
    return this.#connected.size === 0 && this.#offline.size === 0
  }

  /** Rises with every change that may change what `wants` answers. */
  get generation(): number {
    return this.#generation
  }

  /** Exact but for No Local: a subscription that matches its own client's message counts. */
  wants(topic: string, qos: 0 | 1 | 2): boolean {
    return this.#connected.matches(topic) || (qos > 0 && this.#offline.matches(topic))
  }

  /** Adds the subscriptions that get a message to the list; one session may have several. */
  match(topic: string, qos: 0 | 1 | 2, found: SessionSubscription[]): void {
    this.#connected.match(topic, found)
    if (qos > 0) this.#offline.match(topic, found)
  }

  /** Adds a subscription, in place of one with the same filter. */
  add(session: Session, subscription: Subscription): void {
    this.remove(session, subscription.filter)
    const added = { session, subscription }
    session.subscriptions.set(subscription.filter, added)
    this.#trieOf(added)?.add(subscription.filter, added)
    this.#generation += 1
  }

  /** False when there is no such subscription. */
  remove(session: Session, filter: string): boolean {
    const removed = session.subscriptions.get(filter)
    if (removed === undefined) return false
    this.#trieOf(removed)?.remove(filter, removed)
    session.subscriptions.delete(filter)
    this.#generation += 1
    return true
  }

  /** Called around a change of `session.connection`, which decides where its subscriptions are found. */
  move(session: Session, change: () => void): void {
    for (const [filter, subscription] of session.subscriptions) this.#trieOf(subscription)?.remove(filter, subscription)
    change()
    for (const [filter, subscription] of session.subscriptions) this.#trieOf(subscription)?.add(filter, subscription)
    if (session.subscriptions.size > 0) this.#generation += 1
  }

  #trieOf({ session, subscription }: SessionSubscription): SubscriptionTrie<SessionSubscription> | undefined {
    if (session.connection !== undefined) return this.#connected
    return subscription.qos > 0 ? this.#offline : undefined
  }
}
