import { pino } from 'pino'
import { expect, test } from 'vitest'
import { TidegateError } from '../../errors.ts'
import type { Pipeline } from '../../ingest/pipeline.ts'
import type { ReplayReport } from '../../ingest/replay.ts'
import type { JournalRecord } from '../../journal/record.ts'
import type { FieldValue } from '../../telemetry.ts'
import { FakeSource, deferred, journalUuid, receivedMs, recordOf } from './fakes.ts'
import { openPipeline, worldOf } from './world.ts'
import type { World } from './world.ts'

const never = new AbortController().signal
const good = (ordinal: number): JournalRecord =>
  recordOf({ ordinal, topic: `devices/d${ordinal % 4}/telemetry`, payload: `{"v":${ordinal}}` })
const many = (count: number, of = good): JournalRecord[] => Array.from({ length: count }, (_, ordinal) => of(ordinal))

async function eventually(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('not within 10 s')
    await new Promise(resolve => setImmediate(resolve))
  }
}

async function settled(pipeline: Pipeline): Promise<void> {
  await eventually(() => pipeline.stats.lag === 0 && !pipeline.stats.rewriting)
}

/** A world whose store has all records and may forget, and what it held then. */
async function storedWorld(records: World['records']): Promise<{ readonly world: World; readonly rows: Map<string, FieldValue> }> {
  const world = worldOf(records)
  world.storage.forgetful = true
  await using pipeline = await openPipeline(world)
  await settled(pipeline)
  return { world, rows: new Map(world.storage.rows) }
}

const replay = async (pipeline: Pipeline, range: Parameters<Pipeline['replay']>[0] = {}): Promise<ReplayReport> =>
  await pipeline.replay(range, never, () => undefined)

test('at its start ingest writes again what a store that forgets was given last, and no outcome changes', async () => {
  const records = [
    good(0),
    recordOf({ ordinal: 1, payload: '{"broken' }),
    recordOf({ ordinal: 2, topic: 'cmnd/x/Power', payload: 'ON' }),
    'damaged' as const,
    recordOf({ ordinal: 4, payload: '[{"v":4},{"v":null}]' }),
    ...many(40, at => good(at + 5))
  ]
  const { world, rows } = await storedWorld(records)
  const before = world.storage.catalogue.stored
  const letters = world.letterJournal.records.length
  const { sightings } = world.storage.catalogue
  const seen = sightings.length
  world.storage.rows.clear()
  world.committed.length = 0
  await using pipeline = await openPipeline(world)
  await settled(pipeline)
  expect(new Map(world.storage.rows)).toEqual(rows)
  expect(pipeline.stats.rewritten).toEqual({ start: 44, outage: 0, replay: 0 })
  expect(world.storage.catalogue.stored).toEqual(before)
  expect(pipeline.ledger()).toMatchObject({ position: 45, totals: before?.totals })
  expect([world.letterJournal.records.length, sightings.length, world.committed]).toEqual([letters, seen, []])
})

test('a store that keeps what it has is written to once', async () => {
  const world = worldOf(many(30))
  for (let lives = 0; lives < 3; lives += 1) {
    await using pipeline = await openPipeline(world)
    await settled(pipeline)
    expect(world.storage.catalogue.stored?.rewriteFrom).toBeUndefined()
  }
  expect(world.storage.effects.flatMap(effect => effect.ordinals)).toEqual(many(30).map(record => record.ordinal))
})

test('when the store comes back it gets what was committed in the 60 s before, and not what is older', async () => {
  const world = worldOf(many(60))
  world.storage.forgetful = true
  await using pipeline = await openPipeline(world, { journal: { uuid: journalUuid, oldest: 0, durable: 20 } })
  await settled(pipeline)
  world.clock.nowMs += 61_000
  pipeline.advance(40)
  await settled(pipeline)
  world.clock.nowMs += 58_000
  pipeline.advance(60)
  await settled(pipeline)
  const rows = new Map(world.storage.rows)
  // However long it was away: what it lost is from before it went.
  world.clock.nowMs += 3_600_000
  world.storage.rows.clear()
  world.storage.returned()
  await settled(pipeline)
  expect([...world.storage.rows.values()].map(Number).toSorted((a, b) => a - b)).toEqual(many(40).map(record => record.ordinal + 20))
  for (const [key, value] of world.storage.rows) expect(rows.get(key)).toBe(value)
})

