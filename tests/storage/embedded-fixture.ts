import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { EmbeddedDatabase } from '../../storage/embedded-database.ts'
import { EmbeddedStore, type EmbeddedStoreOptions } from '../../storage/embedded-store.ts'
import type { Aggregate, AggregateRow, LatestValue, RawRow, RowQuery, Selection } from '../../storage/port.ts'
import type { Checkpoint, Field, FieldValue, Point, Source } from '../../telemetry.ts'

export const log = pino({ level: 'silent' })
export const journal = '6f0c7a52-1b1e-4c7a-9a53-3f1d2c4b5a69'

/** A folder that is removed when it goes out of scope. */
export async function makeFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'tidegate-embedded-'))
  return { path, [Symbol.asyncDispose]: async () => await rm(path, { recursive: true, force: true }) }
}

export async function openDatabase(folder: string, lockWaitMs = 5000): Promise<EmbeddedDatabase> {
  return await EmbeddedDatabase.open({ folder, memoryBytes: 64 * 1024 ** 2, threads: 1, lockWaitMs, log })
}

export function source(device: string, measurement = 'telemetry', tags: Readonly<Record<string, string>> = {}): Source {
  return { key: JSON.stringify([measurement, device, Object.entries(tags)]), measurement, device, tags }
}

export function point(of: Source, timeNs: bigint, fields: Readonly<Record<string, FieldValue>>, ordinal = 0): Point {
  return { source: of, timeNs, fields: Object.entries(fields).map(([name, value]) => ({ name, value })), ordinal }
}

export function checkpoint(position: number): Checkpoint {
  const totals = { stored: position, deadLettered: 1, ignored: 2, deduplicated: 3, dropped: 4, damaged: 5 }
  return { journal, position, since: 0, totals }
}

export const hourNs = 3_600_000_000_000n
/** 2026-01-01T00:00:00Z, in ns. */
export const newYearNs = 1_767_225_600_000_000_000n

export async function openStore(folder: string, options: Partial<EmbeddedStoreOptions> = {}): Promise<EmbeddedStore> {
  return await EmbeddedStore.open({
    folder,
    memoryBytes: 64 * 1024 ** 2,
    retentionMs: 400 * 86_400_000,
    queryTimeoutMs: 10_000,
    queuedQueries: 10,
    log,
    ...options
  })
}

export const everything: Selection = { devices: [], tags: [], fields: [], fromNs: -(2n ** 63n), toNs: 2n ** 63n - 1n }

/** A query for everything in ascending order, but for what is given. */
export function query(part: Partial<RowQuery> = {}): RowQuery {
  return { selection: everything, order: 'asc', limit: 100_000, signal: new AbortController().signal, ...part }
}

/** All rows of an answer; chunks must not be over 1,000 rows. */
export async function collect<Row>(chunks: AsyncIterable<readonly Row[]>): Promise<Row[]> {
  const rows: Row[] = []
  for await (const chunk of chunks) {
    if (chunk.length > 1000) throw new Error(`a chunk has ${chunk.length} rows`)
    rows.push(...chunk)
  }
  return rows
}

export async function write(store: EmbeddedStore, points: readonly Point[], position = 1): Promise<void> {
  await store.write({ points, fields: [], devices: [] }, async () => checkpoint(position))
}

/** What a store should hold, kept in plain maps. */
export class Model {
  readonly #values = new Map<
    string,
    { readonly source: Source; readonly name: string; readonly timeNs: bigint; readonly value: FieldValue }
  >()

  write(points: readonly Point[]): void {
    for (const { source, timeNs, fields } of points) {
      for (const { name, value } of fields) this.#values.set(`${source.key} ${name} ${timeNs}`, { source, name, timeNs, value })
    }
  }

  get size(): number {
    return this.#values.size
  }

