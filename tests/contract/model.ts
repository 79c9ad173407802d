import type { Aggregate, AggregateRow, LatestValue, RawRow, RowCursor, RowQuery, Selection } from '../../storage/port.ts'
import type { Field, FieldValue, Point, Source } from '../../telemetry.ts'

interface Value {
  readonly source: Source
  readonly name: string
  readonly timeNs: bigint
  readonly value: FieldValue
}

/** What a store should hold and answer, kept in a plain map: the oracle of the contract suite. */
export class StoreModel {
  readonly #values = new Map<string, Value>()

  write(points: readonly Point[]): void {
    for (const { source, timeNs, fields } of points) {
      for (const { name, value } of fields)
        this.#values.set(JSON.stringify([source.key, name, String(timeNs)]), { source, name, timeNs, value })
    }
  }

  get size(): number {
    return this.#values.size
  }

  raw({ selection, order, limit, after }: RowQuery): RawRow[] {
    const rows = new Map<string, { source: Source; timeNs: bigint; fields: Field[] }>()
    for (const { source, name, timeNs, value } of this.#selected(selection)) {
      const key = `${source.key} ${timeNs}`
      const row = rows.get(key) ?? { source, timeNs, fields: [] }
      row.fields.push({ name, value })
      rows.set(key, row)
    }
    for (const row of rows.values()) row.fields.sort((a, b) => compare(a.name, b.name))
    return page([...rows.values()], order, limit, after)
  }

  aggregate(query: RowQuery & { readonly everyNs: bigint; readonly aggregates: readonly Aggregate[] }): AggregateRow[] {
    const { selection, order, limit, after, everyNs, aggregates } = query
    const groups = new Map<string, { source: Source; timeNs: bigint; fields: Map<string, Value[]> }>()
    for (const value of this.#selected(selection)) {
      const { source, name, timeNs } = value
      const start = timeNs - (((timeNs % everyNs) + everyNs) % everyNs)
      const key = `${source.key} ${start}`
      const group = groups.get(key) ?? { source, timeNs: start, fields: new Map<string, Value[]>() }
      group.fields.set(name, [...(group.fields.get(name) ?? []), value])
      groups.set(key, group)
    }
    const rows = [...groups.values()].map(({ source, timeNs, fields }) => ({
      source,
      timeNs,
      fields: [...fields]
        .toSorted(([a], [b]) => compare(a, b))
        .map(([name, values]) => ({ name, values: aggregated(values, aggregates) }))
        .filter(field => Object.keys(field.values).length > 0)
    }))
    return page(
      rows.filter(row => row.fields.length > 0),
      order,
      limit,
      after
    )
  }

  /** Sorted by source key, then field. */
  latest(device: string, fields: readonly string[]): LatestValue[] {
    const newest = new Map<string, LatestValue>()
    for (const { source, name, timeNs, value } of this.#values.values()) {
      if (source.device !== device || (fields.length > 0 && !fields.includes(name))) continue
      const key = JSON.stringify([source.key, name])
      const known = newest.get(key)
      if (known === undefined || known.timeNs <= timeNs) newest.set(key, { source, field: name, value, timeNs })
    }
    return sortLatest([...newest.values()])
  }

  #selected({ measurement, devices, tags, fields, fromNs, toNs }: Selection): readonly Value[] {
    return [...this.#values.values()].filter(
      ({ source, name, timeNs }) =>
        timeNs >= fromNs &&
        timeNs < toNs &&
        (measurement === undefined || source.measurement === measurement) &&
        (devices.length === 0 || devices.includes(source.device)) &&
        (fields.length === 0 || fields.includes(name)) &&
        tags.every(tag => (tag.name === 'device' ? source.device : source.tags[tag.name]) === tag.value)
    )
  }
}

/** The port leaves the order of latest values open. */
export function sortLatest(values: readonly LatestValue[]): LatestValue[] {
  return values.toSorted((a, b) => compare(a.source.key, b.source.key) || compare(a.field, b.field))
}

function page<Row extends { readonly source: Source; readonly timeNs: bigint }>(
  rows: readonly Row[],
  order: RowQuery['order'],
  limit: number,
  after: RowCursor | undefined
): Row[] {
  const place = (a: { timeNs: bigint; key: string }, b: { timeNs: bigint; key: string }): number =>
    (order === 'asc' ? compare(a.timeNs, b.timeNs) : compare(b.timeNs, a.timeNs)) || compare(a.key, b.key)
  const of = (row: Row): { timeNs: bigint; key: string } => ({ timeNs: row.timeNs, key: row.source.key })
  return rows
    .filter(row => after === undefined || place(of(row), { timeNs: after.timeNs, key: after.sourceKey }) > 0)
    .toSorted((a, b) => place(of(a), of(b)))
    .slice(0, limit)
}

function aggregated(found: readonly Value[], aggregates: readonly Aggregate[]): Partial<Record<Aggregate, FieldValue>> {
  const byTime = found.toSorted((a, b) => compare(a.timeNs, b.timeNs)).map(({ value }) => value)
  const byValue = byTime.toSorted(compare)
  const values: Partial<Record<Aggregate, FieldValue>> = {}
  for (const aggregate of aggregates) {
    const value = one(aggregate, byTime, byValue)
    if (value !== undefined) values[aggregate] = value
  }
  return values
}

function one(aggregate: Aggregate, byTime: readonly FieldValue[], byValue: readonly FieldValue[]): FieldValue | undefined {
  if (aggregate === 'count') return byTime.length
  if (aggregate === 'first') return byTime[0]
  if (aggregate === 'last') return byTime.at(-1)
  if (typeof byTime[0] === 'boolean' || typeof byTime[0] === 'string') return undefined
  if (aggregate === 'min') return byValue[0]
  if (aggregate === 'max') return byValue.at(-1)
  const sum = byTime.reduce<number>((all, value) => all + Number(value), 0)
  if (aggregate === 'sum') return sum
  if (aggregate === 'mean') return sum / byTime.length
  // Nearest rank: the smallest value that at least p % of the values do not exceed.
  return byValue[Math.ceil((Number(aggregate.slice(1)) * byValue.length) / 100) - 1]
}

function compare<T extends FieldValue>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0
}
