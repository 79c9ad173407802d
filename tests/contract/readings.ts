/** Points, queries and comparisons of the storage contract. */
import { expect } from 'vitest'
import type { AggregateRow, Batch, DeviceSighting, RawRow, RowQuery } from '../../storage/port.ts'
import { type Checkpoint, type FieldDefinition, fieldTypeOf, type FieldValue, type Point, type Source } from '../../telemetry.ts'

const journal = '0c9f0d7e-3a51-4a7e-9b54-5f4c8a1e2d33'
/** 2026-01-01T00:00:00Z. */
export const t0 = 1_767_225_600_000_000_000n
export const second = 1_000_000_000n
export const minute = 60n * second

/** A source as ingest interns them. */
export function contractSource(device: string, measurement = 'telemetry', tags: Readonly<Record<string, string>> = {}): Source {
  const sorted = Object.fromEntries(Object.entries(tags).toSorted(([a], [b]) => (a < b ? -1 : 1)))
  return { key: JSON.stringify([measurement, device, Object.entries(sorted)]), measurement, device, tags: sorted }
}

export function contractPoint(source: Source, timeNs: bigint, fields: Readonly<Record<string, FieldValue>>, ordinal = 0): Point {
  return { source, timeNs, fields: Object.entries(fields).map(([name, value]) => ({ name, value })), ordinal }
}

export function contractCheckpoint(position: number): Checkpoint {
  const totals = { stored: position, deadLettered: 1, ignored: 2, deduplicated: 3, dropped: 4, damaged: 5 }
  return { journal, position, since: 0, totals }
}

/** A batch with the field definitions and sightings that ingest would add. */
export function contractBatch(points: readonly Point[]): Batch {
  const fields = new Map<string, FieldDefinition>()
  const devices = new Map<string, DeviceSighting>()
  for (const { source, fields: values, timeNs } of points) {
    const { measurement, device } = source
    for (const { name, value } of values)
      fields.set(JSON.stringify([measurement, name]), { measurement, field: name, type: fieldTypeOf(value) })
    const ms = Number(timeNs / 1_000_000n)
    const seen = devices.get(device)
    devices.set(device, {
      device,
      firstSeenMs: Math.min(seen?.firstSeenMs ?? ms, ms),
      lastSeenMs: Math.max(seen?.lastSeenMs ?? ms, ms),
      clientId: `client of ${device}`,
      messages: (seen?.messages ?? 0) + 1,
      points: (seen?.points ?? 0) + values.length
    })
  }
  return { points, fields: [...fields.values()], devices: [...devices.values()] }
}

const everything = { devices: [], tags: [], fields: [], fromNs: -(2n ** 63n), toNs: 2n ** 63n - 1n } as const

/** A query for everything, ascending, but for what is given. */
export function contractQuery(
  part: Partial<Omit<RowQuery, 'selection'>> & { readonly selection?: Partial<RowQuery['selection']> } = {}
): RowQuery {
  return { order: 'asc', limit: 100_000, signal: new AbortController().signal, ...part, selection: { ...everything, ...part.selection } }
}

/** All rows; a chunk may not be empty nor of more than 10,000 rows. */
export async function collectRows<Row>(chunks: AsyncIterable<readonly Row[]>): Promise<Row[]> {
  const rows: Row[] = []
  for await (const chunk of chunks) {
    if (chunk.length === 0 || chunk.length > 10_000) throw new Error(`a chunk has ${chunk.length} rows`)
    for (const row of chunk) rows.push(row)
  }
  return rows
}

/** Names without what InfluxDB cannot represent: a backslash in front of a space, comma, equals sign or the end. */
export const awkwardNames = [
  'with space',
  'comma,comma',
  'equals=equals',
  'double"quote"',
  "single'quote'",
  'back\\slash \\n \\"',
  'slash/levels/deep',
  '"quoted"',
  "'; DROP MEASUREMENT telemetry; --",
  'größe 温度 🌡️',
  '.*',
  '$var ${x} %s',
  'tab\there',
  'Upper',
  'upper',
  'value',
  '0',
  'a:b@c(d)[e]{f}',
  'select'
]

