import type { Clock } from './clock.ts'

/** A store that dies may lose what it acknowledged for so long before. */
const forgottenMs = 60_000
const slotMs = 1000

/**
 * From where on records have to be written into the store again when it, or this process, dies: the least ordinal that was
 * written in the 60 s before the last write, and what a rewrite has begun and not finished. The 60 s end with the last
 * write and not now, because a store that loses its last seconds loses those before its last acknowledgement.
 */
export class RewriteFloor {
  readonly #clock: Clock
  readonly #forgetful: boolean
  /** Least ordinals written, by second; 61 at most. */
  readonly #slots: { readonly slot: number; from: number }[] = []
  readonly #held = new Set<{ readonly from: number }>()

  /** `forgetful`: the store may lose what it acknowledged. */
  constructor(forgetful: boolean, clock: Clock) {
    this.#forgetful = forgetful
    this.#clock = clock
  }

  /** Says that records from that ordinal on were written just now. */
  note(from: number): void {
    if (!this.#forgetful) return
    const slot = Math.floor(this.#clock.monotonicMs() / slotMs)
    const last = this.#slots.at(-1)
    if (last?.slot === slot) last.from = Math.min(last.from, from)
    else this.#slots.push({ slot, from })
    // A slot goes when its last write is too old, not when its first is.
    const oldest = slot - forgottenMs / slotMs
    while ((this.#slots[0]?.slot ?? slot) < oldest) this.#slots.shift()
  }

  /** Nothing at or above that ordinal is settled until the answer is called. */
  hold(from: number): () => void {
    const held = { from }
    this.#held.add(held)
    return () => void this.#held.delete(held)
  }

  /** The floor below a checkpoint; undefined when there is none. */
  below(position: number): number | undefined {
    let floor = position
    for (const { from } of this.#slots) floor = Math.min(floor, from)
    for (const { from } of this.#held) floor = Math.min(floor, from)
    return floor < position ? floor : undefined
  }
}
