/**
 * The catalogue in data/tidegate.duckdb, whichever store holds the points: sources and series with their numbers, field
 * types, devices, the checkpoint. All but the devices is kept in memory too, exactly as the last commit left it.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { TidegateError } from '../errors.ts'
import type { Checkpoint, FieldDefinition, FieldType, Point, Source } from '../telemetry.ts'
import { fieldTypeOf } from '../telemetry.ts'
import {
  catalogueTables,
  readFieldType,
  readTags,
  readTotals,
  schemaVersion,
  stagedDevices,
  stagedFields,
  stagedSeries,
  stagedSources
} from './embedded-catalogue-tables.ts'
import type { EmbeddedDatabase, EmbeddedTransaction } from './embedded-database.ts'
import { prepareStaging, stage } from './embedded-rows.ts'
import type { Catalogue, DeviceEntry, DeviceSighting, Selection } from './port.ts'

/** A series that the catalogue does not have yet. */
export interface NewSeries {
  readonly source: Source
  /** Stored field name. */
  readonly field: string
  readonly type: FieldType
}

/** A field of a source, with the number that stands for it in the table of points. */
export interface Series extends NewSeries {
  readonly id: number
}

/** What one batch changes. Fields and series that are known already change nothing. */
export interface CatalogueChange {
  readonly checkpoint?: Checkpoint
  readonly fields: readonly FieldDefinition[]
  readonly devices: readonly DeviceSighting[]
  readonly series: readonly NewSeries[]
}

interface SourceEntry {
  readonly id: number
  readonly source: Source
  readonly series: Map<string, Series>
}

/** The catalogue of an open database. It ends with the database. */
export class EmbeddedCatalogue implements Catalogue {
  readonly #database: EmbeddedDatabase
  #sources = new Map<string, SourceEntry>()
  #byDevice = new Map<string, SourceEntry[]>()
  #seriesById: Series[] = []
  #fields = new Map<string, FieldDefinition>()
  #checkpoint: Checkpoint | undefined
  #sorted: SourceEntry[] | undefined

  private constructor(database: EmbeddedDatabase) {
    this.#database = database
  }

