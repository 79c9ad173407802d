import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Batch } from '../../storage/port.ts'
import type { FieldValue, Point } from '../../telemetry.ts'
import {
  checkpoint,
  collect,
  everything,
  makeFolder,
  Model,
  newYearNs,
  openStore,
  point,
  query,
  source,
  write
} from './embedded-fixture.ts'

const plug = source('plug', 'home', { room: 'kitchen' })
const pump = source('pump', 'home')
const signal = new AbortController().signal

function batchOf(points: readonly Point[]): Batch {
  const fields = [{ measurement: 'home', field: 'power', type: 'float' as const }]
  const devices = [...new Set(points.map(one => one.source.device))].map(device => ({
    device,
    firstSeenMs: 1,
    lastSeenMs: 2,
    clientId: device,
    messages: points.length,
    points: points.length
  }))
  return { points, fields, devices }
}

/** 3,000 points of two devices; every fifth time comes late. */
function series(from: number): readonly Point[] {
  return Array.from({ length: 3000 }, (_, index) => {
    const step = from + (index % 5 === 0 ? index - 4 : index)
    return point(index % 2 === 0 ? plug : pump, newYearNs + BigInt(step) * 1_000_000n, { power: from + index / 8, on: index % 3 === 0 })
  })
}

test('writing the same batch again leaves the same rows, and the tally says that they were replaced', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const model = new Model()
  let distinct = 0
  for (const points of [series(0), series(1000), series(0), series(1000)]) {
    await write(store, points)
    model.write(points)
    const alone = new Model()
    alone.write(points)
    distinct += alone.size
    expect(await collect(store.raw(query()))).toEqual(model.raw(query()))
  }
  expect(await store.countPoints()).toBe(model.size)
  const { inserted, replaced, expired } = await store.tally()
  expect(inserted).toBe(distinct)
  expect(inserted - replaced - expired).toBe(model.size)
})

test('late points scattered over years replace exactly those of their own time', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const model = new Model()
  const dayNs = 86_400_000_000_000n
  const days = Array.from({ length: 120 }, (_, index) => newYearNs - BigInt(index * index) * dayNs)
  const first = days.flatMap(timeNs => [point(plug, timeNs, { power: Number(timeNs / dayNs) }), point(pump, timeNs + 1n, { power: 1 })])
  const again = days.filter((_, index) => index % 3 === 0).map(timeNs => point(plug, timeNs, { power: -1, on: true }))
  for (const points of [first, again, [...again, point(pump, newYearNs + 9n, { power: 2 })]]) {
    await write(store, points)
    model.write(points)
  }
  expect(await collect(store.raw(query()))).toEqual(model.raw(query()))
  expect(await store.latest('plug', [], signal)).toEqual(model.latest('plug'))
})

test('fields of one time that come in different batches are one row', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  await write(store, [point(plug, 5n, { power: 1, on: true })])
  await write(store, [point(plug, 5n, { power: 2, note: 'late' })])
  expect(await collect(store.raw(query()))).toEqual([
    {
      source: plug,
      timeNs: 5n,
      fields: [
        { name: 'note', value: 'late' },
        { name: 'on', value: true },
        { name: 'power', value: 2 }
      ]
    }
  ])
})

test('the latest value is that of the greatest event time, and a later write of the same time wins', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  await write(store, [point(plug, 10n, { power: 10, on: false }), point(plug, 30n, { power: 30 }), point(plug, 20n, { power: 20 })])
  await write(store, [point(plug, 25n, { power: 25, on: true })])
  await write(store, [point(plug, 30n, { power: 31 })])
  expect(await store.latest('plug', [], signal)).toEqual([
    { source: plug, field: 'on', value: true, timeNs: 25n },
    { source: plug, field: 'power', value: 31, timeNs: 30n }
  ])
  expect(await store.latest('plug', ['on'], signal)).toEqual([{ source: plug, field: 'on', value: true, timeNs: 25n }])
  expect(await store.latest('nobody', [], signal)).toEqual([])
})

test('when settle fails, nothing of the batch is there, its own error comes through, and the batch can be written again', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const model = new Model()
  await store.write(batchOf(series(0)), async () => checkpoint(1))
  model.write(series(0))
  const lost = new RangeError('dead letters cannot be written')
  const points = [...series(500), point(source('new'), 7n, { odd: 'x' })]
  const attempt = store.write(batchOf(points), async () => {
    throw lost
  })
  await expect(attempt).rejects.toBe(lost)
  expect(store.outage).toBeUndefined()
  expect(await collect(store.raw(query()))).toEqual(model.raw(query()))
  expect(store.catalogue.hasSeries(source('new'), 'odd')).toBe(false)
  expect(await store.catalogue.device('new')).toBeUndefined()
  expect(store.catalogue.checkpoint()).toEqual(checkpoint(1))
  expect(await store.latest('plug', [], signal)).toEqual(model.latest('plug'))

  await store.write(batchOf(points), async rejected => {
    expect(rejected).toEqual([])
    return checkpoint(2)
  })
  model.write(points)
  expect(await collect(store.raw(query()))).toEqual(model.raw(query()))
  expect(await store.countPoints()).toBe(model.size)
  expect(store.catalogue.checkpoint()).toEqual(checkpoint(2))
})

