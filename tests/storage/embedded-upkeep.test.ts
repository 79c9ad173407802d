import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import type { EmbeddedStore } from '../../storage/embedded-store.ts'
import type { Point } from '../../telemetry.ts'
import { checkpoint, collect, hourNs, makeFolder, Model, newYearNs, openStore, point, query, source, write } from './embedded-fixture.ts'

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
  const options = { clock: () => clockMs, monotonic: () => clockMs, retentionMs, upkeep: { leastRows: 10 }, queuedQueries: 100 }
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

describe('a wall clock that is set', () => {
  const hourMs = 3_600_000
  const dayMs = 24 * hourMs
  const yearMs = 365 * dayMs
  const openFor = { retentionMs: 400 * dayMs, queuedQueries: 100 }

  /** A store with a point of each of the last 500 days, and clocks that are moved by hand. */
  class World implements AsyncDisposable {
    readonly said: string[] = []
    readonly folder: Awaited<ReturnType<typeof makeFolder>>
    store: EmbeddedStore | undefined
    wallMs = Number(newYearNs / 1_000_000n)
    ranMs = 0

    private constructor(folder: World['folder']) {
      this.folder = folder
    }

    static async make(): Promise<World> {
      const world = new World(await makeFolder())
      await world.restart()
      const days = Array.from({ length: 500 }, (_, day) =>
        point(source('device-0'), newYearNs - BigInt(day) * 24n * hourNs - 1n, { a: day })
      )
      const seenMs = world.wallMs
      const sighting = { device: 'device-0', firstSeenMs: seenMs, lastSeenMs: seenMs, clientId: undefined, messages: 1, points: 500 }
      await world.store?.write({ points: days, fields: [], devices: [sighting] }, async () => checkpoint(1))
      return world
    }

    async restart(): Promise<void> {
      await this.store?.[Symbol.asyncDispose]()
      const log = pino({}, { write: (line: string) => this.said.push(line) })
      this.store = await openStore(this.folder.path, { ...openFor, log, clock: () => this.wallMs, monotonic: () => this.ranMs })
    }

    /** Hours in which it runs and looks once an hour; answers how many points are left. */
    async run(hours: number): Promise<number | undefined> {
      for (let hour = 0; hour < hours; hour++) {
        this.wallMs += hourMs
        this.ranMs += hourMs
        await this.store?.upkeep.expire()
      }
      return await this.store?.countPoints()
    }

    count(text: string): number {
      return this.said.filter(line => line.includes(text)).length
    }

    async [Symbol.asyncDispose](): Promise<void> {
      await this.store?.[Symbol.asyncDispose]()
      await this.folder[Symbol.asyncDispose]()
    }
  }

  test('ahead by 50 years: points go by the time that is known until it is right again', async () => {
    await using world = await World.make()
    expect(await world.run(1)).toBe(400)
    world.wallMs += 50 * yearMs
    expect(await world.run(12)).toBe(400)
    await world.restart()
    expect(await world.run(10)).toBe(400)
    world.wallMs -= 50 * yearMs
    // The day has passed all the same.
    expect(await world.run(1)).toBe(399)
    expect([world.count('is far from what it was'), world.count('by the wall clock again')]).toEqual([1, 1])
  })

  test('ahead by 50 years and left there: after a day of running, restarts between, it is believed', async () => {
    await using world = await World.make()
    await world.run(1)
    world.wallMs += 50 * yearMs
    expect(await world.run(13)).toBe(400)
    await world.restart()
    expect(await world.run(9)).toBe(400)
    expect(await world.run(2)).toBe(399)
    expect(await world.run(1)).toBe(0)
    expect(world.count('by the wall clock again')).toBe(1)
  })

  test('ahead, and then further ahead: each step has its day', async () => {
    await using world = await World.make()
    await world.run(1)
    world.wallMs += 2 * yearMs
    expect(await world.run(20)).toBe(400)
    world.wallMs += 3 * yearMs
    expect(await world.run(10)).toBe(399)
    expect(await world.run(15)).toBe(0)
  })

  test('back by 10 years: nothing goes, and when it is right again points go as if nothing had been', async () => {
    await using world = await World.make()
    expect(await world.run(1)).toBe(400)
    world.wallMs -= 10 * yearMs
    await world.restart()
    expect(await world.run(20)).toBe(400)
    world.wallMs += 10 * yearMs
    expect(await world.run(3)).toBe(399)
    world.wallMs -= 10 * yearMs
    expect(await world.run(100)).toBe(399)
  })

  test('before the first look: what is known is when a device was last heard of', async () => {
    await using world = await World.make()
    world.wallMs += 50 * yearMs
    await world.restart()
    expect(await world.run(20)).toBe(400)
  })

  test('off by an hour, or by half a day that it was switched off: it is believed', async () => {
    await using world = await World.make()
    expect(await world.run(1)).toBe(400)
    world.wallMs -= hourMs
    expect(await world.run(1)).toBe(400)
    world.wallMs += 23 * hourMs
    expect(await world.run(1)).toBe(399)
    expect(world.count('is far from what it was')).toBe(0)
  })
})

test('hours that were sorted while the clock was ahead keep none of the present from being sorted', async () => {
  await using folder = await makeFolder()
  const clock = { ms: nowMs }
  await using store = await openStore(folder.path, { clock: () => clock.ms, upkeep: { leastRows: 10 }, queuedQueries: 100 })
  const later = 50n * 365n * 24n * hourNs
  await write(
    store,
    readings().map(one => ({ ...one, timeNs: one.timeNs + later }))
  )
  clock.ms += Number(later / 1_000_000n)
  expect(await store.upkeep.compact()).toBe(4)
  clock.ms = nowMs
  await write(store, readings())
  expect(await store.upkeep.compact()).toBe(4)
  expect(await store.upkeep.compact()).toBe(0)
})
