/**
 * The one owner of data/tidegate.duckdb: opens it with its bounds, and runs transactions on the only writing connection,
 * one after the other. Readers have connections of their own and see what was committed when they began.
 *
 * States: open → (a fatal failure of DuckDB, for example a full disk while it writes its checkpoint) → broken → open again
 * at the next use. What is kept in memory about the tables is read again then, and after every COMMIT that failed, since
 * such a commit may have become durable all the same.
 */
import { mkdir, realpath, rm, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type DuckDBConnection, DuckDBInstance, type DuckDBValue } from '@duckdb/node-api'
import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import { Turns } from './embedded-turns.ts'

export interface EmbeddedDatabaseOptions {
  /** The database is tidegate.duckdb in it; made when missing. */
  readonly folder: string
  /** DuckDB's memory limit; what does not fit is spilled to <folder>/spill. */
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
const maxSpillBytes = 4 * 1024 ** 3
/** DuckDB does not notice that the same process opens a file twice, and then loses data. */
const openFolders = new Set<string>()

/** An open data/tidegate.duckdb. */
export class EmbeddedDatabase implements AsyncDisposable {
  readonly #path: string
  readonly #spill: string
  readonly #folder: string
  readonly #options: EmbeddedDatabaseOptions
  readonly #loaders: Loader[] = []
  readonly #writes = new Turns(1, Number.POSITIVE_INFINITY)
  readonly #reads = new Turns(1, queuedReads)
  #instance: DuckDBInstance
  #writer: DuckDBConnection
  #reader: DuckDBConnection
  #generation = 0
  #stale = false
  #broken = false
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
    this.#instance = opened.instance
    this.#writer = opened.writer
    this.#reader = opened.reader
  }