  /**
   * Makes the tables where they are missing and loads them.
   * @throws TidegateError TG_STORE_UNREADABLE when a newer Tidegate wrote the file
   */
  static async open(database: EmbeddedDatabase): Promise<EmbeddedCatalogue> {
    const catalogue = new EmbeddedCatalogue(database)
    await database.transaction(async ({ connection }) => {
      await connection.run(catalogueTables)
      const version = (await (await connection.run('SELECT max(version) FROM schema_version')).getRows())[0]?.[0]
      if (version === null) await connection.run('INSERT INTO schema_version VALUES ($version)', { version: schemaVersion })
      else if (Number(version) > schemaVersion) {
        throw new TidegateError(
          'TG_STORE_UNREADABLE',
          `The database is of a newer Tidegate (schema ${String(version)}, known is ${schemaVersion})`
        )
      }
    })
    await database.keepLoaded(async connection => await catalogue.#load(connection))
    return catalogue
  }

  checkpoint(): Checkpoint | undefined {
    return this.#checkpoint
  }

  fields(): readonly FieldDefinition[] {
    return [...this.#fields.values()]
  }

  hasSeries(source: Source, field: string): boolean {
    return this.#sources.get(source.key)?.series.has(field) ?? false
  }

  get seriesCount(): number {
    return this.#seriesById.length
  }

  seriesCountOf(device: string): number {
    let count = 0
    for (const entry of this.#byDevice.get(device) ?? []) count += entry.series.size
    return count
  }

  async devices(page: { readonly search?: string; readonly after?: string; readonly limit: number }): Promise<readonly DeviceEntry[]> {
    const rows = await this.#database.read(
      `SELECT device, first_seen, last_seen, client, messages, points FROM devices
       WHERE ($after IS NULL OR device > $after) AND ($search IS NULL OR contains(lower(device), lower($search)))
       ORDER BY device LIMIT $limit`,
      { after: page.after ?? null, search: page.search ?? null, limit: page.limit }
    )
    return rows.map(row => this.#deviceEntry(row))
  }

  async device(device: string): Promise<DeviceEntry | undefined> {
    const rows = await this.#database.read(
      'SELECT device, first_seen, last_seen, client, messages, points FROM devices WHERE device = $device',
      { device }
    )
    return rows[0] === undefined ? undefined : this.#deviceEntry(rows[0])
  }

  /** The series of a source's field, when it is known. */
  series(source: Source, field: string): Series | undefined {
    return this.#sources.get(source.key)?.series.get(field)
  }

  /** The series with that number; numbers run from 0 to seriesCount − 1. */
  seriesById(id: number): Series | undefined {
    return this.#seriesById[id]
  }

  /** The series that points bring and the catalogue does not have, each once. */
  newSeries(points: readonly Point[]): readonly NewSeries[] {
    const found: NewSeries[] = []
    const seen = new Map<string, Set<string>>()
    for (const { source, fields } of points) {
      const known = this.#sources.get(source.key)?.series
      for (const { name, value } of fields) {
        if (known?.has(name) === true) continue
        let names = seen.get(source.key)
        if (names === undefined) seen.set(source.key, (names = new Set()))
        if (names.has(name)) continue
        names.add(name)
        found.push({ source, field: name, type: fieldTypeOf(value) })
      }
    }
    return found
  }

  /** The series that a selection is about, in order of their source keys, then field names. */
  select(selection: Pick<Selection, 'measurement' | 'devices' | 'tags' | 'fields'>): readonly Series[] {
    const wanted = selection.fields.length === 0 ? undefined : new Set(selection.fields)
    const entries = selection.devices.length === 0 ? this.#sortedSources() : this.#sourcesOf(selection.devices)
    const found: Series[] = []
    for (const { source, series } of entries) {
      if (selection.measurement !== undefined && source.measurement !== selection.measurement) continue
      if (!selection.tags.every(tag => (tag.name === 'device' ? source.device : ownTag(source, tag.name)) === tag.value)) continue
      const from = found.length
      for (const one of series.values()) if (wanted === undefined || wanted.has(one.field)) found.push(one)
      if (found.length - from > 1) found.push(...found.splice(from).toSorted((a, b) => compare(a.field, b.field)))
    }
    return found
  }

  /**
   * Writes a change: as a transaction of its own, or as part of one. What is in memory follows when it is durable.
   * @throws TidegateError TG_STORE_UNAVAILABLE; then nothing has changed
   */
  async commit(change: CatalogueChange, within?: EmbeddedTransaction): Promise<void> {
    if (within === undefined) {
      await this.#database.transaction(async transaction => await this.commit(change, transaction))
      return
    }
    await this.learn(change, within)
    if (change.checkpoint !== undefined) await this.moveCheckpoint(change.checkpoint, within)
  }

  /** The part of commit before the checkpoint. Answers the new series with the numbers they have when it commits. */
  async learn(change: Omit<CatalogueChange, 'checkpoint'>, within: EmbeddedTransaction): Promise<readonly Series[]> {
    const series = await this.#addSeries(change.series, within)
    await this.#addFields(change.fields, within)
    await this.#sight(change.devices, within)
    return series
  }

  /** The part of commit that moves the checkpoint. */
  async moveCheckpoint(checkpoint: Checkpoint, within: EmbeddedTransaction): Promise<void> {
    const { journal, position, since, totals } = checkpoint
    await within.connection.run('DELETE FROM checkpoint')
    await within.connection.run('INSERT INTO checkpoint VALUES ($journal, $position, $since, $totals)', {
      journal,
      position: BigInt(position),
      since: BigInt(since),
      totals: JSON.stringify(totals)
    })
    within.afterCommit(() => {
      this.#checkpoint = checkpoint
    })
  }

  async #addSeries(wanted: readonly NewSeries[], within: EmbeddedTransaction): Promise<readonly Series[]> {
    const added: Series[] = []
    const newSources = new Map<string, SourceEntry>()
    const fresh = new Map<string, Set<string>>()
    for (const { source, field, type } of wanted) {
      const known = this.#sources.get(source.key) ?? newSources.get(source.key)
      const entry = known ?? { id: this.#sources.size + newSources.size, source, series: new Map<string, Series>() }
      if (known === undefined) newSources.set(source.key, entry)
      let names = fresh.get(source.key)
      if (names === undefined) fresh.set(source.key, (names = new Set()))
      if (entry.series.has(field) || names.has(field)) continue
      names.add(field)
      added.push({ id: this.#seriesById.length + added.length, source: entry.source, field, type })
    }
    if (added.length === 0) return added

    const { connection } = within
    const sources = [...newSources.values()]
    if (sources.length > 0) {
      await prepareStaging(connection, stagedSources)
      await stage(connection, stagedSources, [
        sources.map(entry => entry.id),
        sources.map(entry => entry.source.key),
        sources.map(entry => entry.source.measurement),
        sources.map(entry => entry.source.device),
        sources.map(entry => JSON.stringify(entry.source.tags))
      ])
      await connection.run('INSERT INTO sources SELECT * FROM staged_sources')
    }
    const idOf = (key: string): number => (this.#sources.get(key) ?? newSources.get(key))?.id ?? -1
    await prepareStaging(connection, stagedSeries)
    await stage(connection, stagedSeries, [
      added.map(one => one.id),
      added.map(one => idOf(one.source.key)),
      added.map(one => one.field),
      added.map(one => one.type)
    ])
    await connection.run('INSERT INTO series SELECT * FROM staged_series')
    within.afterCommit(() => {
      for (const entry of sources) this.#remember(entry)
      for (const one of added) {
        this.#seriesById.push(one)
        this.#sources.get(one.source.key)?.series.set(one.field, one)
      }
    })
    return added
  }

  async #addFields(definitions: readonly FieldDefinition[], within: EmbeddedTransaction): Promise<void> {
    const added = new Map<string, FieldDefinition>()
    for (const definition of definitions) {
      const key = fieldKey(definition.measurement, definition.field)
      if (!this.#fields.has(key)) added.set(key, definition)
    }
    if (added.size === 0) return
    const rows = [...added.values()]
    await prepareStaging(within.connection, stagedFields)
    await stage(within.connection, stagedFields, [
      rows.map(row => row.measurement),
      rows.map(row => row.field),
      rows.map(row => row.type),
      rows.map(row => row.unit ?? null)
    ])
    await within.connection.run('INSERT INTO fields SELECT * FROM staged_fields')
    within.afterCommit(() => {
      for (const [key, definition] of added) this.#fields.set(key, definition)
    })
  }

  async #sight(devices: readonly DeviceSighting[], { connection }: EmbeddedTransaction): Promise<void> {
    if (devices.length === 0) return
    await prepareStaging(connection, stagedDevices)
    await stage(connection, stagedDevices, [
      devices.map(one => one.device),
      devices.map(one => BigInt(Math.trunc(one.firstSeenMs))),
      devices.map(one => BigInt(Math.trunc(one.lastSeenMs))),
      devices.map(one => one.clientId ?? null),
      devices.map(one => BigInt(one.messages)),
      devices.map(one => BigInt(one.points))
    ])
    await connection.run(`
      UPDATE devices SET first_seen = least(devices.first_seen, s.first_seen), last_seen = greatest(devices.last_seen, s.last_seen),
        client = s.client, messages = devices.messages + s.messages, points = devices.points + s.points
      FROM staged_devices s WHERE devices.device = s.device`)
    await connection.run(
      'INSERT INTO devices SELECT * FROM staged_devices s WHERE NOT EXISTS (SELECT 1 FROM devices d WHERE d.device = s.device)'
    )
  }

  #deviceEntry(row: readonly unknown[]): DeviceEntry {
    const device = String(row[0])
    const fields = new Map<string, DeviceEntry['fields'][number]>()
    const measurements = new Set<string>()
    for (const { source, series } of this.#byDevice.get(device) ?? []) {
      measurements.add(source.measurement)
      for (const { field, type } of series.values()) {
        const key = fieldKey(source.measurement, field)
        const unit = this.#fields.get(key)?.unit
        fields.set(key, { measurement: source.measurement, name: field, type, ...(unit === undefined ? {} : { unit }) })
      }
    }
    return {
      device,
      firstSeenMs: Number(row[1]),
      lastSeenMs: Number(row[2]),
      clientId: typeof row[3] === 'string' ? row[3] : undefined,
      measurements: [...measurements].toSorted(compare),
      fields: [...fields.values()].toSorted((a, b) => compare(a.measurement, b.measurement) || compare(a.name, b.name)),
      messages: Number(row[4]),
      points: Number(row[5])
    }
  }

  #remember(entry: SourceEntry): void {
    this.#sources.set(entry.source.key, entry)
    this.#sorted = undefined
    const beside = this.#byDevice.get(entry.source.device)
    if (beside === undefined) this.#byDevice.set(entry.source.device, [entry])
    else beside.push(entry)
  }

  #sortedSources(): readonly SourceEntry[] {
    this.#sorted ??= [...this.#sources.values()].toSorted((a, b) => compare(a.source.key, b.source.key))
    return this.#sorted
  }

  #sourcesOf(devices: readonly string[]): readonly SourceEntry[] {
    const entries = [...new Set(devices)].flatMap(device => this.#byDevice.get(device) ?? [])
    return entries.toSorted((a, b) => compare(a.source.key, b.source.key))
  }

  async #load(connection: DuckDBConnection): Promise<void> {
    this.#sources = new Map()
    this.#byDevice = new Map()
    this.#seriesById = []
    this.#fields = new Map()
    this.#checkpoint = undefined
    const bySourceId: SourceEntry[] = []
    for await (const rows of (await connection.stream('SELECT id, key, measurement, device, tags FROM sources ORDER BY id')).yieldRows()) {
      for (const [id, key, measurement, device, tags] of rows) {
        const source = { key: String(key), measurement: String(measurement), device: String(device), tags: readTags(tags) }
        const entry = { id: Number(id), source, series: new Map<string, Series>() }
        bySourceId[entry.id] = entry
        this.#remember(entry)
      }
    }
    for await (const rows of (await connection.stream('SELECT id, source, field, type FROM series ORDER BY id')).yieldRows()) {
      for (const [id, sourceId, field, type] of rows) {
        const entry = bySourceId[Number(sourceId)]
        if (entry === undefined) continue
        const series = { id: Number(id), source: entry.source, field: String(field), type: readFieldType(type) }
        this.#seriesById[series.id] = series
        entry.series.set(series.field, series)
      }
    }
    for (const [measurement, field, type, unit] of await (
      await connection.run('SELECT measurement, field, type, unit FROM fields')
    ).getRows()) {
      const definition = { measurement: String(measurement), field: String(field), type: readFieldType(type) }
      this.#fields.set(fieldKey(definition.measurement, definition.field), typeof unit === 'string' ? { ...definition, unit } : definition)
    }
    const row = (await (await connection.run('SELECT journal, position, since, totals FROM checkpoint')).getRows())[0]
    if (row !== undefined) {
      this.#checkpoint = { journal: String(row[0]), position: Number(row[1]), since: Number(row[2]), totals: readTotals(row[3]) }
    }
  }
}

function fieldKey(measurement: string, field: string): string {
  return `${measurement}\u0000${field}`
}

function ownTag(source: Source, name: string): string | undefined {
  return Object.hasOwn(source.tags, name) ? source.tags[name] : undefined
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
