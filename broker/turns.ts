import type { BlockReason, Waiter } from './waiting.ts'

/** What one connection may handle in one turn of the event loop, in packets and in their bytes. */
const packetsPerTurn = 1024
const bytesPerTurn = 65_536
/** The same when all connections together have had theirs: whoever sends little is still served in the turn it is read. */
const leastPacketsPerTurn = 16
const leastBytesPerTurn = 4096
/** What all together may handle before that. */
const allPacketsPerTurn = 4096
const allBytesPerTurn = 524_288

/** What one connection has handled in a turn, and how far it may go. */
export class Slice {
  turn = -1
  packets = 0
  bytes = 0
  maxPackets = 0
  maxBytes = 0
  /** What of them is counted in what all together have had. */
  countedPackets = 0
  countedBytes = 0

  /** Takes a packet from it; false when nothing is left. */
  take(bytes: number): boolean {
    if (this.packets >= this.maxPackets || this.bytes >= this.maxBytes) return false
    this.packets += 1
    this.bytes += bytes
    return true
  }
}

/**
 * Shares the turns of the event loop between the connections. A socket is read many times in one turn while it has
 * something to read, 64 KiB each, so it is here and not in the reader that a flood is cut: into slices, bounded by packets
 * and by bytes (and the packet that passes the bound), between which everybody else is served.
 *
 * Whoever has more to handle goes to the end of one queue, with those whose wait is over, and the queue goes on in the next
 * turn, as far as the bound of all together reaches. A turn is then that bound and a slice, and a least slice for each connection
 * that was read in it.
 */
export class Turns {
  readonly #queue: { readonly waiter: Waiter; readonly reason: BlockReason }[] = []
  #turn = 0
  #packets = 0
  #bytes = 0
  #scheduled = false

  /** Connections that go on when it is their turn. */
  get queued(): number {
    return this.#queue.length
  }

  /** Makes the slice that of this turn: what the connection had of the turn before stays taken. */
  open(slice: Slice): void {
    if (slice.turn !== this.#turn) {
      slice.turn = this.#turn
      slice.packets = 0
      slice.bytes = 0
      slice.countedPackets = 0
      slice.countedBytes = 0
      this.#schedule()
    }
    const least = this.#isSpent
    slice.maxPackets = least ? leastPacketsPerTurn : packetsPerTurn
    slice.maxBytes = least ? leastBytesPerTurn : bytesPerTurn
  }

  /** Counts what was taken from the slice since it was opened: once a read, since a packet costs less than its count. */
  close(slice: Slice): void {
    this.#packets += slice.packets - slice.countedPackets
    this.#bytes += slice.bytes - slice.countedBytes
    slice.countedPackets = slice.packets
    slice.countedBytes = slice.bytes
  }

  /** Unblocks whoever waits for this reason in a later turn, behind those that were there before. */
  resume(waiter: Waiter, reason: BlockReason): void {
    this.#queue.push({ waiter, reason })
    this.#schedule()
  }

  get #isSpent(): boolean {
    return this.#packets >= allPacketsPerTurn || this.#bytes >= allBytesPerTurn
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#next())
  }

  #next(): void {
    this.#turn += 1
    this.#packets = 0
    this.#bytes = 0
    this.#scheduled = false
    const queue = this.#queue
    // Whoever joins now waits for the turn after this one.
    const present = queue.length
    let resumed = 0
    while (resumed < present && !this.#isSpent) {
      const next = queue[resumed]
      resumed += 1
      next?.waiter.unblock(next.reason)
    }
    queue.splice(0, resumed)
    if (queue.length > 0) this.#schedule()
  }
}
