import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import { checkLedger, type LedgerCheck, type LedgerSources } from './ledger-check.ts'

export interface LedgerOptions extends LedgerSources {
  readonly log: Logger
}

/** Records without an outcome that are more than what is on its way at any moment. */
const backlogRecords = 10_000
/** Between the end of a check and the beginning of the next: at least, and with a backlog. */
const shortestRestMs = 1000
const longestRestMs = 60_000
/** Counting has a fiftieth of the time at most, so that a large table is counted less often. */
const restPerCount = 49

/**
 * Holds the ledger against what is there, again and again in the background: a second after the last check when ingest has
 * caught up, a minute after it while there is a backlog. Says in the log when the ledger begins not to balance, and when it
 * balances again.
 */
export class Ledger implements AsyncDisposable {
  readonly #options: LedgerOptions
  readonly #closing = new AbortController()
  #newest: LedgerCheck | undefined
  #failing = false
  #running: Promise<void> = Promise.resolve()

  /** Begins with a check at once. */
  static open(options: LedgerOptions): Ledger {
    const ledger = new Ledger(options)
    ledger.#running = ledger.#run()
    return ledger
  }

  private constructor(options: LedgerOptions) {
    this.#options = options
  }

  /** The newest check that has ended; undefined until the first has. */
  get newest(): LedgerCheck | undefined {
    return this.#newest
  }

  /** Ends after the step that runs. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      const countMs = await this.#check(signal)
      await this.#rest(Math.min(longestRestMs, Math.max(shortestRestMs, countMs * restPerCount)), signal)
    }
  }

  async #rest(restMs: number, signal: AbortSignal): Promise<void> {
    const { clock, pipeline } = this.#options
    const backlog = (): boolean => pipeline.durable - pipeline.position.position > backlogRecords
    let restedMs = 0
    do {
      await clock.sleep(restMs, signal)
      restedMs += restMs
    } while (restedMs < longestRestMs && backlog() && !signal.aborted)
  }

  /** Answers how long the counts took; 0 when they could not be taken. */
  async #check(signal: AbortSignal): Promise<number> {
    try {
      const check = await checkLedger(this.#options, signal)
      if (check === undefined) return 0
      this.#say(check)
      this.#newest = check
      return check.countMs
    } catch (error) {
      if (signal.aborted) return 0
      const code = error instanceof TidegateError ? error.code : 'TG_BUG'
      if (!this.#failing) this.#options.log.warn({ code, err: error }, 'the ledger cannot be checked')
      this.#failing = true
      return 0
    }
  }

  #say({ head, faults }: LedgerCheck): void {
    const { log } = this.#options
    if (this.#failing) log.info('the ledger can be checked again')
    this.#failing = false
    const balanced = this.#newest === undefined || this.#newest.faults.length === 0
    if (faults.length > 0 && balanced) log.error({ code: 'TG_LEDGER_UNBALANCED', head, faults }, 'the ledger does not balance')
    if (faults.length === 0 && !balanced) log.info({ head }, 'the ledger balances again')
  }
}