test('a batch whose points cannot be written does not move the checkpoint', async () => {
  await using folder = await makeFolder()
  {
    await using store = await openStore(folder.path)
    await store.write(batchOf(series(0)), async () => checkpoint(1))
    // Behind the points that can be written, one that DuckDB cannot hold.
    const points = [...series(4000), point(plug, 2n ** 64n, { power: 1 })]
    await expect(store.write(batchOf(points), async () => checkpoint(2))).rejects.toMatchObject({ outcome: 'retry' })
    expect(store.catalogue.checkpoint()).toEqual(checkpoint(1))
  }
  const model = new Model()
  model.write(series(0))
  await using after = await openStore(folder.path)
  expect(after.catalogue.checkpoint()).toEqual(checkpoint(1))
  expect(await collect(after.raw(query()))).toEqual(model.raw(query()))
})

test('what was committed before a crash is there after it, and nothing else; replaying the rest ends with the same rows', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const crashed = join(folder.path, 'crashed')
  await mkdir(crashed)
  const model = new Model()
  await store.write(batchOf(series(0)), async () => checkpoint(1))
  model.write(series(0))
  await store.write(batchOf(series(4000)), async () => {
    // The files as a killed process leaves them while its second transaction is open.
    for (const file of ['tidegate.duckdb', 'tidegate.duckdb.wal']) await copyFile(join(folder.path, file), join(crashed, file))
    return checkpoint(2)
  })
  await using after = await openStore(crashed)
  expect(after.catalogue.checkpoint()).toEqual(checkpoint(1))
  expect(after.catalogue.seriesCount).toBe(4)
  expect(await collect(after.raw(query()))).toEqual(model.raw(query()))
  for (const points of [series(0), series(4000)]) {
    await write(after, points, 2)
    model.write(points)
  }
  expect(await collect(after.raw(query()))).toEqual(model.raw(query()))
  expect(await collect(after.raw(query()))).toEqual(await collect(store.raw(query())))
})

test('reopening finds points, latest values and numbers of series as they were, and goes on replacing', async () => {
  await using folder = await makeFolder()
  const model = new Model()
  for (const from of [0, 2000, 1000]) {
    await using store = await openStore(folder.path)
    const points = [...series(from), point(source(`device-${from}`), 3n, { n: BigInt(from) })]
    await write(store, points, from)
    model.write(points)
  }
  await using store = await openStore(folder.path)
  expect(store.catalogue.checkpoint()).toEqual(checkpoint(1000))
  expect(await collect(store.raw(query()))).toEqual(model.raw(query()))
  expect(await store.latest('pump', [], signal)).toEqual(model.latest('pump'))
  expect(await store.countPoints()).toBe(model.size)
})

test('a batch of no points moves the checkpoint', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  await store.write({ points: [], fields: [], devices: [] }, async () => checkpoint(44))
  expect(store.catalogue.checkpoint()).toEqual(checkpoint(44))
  expect(await store.countPoints()).toBe(0)
})

test('writes that overlap come out as if one had come after the other', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const model = new Model()
  const batches = [series(0), series(10), series(20), series(30)]
  await Promise.all(batches.map(async (points, index) => await write(store, points, index)))
  for (const points of batches) model.write(points)
  expect(await collect(store.raw(query()))).toEqual(model.raw(query()))
  expect(store.catalogue.checkpoint()).toEqual(checkpoint(3))
})

test('hostile names are data', async () => {
  await using folder = await makeFolder()
  const name = fc.oneof(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }),
    fc.constantFrom('__proto__', "'; DROP TABLE points; --", '"', '$from', 'a\u0000b')
  )
  await using store = await openStore(folder.path)
  await fc.assert(
    fc.asyncProperty(name, name, name, name, async (device, measurement, tag, field) => {
      const odd = source(device, measurement, Object.fromEntries([[tag, field]]))
      const fields: Record<string, FieldValue> = Object.fromEntries([[field, tag]])
      const selection = { ...everything, measurement, devices: [device], tags: [{ name: tag, value: field }], fields: [field] }
      await write(store, [point(odd, 1n, fields)])
      expect(await collect(store.raw(query({ selection })))).toEqual([{ source: odd, timeNs: 1n, fields: [{ name: field, value: tag }] }])
      const latest = await store.latest(device, [field], signal)
      expect(latest).toContainEqual({ source: odd, field, value: tag, timeNs: 1n })
    }),
    { numRuns: 20 }
  )
})

test('a failed write is an outage with its reason until a write works again, at the latest by the probe', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path)
  const broken = {
    ...point(plug, 1n, {}),
    get fields(): never {
      throw new TypeError('no such luck')
    }
  }
  await expect(write(store, [broken])).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE', outcome: 'retry' })
  expect(store.outage).toContain('no such luck')
  await write(store, [point(plug, 1n, { power: 1 })])
  expect(store.outage).toBeUndefined()
  await expect(write(store, [broken])).rejects.toThrow('no such luck')
  await expect.poll(() => store.outage, { timeout: 5000 }).toBeUndefined()
  expect(await store.countPoints()).toBe(1)
})

test('a store that was closed refuses with a code, and closing twice is closing once', async () => {
  await using folder = await makeFolder()
  const store = await openStore(folder.path)
  await write(store, series(0))
  await Promise.all([store[Symbol.asyncDispose](), store[Symbol.asyncDispose]()])
  await store[Symbol.asyncDispose]()
  await expect(write(store, series(1))).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE', outcome: 'retry' })
  await expect(collect(store.raw(query()))).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
  await expect(store.countPoints()).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
})
