import type { JournalWriter } from '../journal/record.ts'

/** What a connection can wait for before it handles its next packet. */
export type BlockReason = 'connack' | 'inFlight' | 'journal' | 'routing' | 'replies' | 'turn' | 'stop'

/** Whoever waits. */
export interface Waiter {
  /** Goes on with the packet that blocked, when it blocked for this reason. */
  unblock(reason: BlockReason): void
}

const resumedPerTurn = 64

/**
 * The connections that wait for something they share, in the order in which they began to: each waits with at most one
 * packet, so there are never more than connections. They go on 64 a turn, so that a full journal that accepts again
 * does not hold the event loop.
 */
export class Waiting {
  readonly #journal: JournalWriter
  readonly #sets = { journal: new Set<Waiter>(), routing: new Set<Waiter>() }
  readonly #resumable: Waiter[] = []

  constructor(journal: JournalWriter) {
    this.#journal = journal
  }

  add(waiter: Waiter, reason: BlockReason): void {
    if (reason === 'journal' || reason === 'routing') this.#sets[reason].add(waiter)
    else if (reason === 'turn') setImmediate(() => waiter.unblock('turn'))
  }

  delete(waiter: Waiter): void {
    this.#sets.journal.delete(waiter)
    this.#sets.routing.delete(waiter)
  }

  /** True when somebody waits for this. */
  any(reason: 'journal' | 'routing'): boolean {
    return this.#sets[reason].size > 0
  }

  /** Unblocks one whose in-flight window has opened, after all acknowledgements of this commit were written. */
  resumeSoon(waiter: Waiter): void {
    if (this.#resumable.push(waiter) > 1) return
    setImmediate(() => {
      for (const resumable of this.#resumable.splice(0)) resumable.unblock('inFlight')
    })
  }

  /** Unblocks those that wait for this, as long as they make progress. */
  resume(reason: 'journal' | 'routing'): void {
    const waiting = this.#sets[reason]
    const before = waiting.size
    // A list, since whoever blocks again is added at the end of the set.
    for (const waiter of first(waiting, resumedPerTurn)) {
      if (reason === 'journal' && this.#journal.state !== 'accepting') return
      waiting.delete(waiter)
      waiter.unblock(reason)
    }
    // Without progress the next event, or the tick, tries again.
    if (waiting.size > 0 && waiting.size < before) setImmediate(() => this.resume(reason))
  }
}

function first<Item>(items: Iterable<Item>, count: number): readonly Item[] {
  const taken: Item[] = []
  for (const item of items) {
    if (taken.length === count) break
    taken.push(item)
  }
  return taken
}
