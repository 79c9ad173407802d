import type { Deliveries } from '../../../broker/routing/deliveries.ts'
import type { Delivery, Subscriber } from '../../../broker/routing/delivery.ts'
import { check } from '../../journal/simulation/journal-model.ts'

/** What a client owes the broker: an acknowledgement, or PUBCOMP. */
interface Owed {
  readonly packetId: number
  readonly ordinal: number
  readonly stage: 'puback' | 'pubrec' | 'pubcomp'
}

/** A client as it remembers things: its own process survives whatever happens to the broker's. */
export class Client {
  readonly id: string
  /** Messages that it has got, by `keyOf`. */
  readonly got = new Set<string>()
  /** Messages that it has acknowledged; the broker may not have heard of it. */
  readonly acknowledged = new Set<number>()
  /** Packet ids of QoS 2 messages that it has and whose PUBREL it waits for. */
  readonly #held = new Map<number, number>()
  #owed: Owed[] = []
  /** PUBLISHes of QoS 2 of its own, by packet id. */
  readonly published = new Map<number, { ordinal: number; released: 'no' | 'told' | 'completed' }>()
  #nextId = 0

  constructor(id: string) {
    this.id = id
  }

  get owesNothing(): boolean {
    return this.#owed.length === 0
  }

  /** A packet id that is free: it begins again after a few, so that one which the broker still holds would show. */
  newId(): number | undefined {
    for (let tries = 0; tries < 5; tries++) {
      this.#nextId = (this.#nextId % 5) + 1
      const used = this.published.get(this.#nextId)
      if (used === undefined || used.released === 'completed') return this.#nextId
    }
    return undefined
  }

  /** The session is another one than before. */
  forget(): void {
    this.got.clear()
    this.acknowledged.clear()
    this.published.clear()
    this.#held.clear()
    this.#owed = []
  }

  /** The connection is gone with what was on its way. */
  disconnect(): void {
    this.#owed = []
  }

  /** A connection of its own. */
  connect(): Subscriber {
    return {
      receiveMaximum: 20,
      full: false,
      publish: (delivery, packetId, dup) => this.#take(delivery, packetId, dup),
      pubrel: packetId => this.#release(packetId),
      flush: () => undefined,
      onTooSlow: () => check(false, 'a client that reads is too slow')
    }
  }

  /** Sends the next acknowledgements. */
  acknowledge(deliveries: Deliveries, count: number): void {
    for (const { packetId, ordinal, stage } of this.#owed.splice(0, count)) {
      if (stage === 'puback') deliveries.acknowledge(packetId)
      else if (stage === 'pubcomp') deliveries.complete(packetId)
      else {
        deliveries.receive(packetId)
        this.#release(packetId)
      }
      this.acknowledged.add(ordinal)
    }
    deliveries.pump(64)
  }

  #take({ message, qos, retained }: Delivery, packetId: number, dup: boolean): boolean {
    if (qos === 0) return true
    const { ordinal } = message
    const key = keyOf(ordinal, retained)
    this.#owed.push({ packetId, ordinal, stage: qos === 1 ? 'puback' : 'pubrec' })
    const held = qos === 2 ? this.#held.get(packetId) : undefined
    if (held !== undefined) {
      check(held === ordinal, `${this.id} takes message ${ordinal} for ${held}, which it has under packet id ${packetId}`)
      return true
    }
    // A retained message comes again with each SUBSCRIBE.
    check(dup || retained || !this.got.has(key), `${this.id} gets message ${key} again, without DUP`)
    this.got.add(key)
    if (qos === 2) this.#held.set(packetId, ordinal)
    return true
  }

  #release(packetId: number): void {
    this.#held.delete(packetId)
    this.#owed.push({ packetId, ordinal: -1, stage: 'pubcomp' })
  }
}

function keyOf(ordinal: number, retained: boolean): string {
  return `${ordinal}${retained ? ' retained' : ''}`
}
