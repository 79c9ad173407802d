import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import type { Checkpoint } from '../telemetry.ts'
import { EmbeddedCatalogue } from './embedded-catalogue.ts'
import { readCheckpoint } from './embedded-catalogue-tables.ts'
import { EmbeddedDatabase } from './embedded-database.ts'
import { EmbeddedPoints, pointTables } from './embedded-points.ts'
import { EmbeddedReading } from './embedded-reading.ts'
import { EmbeddedStatements } from './embedded-statements.ts'
import { EmbeddedUpkeep, upkeepTables } from './embedded-upkeep.ts'
import type {
  Aggregate,
  AggregateRow,
  Batch,
  HeldDatabase,
  LatestValue,
  PointTally,
  RawRow,
  RejectedPoint,
  RowQuery,
  Storage,
  StorageOptions,
  StoreAccounts
} from './port.ts'

export interface EmbeddedStoreOptions extends StorageOptions {
  /** DuckDB's memory limit. */
  readonly memoryBytes: number
  /** Points with an older event time are deleted. */
  readonly retentionMs: number
  readonly log: Logger
  /** Now, ms since 1970; for the retention and for what counts as a past hour. Default Date.now. */
  readonly clock?: () => number
  /** Clock that is never set, in ms. Default performance.now. */
  readonly monotonic?: () => number
  /** Passed on to EmbeddedUpkeep. */
  readonly upkeep?: { readonly pieceRows?: number; readonly leastRows?: number }
}

const probeEveryMs = 1000
/** About what a full batch adds to DuckDB's log: less may fit on a disk where no batch does. */
const probeBytes = 1024 ** 2
const probeTable = 'CREATE TABLE IF NOT EXISTS probe (bytes VARCHAR);'

/** The store that needs no set-up: points and catalogue in one DuckDB file, batch and checkpoint in one transaction. */
export class EmbeddedStore implements Storage {
  readonly kind = 'embedded'
  readonly forgetful = false
  readonly catalogue: EmbeddedCatalogue
  /** Retention and sorting, started by open; here for those who do not want to wait for its hour. */
  readonly upkeep: EmbeddedUpkeep
  readonly #database: EmbeddedDatabase
  readonly #points: EmbeddedPoints
  readonly #statements: EmbeddedStatements
  readonly #reading: EmbeddedReading
  readonly #log: Logger
  #outage: string | undefined
  #probe: NodeJS.Timeout | undefined
  #closed: Promise<void> | undefined

