/** Time, as far as ingest waits for it or measures it; tests put their own in. */
export interface Clock {
  /** Resolves after that many milliseconds, or at once when the signal aborts. Never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
  /** Milliseconds of a clock that is never set. */
  monotonicMs(): number
}

export const realClock: Clock = {
  sleep: async (ms, signal) => {
    if (signal.aborted) return
    await new Promise<void>(resolve => {
      const end = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, ms)
      signal.addEventListener('abort', end)
    })
  },
  monotonicMs: () => performance.now()
}
