import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'

/** A clock that never steps back, in ms, and how to wait on it. */
export interface Clock {
  now(): number
  /** Resolves after so many ms, at the next turn for 0 and less, or early when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wait: async (ms, signal) => {
    if (ms <= 0) {
      await nextTurn()
      return
    }
    // An abort ends the wait early; the caller looks at the signal itself.
    await delay(ms, undefined, { signal }).catch(() => undefined)
  }
}

export interface ScheduleOptions {
  /** Starts per second. */
  readonly rate: number
  /** How many there are; Infinity until the signal aborts. */
  readonly total: number
  readonly clock: Clock
  readonly signal: AbortSignal
  /** Starts number `index`; `dueMs` is when it was meant to start, on the clock. Must not throw. */
  readonly start: (index: number, dueMs: number) => void
}

/** Behind the schedule by more than this is late. */
export const lateAfterMs = 50
/** Starts in one turn of the event loop, so that acknowledgements are read in between. */
const startsPerTurn = 250

/**
 * An open-loop schedule: start number n is due at n / rate seconds after the first, whatever became of those before it.
 * What could not start in time starts as soon as possible and is counted, so a slow server cannot slow the load down.
 */
export async function runSchedule({ rate, total, clock, signal, start }: ScheduleOptions): Promise<{ started: number; late: number }> {
  const beginMs = clock.now()
  const intervalMs = 1000 / rate
  let started = 0
  let late = 0
  while (started < total && !signal.aborted) {
    const nowMs = clock.now()
    const until = Math.min(total, started + startsPerTurn)
    while (started < until) {
      const dueMs = beginMs + started * intervalMs
      if (dueMs > nowMs) break
      if (nowMs - dueMs > lateAfterMs) late++
      start(started, dueMs)
      started++
    }
    if (started < total) await clock.wait(beginMs + started * intervalMs - clock.now(), signal)
  }
  return { started, late }
}
