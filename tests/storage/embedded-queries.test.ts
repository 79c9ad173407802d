import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { EmbeddedStore } from '../../storage/embedded-store.ts'
import { type AggregateRow, aggregates, type Order, type RawRow, type RowCursor, type RowQuery } from '../../storage/port.ts'
import type { FieldValue, Point } from '../../telemetry.ts'
import { collect, everything, makeFolder, Model, newYearNs, openStore, point, query, source, write } from './embedded-fixture.ts'

const sources = [
  source('kitchen', 'home', { room: 'kitchen' }),
  source('kitchen', 'home', { room: 'kitchen', floor: '1' }),
  source('kitchen', 'power'),
  source('attic/a', 'home', { room: 'attic' }),
  source('ünder 𝄞', 'home')
]

/** Doubles whose sums are exact in any order. */
const float = fc.integer({ min: -1_000_000, max: 1_000_000 }).map(value => value / 64)
const valueOf = {
  float,
  whole: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  on: fc.boolean(),
  text: fc.string({ maxLength: 6 })
}
/** Few distinct times, so that duplicates and rows of the same time are frequent; some lie before 1970. */
const time = fc.oneof(
  fc.integer({ min: -40, max: 40 }).map(step => BigInt(step) * 700_000_000n),
  fc.integer({ min: 0, max: 30 }).map(step => newYearNs + BigInt(step) * 700_000_000n)
)
const somePoint = fc
  .tuple(fc.integer({ min: 0, max: sources.length - 1 }), time, fc.record(valueOf, { requiredKeys: [] }))
  .map(([index, timeNs, fields]) => point(sources[index] ?? sources[0] ?? source('never'), timeNs, withoutUndefined(fields)))
/** Batches as ingest makes them: the same source and time is merged. */
const batches = fc.array(fc.array(somePoint, { maxLength: 60 }).map(merged), { minLength: 1, maxLength: 6 })

function withoutUndefined(fields: Readonly<Record<string, FieldValue | undefined>>): Record<string, FieldValue> {
  const found: Record<string, FieldValue> = {}
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) found[name] = value
  return found
}

function merged(points: readonly Point[]): readonly Point[] {
  const byKey = new Map<string, Point>()
  for (const one of points) {
    const key = `${one.source.key} ${one.timeNs}`
    const before = byKey.get(key)
    const fields = new Map([...(before?.fields ?? []), ...one.fields].map(field => [field.name, field]))
    byKey.set(key, { ...one, fields: [...fields.values()] })
  }
  return [...byKey.values()]
}

const someQuery = fc
  .record({
    order: fc.constantFrom<Order>('asc', 'desc'),
    limit: fc.integer({ min: 1, max: 50 }),
    measurement: fc.constantFrom(undefined, undefined, 'home', 'power', 'nothing'),
    devices: fc.subarray(['kitchen', 'attic/a', 'nobody']),
    fields: fc.subarray(['float', 'whole', 'on', 'text', 'none']),
    tags: fc.constantFrom(
      [],
      [],
      [{ name: 'room', value: 'kitchen' }],
      [
        { name: 'room', value: 'attic' },
        { name: 'floor', value: '1' }
      ]
    ),
    range: fc.tuple(time, time),
    unbounded: fc.boolean()
  })
  .map(({ order, limit, measurement, devices, fields, tags, range, unbounded }) =>
    query({
      order,
      limit,
      selection: {
        devices,
        fields,
        tags,
        ...(measurement === undefined ? {} : { measurement }),
        ...(unbounded ? { fromNs: everything.fromNs, toNs: everything.toNs } : { fromNs: range[0], toNs: range[1] + 1n })
      }
    })
  )

/** Reads all pages of a query by its cursor. */
async function pages<Row extends RawRow | AggregateRow>(
  asked: RowQuery,
  read: (asked: RowQuery) => AsyncIterable<readonly Row[]>
): Promise<Row[]> {
  const rows: Row[] = []
  let after: RowCursor | undefined
  for (;;) {
    const page = await collect(read(after === undefined ? asked : { ...asked, after }))
    rows.push(...page)
    const last = page.at(-1)
    if (last === undefined) return rows
    after = { timeNs: last.timeNs, sourceKey: last.source.key }
  }
}

async function fill(store: EmbeddedStore, model: Model, written: readonly (readonly Point[])[]): Promise<void> {
  for (const batch of written) {
    await write(store, batch)
    model.write(batch)
  }
}

test('out of order, duplicate and mixed points read back as a model has them, in pages and at once', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const model = new Model()
  await fc.assert(
    fc.asyncProperty(batches, fc.array(someQuery, { minLength: 2, maxLength: 4 }), async (written, asked) => {
      await fill(store, model, written)
      for (const one of asked) {
        expect(await collect(store.raw(one))).toEqual(model.raw(one))
        const all = model.raw({ ...one, limit: Number.POSITIVE_INFINITY })
        expect(await pages(one, page => store.raw(page))).toEqual(all)
      }
      for (const device of ['kitchen', 'attic/a', 'ünder 𝄞', 'nobody']) {
        expect(await store.latest(device, [], new AbortController().signal)).toEqual(model.latest(device))
      }
      expect(await store.countPoints()).toBe(model.size)
      const { inserted, replaced, expired } = await store.tally()
      expect(inserted - replaced - expired).toBe(model.size)
    }),
    { numRuns: 15 }
  )
})