test('what was written again may be forgotten again, for another 60 s', async () => {
  const { world, rows } = await storedWorld(many(30))
  await using pipeline = await openPipeline(world)
  await settled(pipeline)
  for (const laterMs of [59_000, 59_000, 59_000]) {
    world.clock.nowMs += laterMs
    world.storage.rows.clear()
    world.storage.returned()
    await settled(pipeline)
    expect(new Map(world.storage.rows)).toEqual(rows)
  }
})

test('what has to be written again is durable: a process that dies before it has begun leaves it to the next one', async () => {
  const { world, rows } = await storedWorld(many(30))
  world.storage.rows.clear()
  for (let lives = 0; lives < 3; lives += 1) {
    world.storage.fail = stage => (stage === 'before' ? new TidegateError('TG_STORE_UNAVAILABLE', 'down') : undefined)
    await using pipeline = await openPipeline(world)
    await eventually(() => pipeline.stats.retries > 2)
    expect(world.storage.catalogue.stored?.rewriteFrom).toBe(0)
  }
  world.storage.fail = () => undefined
  await using pipeline = await openPipeline(world)
  await settled(pipeline)
  expect(new Map(world.storage.rows)).toEqual(rows)
})

test('the edge is told where ingest starts, and from where on records may be read again', async () => {
  const told: (number | undefined)[] = []
  const world = worldOf(many(50))
  world.storage.forgetful = true
  await using pipeline = await openPipeline(world, {
    journal: { uuid: journalUuid, oldest: 0, durable: 25 },
    onCheckpoint: checkpoint => told.push(checkpoint.rewriteFrom)
  })
  await settled(pipeline)
  expect(told).toEqual([undefined, 0])
  world.clock.nowMs += 70_000
  pipeline.advance(50)
  await settled(pipeline)
  expect(told).toEqual([undefined, 0, 25])
})

test('decoded again, a record gives the same points: types, suffixes and limits are those of the first time', async () => {
  const on = (ordinal: number, payload: string): JournalRecord => recordOf({ ordinal, payload: payload.replace('T', String(receivedMs)) })
  const records = [
    on(0, '{"ts":T,"v_str":5}'),
    on(1, '{"ts":T,"v":1}'),
    on(2, '{"ts":T,"v":"text","n":true}'),
    on(3, '{"ts":T,"v":false,"v_str":"again"}'),
    recordOf({ ordinal: 4, topic: 'any/lines', payload: `telemetry,device=boiler v=7i ${receivedMs}000000` }),
    recordOf({ ordinal: 5, topic: 'devices/other/telemetry', payload: '{"too":1,"many":2,"fields":3}' })
  ]
  const world = worldOf(records)
  const config = { series: 7, seriesPerDevice: 6 }
  {
    await using pipeline = await openPipeline(world, { limits: config })
    await settled(pipeline)
  }
  const rows = new Map(world.storage.rows)
  const series = world.storage.catalogue.seriesCount
  const fields = [...world.storage.catalogue.fields()]
  expect(pipelineTotals(world)).toMatchObject({ stored: 5, deadLettered: 1 })
  expect(rows.size).toBe(7)
  world.storage.rows.clear()
  await using pipeline = await openPipeline(world, { limits: config })
  await replay(pipeline)
  expect(new Map(world.storage.rows)).toEqual(rows)
  expect([world.storage.catalogue.seriesCount, world.storage.catalogue.fields()]).toEqual([series, fields])
})

function pipelineTotals(world: World) {
  return world.storage.catalogue.stored?.totals
}

