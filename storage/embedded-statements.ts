import { setInterval } from 'node:timers'
import type { DuckDBDataChunk, DuckDBType, DuckDBValue } from '@duckdb/node-api'
import { TidegateError } from '../errors.ts'
import { type EmbeddedDatabase, translate } from './embedded-database.ts'
import { cancelled, Turns } from './embedded-turns.ts'

/** A statement with its bound values. */
export interface Statement {
  readonly sql: string
  readonly values: Record<string, DuckDBValue>
  readonly types: Record<string, DuckDBType>
}

export interface EmbeddedStatementsOptions {
  /** Longest that one statement may run. */
  readonly timeoutMs: number
  /** Statements that wait for their turn at most. */
  readonly queued: number
}

/** Statements that run at once: DuckDB works in libuv's four pool threads, and the writer needs one of them. */
const atOnce = 2
/** An interrupt that comes before the statement has begun in its thread is lost, so it is repeated. */
const interruptEveryMs = 20

/** Runs reading statements on connections of their own: two at once, the rest in a bounded queue, each with a deadline. */
export class EmbeddedStatements {
  readonly #database: EmbeddedDatabase
  readonly #options: EmbeddedStatementsOptions
  readonly #turns: Turns
  readonly #running = new Set<Promise<unknown>>()
  readonly #closing = new AbortController()

  constructor(database: EmbeddedDatabase, options: EmbeddedStatementsOptions) {
    this.#database = database
    this.#options = options
    this.#turns = new Turns(atOnce, options.queued)
  }

  /**
   * Runs a statement and hands each chunk of its answer to `take` before the turn is given back.
   * @throws TidegateError TG_QUERY_BUSY, TG_QUERY_CANCELLED, TG_QUERY_TIMEOUT, TG_QUERY_TOO_LARGE, TG_STORE_UNAVAILABLE
   */
  async run(statement: Statement, signal: AbortSignal, take: (chunk: DuckDBDataChunk) => void): Promise<void> {
    const turn = await this.#turns.take(signal)
    const work = this.#execute(statement, signal, take)
    this.#running.add(work)
    try {
      await work
    } finally {
      this.#running.delete(work)
      turn.release()
    }
  }

  /** Stops every statement and waits until none runs. */
  async close(): Promise<void> {
    this.#closing.abort()
    await Promise.allSettled(this.#running)
  }

  async #execute(statement: Statement, signal: AbortSignal, take: (chunk: DuckDBDataChunk) => void): Promise<void> {
    if (this.#closing.signal.aborted) throw new TidegateError('TG_STORE_UNAVAILABLE', 'The store is closed')
    const connection = await this.#database.borrow()
    const deadline = performance.now() + this.#options.timeoutMs
    const due = (): boolean => signal.aborted || this.#closing.signal.aborted || performance.now() >= deadline
    const interrupt = (): void => {
      if (due()) connection.interrupt()
    }
    signal.addEventListener('abort', interrupt)
    this.#closing.signal.addEventListener('abort', interrupt)
    const timer = setInterval(interrupt, interruptEveryMs)
    try {
      const result = await connection.run(statement.sql, statement.values, statement.types)
      for (let chunk = await result.fetchChunk(); chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
        if (due()) throw new Error('Interrupted')
        take(chunk)
      }
    } catch (error) {
      this.#database.noteFailure(error)
      throw this.#explain(error, signal, deadline)
    } finally {
      clearInterval(timer)
      signal.removeEventListener('abort', interrupt)
      this.#closing.signal.removeEventListener('abort', interrupt)
      this.#database.giveBack(connection)
    }
  }

  #explain(error: unknown, signal: AbortSignal, deadline: number): TidegateError {
    if (signal.aborted) return cancelled(signal)
    if (this.#closing.signal.aborted) return new TidegateError('TG_STORE_UNAVAILABLE', 'The store is closed', { cause: error })
    const message = String(error)
    if (performance.now() >= deadline && /interrupt/i.test(message)) {
      const timeoutMs = this.#options.timeoutMs
      return new TidegateError(
        'TG_QUERY_TIMEOUT',
        `The query took longer than ${timeoutMs} ms; ask for a shorter time or a longer bucket`,
        {
          cause: error,
          context: { timeoutMs }
        }
      )
    }
    if (/out of memory/i.test(message)) {
      return new TidegateError('TG_QUERY_TOO_LARGE', 'The query needs more memory than store.embedded.memory; ask for a shorter time', {
        cause: error
      })
    }
    return translate(error)
  }
}
