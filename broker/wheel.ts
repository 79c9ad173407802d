const slotMs = 10
/** Longer waits are looked at again after 640 ms. */
const slots = 64

/**
 * Wakes those that wait for a while: a wheel of 64 slots of 10 ms and one timer for all, which runs while somebody waits.
 * Wakes at most one slot late, and early where the wait is longer than the wheel: whoever is woken looks again.
 */
export class Wheel<Sleeper> {
  readonly #slots: readonly Set<Sleeper>[] = Array.from({ length: slots }, () => new Set<Sleeper>())
  readonly #slotOf = new Map<Sleeper, Set<Sleeper>>()
  readonly #wake: (sleeper: Sleeper) => void
  #at = 0
  #timer: NodeJS.Timeout | undefined

  constructor(wake: (sleeper: Sleeper) => void) {
    this.#wake = wake
  }

  /** Those that wait. */
  get size(): number {
    return this.#slotOf.size
  }

  /** Wakes the sleeper once, after so many milliseconds or before. */
  add(sleeper: Sleeper, waitMs: number): void {
    this.delete(sleeper)
    const away = Math.min(slots - 1, Math.max(1, Math.ceil(waitMs / slotMs)))
    const slot = this.#slots[(this.#at + away) % slots]
    slot?.add(sleeper)
    if (slot !== undefined) this.#slotOf.set(sleeper, slot)
    this.#timer ??= setInterval(() => this.#turn(), slotMs).unref()
  }

  delete(sleeper: Sleeper): void {
    this.#slotOf.get(sleeper)?.delete(sleeper)
    this.#slotOf.delete(sleeper)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #turn(): void {
    this.#at = (this.#at + 1) % slots
    const due = this.#slots[this.#at]
    if (due === undefined) return
    for (const sleeper of due) {
      this.#slotOf.delete(sleeper)
      this.#wake(sleeper)
    }
    due.clear()
    if (this.size === 0) this.stop()
  }
}
