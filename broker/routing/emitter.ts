import { SubscriptionTrie } from './subscription-trie.ts'

/** What aedes emits. */
export interface EmittedPacket {
  readonly topic: string
}

export type Listener = (packet: EmittedPacket, done: () => void) => void

/**
 * aedes' emitter (the interface of mqemitter): who is subscribed at this moment. It is also the index that says whether
 * anyone wants a topic, and is exact because aedes itself delivers by it.
 *
 * Synchronous in all it does, so that closing an aedes client is complete when the call returns. aedes' own messages
 * under `$SYS/` are not delivered, so filters below `$` are not kept: those messages are numbered out of turn, and aedes
 * drops for a subscriber what comes out of order.
 */
export class Emitter {
  readonly #listeners = new SubscriptionTrie<Listener>()
  readonly #reliable = new WeakSet<Listener>()
  readonly #onEmitted: () => void

  /** `onEmitted` is called after a message has been given to every subscriber that it matches. */
  constructor(onEmitted: () => void) {
    this.#onEmitted = onEmitted
  }

  /** Subscriptions of connected clients. */
  get size(): number {
    return this.#listeners.size
  }

  /** Rises with every change of subscriptions. */
  get generation(): number {
    return this.#listeners.generation
  }

  matches(topic: string): boolean {
    return this.#listeners.matches(topic)
  }

  on(filter: string, listener: Listener, done?: () => void): this {
    if (!filter.startsWith('$')) this.#listeners.add(filter, listener)
    done?.()
    return this
  }

  removeListener(filter: string, listener: Listener, done?: () => void): this {
    this.#listeners.remove(filter, listener)
    done?.()
    return this
  }

  /** Marks a subscription of QoS 1 or 2: of a client's overlapping ones aedes delivers by the one that is called first. */
  prefer(listener: Listener): void {
    this.#reliable.add(listener)
  }

  emit(packet: EmittedPacket, done?: (error?: Error | null) => void): this {
    if (packet.topic.startsWith('$')) {
      done?.()
      return this
    }
    const listeners = this.#listeners.match(packet.topic)
    let remaining = listeners.size + 1
    const finish = (): void => {
      remaining -= 1
      if (remaining === 0) done?.()
    }
    for (const listener of listeners) if (this.#reliable.has(listener)) listener(packet, finish)
    for (const listener of listeners) if (!this.#reliable.has(listener)) listener(packet, finish)
    finish()
    this.#onEmitted()
    return this
  }

  close(done?: () => void): void {
    if (done !== undefined) setImmediate(done)
  }
}
