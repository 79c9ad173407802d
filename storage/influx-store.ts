/**
 * Points in an InfluxDB, the catalogue in data/tidegate.duckdb. Opening does not wait for the server. A write is durable
 * in this order: points acknowledged by the server, rejected ones settled elsewhere, then catalogue and checkpoint in one
 * transaction; so a batch that fails in between is written again as a whole, and the server holds it once.
 */
import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'
import type { Checkpoint } from '../telemetry.ts'
import { EmbeddedCatalogue } from './embedded-catalogue.ts'
import { EmbeddedDatabase } from './embedded-database.ts'
import { Turns } from './embedded-turns.ts'
import { aggregateRows } from './influx-aggregates.ts'
import { InfluxConnection, type InfluxSeries } from './influx-connection.ts'
import { maxTimeNs, minTimeNs } from './influx-lines.ts'
import { countStatement, lastStatement } from './influx-ql.ts'
import { rawRows } from './influx-raw.ts'
import { InfluxRestarts } from './influx-restarts.ts'
import { byMeasurement, compareText, timeOf, valueOf } from './influx-sources.ts'
import { InfluxWriter } from './influx-writer.ts'
import type {
  Aggregate,
  AggregateRow,
  Batch,
  HeldDatabase,
  LatestValue,
  RawRow,
  RejectedPoint,
  RowQuery,
  Storage,
  StorageOptions,
  StoreAccounts
} from './port.ts'

export interface InfluxStoreOptions extends StorageOptions {
  readonly url: string
  readonly org: string
  readonly bucket: string
  readonly token: string
  /** Longest that one write may take. */
  readonly timeoutMs: number
  /** Write requests in flight at most. Default 2. */
  readonly concurrency?: number
  /** Memory limit of the catalogue's database. */
  readonly memoryBytes: number
  readonly log: Logger
  /** How often the server is asked when nobody else asks: while it answers and while it does not. Default 5,000 and 1,000. */
  readonly probe?: { readonly idleMs?: number; readonly outageMs?: number }
}

/** Queries at once; each holds a bounded piece of its answer. */
const queriesAtOnce = 2
/** Statements in one request for the latest values. */
const statementsAtOnce = 100

/** A store whose points are in an InfluxDB 2 (or what speaks its write API and InfluxQL). */
export class InfluxStore implements Storage {
  readonly kind = 'influx'
  readonly forgetful = true
  readonly catalogue: EmbeddedCatalogue
  readonly #database: EmbeddedDatabase
  readonly #connection: InfluxConnection
  readonly #writer: InfluxWriter
  readonly #writes = new Turns(1, Number.POSITIVE_INFINITY)
  readonly #queries: Turns
  readonly #options: InfluxStoreOptions
  #outage: string | undefined = 'InfluxDB has not answered yet'
  #logged = false
  readonly #restarts: InfluxRestarts
  #probe: NodeJS.Timeout | undefined
  #closed: Promise<void> | undefined

  private constructor(database: EmbeddedDatabase, catalogue: EmbeddedCatalogue, connection: InfluxConnection, options: InfluxStoreOptions) {
    this.catalogue = catalogue
    this.#database = database
    this.#connection = connection
    this.#options = options
    this.#writer = new InfluxWriter(connection, options.concurrency === undefined ? {} : { concurrency: options.concurrency })
    this.#queries = new Turns(queriesAtOnce, options.queuedQueries)
    this.#restarts = new InfluxRestarts(() => connection.startTime())
    connection.onLost = () => this.#lost()
    this.#probe = setTimeout(() => void this.#ask(), 0).unref()
  }

  /**
   * Opens the catalogue; the server may be down, then `outage` says why.
   * @throws TidegateError TG_CONFIG_INVALID for a wrong URL, TG_DATA_IN_USE, TG_DATA_UNWRITABLE or TG_STORE_UNREADABLE
   */
  static async open(options: InfluxStoreOptions): Promise<InfluxStore> {
    const { folder, memoryBytes, log } = options
    const connection = new InfluxConnection(options)
    const database = await EmbeddedDatabase.open({ folder, memoryBytes, log })
    try {
      return new InfluxStore(database, await EmbeddedCatalogue.open(database), connection, options)
    } catch (error) {
      await database[Symbol.asyncDispose]()
      throw error
    }
  }

  get outage(): string | undefined {
    return this.#outage
  }

  async write(batch: Batch, settle: (rejected: readonly RejectedPoint[]) => Promise<Checkpoint>): Promise<void> {
    const turn = await this.#writes.take()
    try {
      const rejected = await this.#watch(this.#writer.write(batch.points), batch.points.length > 0)
      const checkpoint = await settle(rejected)
      const refused = new Set(rejected.map(one => one.point))
      const stored = refused.size === 0 ? batch.points : batch.points.filter(point => !refused.has(point))
      const { fields, devices } = batch
      await this.catalogue.commit({ checkpoint, fields, devices, series: this.catalogue.newSeries(stored) })
    } finally {
      turn.release()
    }
  }

  onReturn(listener: () => void): void {
    this.#restarts.onRestart = () => {
      if (this.#closed === undefined) listener()
    }
  }