  values(): readonly { readonly source: Source; readonly name: string; readonly timeNs: bigint; readonly value: FieldValue }[] {
    return [...this.#values.values()]
  }

  expire(belowNs: bigint): void {
    for (const [key, { timeNs }] of this.#values) if (timeNs < belowNs) this.#values.delete(key)
  }

  raw({ selection, order, limit, after }: RowQuery): RawRow[] {
    const rows = new Map<string, { source: Source; timeNs: bigint; fields: Field[] }>()
    for (const { source, name, timeNs, value } of this.values()) {
      if (!matches(selection, source, name) || timeNs < selection.fromNs || timeNs >= selection.toNs) continue
      const key = `${source.key} ${timeNs}`
      const row = rows.get(key) ?? { source, timeNs, fields: [] }
      row.fields.push({ name, value })
      rows.set(key, row)
    }
    const sorted = [...rows.values()].toSorted(comparator(order)).filter(row => after === undefined || isBehind(row, after, order))
    for (const row of sorted) row.fields.sort((a, b) => (a.name < b.name ? -1 : 1))
    return sorted.slice(0, limit)
  }

  aggregate(asked: RowQuery & { readonly everyNs: bigint; readonly aggregates: readonly Aggregate[] }): AggregateRow[] {
    const { selection, order, limit, after, everyNs, aggregates } = asked
    const groups = new Map<string, { source: Source; timeNs: bigint; fields: Map<string, { timeNs: bigint; value: FieldValue }[]> }>()
    for (const { source, name, timeNs, value } of this.values()) {
      if (!matches(selection, source, name) || timeNs < selection.fromNs || timeNs >= selection.toNs) continue
      const start = timeNs - (((timeNs % everyNs) + everyNs) % everyNs)
      const group = groups.get(`${source.key} ${start}`) ?? {
        source,
        timeNs: start,
        fields: new Map<string, { timeNs: bigint; value: FieldValue }[]>()
      }
      group.fields.set(name, [...(group.fields.get(name) ?? []), { timeNs, value }])
      groups.set(`${source.key} ${start}`, group)
    }
    const rows = [...groups.values()].map(({ source, timeNs, fields }) => ({
      source,
      timeNs,
      fields: [...fields]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, found]) => ({ name, values: aggregated(found, aggregates) }))
        .filter(field => Object.keys(field.values).length > 0)
    }))
    return rows
      .filter(row => row.fields.length > 0)
      .toSorted(comparator(order))
      .filter(row => after === undefined || isBehind(row, after, order))
      .slice(0, limit)
  }

  latest(device: string): LatestValue[] {
    const newest = new Map<string, LatestValue>()
    for (const { source, name, timeNs, value } of this.values()) {
      const key = `${source.key} ${name}`
      if (source.device === device && (newest.get(key)?.timeNs ?? -(2n ** 63n)) <= timeNs)
        newest.set(key, { source, field: name, value, timeNs })
    }
    return [...newest.values()].toSorted((a, b) => order3(a.source.key, b.source.key) || order3(a.field, b.field))
  }
}

function aggregated(found: readonly { readonly timeNs: bigint; readonly value: FieldValue }[], aggregates: readonly Aggregate[]) {
  const byTime = found.toSorted((a, b) => order3(a.timeNs, b.timeNs)).map(({ value }) => value)
  const byValue = byTime.toSorted(order3)
  const numeric = typeof byTime[0] === 'number' || typeof byTime[0] === 'bigint'
  const values: Partial<Record<Aggregate, FieldValue>> = {}
  for (const aggregate of aggregates) {
    const value = one(aggregate, byTime, byValue, numeric)
    if (value !== undefined) values[aggregate] = value
  }
  return values
}

function one(
  aggregate: Aggregate,
  byTime: readonly FieldValue[],
  byValue: readonly FieldValue[],
  numeric: boolean
): FieldValue | undefined {
  if (aggregate === 'count') return byTime.length
  if (aggregate === 'first') return byTime[0]
  if (aggregate === 'last') return byTime.at(-1)
  if (!numeric) return undefined
  const sum =
    typeof byTime[0] === 'bigint'
      ? Number(byTime.reduce<bigint>((all, value) => all + BigInt(value), 0n))
      : byTime.reduce<number>((all, value) => all + Number(value), 0)
  if (aggregate === 'sum') return sum
  if (aggregate === 'mean') return sum / byTime.length
  if (aggregate === 'min') return byValue[0]
  if (aggregate === 'max') return byValue.at(-1)
  return byValue[Math.ceil((Number(aggregate.slice(1)) * byValue.length) / 100) - 1]
}

function matches(selection: Selection, source: Source, name: string): boolean {
  const { measurement, devices, tags, fields } = selection
  return (
    (measurement === undefined || source.measurement === measurement) &&
    (devices.length === 0 || devices.includes(source.device)) &&
    (fields.length === 0 || fields.includes(name)) &&
    tags.every(tag => source.tags[tag.name] === tag.value)
  )
}

function comparator(order: 'asc' | 'desc') {
  return (a: { timeNs: bigint; source: Source }, b: { timeNs: bigint; source: Source }): number =>
    (order === 'asc' ? order3(a.timeNs, b.timeNs) : order3(b.timeNs, a.timeNs)) || order3(a.source.key, b.source.key)
}

function isBehind(row: { timeNs: bigint; source: Source }, after: { timeNs: bigint; sourceKey: string }, order: 'asc' | 'desc'): boolean {
  if (row.timeNs !== after.timeNs) return order === 'asc' ? row.timeNs > after.timeNs : row.timeNs < after.timeNs
  return row.source.key > after.sourceKey
}

function order3<T extends FieldValue>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0
}