/** Several sources at the same times, of two measurements, with tags that overlap and every type of field. */
export function mixedPoints(from: bigint): Point[] {
  const sources = [
    contractSource('pump/1'),
    contractSource('pump/1', 'telemetry', { room: 'kitchen' }),
    contractSource('pump/2', 'telemetry', { room: 'kitchen', floor: '1' }),
    contractSource('pump/2', 'telemetry', { floor: '1' }),
    contractSource('pump/2', 'home', { room: 'attic' }),
    contractSource('Zähler 3', 'home', { room: 'kitchen' })
  ]
  return sources.flatMap((source, which) =>
    Array.from({ length: 12 }, (_, at) => {
      const fields: Record<string, FieldValue> = { temperature: which * 100 + at * 1.25 - 3 }
      if ((at + which) % 2 === 0) fields['count'] = BigInt(which * 1000 + at)
      if ((at + which) % 3 === 0) fields['on'] = at % 4 === 0
      if (at % 3 === 1) fields['state'] = `state ${which}.${at}`
      return contractPoint(source, from + BigInt(at) * 5n * second + (which === 3 ? 1n : 0n), fields)
    })
  )
}

/** Buckets of 1 to 40 values out of order, so that every rank matters. */
export function densePoints(from: bigint): Point[] {
  const source = contractSource('dense', 'telemetry', { room: 'lab' })
  return Array.from({ length: 40 }, (_, size) => size).flatMap(size =>
    Array.from({ length: size + 1 }, (_, at) => {
      const value = (at * 37 + size * 11) % 101
      return contractPoint(source, from + BigInt(size) * 7n * second + BigInt(at) * 1_000_000n, {
        level: value + 0.5,
        steps: BigInt(value * 3 - 50)
      })
    })
  )
}

export function selections(from: bigint): readonly RowQuery[] {
  const parts: readonly Partial<RowQuery['selection']>[] = [
    {},
    { measurement: 'telemetry' },
    { measurement: 'no such measurement' },
    { devices: ['pump/1'] },
    { devices: ['pump/2', 'Zähler 3'] },
    { devices: ['no such device'] },
    { devices: ['pump/1', 'no such device'] },
    { tags: [{ name: 'room', value: 'kitchen' }] },
    {
      tags: [
        { name: 'room', value: 'kitchen' },
        { name: 'floor', value: '1' }
      ]
    },
    { tags: [{ name: 'room', value: 'no such room' }] },
    { tags: [{ name: 'no such tag', value: 'kitchen' }] },
    { fields: ['count'] },
    { fields: ['on', 'state', 'no such field'] },
    { fields: ['no such field'] },
    { measurement: 'home', devices: ['pump/2'], tags: [{ name: 'room', value: 'attic' }], fields: ['temperature', 'on'] },
    { fromNs: from + 5n * second, toNs: from + 20n * second },
    { measurement: 'telemetry', fromNs: from + 11n * second, toNs: from + 55n * second, fields: ['temperature'] }
  ]
  return parts.flatMap(selection => [
    contractQuery({ selection }),
    contractQuery({ selection, order: 'desc' }),
    contractQuery({ selection, limit: 5 }),
    contractQuery({ selection, order: 'desc', limit: 3 })
  ])
}

/** Sources are compared by what they are, since a reopened store has objects of its own. */
export function expectRows(actual: readonly RawRow[], expected: readonly RawRow[]): void {
  expect(actual).toEqual(expected)
}

/** Sums and means of floats may differ in the last digits, since stores add in an order of their own. */
export function expectAggregates(actual: readonly AggregateRow[], expected: readonly AggregateRow[]): void {
  expect(rounded(actual)).toEqual(rounded(expected))
}

function rounded(rows: readonly AggregateRow[]): unknown {
  return rows.map(row => ({
    ...row,
    fields: row.fields.map(({ name, values }) => ({
      name,
      values: Object.fromEntries(
        Object.entries(values).map(([aggregate, value]) => [
          aggregate,
          typeof value === 'number' && (aggregate === 'mean' || aggregate === 'sum') ? Number(value.toPrecision(12)) : value
        ])
      )
    }))
  }))
}
