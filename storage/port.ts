/**
 * The storage port: what ingest and the API know of a store. Two adapters implement it (embedded, influx); the suite in
 * tests/contract/ runs against both.
 */
import type { Checkpoint, Field, FieldDefinition, FieldType, FieldValue, Point, Source } from '../telemetry.ts'

/** What ingest saw of a device in one batch. */
export interface DeviceSighting {
  readonly device: string
  /** Received time, ms. */
  readonly firstSeenMs: number
  readonly lastSeenMs: number
  /** The MQTT client that last published for it; undefined for line protocol and HTTP. */
  readonly clientId: string | undefined
  readonly messages: number
  readonly points: number
}

/** One write: points in journal order, merged so that no source and time comes twice, and what the catalogue learns. */
export interface Batch {
  readonly points: readonly Point[]
  /** Fields that get their type with this batch. */
  readonly fields: readonly FieldDefinition[]
  readonly devices: readonly DeviceSighting[]
}

/** A point that the store will never take. The reason is the store's own words. */
export interface RejectedPoint {
  readonly point: Point
  readonly reason: string
}

/** A device as the catalogue knows it. */
export interface DeviceEntry {
  readonly device: string
  readonly firstSeenMs: number
  readonly lastSeenMs: number
  readonly clientId: string | undefined
  readonly measurements: readonly string[]
  /** Sorted by measurement, then name. */
  readonly fields: readonly { readonly measurement: string; readonly name: string; readonly type: FieldType; readonly unit?: string }[]
  readonly messages: number
  readonly points: number
}

export interface Catalogue {
  /** Undefined in a new catalogue. */
  checkpoint(): Checkpoint | undefined
  /** Every field type known, durable ones only. */
  fields(): readonly FieldDefinition[]
  /** From memory, without I/O: is the series (source and stored field name) known? */
  hasSeries(source: Source, field: string): boolean
  readonly seriesCount: number
  seriesCountOf(device: string): number
  /** Devices in order of their name, `limit` at most, after the cursor's; `search` is a case-insensitive part of the name. */
  devices(page: { readonly search?: string; readonly after?: string; readonly limit: number }): Promise<readonly DeviceEntry[]>
  device(device: string): Promise<DeviceEntry | undefined>
}

/** Which readings a query is about. Empty lists mean all. */
export interface Selection {
  readonly measurement?: string
  readonly devices: readonly string[]
  /** All must match. */
  readonly tags: readonly { readonly name: string; readonly value: string }[]
  readonly fields: readonly string[]
  /** Inclusive, ns. */
  readonly fromNs: bigint
  /** Exclusive, ns. */
  readonly toNs: bigint
}

export type Order = 'asc' | 'desc'

/** One row of a raw query: all selected fields of one source at one time. */
export interface RawRow {
  readonly source: Source
  readonly timeNs: bigint
  /** Sorted by name. */
  readonly fields: readonly Field[]
}

export const aggregates = ['mean', 'min', 'max', 'sum', 'count', 'first', 'last', 'p50', 'p95', 'p99'] as const
export type Aggregate = (typeof aggregates)[number]

/** One row of an aggregated query: one bucket of one source. `timeNs` is the bucket's start: a multiple of everyNs since 1970. */
export interface AggregateRow {
  readonly source: Source
  readonly timeNs: bigint
  /** Numeric fields carry every aggregate; booleans and strings only count, first and last. Sorted by name. */
  readonly fields: readonly { readonly name: string; readonly values: Readonly<Partial<Record<Aggregate, FieldValue>>> }[]
}

/** Where a page ended: rows are ordered by time (in the query's order), then by source key ascending. */
export interface RowCursor {
  readonly timeNs: bigint
  readonly sourceKey: string
}

export interface RowQuery {
  readonly selection: Selection
  readonly order: Order
  /** Rows at most. */
  readonly limit: number
  /** Only rows behind this one. */
  readonly after?: RowCursor
  /** Aborting stops the query in the store. */
  readonly signal: AbortSignal
}

/**
 * A store of points with its catalogue. Rows come in chunks of bounded size, so that a large answer needs bounded memory;
 * leaving the iteration early ends the query.
 * Every method throws TidegateError with outcome `retry` while the store does not answer.
 */
export interface Storage extends AsyncDisposable {
  readonly kind: 'embedded' | 'influx'
  readonly catalogue: Catalogue
  /** True when the store may lose what it acknowledged last, by dying; false when what a write resolved for stays. */
  readonly forgetful: boolean
  /** Undefined while the store answers, else why it does not. Kept current by writes, queries and, when idle, by a probe. */
  readonly outage: string | undefined
  /**
   * Writes a batch and moves the checkpoint. `settle` is called once the store has said which points it refuses; it makes
   * those durable elsewhere (dead letters) and returns the checkpoint, which becomes durable with the points (embedded) or
   * after them (influx). When write resolves everything is durable. When it throws, nothing is known to be: the same batch
   * may be written again, with the same result.
   */
  write(batch: Batch, settle: (rejected: readonly RejectedPoint[]) => Promise<Checkpoint>): Promise<void>
  /** Calls the listener when a store that is `forgetful` answers again and may have died since it last did. */
  onReturn(listener: () => void): void
  raw(query: RowQuery): AsyncIterable<readonly RawRow[]>
  aggregate(
    query: RowQuery & { readonly everyNs: bigint; readonly aggregates: readonly Aggregate[] }
  ): AsyncIterable<readonly AggregateRow[]>
  /** The newest value of each field by event time. */
  latest(device: string, fields: readonly string[], signal: AbortSignal): Promise<readonly LatestValue[]>
  /** Points (values of one series at one time) in the store; for tests. */
  countPoints(): Promise<number>
  /**
   * Runs the work while nothing is written to the catalogue's database (with embedded, the points' too): its files and the
   * checkpoint in them stand still and fit together. Queries go on; writes wait until the work has ended.
   */
  hold<T>(work: (database: HeldDatabase) => Promise<T>, signal: AbortSignal): Promise<T>
  /** What the ledger is held against: read from the disk, not from memory, and all of one moment. */
  accounts(): Promise<StoreAccounts>
}

/** What happened to points since the database was made: inserted − replaced − expired are in the table. */
export interface PointTally {
  readonly inserted: number
  readonly replaced: number
  readonly expired: number
}

/** What a store counts of itself, all of one moment. */
export interface StoreAccounts {
  /** The durable checkpoint; undefined in a new catalogue. */
  readonly checkpoint: Checkpoint | undefined
  /** Points counted one by one, and the tally that every transaction keeps; undefined where a store keeps none (influx). */
  readonly points: { readonly counted: number; readonly tally: PointTally } | undefined
}

export interface LatestValue {
  readonly source: Source
  readonly field: string
  readonly value: FieldValue
  readonly timeNs: bigint
}

/** A file of the database while it stands still. */
export interface HeldFile {
  readonly name: string
  readonly bytes: number
  /** Reads into the buffer at a position; returns how many bytes there were, 0 at the end. */
  read(buffer: Uint8Array, length: number, position: number): Promise<number>
}

/** The database while it stands still. */
export interface HeldDatabase {
  readonly checkpoint: Checkpoint | undefined
  readonly files: readonly HeldFile[]
}

/** What opening a storage needs; each adapter documents its own part. */
export interface StorageOptions {
  /** The data folder; the catalogue is tidegate.duckdb in it. */
  readonly folder: string
  readonly queryTimeoutMs: number
  /** Rows in a queue for their turn at most; more are TG_QUERY_BUSY. */
  readonly queuedQueries: number
}
