import { endings } from './endings.ts'
import type { Fault } from './packets/reason-codes.ts'
import type { BrokerStatistics } from './statistics.ts'

/** A connection that holds bytes. */
export interface Holder {
  violate(fault: Fault): void
}

interface Share {
  /** Bytes behind a packet that waits. */
  readonly blocked: number
  /** Bytes of a packet whose end has not come. */
  readonly unfinished: number
}

/**
 * What all connections together hold of what clients sent. Two sums with the same bound, `limits.heldBytesTotal`: above
 * it whoever holds bytes behind a waiting packet is not read, and of those with an unfinished packet, where not reading
 * would stop it for good, the one that has been at it longest is closed. A packet that is on its way takes
 * milliseconds; one that a client holds back on purpose becomes the oldest.
 */
export class HeldBytes {
  readonly #limit: number
  readonly #unfinishedLimit: number
  readonly #statistics: BrokerStatistics
  readonly #shares = new Map<Holder, Share>()
  /** In the order in which their packets began. */
  readonly #unfinished = new Set<Holder>()
  #blockedBytes = 0
  #unfinishedBytes = 0

  constructor(limit: number, maxPacketBytes: number, statistics: BrokerStatistics) {
    this.#limit = limit
    // One packet must always be able to come.
    this.#unfinishedLimit = Math.max(limit, maxPacketBytes)
    this.#statistics = statistics
  }

  /** True when more is held behind waiting packets than may be. */
  get overBlocked(): boolean {
    return this.#blockedBytes > this.#limit
  }

  /** Notes what a connection holds now; it replaces what was noted before. May close connections, this one too. */
  account(holder: Holder, share: Share): void {
    const before = this.#shares.get(holder)
    if (share.blocked + share.unfinished > 0) this.#shares.set(holder, share)
    else this.#shares.delete(holder)
    if (share.unfinished > 0) this.#unfinished.add(holder)
    else this.#unfinished.delete(holder)
    this.#blockedBytes += share.blocked - (before?.blocked ?? 0)
    this.#unfinishedBytes += share.unfinished - (before?.unfinished ?? 0)
    this.#statistics.heldBytes = this.#blockedBytes + this.#unfinishedBytes
    while (this.#unfinishedBytes > this.#unfinishedLimit) {
      const [oldest] = this.#unfinished
      if (oldest === undefined) return
      oldest.violate(endings.unfinished)
      // Closing accounts nothing when the connection was closed already.
      if (this.#unfinished.has(oldest)) this.account(oldest, { blocked: 0, unfinished: 0 })
    }
  }
}