test('a replay fills an emptied store again and says what it did; the ledger stays as it was', async () => {
  const records = [
    ...many(30),
    recordOf({ ordinal: 30, payload: '{"broken' }),
    recordOf({ ordinal: 31, topic: 'cmnd/x/Power', payload: 'ON' }),
    'damaged' as const,
    'dropped' as const,
    ...many(26, at => good(at + 34))
  ]
  const world = worldOf(records)
  await using pipeline = await openPipeline(world)
  await settled(pipeline)
  const rows = new Map(world.storage.rows)
  const ledger = pipeline.ledger()
  world.storage.rows.clear()
  const progress: ReplayReport[] = []
  const report = await pipeline.replay({}, never, each => progress.push(each))
  expect(report).toEqual({
    from: 0,
    to: 60,
    position: 60,
    end: 60,
    beyondKept: false,
    records: 58,
    ignored: 1,
    deadLettered: 1,
    points: 56,
    refused: 0,
    damaged: 1,
    dropped: 1
  })
  expect(new Map(world.storage.rows)).toEqual(rows)
  expect(pipeline.ledger()).toEqual(ledger)
  expect(world.letterJournal.records).toHaveLength(1)
  expect(progress.map(each => each.position)).toEqual([0, 10, 20, 30, 40, 50])
  expect(world.storage.catalogue.stored?.rewriteFrom).toBeUndefined()
})

test('a replay takes ordinals, received times and a topic filter, and says when the range begins before what is kept', async () => {
  const world = worldOf(many(60))
  await using pipeline = await openPipeline(world, { oldest: async () => await Promise.resolve(10) })
  await settled(pipeline)
  const replayed = async (range: Parameters<Pipeline['replay']>[0]): Promise<[ReplayReport, number[]]> => {
    world.storage.rows.clear()
    const report = await replay(pipeline, range)
    return [report, [...world.storage.rows.values()].map(Number).toSorted((a, b) => a - b)]
  }
  const ordinals = await replayed({ from: { ordinal: 20 }, to: { ordinal: 24 } })
  expect(ordinals).toEqual([expect.objectContaining({ from: 20, to: 24, records: 4, beyondKept: false }), [20, 21, 22, 23]])
  const timeNs = (ordinal: number): bigint => BigInt(receivedMs + ordinal) * 1_000_000n + BigInt(ordinal)
  const times = await replayed({ from: { timeNs: timeNs(30) }, to: { timeNs: timeNs(32) } })
  expect(times).toEqual([expect.objectContaining({ from: 30, to: 32, records: 2, beyondKept: false }), [30, 31]])
  const topics = await replayed({ from: { ordinal: 50 }, topic: 'devices/+/#' })
  expect(topics[1]).toEqual(many(10).map(record => record.ordinal + 50))
  expect((await replayed({ from: { ordinal: 50 }, topic: 'devices/d1/telemetry' }))[1]).toEqual([53, 57])
  const older = await replayed({ from: { ordinal: 3 }, to: { ordinal: 12 } })
  expect(older).toEqual([expect.objectContaining({ from: 10, to: 12, beyondKept: true }), [10, 11]])
  expect((await replayed({ from: { timeNs: timeNs(3) }, to: { timeNs: timeNs(12) } }))[0]).toMatchObject({ from: 10, beyondKept: true })
  expect((await replayed({ from: { ordinal: 58 }, to: { ordinal: 9999 } }))[0]).toMatchObject({ from: 58, to: 60, records: 2 })
  expect((await replayed({ from: { ordinal: 9999 } }))[0]).toMatchObject({ from: 60, to: 60, records: 0 })
  await expect(replay(pipeline, { topic: 'a/#/b' })).rejects.toMatchObject({
    code: 'TG_PARAMETER_INVALID',
    context: { parameter: 'topic' }
  })
})

