/**
 * The catalogue in data/tidegate.duckdb, whichever store holds the points: sources and series with their numbers, field
 * types, devices, the checkpoint. All but the devices is kept in memory too, exactly as the last commit left it.
 */
import type { DuckDBConnection } from '@duckdb/node-api'
import { TidegateError } from '../errors.ts'
import type { Checkpoint, FieldDefinition, Point, Source } from '../telemetry.ts'
import {
  catalogueTables,
  readCheckpoint,
  readFieldType,
  readTags,
  schemaVersion,
  stagedDevices,
  stagedFields,
  stagedSeries,
  stagedSources
} from './embedded-catalogue-tables.ts'
import { compare, type NewSeries, type Series, SeriesDictionary, type SourceEntry } from './embedded-dictionary.ts'
import type { EmbeddedDatabase, EmbeddedTransaction } from './embedded-database.ts'
import { prepareStaging, stage } from './embedded-rows.ts'
import type { Catalogue, DeviceEntry, DeviceSighting, Selection } from './port.ts'

export type { NewSeries, Series } from './embedded-dictionary.ts'

const selectCheckpoint = 'SELECT journal, position, since, totals FROM checkpoint'

/** What one batch changes. Fields and series that are known already change nothing. */
export interface CatalogueChange {
  readonly checkpoint?: Checkpoint
  readonly fields: readonly FieldDefinition[]
  readonly devices: readonly DeviceSighting[]
  readonly series: readonly NewSeries[]
}

/** The catalogue of an open database. It ends with the database. */
export class EmbeddedCatalogue implements Catalogue {
  readonly #database: EmbeddedDatabase
  #dictionary = new SeriesDictionary()
  #fields = new Map<string, FieldDefinition>()
  #checkpoint: Checkpoint | undefined

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

  /** The checkpoint as it stands on disk, not in memory. */
  async storedCheckpoint(): Promise<Checkpoint | undefined> {
    const row = (await this.#database.read(selectCheckpoint))[0]
    return row === undefined ? undefined : readCheckpoint(row)
  }

  fields(): readonly FieldDefinition[] {
    return [...this.#fields.values()]
  }

  hasSeries(source: Source, field: string): boolean {
    return this.#dictionary.source(source.key)?.series.has(field) ?? false
  }

  get seriesCount(): number {
    return this.#dictionary.seriesCount
  }

  seriesCountOf(device: string): number {
    let count = 0
    for (const entry of this.#dictionary.sourcesOf(device)) count += entry.series.size
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
    return this.#dictionary.source(source.key)?.series.get(field)
  }

  /** The series with that number; numbers run from 0 to seriesCount − 1. */
  seriesById(id: number): Series | undefined {
    return this.#dictionary.series(id)
  }

  /** The series that points bring and the catalogue does not have, each once. */
  newSeries(points: readonly Point[]): readonly NewSeries[] {
    return this.#dictionary.newSeries(points)
  }

  /** The series that a selection is about, in order of their source keys, then field names. */
  select(selection: Pick<Selection, 'measurement' | 'devices' | 'tags' | 'fields'>): readonly Series[] {
    return this.#dictionary.select(selection)
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
    const { rewriteFrom } = checkpoint
    if (rewriteFrom !== this.#checkpoint?.rewriteFrom) {
      await within.connection.run('DELETE FROM rewrite_from')
      if (rewriteFrom !== undefined)
        await within.connection.run('INSERT INTO rewrite_from VALUES ($position)', { position: BigInt(rewriteFrom) })
    }
    within.afterCommit(() => {
      this.#checkpoint = checkpoint
    })
  }

  async #addSeries(wanted: readonly NewSeries[], within: EmbeddedTransaction): Promise<readonly Series[]> {
    const added: Series[] = []
    const newSources = new Map<string, SourceEntry>()
    const fresh = new Map<string, Set<string>>()
    for (const { source, field, type } of wanted) {
      const known = this.#dictionary.source(source.key) ?? newSources.get(source.key)
      const entry = known ?? { id: this.#dictionary.sourceCount + newSources.size, source, series: new Map<string, Series>() }
      if (known === undefined) newSources.set(source.key, entry)
      let names = fresh.get(source.key)
      if (names === undefined) fresh.set(source.key, (names = new Set()))
      if (entry.series.has(field) || names.has(field)) continue
      names.add(field)
      added.push({ id: this.#dictionary.seriesCount + added.length, source: entry.source, field, type })
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
    const idOf = (key: string): number => (this.#dictionary.source(key) ?? newSources.get(key))?.id ?? -1
    await prepareStaging(connection, stagedSeries)
    await stage(connection, stagedSeries, [
      added.map(one => one.id),
      added.map(one => idOf(one.source.key)),
      added.map(one => one.field),
      added.map(one => one.type)
    ])
    await connection.run('INSERT INTO series SELECT * FROM staged_series')
    within.afterCommit(() => {
      for (const entry of sources) this.#dictionary.addSource(entry)
      for (const one of added) this.#dictionary.addSeries(one)
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
    for (const { source, series } of this.#dictionary.sourcesOf(device)) {
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

  async #load(connection: DuckDBConnection): Promise<void> {
    this.#dictionary = new SeriesDictionary()
    this.#fields = new Map()
    const bySourceId: SourceEntry[] = []
    for await (const rows of (await connection.stream('SELECT id, key, measurement, device, tags FROM sources ORDER BY id')).yieldRows()) {
      for (const [id, key, measurement, device, tags] of rows) {
        const source = { key: String(key), measurement: String(measurement), device: String(device), tags: readTags(tags) }
        const entry = { id: Number(id), source, series: new Map<string, Series>() }
        bySourceId[entry.id] = entry
        this.#dictionary.addSource(entry)
      }
    }
    for await (const rows of (await connection.stream('SELECT id, source, field, type FROM series ORDER BY id')).yieldRows()) {
      for (const [id, sourceId, field, type] of rows) {
        const entry = bySourceId[Number(sourceId)]
        if (entry === undefined) continue
        this.#dictionary.addSeries({ id: Number(id), source: entry.source, field: String(field), type: readFieldType(type) })
      }
    }
    for (const [measurement, field, type, unit] of await (
      await connection.run('SELECT measurement, field, type, unit FROM fields')
    ).getRows()) {
      const definition = { measurement: String(measurement), field: String(field), type: readFieldType(type) }
      this.#fields.set(fieldKey(definition.measurement, definition.field), typeof unit === 'string' ? { ...definition, unit } : definition)
    }
    const row = (await (await connection.run(selectCheckpoint)).getRows())[0]
    const from = (await (await connection.run('SELECT position FROM rewrite_from')).getRows())[0]
    if (row !== undefined) {
      const checkpoint = readCheckpoint(row)
      this.#checkpoint = from === undefined ? checkpoint : { ...checkpoint, rewriteFrom: Number(from[0]) }
    }
  }
}

function fieldKey(measurement: string, field: string): string {
  return `${measurement}\u0000${field}`
}
