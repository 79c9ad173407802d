import { setImmediate as nextTurn } from 'node:timers/promises'

/** Something that happens later, unless it is cancelled. */
export interface Happening {
  readonly atMs: number
  readonly number: number
  readonly happen: () => void
}

type Callback = (...args: unknown[]) => void

/**
 * Time that passes only while a test lets it: what is due happens in order, each with all its consequences before the
 * next. While it is in use, the timers of the code under test are its own; nothing waits for a real clock.
 */
export class SimulatedTime implements Disposable {
  /** Since the machine was built, in ms; never set back. */
  monotonicMs = 0
  /** What the wall clock is ahead. */
  wallOffsetMs = 1_700_000_000_000
  #due: Happening[] = []
  /** Timers of the process under test; they die with it. */
  readonly #timers = new Map<object, Happening>()
  #number = 0
  readonly #real = {
    setTimeout: globalThis.setTimeout,
    clearTimeout: globalThis.clearTimeout,
    setInterval: globalThis.setInterval,
    clearInterval: globalThis.clearInterval,
    setImmediate: globalThis.setImmediate
  }

  constructor() {
    const setTimer = (callback: Callback, ms: number, args: unknown[], again: boolean): object => {
      const timer = { unref: (): object => timer, ref: (): object => timer }
      const start = (): void => {
        const happening = this.after(ms, () => {
          if (again) start()
          else this.#timers.delete(timer)
          callback(...args)
        })
        this.#timers.set(timer, happening)
      }
      start()
      return timer
    }
    const clearTimer = (timer: object | undefined): void => {
      const happening = timer === undefined ? undefined : this.#timers.get(timer)
      if (happening !== undefined) this.cancel(happening)
      if (timer !== undefined) this.#timers.delete(timer)
    }
    Object.assign(globalThis, {
      setTimeout: (callback: Callback, ms = 0, ...args: unknown[]) => setTimer(callback, Math.max(1, ms), args, false),
      setInterval: (callback: Callback, ms = 0, ...args: unknown[]) => setTimer(callback, Math.max(1, ms), args, true),
      setImmediate: (callback: Callback, ...args: unknown[]) => setTimer(callback, 0, args, false),
      clearTimeout: clearTimer,
      clearInterval: clearTimer
    })
  }

  get wallMs(): number {
    return Math.floor(this.monotonicMs + this.wallOffsetMs)
  }

  /** Lets something happen later; what is due at the same time happens in the order of the calls. */
  after(ms: number, happen: () => void): Happening {
    const happening = { atMs: this.monotonicMs + ms, number: this.#number++, happen }
    let place = this.#due.length
    while (place > 0 && (this.#due[place - 1]?.atMs ?? 0) > happening.atMs) place--
    this.#due.splice(place, 0, happening)
    return happening
  }

  cancel(happening: Happening): void {
    this.#due = this.#due.filter(due => due !== happening)
  }

  /** The timers of a process that is killed never fire. */
  cancelTimers(): void {
    for (const happening of this.#timers.values()) this.cancel(happening)
    this.#timers.clear()
  }

  /** Lets time pass. */
  async pass(ms: number): Promise<void> {
    await this.#passUntil(() => false, this.monotonicMs + ms)
  }

  /** Lets time pass until the condition holds; false when it does not within so many ms. */
  async passUntil(condition: () => boolean, longestMs: number): Promise<boolean> {
    return await this.#passUntil(condition, this.monotonicMs + longestMs)
  }

  /** The value of a promise that needs time to pass; fails when it is not settled within so many ms. */
  async settle<Value>(promise: Promise<Value>, longestMs: number, what: string): Promise<Value> {
    let settled = false
    const watch = (): void => {
      settled = true
    }
    promise.then(watch, watch)
    if (!(await this.passUntil(() => settled, longestMs))) throw new Error(`${what} is not settled after ${longestMs} ms`)
    return await promise
  }

  async #passUntil(condition: () => boolean, endMs: number): Promise<boolean> {
    await nextTurn()
    for (;;) {
      if (condition()) return true
      const next = this.#due[0]
      if (next === undefined || next.atMs > endMs) break
      this.#due.shift()
      this.monotonicMs = Math.max(this.monotonicMs, next.atMs)
      next.happen()
      // A turn of the real loop ends all chains of promises that the happening set off.
      await nextTurn()
    }
    this.monotonicMs = endMs
    return false
  }

  /** Gives the real timers back. */
  [Symbol.dispose](): void {
    Object.assign(globalThis, this.#real)
  }
}