test('later wins: an older record that is written again does not stand over a newer one outside of the range', async () => {
  const at = (ordinal: number, value: number): JournalRecord =>
    recordOf({ ordinal, payload: `{"ts":${receivedMs},"v":${value},"w${ordinal % 2}":${value}}` })
  const records = [at(0, 1), ...many(20, ordinal => good(ordinal + 1)), at(21, 2), ...many(20, ordinal => good(ordinal + 22)), at(42, 3)]
  const world = worldOf(records)
  await using pipeline = await openPipeline(world)
  await settled(pipeline)
  const rows = new Map(world.storage.rows)
  for (const range of [{ to: { ordinal: 1 } }, { to: { ordinal: 30 } }, { from: { ordinal: 21 }, to: { ordinal: 22 } }]) {
    await replay(pipeline, range)
    expect(new Map(world.storage.rows)).toEqual(rows)
  }
})

test('later wins over a record that comes while an older one is written again', async () => {
  const at = (ordinal: number, value: number): JournalRecord => recordOf({ ordinal, payload: `{"ts":${receivedMs},"v":${value}}` })
  const world = worldOf([...many(30), at(30, 1), at(31, 2)])
  await using pipeline = await openPipeline(world, { journal: { uuid: journalUuid, oldest: 0, durable: 31 } })
  await settled(pipeline)
  const running = replay(pipeline)
  // The newest comes in the middle, and is written before what is left of the replay.
  await eventually(() => world.storage.writes > 4)
  pipeline.advance(32)
  await running
  await settled(pipeline)
  expect([...world.storage.rows].filter(([key]) => key.includes('boiler')).map(([, value]) => value)).toEqual([2])
})

test('a replay that its client leaves stops, and what it wrote does not stand over what is newer', async () => {
  const at = (ordinal: number, value: number): JournalRecord => recordOf({ ordinal, payload: `{"ts":${receivedMs},"v":${value}}` })
  const world = worldOf([at(0, 1), ...many(200, ordinal => good(ordinal + 1)), at(201, 2)])
  await using pipeline = await openPipeline(world)
  await settled(pipeline)
  const rows = new Map(world.storage.rows)
  world.storage.rows.clear()
  const client = new AbortController()
  const running = pipeline.replay({}, client.signal, ({ position }) => {
    if (position >= 50) client.abort()
  })
  await expect(replay(pipeline)).rejects.toMatchObject({ code: 'TG_REPLAY_RUNNING', status: 409 })
  await expect(running).rejects.toMatchObject({ code: 'TG_QUERY_CANCELLED' })
  await settled(pipeline)
  expect(world.storage.rows.size).toBeLessThan(100)
  for (const [key, value] of world.storage.rows) expect(rows.get(key)).toBe(value)
  await replay(pipeline)
  expect(new Map(world.storage.rows)).toEqual(rows)
})

test('a replay that its process does not survive is done again by the next start', async () => {
  const world = worldOf(many(100))
  {
    await using pipeline = await openPipeline(world)
    await settled(pipeline)
    world.storage.rows.clear()
    const gate = deferred()
    let writes = 0
    world.storage.gate = async () => {
      writes += 1
      if (writes > 3) await gate.promise
    }
    const running = replay(pipeline, { from: { ordinal: 7 } })
    const left = expect(running).rejects.toMatchObject({ code: 'TG_STOPPING' })
    await eventually(() => writes > 3)
    const closing = pipeline.close()
    gate.resolve()
    await closing
    await left
    await expect(replay(pipeline)).rejects.toMatchObject({ code: 'TG_STOPPING' })
  }
  expect(world.storage.rows.size).toBeLessThan(93)
  expect(world.storage.catalogue.stored?.rewriteFrom).toBe(7)
  await using pipeline = await openPipeline(world)
  await settled(pipeline)
  expect(world.storage.rows.size).toBe(93)
  expect(world.storage.catalogue.stored?.rewriteFrom).toBeUndefined()
})

