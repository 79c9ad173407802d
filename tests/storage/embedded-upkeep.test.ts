import { expect, test } from 'vitest'
import type { EmbeddedStore } from '../../storage/embedded-store.ts'
import type { Point } from '../../telemetry.ts'
import { collect, hourNs, makeFolder, Model, newYearNs, openStore, point, query, source, write } from './embedded-fixture.ts'

const devices = Array.from({ length: 8 }, (_, index) => source(`device-${index}`))
const nowMs = Number(newYearNs / 1_000_000n) + 10 * 3_600_000

/** Six hours of readings in the order in which they would come, the last of them not over yet. */
function readings(): readonly Point[] {
  const points: Point[] = []
  for (let step = 0; step < 72; step += 1) {
    const timeNs = newYearNs + 5n * hourNs + (BigInt(step) * hourNs) / 13n
    for (const [index, one] of devices.entries())
      points.push(point(one, timeNs + BigInt(index), { a: step + index / 32, b: `${index}/${step}` }))
  }
  return points
}

async function answers(store: EmbeddedStore): Promise<unknown> {
  return {
    raw: await collect(store.raw(query())),
    buckets: await collect(store.aggregate({ ...query(), everyNs: hourNs, aggregates: ['mean', 'count', 'last', 'p95'] })),
    latest: await Promise.all(devices.map(async one => await store.latest(one.device, [], new AbortController().signal))),
    count: await store.countPoints()
  }
}

function expected(model: Model): unknown {
  return {
    raw: model.raw(query()),
    buckets: model.aggregate({ ...query(), everyNs: hourNs, aggregates: ['mean', 'count', 'last', 'p95'] }),
    latest: devices.map(one => model.latest(one.device)),
    count: model.size
  }
}

test('sorting past hours, in pieces and again after late points, changes no answer', async () => {
  await using folder = await makeFolder()
  const model = new Model()
  const upkeep = { pieceRows: 60, leastRows: 10 }
  {
    await using store = await openStore(folder.path, { clock: () => nowMs, upkeep, queuedQueries: 100 })
    await write(store, readings())
    model.write(readings())
    expect(await answers(store)).toEqual(expected(model))
    // The last two hours have not ended for long enough.
    expect(await store.upkeep.compact()).toBe(4)
    expect(await answers(store)).toEqual(expected(model))
    expect(await store.upkeep.compact()).toBe(0)

    const late = readings()
      .filter((_, index) => index % 3 === 0 && index < 100)
      .map(one => ({ ...one, timeNs: one.timeNs + 1_000_000n, fields: [{ name: 'a', value: -1 }] }))
    await write(store, [...late, point(devices[3] ?? source('never'), newYearNs + 5n * hourNs + 3n, { a: 1_000_000, b: 'replaced' })])
    model.write([...late, point(devices[3] ?? source('never'), newYearNs + 5n * hourNs + 3n, { a: 1_000_000, b: 'replaced' })])
    expect(await store.upkeep.compact()).toBe(1)
    expect(await answers(store)).toEqual(expected(model))
  }
  await using store = await openStore(folder.path, { clock: () => nowMs, upkeep, queuedQueries: 100 })
  expect(await answers(store)).toEqual(expected(model))
  expect(await store.upkeep.compact()).toBe(0)
  await write(store, readings())
  model.write(readings())
  expect(await answers(store)).toEqual(expected(model))
  const { inserted, replaced, expired } = await store.tally()
  expect(inserted - replaced - expired).toBe(model.size)
})

test('writes and queries go on while hours are sorted', async () => {
  await using folder = await makeFolder()
  await using store = await openStore(folder.path, { clock: () => nowMs, upkeep: { pieceRows: 40, leastRows: 10 }, queuedQueries: 100 })
  const model = new Model()
  await write(store, readings())
  model.write(readings())
  const state = { sorting: true }
  const sorted = store.upkeep.compact().finally(() => {
    state.sorting = false
  })
  let writes = 0
  do {
    const points = readings()
      .slice(writes * 7, writes * 7 + 40)
      .map(one => ({ ...one, fields: [{ name: 'a', value: writes }] }))
    await write(store, points)
    model.write(points)
    expect(await collect(store.raw(query({ limit: 500, order: 'desc' })))).toEqual(model.raw(query({ limit: 500, order: 'desc' })))
    writes += 1
  } while (state.sorting)
  expect(await sorted).toBe(4)
  expect(writes).toBeGreaterThan(1)
  expect(await answers(store)).toEqual(expected(model))
})

test('points past the retention go, the others stay, and the tally counts them', async () => {
  await using folder = await makeFolder()
  const model = new Model()
  const retentionMs = 3_600_000
  let clockMs = Number(newYearNs / 1_000_000n)
  const options = { clock: () => clockMs, retentionMs, upkeep: { leastRows: 10 }, queuedQueries: 100 }
  const ancient = [
    point(source('device-0'), newYearNs - 9000n * hourNs, { a: 1 }),
    point(source('silent'), newYearNs - 8000n * hourNs, { a: 2 })
  ]
  {
    await using store = await openStore(folder.path, options)
    await write(store, [...ancient, ...readings()])
    model.write([...ancient, ...readings()])
    const written = model.size
    expect(await store.upkeep.expire()).toBe(2)
    model.expire(newYearNs - hourNs)
    expect(await answers(store)).toEqual(expected(model))
    expect(await store.latest('silent', [], new AbortController().signal)).toEqual([])

    clockMs += 9 * 3_600_000
    await store.upkeep.compact()
    const before = model.size
    model.expire(newYearNs + 8n * hourNs)
    expect(model.size).toBeLessThan(before)
    expect(await store.upkeep.expire()).toBe(before - model.size)
    expect(await answers(store)).toEqual(expected(model))
    expect(await store.tally()).toEqual({ inserted: written, replaced: 0, expired: written - model.size })

    // An expired time that comes again is new, not a replacement.
    await write(store, ancient)
    model.write(ancient)
    expect(await answers(store)).toEqual(expected(model))
  }
  await using store = await openStore(folder.path, options)
  expect(await answers(store)).toEqual(expected(model))
  expect(await store.latest('silent', [], new AbortController().signal)).toEqual(model.latest('silent'))
})
