/**
 * The one owner of data/tidegate.duckdb: opens it with its bounds, and runs transactions on the only writing connection,
 * one after the other. Readers have connections of their own and see what was committed when they began.
 *
 * States: open → (a fatal failure of DuckDB, for example a full disk while it writes its checkpoint) → broken → open again
 * at the next use. What is kept in memory about the tables is read again then, and after every COMMIT that failed, since
 * such a commit may have become durable all the same. A COMMIT whose fsync failed leaves nothing behind that could be taken
 * for durable: DuckDB (1.5) cuts its log back first.
 */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { DuckDBConnection, DuckDBValue } from '@duckdb/node-api'
import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import { HeldFiles } from './embedded-held-files.ts'
import { firstLine, inUse, makeFolder, type Opened, openInstance, removeEmpty } from './embedded-opening.ts'
import { Turns } from './embedded-turns.ts'
import type { HeldFile } from './port.ts'

export interface EmbeddedDatabaseOptions {
  /** The database is tidegate.duckdb in it; made when missing. */
  readonly folder: string
  /** DuckDB's memory limit, never exceeded; what does not fit is spilled to <folder>/spill. */
  readonly memoryBytes: number
  /** Default: cores − 1, at least 1. */
  readonly threads?: number
  /** How long to wait for the lock of a process that is about to end. Default 5,000. */
  readonly lockWaitMs?: number
  readonly log: Logger
}

/** One transaction: the connection that it runs on, and what is to happen once it is durable. */
export interface EmbeddedTransaction {
  readonly connection: DuckDBConnection
  /** Calls the function after COMMIT, before the next transaction; not at all after a rollback. */
  afterCommit(apply: () => void): void
}

/** Reads into memory what must match the tables. */
export type Loader = (connection: DuckDBConnection) => Promise<void>

/** Catalogue reads that wait; each takes a few milliseconds. */
const queuedReads = 1000
/** DuckDB does not notice that the same process opens a file twice, and then loses data. */
const openFolders = new Set<string>()

/** An open data/tidegate.duckdb. */
export class EmbeddedDatabase implements AsyncDisposable {
  readonly #path: string
  readonly #spill: string
  readonly #folder: string
  readonly #options: EmbeddedDatabaseOptions
  readonly #loaders: Loader[] = []
  readonly #files: HeldFiles
  readonly #writes = new Turns(1, Number.POSITIVE_INFINITY)
  readonly #reads = new Turns(1, queuedReads)
  readonly #idle: DuckDBConnection[] = []
  readonly #borrowed = new Set<DuckDBConnection>()
  /** Connections lent or being made. */
  #lent = 0
  /** Undefined between closing and opening again, also when opening again has failed. */
  #opened: Opened | undefined
  #reopening: Promise<void> | undefined
  #generation = 0
  #stale = false
  #broken = false
  /** Opened again since something was last committed; one line in the log is enough. */
  #reopened = false
  #closed = false

  private constructor(
    options: EmbeddedDatabaseOptions,
    paths: { readonly folder: string; readonly path: string; readonly spill: string },
    opened: Opened
  ) {
    this.#options = options
    this.#folder = paths.folder
    this.#path = paths.path
    this.#spill = paths.spill
    this.#files = new HeldFiles(paths.path)
    this.#opened = opened
  }

  /**
   * Opens the database of a data folder; a new one when there is none.
   * @throws TidegateError TG_DATA_IN_USE when another process keeps it, TG_STORE_UNREADABLE when the file is damaged,
   *   TG_DATA_UNWRITABLE when it cannot be made
   */
  static async open(options: EmbeddedDatabaseOptions): Promise<EmbeddedDatabase> {
    const folder = await makeFolder(options.folder)
    const paths = { folder, path: join(folder, 'tidegate.duckdb'), spill: join(folder, 'spill') }
    const deadline = performance.now() + (options.lockWaitMs ?? 5000)
    while (openFolders.has(folder)) {
      if (performance.now() >= deadline) throw inUse(paths.path, undefined)
      await delay(20)
    }
    openFolders.add(folder)
    try {
      await removeEmpty(paths.path, options.log)
      return new EmbeddedDatabase(options, paths, await openInstance(options, paths, deadline))
    } catch (error) {
      openFolders.delete(folder)
      throw error
    }
  }