  private constructor(database: EmbeddedDatabase, catalogue: EmbeddedCatalogue, points: EmbeddedPoints, options: EmbeddedStoreOptions) {
    const { queryTimeoutMs, queuedQueries, retentionMs, log, clock = Date.now, monotonic = () => performance.now(), upkeep } = options
    this.catalogue = catalogue
    this.#database = database
    this.#points = points
    this.#log = log
    this.#statements = new EmbeddedStatements(database, { timeoutMs: queryTimeoutMs, queued: queuedQueries })
    this.#reading = new EmbeddedReading(catalogue, points, this.#statements)
    this.upkeep = new EmbeddedUpkeep(database, this.#statements, points, { retentionMs, clock, monotonic, log, ...upkeep })
  }

  /**
   * Opens the store of a data folder; waits up to 5 s for a process before it to end.
   * @throws TidegateError TG_DATA_IN_USE, TG_DATA_UNWRITABLE or TG_STORE_UNREADABLE
   */
  static async open(options: EmbeddedStoreOptions): Promise<EmbeddedStore> {
    const { folder, memoryBytes, log } = options
    const database = await EmbeddedDatabase.open({ folder, memoryBytes, log })
    try {
      const catalogue = await EmbeddedCatalogue.open(database)
      await database.transaction(async ({ connection }) => void (await connection.run(pointTables + upkeepTables + probeTable)))
      const points = new EmbeddedPoints()
      await database.keepLoaded(async connection => await points.load(connection))
      const store = new EmbeddedStore(database, catalogue, points, options)
      store.upkeep.start()
      return store
    } catch (error) {
      await database[Symbol.asyncDispose]()
      throw error
    }
  }

  get outage(): string | undefined {
    return this.#outage
  }

  async write(batch: Batch, settle: (rejected: readonly RejectedPoint[]) => Promise<Checkpoint>): Promise<void> {
    const { points, fields, devices } = batch
    /** What settle threw, kept apart from the store's own failures. */
    let unsettled: { readonly error: unknown } | undefined
    try {
      await this.#database.transaction(async transaction => {
        const added = await this.catalogue.learn({ fields, devices, series: this.catalogue.newSeries(points) }, transaction)
        const addedNumbers = new Map<string, Map<string, number>>()
        for (const { source, field, id } of added) {
          const numbers = addedNumbers.get(source.key)
          if (numbers === undefined) addedNumbers.set(source.key, new Map([[field, id]]))
          else numbers.set(field, id)
        }
        await this.#points.write(
          points,
          (source, field) => {
            const id = this.catalogue.series(source, field)?.id ?? addedNumbers.get(source.key)?.get(field)
            if (id === undefined) throw new TidegateError('TG_BUG', 'A series has no number', { context: { key: source.key, field } })
            return id
          },
          transaction
        )
        let checkpoint: Checkpoint
        try {
          checkpoint = await settle([])
        } catch (error) {
          unsettled = { error }
          throw error
        }
        await this.catalogue.moveCheckpoint(checkpoint, transaction)
      })
    } catch (error) {
      if (unsettled !== undefined) throw unsettled.error
      this.#fail(error)
      throw error
    }
    this.#recover()
  }

  /** It keeps what it has. */
  onReturn(): void {}

  raw(query: RowQuery): AsyncIterable<readonly RawRow[]> {
    return this.#watched(this.#reading.raw(query))
  }

  aggregate(
    query: RowQuery & { readonly everyNs: bigint; readonly aggregates: readonly Aggregate[] }
  ): AsyncIterable<readonly AggregateRow[]> {
    return this.#watched(this.#reading.aggregate(query))
  }

  async latest(device: string, fields: readonly string[], signal: AbortSignal): Promise<readonly LatestValue[]> {
    try {
      return await this.#reading.latest(device, fields, signal)
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  async countPoints(): Promise<number> {
    return Number((await this.#database.read('SELECT count(*) FROM points'))[0]?.[0])
  }

  async accounts(): Promise<StoreAccounts> {
    // One statement sees one moment. It counts without reading a column: 20 million points take 6 ms of one core, 50 ms
    // where every row group has deleted ones.
    const row = (
      await this.#database.read(
        `SELECT t.inserted, t.replaced, t.expired, (SELECT count(*) FROM points), c.journal, c.position, c.since, c.totals
       FROM tally t LEFT JOIN checkpoint c ON true`
      )
    )[0]
    const [inserted, replaced, expired, counted, ...checkpoint] = row ?? []
    return {
      checkpoint: checkpoint[0] === null ? undefined : readCheckpoint(checkpoint),
      points: {
        counted: Number(counted),
        tally: { inserted: Number(inserted), replaced: Number(replaced), expired: Number(expired) }
      }
    }
  }

  /** The tally that every transaction keeps. */
  async tally(): Promise<PointTally> {
    const row = (await this.#database.read('SELECT inserted, replaced, expired FROM tally'))[0]
    return { inserted: Number(row?.[0]), replaced: Number(row?.[1]), expired: Number(row?.[2]) }
  }

  async hold<T>(work: (database: HeldDatabase) => Promise<T>, signal: AbortSignal): Promise<T> {
    return await this.#database.hold(async files => await work({ checkpoint: this.catalogue.checkpoint(), files }), signal)
  }

  /** Ends queries, waits for the transaction that runs, and closes the file. A second call waits for the first. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    await this.#closed
  }

  async #close(): Promise<void> {
    clearTimeout(this.#probe)
    await this.#statements.close()
    await this.upkeep.close()
    await this.#database[Symbol.asyncDispose]()
  }

  async *#watched<Row>(chunks: AsyncIterable<readonly Row[]>): AsyncGenerator<readonly Row[], void, undefined> {
    try {
      yield* chunks
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  #fail(error: unknown): void {
    if (this.#closed !== undefined || !(error instanceof TidegateError) || error.code !== 'TG_STORE_UNAVAILABLE') return
    if (this.#outage === undefined) this.#log.error({ err: error, code: error.code }, 'store fails')
    this.#outage = error.message
    this.#tryWritingSoon()
  }

  #tryWritingSoon(): void {
    if (this.#closed === undefined) this.#probe ??= setTimeout(() => void this.#tryWriting(), probeEveryMs).unref()
  }

  /**
   * A write of no consequence tells whether the store works again, also when nobody publishes. It has to reach the disk: an
   * UPDATE to the same value is a COMMIT that DuckDB answers without writing anything.
   */
  async #tryWriting(): Promise<void> {
    this.#probe = undefined
    if (this.#outage === undefined || this.#closed !== undefined) return
    try {
      await this.#database.transaction(async ({ connection }) => {
        await connection.run('DELETE FROM probe')
        await connection.run(`INSERT INTO probe SELECT repeat('x', ${probeBytes})`)
      })
      await this.#database.transaction(async ({ connection }) => void (await connection.run('DELETE FROM probe')))
      this.#recover()
    } catch (error) {
      this.#fail(error)
    }
  }

  #recover(): void {
    if (this.#outage === undefined) return
    this.#outage = undefined
    this.#log.info('store works again')
  }
}