  async *raw(query: RowQuery): AsyncGenerator<readonly RawRow[], void, undefined> {
    yield* rawRows(byMeasurement(this.catalogue.select(query.selection)), query, this.#run)
  }

  async *aggregate(
    query: RowQuery & { readonly everyNs: bigint; readonly aggregates: readonly Aggregate[] }
  ): AsyncGenerator<readonly AggregateRow[], void, undefined> {
    yield* aggregateRows(byMeasurement(this.catalogue.select(query.selection)), query, this.#run)
  }

  async latest(device: string, fields: readonly string[], signal: AbortSignal): Promise<readonly LatestValue[]> {
    const selected = byMeasurement(this.catalogue.select({ devices: [device], tags: [], fields }))
    const asked = selected.flatMap(selection => selection.fields.map(field => ({ selection, field })))
    const found: LatestValue[] = []
    for (let from = 0; from < asked.length; from += statementsAtOnce) {
      const part = asked.slice(from, from + statementsAtOnce)
      const statements = part.map(({ selection, field }) =>
        lastStatement(
          { measurement: selection.measurement, fromNs: minTimeNs, toNs: maxTimeNs + 1n, devices: [device], tags: [] },
          field.name
        )
      )
      await this.#run(statements.join('; '), signal, ({ statement, tags, values }) => {
        const one = part[statement]
        const source = one?.selection.source(Object.keys(tags), Object.values(tags))
        const row = values[0]
        const value = one === undefined ? undefined : valueOf(one.field.type, row?.[1])
        if (one !== undefined && source !== undefined && value !== undefined) {
          found.push({ source, field: one.field.name, value, timeNs: timeOf(row?.[0]) })
        }
        return 'more'
      })
    }
    return found.toSorted((a, b) => compareText(a.source.key, b.source.key) || compareText(a.field, b.field))
  }

  async countPoints(): Promise<number> {
    let count = 0
    const { signal } = new AbortController()
    for (const { measurement, fields } of byMeasurement(this.catalogue.select({ devices: [], tags: [], fields: [] }))) {
      const statement = countStatement(
        measurement,
        fields.map(field => field.name)
      )
      await this.#run(statement, signal, ({ values }) => {
        for (const row of values) for (const value of row.slice(1)) count += Number(value ?? 0)
        return 'more'
      })
    }
    return count
  }

  async hold<T>(work: (database: HeldDatabase) => Promise<T>, signal: AbortSignal): Promise<T> {
    return await this.#database.hold(async files => await work({ checkpoint: this.catalogue.checkpoint(), files }), signal)
  }

  /** A server keeps no tally, so its points are not counted. */
  async accounts(): Promise<StoreAccounts> {
    return { checkpoint: await this.catalogue.storedCheckpoint(), points: undefined }
  }

  /** Ends requests, waits for the write that runs, and closes the catalogue. A second call waits for the first. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    await this.#closed
  }

  async #close(): Promise<void> {
    clearTimeout(this.#probe)
    this.#connection[Symbol.dispose]()
    const turn = await this.#writes.take()
    await this.#database[Symbol.asyncDispose]()
    turn.release()
  }

  /** Runs statements when it is their turn; the turn ends with the answer, before anybody looks at its rows. */
  readonly #run = async (statements: string, signal: AbortSignal, take: (series: InfluxSeries) => 'more' | 'enough'): Promise<void> => {
    const turn = await this.#queries.take(signal)
    try {
      await this.#watch(this.#answer(statements, signal, take))
    } finally {
      turn.release()
    }
  }

  async #answer(statements: string, signal: AbortSignal, take: (series: InfluxSeries) => 'more' | 'enough'): Promise<void> {
    for await (const series of this.#connection.query(statements, signal)) if (take(series) === 'enough') return
  }

  /** Learns from what a request ends with whether the server answers. */
  async #watch<T>(request: Promise<T>, asked = true): Promise<T> {
    try {
      const answer = await request
      if (asked) this.#hear(undefined)
      return answer
    } catch (error) {
      if (error instanceof TidegateError && (error.code === 'TG_STORE_UNAVAILABLE' || error.code === 'TG_STORE_REFUSED')) this.#hear(error)
      throw error
    }
  }

  #hear(error: TidegateError | undefined): void {
    if (this.#closed !== undefined) return
    this.#outage = error?.message
    if (error === undefined) this.#restarts.answered()
    else if (mayHaveDied(error)) this.#restarts.doubt()
    if (error === undefined) {
      if (this.#logged) this.#options.log.info('store answers again')
      this.#logged = false
    } else if (!this.#logged) {
      this.#logged = true
      this.#options.log.error({ err: error, code: error.code }, 'store does not answer')
    }
    this.#schedule()
  }

  /** The server ended a connection: it is asked again soon, also when nobody else asks. */
  #lost(): void {
    if (this.#closed !== undefined) return
    this.#restarts.doubt()
    this.#schedule()
  }

  #schedule(): void {
    clearTimeout(this.#probe)
    const { idleMs = 5000, outageMs = 1000 } = this.#options.probe ?? {}
    const well = this.#outage === undefined && !this.#restarts.doubtful
    this.#probe = setTimeout(() => void this.#ask(), well ? idleMs : outageMs).unref()
  }

  /** An empty write shows whether address, token and bucket are right. Its failure is heard by #watch. */
  async #ask(): Promise<void> {
    await this.#watch(this.#connection.send('')).catch(() => undefined)
    if (this.#closed === undefined) this.#schedule()
  }
}

/** 429 and 503 say that a server is busy, and so do answers that are no failure of it; any other failure may be its end. */
function mayHaveDied({ code, context }: TidegateError): boolean {
  const status = typeof context['status'] === 'number' ? context['status'] : undefined
  return code === 'TG_STORE_UNAVAILABLE' && (status === undefined || (status >= 500 && status !== 503))
}