  /**
   * Opens the database of a data folder; a new one when there is none.
   * @throws TidegateError TG_DATA_IN_USE when another process keeps it, TG_STORE_UNREADABLE when the file is damaged,
   *   TG_DATA_UNWRITABLE when it cannot be made
   */
  static async open(options: EmbeddedDatabaseOptions): Promise<EmbeddedDatabase> {
    const folder = await makeFolder(options.folder)
    const paths = { folder, path: join(folder, 'tidegate.duckdb'), spill: join(folder, 'spill') }
    const deadline = Date.now() + (options.lockWaitMs ?? 5000)
    while (openFolders.has(folder)) {
      if (Date.now() >= deadline) throw inUse(paths.path, undefined)
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

  /** Grows by one whenever the file was opened again: connections from before are of no use then. */
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
        throw translate(error)
      }
      for (const apply of applies) apply()
      return result
    } finally {
      turn.release()
    }
  }

  /** Runs one short statement on the reading connection and answers its rows. */
  async read(sql: string, values: Record<string, DuckDBValue> = {}): Promise<DuckDBValue[][]> {
    const turn = await this.#reads.take()
    try {
      if (this.#closed) throw closedError()
      return await (await this.#reader.run(sql, values)).getRows()
    } catch (error) {
      this.noteFailure(error)
      throw translate(error)
    } finally {
      turn.release()
    }
  }

  /** A further connection for queries; the caller closes it. */
  async connect(): Promise<DuckDBConnection> {
    if (this.#closed) throw closedError()
    return await this.#instance.connect()
  }

  /** Tells the database of an error that a query met, so that a fatal one is followed by opening it again. */
  noteFailure(error: unknown): void {
    if (isFatal(error)) this.#broken = true
  }

  /** Waits for the transaction and the read that run, then closes the file. A second call does nothing. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const turns = [await this.#writes.take(), await this.#reads.take().catch(() => undefined)]
    this.#closeInstance()
    openFolders.delete(this.#folder)
    for (const turn of turns) turn?.release()
  }

  async #revive(): Promise<void> {
    if (this.#closed) throw closedError()
    if (this.#broken) {
      this.#options.log.warn({ code: 'TG_STORE_UNAVAILABLE', path: this.#path }, 'database is opened again after a fatal failure')
      this.#closeInstance()
      const paths = { folder: this.#folder, path: this.#path, spill: this.#spill }
      const opened = await openInstance(this.#options, paths, Date.now() + 1000)
      this.#instance = opened.instance
      this.#writer = opened.writer
      this.#reader = opened.reader
      this.#generation += 1
      this.#broken = false
      this.#stale = true
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

  async #rollback(error: unknown): Promise<void> {
    this.noteFailure(error)
    try {
      await this.#writer.run('ROLLBACK')
    } catch (failure) {
      // A COMMIT that failed, or a BEGIN, has left no transaction behind; anything else means the connection is done for.
      if (!/no transaction is active/i.test(String(failure))) this.#broken = true
    }
  }

  #closeInstance(): void {
    this.#reader.closeSync()
    this.#writer.closeSync()
    this.#instance.closeSync()
  }
}

interface Opened {
  readonly instance: DuckDBInstance
  readonly writer: DuckDBConnection
  readonly reader: DuckDBConnection
}

/** Opens the file with every bound set and locked; while another process has it, tries again until the deadline. */
async function openInstance(
  options: EmbeddedDatabaseOptions,
  paths: { readonly path: string; readonly spill: string },
  deadline: number
): Promise<Opened> {
  const settings = {
    memory_limit: `${options.memoryBytes}B`,
    threads: String(options.threads ?? Math.max(1, availableParallelism() - 1)),
    // Allowed together with enable_external_access=false: a sort that does not fit into memory still ends.
    temp_directory: paths.spill,
    max_temp_directory_size: `${maxSpillBytes}B`,
    enable_external_access: 'false',
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    // Nothing relies on it, and without it large INSERT … SELECT need far less memory.
    preserve_insertion_order: 'false',
    lock_configuration: 'true'
  }
  for (;;) {
    try {
      const instance = await DuckDBInstance.create(paths.path, settings)
      await rm(paths.spill, { recursive: true, force: true })
      return { instance, writer: await instance.connect(), reader: await instance.connect() }
    } catch (error) {
      if (!/could not set lock|conflicting lock/i.test(String(error))) throw openError(paths.path, error)
      if (Date.now() >= deadline) throw inUse(paths.path, error)
      await delay(50)
    }
  }
}

async function makeFolder(folder: string): Promise<string> {
  try {
    await mkdir(folder, { recursive: true })
    return await realpath(folder)
  } catch (error) {
    throw new TidegateError('TG_DATA_UNWRITABLE', `The data folder ${folder} cannot be made: ${text(error)}`, {
      cause: error,
      context: { folder }
    })
  }
}

/** A crash while the file was made leaves it empty; DuckDB refuses such a file although nothing can be in it. */
async function removeEmpty(path: string, log: Logger): Promise<void> {
  const found = await stat(path).catch(() => undefined)
  if (found?.size !== 0) return
  log.warn({ path }, 'empty database file is replaced by a new one')
  await rm(path)
}

function openError(path: string, cause: unknown): TidegateError {
  const code = /cannot open file|permission denied|read-only/i.test(String(cause)) ? 'TG_DATA_UNWRITABLE' : 'TG_STORE_UNREADABLE'
  const message = `The database ${path} cannot be opened: ${text(cause)}`
  return new TidegateError(code, message, { cause, context: { path } })
}

function inUse(path: string, cause: unknown): TidegateError {
  const message = `The database ${path} is in use by another process${cause === undefined ? '' : `: ${text(cause)}`}`
  return new TidegateError('TG_DATA_IN_USE', message, { cause, context: { path } })
}

function closedError(): TidegateError {
  return new TidegateError('TG_STORE_UNAVAILABLE', 'The database is closed')
}

/** The error as the port's callers get it: an unknown one means that the data is kept and tried again. */
export function translate(error: unknown): TidegateError {
  if (error instanceof TidegateError) return error
  return new TidegateError('TG_STORE_UNAVAILABLE', `The database failed: ${text(error)}`, { cause: error })
}

function isFatal(error: unknown): boolean {
  return /fatal error|database has been invalidated|internal error/i.test(String(error))
}

function text(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message.split('\n', 1)[0] ?? message
}