test('an older value that reached the store just before the process died is put right by the next start', async () => {
  const at = (ordinal: number, value: number): JournalRecord => recordOf({ ordinal, payload: `{"ts":${receivedMs},"v":${value}}` })
  const world = worldOf([at(0, 1), ...many(30, ordinal => good(ordinal + 1)), at(31, 2), good(32)])
  const valueOf = ({ storage }: World): FieldValue | undefined => [...storage.rows].find(([key]) => key.includes('boiler'))?.[1]
  world.storage.forgetful = true
  {
    await using pipeline = await openPipeline(world, { journal: { uuid: journalUuid, oldest: 0, durable: 32 } })
    await settled(pipeline)
    // So that the last minute is not about those.
    world.clock.nowMs += 100_000
    pipeline.advance(33)
    await settled(pipeline)
    expect(world.storage.catalogue.stored?.rewriteFrom).toBe(32)
    world.storage.fail = stage =>
      stage === 'settled' && valueOf(world) === 1 ? new TidegateError('TG_STORE_UNAVAILABLE', 'gone') : undefined
    const running = replay(pipeline, { to: { ordinal: 1 } }).catch(() => undefined)
    await eventually(() => valueOf(world) === 1 && pipeline.stats.retries > 0)
    await pipeline.close()
    await running
  }
  world.storage.fail = () => undefined
  await using pipeline = await openPipeline(world)
  await settled(pipeline)
  expect(valueOf(world)).toBe(2)
})

test('what a store may have forgotten does not wait for the end of a replay', async () => {
  const world = worldOf(many(400))
  world.storage.forgetful = true
  world.storage.gate = async () => await new Promise(resolve => setImmediate(resolve))
  await using pipeline = await openPipeline(world, { journal: { uuid: journalUuid, oldest: 0, durable: 380 } })
  await settled(pipeline)
  world.clock.nowMs += 100_000
  pipeline.advance(400)
  await settled(pipeline)
  const reached = deferred()
  const running = pipeline.replay({}, never, ({ position }) => {
    if (position >= 50) reached.resolve()
  })
  await reached.promise
  world.storage.rows.clear()
  world.storage.returned()
  await eventually(() => pipeline.stats.rewritten.outage > 0)
  expect(pipeline.stats.rewritten.replay).toBeLessThan(380)
  await running
  await settled(pipeline)
  expect(world.storage.rows.size).toBe(400)
})

test('what a store may have forgotten and the journal does not keep any more is said, with a code of its own', async () => {
  const { world } = await storedWorld(many(60))
  const lines: unknown[] = []
  const log = pino({ level: 'error', base: null, timestamp: false }, { write: line => lines.push(JSON.parse(line)) })
  // As on a full disk: what is committed went to make room.
  await using pipeline = await openPipeline(world, { log, oldest: () => Promise.resolve(20) })
  await settled(pipeline)
  expect(pipeline.stats.rewritten.start).toBe(40)
  expect(lines).toEqual([
    { level: 50, code: 'TG_STORE_FORGOT', from: 0, kept: 20, msg: 'the store may have forgotten records that are not kept any more' }
  ])
})

/** Opens the reading side of a folder that may fail; ingest itself is not hindered. */
function folderOf(world: World) {
  const folder = { failing: false, looks: 0 }
  const look = (): void => {
    folder.looks += 1
    if (folder.failing) throw new TidegateError('TG_JOURNAL_FAILING', 'the folder cannot be read')
  }
  return {
    folder,
    options: {
      openSource: async (from: number) => {
        look()
        return await Promise.resolve(new FakeSource(world.records, from))
      },
      oldest: async () => {
        look()
        return await Promise.resolve(0)
      }
    }
  }
}