  /** How often the file was opened again. */
  get generation(): number {
    return this.#generation
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Runs a loader now, and again whenever memory and tables may differ. */
  async keepLoaded(loader: Loader): Promise<void> {
    const turn = await this.#writes.take()
    try {
      await this.#revive()
      await loader(this.#writer)
      this.#loaders.push(loader)
    } finally {
      turn.release()
    }
  }

  /**
   * Runs the work in one transaction and commits it; one transaction at a time. When the work throws, everything is rolled
   * back and its error comes through.
   * @throws TidegateError TG_STORE_UNAVAILABLE for everything that DuckDB raises
   */
  async transaction<T>(work: (transaction: EmbeddedTransaction) => Promise<T>): Promise<T> {
    const turn = await this.#writes.take()
    try {
      await this.#revive()
      const applies: (() => void)[] = []
      let result: T
      try {
        await this.#writer.run('BEGIN TRANSACTION')
        result = await work({ connection: this.#writer, afterCommit: apply => void applies.push(apply) })
      } catch (error) {
        await this.#rollback(error)
        throw translate(error)
      }
      try {
        await this.#writer.run('COMMIT')
      } catch (error) {
        this.#stale = true
        await this.#rollback(error)
        // DuckDB's words when only the checkpoint that followed has failed; trying again would count the batch twice.
        if (!/commit succeeded and is durable/i.test(String(error))) throw translate(error)
      }
      this.#reopened = false
      for (const apply of applies) apply()
      return result
    } finally {
      turn.release()
    }
  }

  /** Runs the work while no transaction writes; reads go on. */
  async hold<T>(work: (files: readonly HeldFile[]) => Promise<T>, signal: AbortSignal): Promise<T> {
    const turn = await this.#writes.take(signal)
    try {
      await this.#revive()
      return await this.#files.read(work)
    } finally {
      turn.release()
    }
  }

  /** Runs one short statement on the reading connection and answers its rows. */
  async read(sql: string, values: Record<string, DuckDBValue> = {}): Promise<DuckDBValue[][]> {
    const turn = await this.#reads.take()
    try {
      if (this.#closed || this.#opened === undefined) throw closedError()
      return await (await this.#opened.reader.run(sql, values)).getRows()
    } catch (error) {
      this.noteFailure(error)
      throw translate(error)
    } finally {
      turn.release()
    }
  }

  /** A connection for queries; the caller gives it back. It is interrupted when the file has to be opened again. */
  async borrow(): Promise<DuckDBConnection> {
    while (this.#reopening !== undefined) await this.#reopening
    if (this.#closed || this.#opened === undefined) throw closedError()
    this.#lent += 1
    try {
      const connection = this.#idle.pop() ?? (await this.#opened.instance.connect())
      this.#borrowed.add(connection)
      return connection
    } catch (error) {
      this.#lent -= 1
      throw translate(error)
    }
  }

  giveBack(connection: DuckDBConnection): void {
    if (!this.#borrowed.delete(connection)) return
    this.#lent -= 1
    if (this.#closed || this.#reopening !== undefined) connection.closeSync()
    else this.#idle.push(connection)
  }

  /** Tells the database of an error that a query met, so that a fatal one is followed by opening it again. */
  noteFailure(error: unknown): void {
    if (isFatal(error)) this.#broken = true
  }

  /** Ends queries, waits for the transaction and the read that run, and closes the file. A second call does nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const turns = [await this.#writes.take(), await this.#reads.take().catch(() => undefined)]
    // Closing would do the same, but on the event loop.
    await this.#opened?.writer.run('CHECKPOINT').catch((error: unknown) => {
      this.#options.log.warn({ err: error, code: 'TG_STORE_UNAVAILABLE' }, 'database is closed without a checkpoint of its own')
    })
    await this.#closeInstance()
    openFolders.delete(this.#folder)
    for (const turn of turns) turn?.release()
  }

  get #writer(): DuckDBConnection {
    if (this.#opened === undefined) throw closedError()
    return this.#opened.writer
  }

  async #revive(): Promise<void> {
    if (this.#closed) throw closedError()
    if (this.#broken) {
      this.#reopening = this.#reopen()
      try {
        await this.#reopening
      } finally {
        this.#reopening = undefined
      }
    }
    if (this.#stale) {
      try {
        for (const loader of this.#loaders) await loader(this.#writer)
      } catch (error) {
        this.noteFailure(error)
        throw translate(error)
      }
      this.#stale = false
    }
  }

  async #reopen(): Promise<void> {
    if (!this.#reopened)
      this.#options.log.warn({ code: 'TG_STORE_UNAVAILABLE', path: this.#path }, 'database is opened again after a failure')
    this.#reopened = true
    const turn = await this.#reads.take()
    try {
      await this.#closeInstance()
      const paths = { path: this.#path, spill: this.#spill }
      this.#opened = await openInstance(this.#options, paths, performance.now() + 1000)
      this.#generation += 1
      this.#broken = false
      this.#stale = true
    } catch (error) {
      // Whatever it is, the database was there and worked: this is an outage.
      throw new TidegateError('TG_STORE_UNAVAILABLE', `The database cannot be opened again: ${firstLine(error)}`, { cause: error })
    } finally {
      turn.release()
    }
  }

  async #rollback(error: unknown): Promise<void> {
    this.noteFailure(error)
    // Memory that DuckDB holds is only free again when the file is opened anew.
    if (/out of memory|failed to (pin|allocate)/i.test(String(error))) this.#broken = true
    try {
      await this.#writer.run('ROLLBACK')
    } catch (failure) {
      // A COMMIT that failed, or a BEGIN, has left no transaction behind; anything else means the connection is done for.
      if (!/no transaction is active/i.test(String(failure))) this.#broken = true
    }
  }

  /** Every connection has to be closed first: one left over keeps the old instance alive, and two of them ruin the file. */
  async #closeInstance(): Promise<void> {
    while (this.#lent > 0) {
      for (const connection of this.#borrowed) connection.interrupt()
      await delay(5)
    }
    for (const connection of this.#idle.splice(0)) connection.closeSync()
    const opened = this.#opened
    this.#opened = undefined
    opened?.reader.closeSync()
    opened?.writer.closeSync()
    opened?.instance.closeSync()
    this.#files.close()
  }
}

/** The error as the port's callers get it: an unknown one means that the data is kept and tried again. */
export function translate(error: unknown): TidegateError {
  if (error instanceof TidegateError) return error
  return new TidegateError('TG_STORE_UNAVAILABLE', `The database failed: ${firstLine(error)}`, { cause: error })
}

function isFatal(error: unknown): boolean {
  return /fatal error|database has been invalidated|internal error/i.test(String(error))
}

function closedError(): TidegateError {
  return new TidegateError('TG_STORE_UNAVAILABLE', 'The database is closed')
}