test('aggregates of any bucket are those of a model, in pages and at once', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const model = new Model()
  const every = fc.constantFrom(1_000_000_000n, 2_100_000_000n, 7_000_000_000n, 86_400_000_000_000n)
  const wanted = fc.subarray([...aggregates], { minLength: 1 })
  await fc.assert(
    fc.asyncProperty(batches, fc.array(fc.tuple(someQuery, every, wanted), { minLength: 2, maxLength: 4 }), async (written, asked) => {
      await fill(store, model, written)
      for (const [one, everyNs, aggregates] of asked) {
        const part = { everyNs, aggregates }
        expect(await collect(store.aggregate({ ...one, ...part }))).toEqual(model.aggregate({ ...one, ...part }))
        const all = model.aggregate({ ...one, ...part, limit: Number.POSITIVE_INFINITY })
        expect(await pages(one, page => store.aggregate({ ...page, ...part }))).toEqual(all)
      }
    }),
    { numRuns: 15 }
  )
})

test('an answer of many pieces comes whole, in both orders, raw and in buckets', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const model = new Model()
  const many = Array.from({ length: 40 }, (_, index) => source(`device-${index}`, 'bulk'))
  const points: Point[] = []
  for (let step = 0; step < 600; step += 1) {
    for (const [index, one] of many.entries()) {
      // A burst, an hour of silence, and a thin rest, so that windows have to grow and shrink.
      const timeNs = newYearNs + (step < 500 ? BigInt(step) * 1_000_000n : 3_600_000_000_000n * BigInt(step - 499))
      points.push(
        point(one, timeNs, index % 2 === 0 ? { a: step + index / 64, b: BigInt(step * index), d: index } : { c: `${step}/${index}` })
      )
    }
  }
  await fill(store, model, [points])
  for (const order of ['asc', 'desc'] as const) {
    const asked = query({ order })
    const found = await collect(store.raw(asked))
    const expected = model.raw(asked)
    expect(found.length).toBe(24_000)
    expect(found.findIndex((row, index) => JSON.stringify(view(row)) !== JSON.stringify(view(expected[index])))).toBe(-1)
    for (const everyNs of [3_000_000n, 7_200_000_000_000n]) {
      const part = { everyNs, aggregates: ['count', 'last', 'p95'] as const }
      expect(await collect(store.aggregate({ ...asked, ...part }))).toEqual(model.aggregate({ ...asked, ...part }))
    }
  }
})

function view(row: RawRow | undefined): unknown {
  return [row?.source.key, String(row?.timeNs), row?.fields.map(field => [field.name, String(field.value)])]
}

test('percentiles are the nearest rank for every number of values up to 120', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const model = new Model()
  const points: Point[] = []
  for (let count = 1; count <= 120; count += 1) {
    for (let index = 0; index < count; index += 1) {
      const value = (index * 7919) % count
      points.push(point(source(`n${count}`), newYearNs + BigInt(index), { x: value + 0.5, n: BigInt(value) }))
    }
  }
  await fill(store, model, [points])
  const asked = { ...query(), everyNs: 1_000_000n, aggregates: ['p50', 'p95', 'p99'] as const }
  expect(await collect(store.aggregate(asked))).toEqual(model.aggregate(asked))
})

test('sums of integers are exact beyond 2^53, and a float sum that overflows is left out', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const one = source('meter')
  await write(store, [
    point(one, 1n, { n: 2n ** 63n - 1n, x: 1.7e308 }),
    point(one, 2n, { n: 2n ** 63n - 1n, x: 1.7e308 }),
    point(one, 3n, { n: -4n, x: 1 })
  ])
  const [row] = await collect(store.aggregate({ ...query(), everyNs: 10n, aggregates: ['sum', 'max', 'first'] }))
  expect(row?.fields).toEqual([
    { name: 'n', values: { sum: Number(2n ** 64n - 6n), max: 2n ** 63n - 1n, first: 2n ** 63n - 1n } },
    { name: 'x', values: { max: 1.7e308, first: 1.7e308 } }
  ])
})

test('a sum of integers is the double nearest to the exact sum, however many bits that has', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const model = new Model()
  // Around every power of two from 2^52 on, on both sides of zero, with last bits that are rounded: once, not twice.
  const points: Point[] = []
  for (let bits = 52; bits <= 66; bits += 1) {
    for (let last = 0; last < 48; last += 1) {
      const rest = 2n ** BigInt(bits) + BigInt(last) + (last % 3 === 0 ? 2n ** BigInt(Math.max(0, bits - 54)) : 0n)
      const sum = last % 2 === 0 ? rest : -rest
      const part = sum / 16n
      const one = source(`${bits}/${last}`)
      for (let index = 0; index < 16; index += 1) points.push(point(one, BigInt(index), { n: index === 0 ? sum - part * 15n : part }))
    }
  }
  await fill(store, model, [points])
  const asked = { ...query(), everyNs: 1000n, aggregates: ['sum', 'mean'] as const }
  expect(await collect(store.aggregate(asked))).toEqual(model.aggregate(asked))
})

test('values keep their exact type and content', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const texts = ['', 'a\u0000b', "'; DROP TABLE points; --", '𝄞 ünïcode', 'x'.repeat(70_000)]
  const model = new Model()
  const points = texts.map((text, index) =>
    point(source("dev'ice"), BigInt(index), {
      text,
      float: [0, -0, 5e-324, 1.7976931348623157e308, 0.1][index] ?? 0,
      whole: BigInt(index) - 2n ** 63n,
      on: index % 2 === 0
    })
  )
  await fill(store, model, [points])
  expect(await collect(store.raw(query()))).toStrictEqual(model.raw(query()))
})