test.each(['oldest', 'openSource'] as const)('what is owed is tried again, with growing pauses, while %s fails', async call => {
  const { world, rows } = await storedWorld(many(60))
  const { folder, options } = folderOf(world)
  const working = {
    openSource: async (from: number) => await Promise.resolve(new FakeSource(world.records, from)),
    oldest: () => Promise.resolve(0)
  }
  await using pipeline = await openPipeline(world, { ...working, [call]: options[call] })
  await settled(pipeline)
  world.storage.rows.clear()
  world.clock.slept.length = 0
  folder.failing = true
  const before = folder.looks
  world.storage.returned()
  await eventually(() => folder.looks > before + 7)
  // Whoever waits behind it is told, and does not wait for ever.
  await expect(replay(pipeline)).rejects.toMatchObject({ code: 'TG_JOURNAL_FAILING' })
  expect(pipeline.stats.rewriting).toBe(true)
  expect(world.storage.catalogue.stored?.rewriteFrom).toBe(0)
  expect(world.clock.slept.slice(0, 7)).toEqual([200, 400, 800, 1600, 3200, 5000, 5000])
  folder.failing = false
  await settled(pipeline)
  expect(new Map(world.storage.rows)).toEqual(rows)
})

test('a replay that cannot be begun owes nothing; one that fails in the middle is put in order without anyone asking', async () => {
  const at = (ordinal: number, value: number): JournalRecord => recordOf({ ordinal, payload: `{"ts":${receivedMs},"v":${value}}` })
  const world = worldOf([at(0, 1), ...many(200, ordinal => good(ordinal + 1)), at(201, 2)])
  let source: FakeSource | undefined
  let failing = false
  await using pipeline = await openPipeline(world, {
    openSource: async from => {
      if (failing) throw new TidegateError('TG_JOURNAL_FAILING', 'the folder cannot be read')
      return await Promise.resolve((source = new FakeSource(world.records, from)))
    },
    oldest: () => Promise.resolve(0)
  })
  await settled(pipeline)
  const rows = new Map(world.storage.rows)
  failing = true
  const writes = world.storage.writes
  await expect(replay(pipeline)).rejects.toMatchObject({ code: 'TG_JOURNAL_FAILING' })
  failing = false
  await settled(pipeline)
  expect([world.storage.writes, world.storage.catalogue.stored?.rewriteFrom]).toEqual([writes, undefined])
  const running = pipeline.replay({ to: { ordinal: 150 } }, never, ({ position }) => {
    if (position >= 50) void source?.close()
  })
  await expect(running).rejects.toMatchObject({ code: 'TG_JOURNAL_CLOSED' })
  await settled(pipeline)
  expect(new Map(world.storage.rows)).toEqual(rows)
  expect(world.storage.catalogue.stored?.rewriteFrom).toBeUndefined()
})

test('new records go between the batches of a replay, one write at a time, however long the replay is', async () => {
  const world = worldOf(many(400))
  await using pipeline = await openPipeline(world, { journal: { uuid: journalUuid, oldest: 0, durable: 300 } })
  await settled(pipeline)
  const before = world.storage.effects.length
  world.storage.gate = async () => await new Promise(resolve => setImmediate(resolve))
  const running = replay(pipeline)
  await eventually(() => world.storage.effects.length > before + 3)
  pipeline.advance(325)
  await pipeline.waitFor(324, never)
  // The replay was far from its end.
  expect(pipeline.stats.rewriting).toBe(true)
  await running
  expect(world.storage.mostInFlight).toBe(1)
  const sizes = world.storage.effects.slice(before).map(effect => effect.ordinals.length)
  expect(Math.max(...sizes.filter((_, index) => index !== sizes.indexOf(25)))).toBeLessThan(25)
})

test('points that the store refuses now are counted and nothing else', async () => {
  const world = worldOf(many(20))
  await using pipeline = await openPipeline(world)
  await settled(pipeline)
  world.storage.rows.clear()
  world.storage.reject = point => (point.source.device === 'd1' ? 'too old' : undefined)
  expect(await replay(pipeline)).toMatchObject({ records: 20, points: 15, refused: 5 })
  expect(world.letterJournal.records).toEqual([])
  expect(pipeline.ledger().totals).toMatchObject({ stored: 20, deadLettered: 0 })
})
