import { expect, test } from 'vitest'
import type { RouteConfig } from '../../config.ts'
import { TidegateError } from '../../errors.ts'
import { countLetters } from '../../ingest/letter-count.ts'
import { startingCheckpoint } from '../../ingest/settlement.ts'
import type { JournalRecord } from '../../journal/record.ts'
import { FakeSource, FakeStorage, deferred, fieldsOf, journalUuid, receivedMs, recordOf, whyOf } from './fakes.ts'
import { openPipeline, worldOf } from './world.ts'

/** A delay that does not pass: only its signal ends it. */
const sleep = async (_ms: number, signal: AbortSignal): Promise<void> => {
  if (signal.aborted) return
  await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
}

const never = new AbortController().signal
const good = (ordinal: number): JournalRecord =>
  recordOf({ ordinal, topic: `devices/d${ordinal % 4}/telemetry`, payload: `{"v":${ordinal}}` })
const many = (count: number, of = good): JournalRecord[] => Array.from({ length: count }, (_, ordinal) => of(ordinal))

test('records become points, dead letters or nothing, and the checkpoint counts each once', async () => {
  const world = worldOf([
    good(0),
    recordOf({ ordinal: 1, payload: '{"broken' }),
    recordOf({ ordinal: 2, topic: 'cmnd/x/Power', payload: 'ON' }),
    'damaged',
    recordOf({ ordinal: 4, payload: '[{"v":4},{"v":null}]' }),
    'dropped',
    'dropped',
    good(7)
  ])
  await using pipeline = await openPipeline(world)
  await pipeline.waitFor(7, never)
  expect(pipeline.ledger()).toEqual({
    since: 0,
    position: 8,
    totals: { stored: 2, deadLettered: 2, ignored: 1, deduplicated: 0, dropped: 2, damaged: 1 }
  })
  expect(world.storage.catalogue.stored).toEqual(pipeline.position)
  expect([...world.storage.rows.values()]).toEqual([0, 4, 7])
  const letters = world.letterJournal.records.map(whyOf)
  expect(letters).toMatchObject([
    { ordinal: 1, reason: 'broken-json', journal: journalUuid },
    { ordinal: 4, reason: 'null-value' }
  ])
  const messages = world.committed.flatMap(each => each.messages)
  expect(messages.map(({ ordinal, points }) => [ordinal, points.map(fieldsOf)])).toEqual([
    [0, [{ v: 0 }]],
    [4, [{ v: 4 }]],
    [7, [{ v: 7 }]]
  ])
  expect(pipeline.stats).toMatchObject({ records: 8, points: 3, lag: 0, retries: 0 })
})

test('a record that has its letter is a dead letter, whatever becomes of it when it is read again', async () => {
  const broken = (ordinal: number): JournalRecord => recordOf({ ordinal, payload: `{"broken ${ordinal}` })
  const world = worldOf([good(0), broken(1), broken(2), broken(3), broken(4), good(5)])
  // The letters are durable, and the service ends before the checkpoint is.
  world.storage.fail = stage => (stage === 'settled' ? new Error('killed') : undefined)
  {
    await using _ = await openPipeline(world)
    await expect.poll(() => world.letterJournal.durable).toBe(4)
  }
  expect(world.storage.catalogue.stored).toBeUndefined()
  world.storage.fail = () => undefined
  world.records[2] = 'damaged'
  world.records[3] = 'dropped'
  world.records[4] = recordOf({ ordinal: 4, topic: 'cmnd/x/Power', payload: 'ignored since then' })
  await using pipeline = await openPipeline(world)
  await pipeline.waitFor(5, never)
  expect(pipeline.ledger().totals).toEqual({ stored: 2, deadLettered: 4, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 })
  expect(world.letterJournal.records.map(whyOf)).toMatchObject([1, 2, 3, 4].map(ordinal => ({ ordinal })))
})

test('batches are bounded, follow each other without a gap, and one is written while the next is filled', async () => {
  const world = worldOf(many(200))
  const gate = deferred()
  world.storage.gate = () => gate.promise
  await using pipeline = await openPipeline(world)
  const deadline = Date.now() + 5000
  while (world.storage.inFlight === 0 && Date.now() < deadline) await new Promise(resolve => setImmediate(resolve))
  const { position } = pipeline.position
  gate.resolve()
  expect(position).toBe(0)
  await pipeline.waitFor(199, never)
  expect(world.storage.mostInFlight).toBe(1)
  let next = 0
  for (const { from, to, messages, checkpoint } of world.committed) {
    expect(from).toBe(next)
    expect(messages.map(each => each.ordinal)).toEqual(Array.from({ length: to - from }, (_, index) => from + index))
    expect(messages.length).toBeLessThanOrEqual(25)
    expect(checkpoint.position).toBe(to)
    next = to
  }
  expect(next).toBe(200)
})

test('a store that fails gets the same batch again, with growing pauses, until it takes it', async () => {
  const world = worldOf(many(10))
  let failures = 0
  world.storage.fail = stage => {
    if (stage !== 'before' || failures >= 8) return undefined
    failures += 1
    return failures % 2 === 0 ? new Error('unknown') : new TidegateError('TG_STORE_UNAVAILABLE', 'down')
  }
  await using pipeline = await openPipeline(world)
  await pipeline.waitFor(9, AbortSignal.timeout(5000))
  expect(world.clock.slept.filter(ms => ms !== 250)).toEqual([200, 400, 800, 1600, 3200, 5000, 5000, 5000])
  expect(pipeline.stats).toMatchObject({ retries: 8, outcomes: { stored: 10 } })
})

test('a reading that the store refuses is a dead letter with its words; a merged one takes each of its records along', async () => {
  const world = worldOf(
    many(12, ordinal => recordOf({ ordinal, topic: `devices/d${ordinal}/telemetry`, payload: `{"ts":1779010200000,"v":${ordinal}}` })).map(
      record => (record.ordinal === 5 ? { ...record, topic: 'devices/d3/telemetry' } : record)
    )
  )
  world.storage.reject = point => (point.source.device === 'd3' ? 'field type conflict' : undefined)
  await using pipeline = await openPipeline(world)
  await pipeline.waitFor(11, never)
  expect(pipeline.position.totals).toMatchObject({ stored: 10, deadLettered: 2 })
  expect(world.letterJournal.records.map(record => record.topic)).toEqual(['devices/d3/telemetry', 'devices/d3/telemetry'])
  expect(world.letterJournal.records.map(record => Buffer.from(record.payload).toString())).toEqual([
    '{"ts":1779010200000,"v":3}',
    '{"ts":1779010200000,"v":5}'
  ])
  expect(Buffer.from(world.letterJournal.records[0]?.properties ?? []).toString()).toContain('field type conflict')
  expect(world.committed.flatMap(each => each.messages).map(message => message.ordinal)).toEqual([0, 1, 2, 4, 6, 7, 8, 9, 10, 11])
})

test('a write that failed after its dead letters were durable makes no second ones', async () => {
  const world = worldOf(many(6, ordinal => recordOf({ ordinal, payload: ordinal % 2 === 0 ? '{' : `{"v":${ordinal}}` })))
  let failures = 0
  world.storage.fail = stage => (stage === 'settled' && failures++ < 3 ? new Error('lost connection') : undefined)
  await using pipeline = await openPipeline(world)
  await pipeline.waitFor(5, never)
  expect(pipeline.position.totals).toMatchObject({ stored: 3, deadLettered: 3 })
  expect(world.letterJournal.records.map(record => record.receivedMs)).toEqual([0, 2, 4].map(ordinal => recordOf({ ordinal }).receivedMs))
})

test('a record that got its letter before a crash is dead-lettered, whatever became of its route and of the journal meanwhile', async () => {
  const broken = (ordinal: number): JournalRecord => recordOf({ ordinal, topic: `raw/${ordinal}`, payload: '{' })
  const world = worldOf([broken(0), broken(1), broken(2), broken(3), good(4)])
  let fails = true
  world.storage.fail = stage => (stage === 'settled' && fails ? new TidegateError('TG_STORE_UNAVAILABLE', 'no') : undefined)
  {
    await using pipeline = await openPipeline(world)
    const deadline = Date.now() + 5000
    while (world.storage.writes < 3 && Date.now() < deadline) await new Promise(resolve => setImmediate(resolve))
    expect(pipeline.position.position).toBe(0)
  }
  expect(world.letterJournal.records).toHaveLength(4)
  fails = false
  world.records[2] = 'damaged'
  world.records[3] = 'dropped'
  const ignored: RouteConfig = { topic: 'raw/0', ignore: true }
  await using pipeline = await openPipeline(world, { routes: [ignored] })
  await pipeline.waitFor(4, never)
  expect(pipeline.ledger().totals).toEqual({ stored: 1, deadLettered: 4, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 })
  expect(world.letterJournal.records).toHaveLength(4)
})

test('it goes on from the checkpoint of this journal, and anew from the oldest record otherwise', () => {
  const checkpoint = {
    journal: journalUuid,
    position: 50,
    since: 10,
    totals: { stored: 40, deadLettered: 0, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 }
  }
  const journal = { uuid: journalUuid, oldest: 20, durable: 80 }
  expect(startingCheckpoint(checkpoint, journal)).toEqual({ checkpoint, anew: undefined })
  expect(startingCheckpoint(checkpoint, { ...journal, durable: 50 }).checkpoint).toEqual(checkpoint)
  const anew = { journal: journalUuid, position: 20, since: 20, totals: { ...checkpoint.totals, stored: 0 } }
  expect(startingCheckpoint(undefined, journal)).toMatchObject({ checkpoint: anew, anew: expect.any(String) })
  expect(startingCheckpoint(checkpoint, { ...journal, durable: 49 })).toMatchObject({
    checkpoint: anew,
    anew: expect.stringMatching(/ahead/)
  })
  expect(startingCheckpoint({ ...checkpoint, journal: 'x' }, journal)).toMatchObject({
    checkpoint: anew,
    anew: expect.stringMatching(/another/)
  })
})

test('a checkpoint may not be above what was durable when the journal was opened, until a service has begun from there', () => {
  const totals = { stored: 50, deadLettered: 0, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 }
  const checkpoint = { journal: journalUuid, position: 50, since: 0, totals }
  const journal = { uuid: journalUuid, oldest: 0, durable: 80 }
  expect(startingCheckpoint(checkpoint, { ...journal, checkpointAtMost: 50 }).anew).toBeUndefined()
  expect(startingCheckpoint(checkpoint, { ...journal, checkpointAtMost: 49 })).toMatchObject({
    checkpoint: { position: 0, since: 0 },
    anew: expect.stringMatching(/ahead/)
  })
})

test('a checkpoint that is ahead is replaced before a record is read, so that none that comes makes it look right', async () => {
  const world = worldOf([])
  const totals = { stored: 50, deadLettered: 0, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 }
  world.storage.catalogue.stored = { journal: journalUuid, position: 50, since: 0, totals }
  {
    await using pipeline = await openPipeline(world)
    expect(pipeline.position).toMatchObject({ position: 0, since: 0 })
  }
  expect(world.storage.catalogue.stored).toMatchObject({ position: 0, since: 0, totals: { stored: 0 } })
  world.records.push(...many(60))
  await using pipeline = await openPipeline(world)
  await pipeline.waitFor(59, never)
  expect(pipeline.position.totals).toMatchObject({ stored: 60 })
  expect([...world.storage.rows.values()]).toEqual(Array.from({ length: 60 }, (_, ordinal) => ordinal))
})

test('a record with the ordinal of a lost one gets its own letter, or none', async () => {
  const world = worldOf([recordOf({ ordinal: 0, payload: '{"lost' }), recordOf({ ordinal: 1, payload: '{"lost too' })])
  {
    await using pipeline = await openPipeline(world)
    await pipeline.waitFor(1, never)
  }
  expect(world.letterJournal.records).toHaveLength(2)
  world.storage.catalogue.stored = undefined
  world.records.splice(0, 2, { ...good(0), receivedMs: 5 }, recordOf({ ordinal: 1, payload: '{"another', receivedMs: 6 }))
  await using pipeline = await openPipeline(world)
  await pipeline.waitFor(1, never)
  expect(pipeline.position.totals).toMatchObject({ stored: 1, deadLettered: 1 })
  expect(world.letterJournal.records.map(record => Buffer.from(record.payload).toString())).toEqual(['{"lost', '{"lost too', '{"another'])
})

test('the letters agree with the totals when the journal has lost records that are dead letters', async () => {
  const broken = (ordinal: number, payload: string) => recordOf({ ordinal, payload, receivedMs: receivedMs + 1000 * payload.length })
  const world = worldOf([...many(6), broken(6, '{"kept'), broken(7, '{"lost'), broken(8, '{"lost too'), good(9)])
  {
    await using pipeline = await openPipeline(world)
    await pipeline.waitFor(9, never)
  }
  const counted = async () =>
    await countLetters(
      { journal: world.letterJournal, bound: world.letterBound, scan: world.letterJournal.scan },
      { journal: journalUuid, since: 0, below: 10 },
      {}
    )
  // The machine lost its power, and with it what was told to be durable and was not.
  world.records.splice(7, 3, good(7), broken(8, '{"another'), good(9))
  for (const checkpointAtMost of [7, 10]) {
    await using pipeline = await openPipeline(world, { journal: { uuid: journalUuid, oldest: 0, durable: 10, checkpointAtMost } })
    await pipeline.waitFor(9, never)
    expect(pipeline.position.totals).toMatchObject({ stored: 8, deadLettered: 2 })
    expect((await counted())?.accounts).toEqual({ kept: 2, tombstoned: 0, evicted: 0 })
  }
  expect(world.letterJournal.records.filter(record => record.topic !== '')).toHaveLength(4)
})

test('ordinals that the journal leaves out without a word are damaged, not passed over', async () => {
  const world = worldOf(many(30))
  for (const hole of [0, 7, 8, 29]) Reflect.deleteProperty(world.records, hole)
  await using pipeline = await openPipeline(world)
  await pipeline.waitFor(29, never)
  expect(pipeline.position.totals).toMatchObject({ stored: 26, damaged: 4 })
})

test('records are read as far as they are durable, and waiting ends with its record, its signal or the pipeline', async () => {
  const world = worldOf(many(20))
  const pipeline = await openPipeline(world, { journal: { uuid: journalUuid, oldest: 0, durable: 5 } })
  await pipeline.waitFor(4, never)
  expect(pipeline.position.position).toBe(5)
  const abort = new AbortController()
  const aborted = pipeline.waitFor(6, abort.signal)
  abort.abort(new Error('enough'))
  await expect(aborted).rejects.toThrow('enough')
  const waiting = pipeline.waitFor(12, never)
  pipeline.advance(15)
  expect(pipeline.stats.lag).toBeGreaterThan(0)
  await waiting
  await pipeline.waitFor(14, never)
  expect(pipeline.position.position).toBe(15)
  const ended = pipeline.waitFor(17, never)
  const rejected = expect(ended).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
  await pipeline.close()
  await pipeline.close()
  await rejected
})

test('draining writes what is durable at once, and says when the deadline was too short', async () => {
  const world = worldOf(many(20))
  await using pipeline = await openPipeline(world, { clock: { sleep, monotonicMs: () => 0 } })
  const deadline = Date.now() + 5000
  while (pipeline.stats.decodeMs === 0 && Date.now() < deadline) await new Promise(resolve => setImmediate(resolve))
  expect(pipeline.position.position).toBe(0)
  expect(await pipeline.drain(60_000)).toBe(true)
  expect(pipeline.position.position).toBe(20)

  const stuck = worldOf(many(20))
  stuck.storage.fail = () => new TidegateError('TG_STORE_UNAVAILABLE', 'down')
  await using held = await openPipeline(stuck)
  expect(await held.drain(0)).toBe(false)
  expect(held.position.position).toBe(0)
})

test('a journal that cannot be read for a while is read again; a listener that throws stops nothing', async () => {
  const world = worldOf(many(30))
  let reads = 0
  const pipeline = await openPipeline(world, {
    openSource: from => {
      const source = new FakeSource(world.records, from, 4)
      const read = source.read.bind(source)
      source.read = async limits => {
        reads += 1
        if (reads % 3 === 1) throw new Error('EIO')
        return await read(limits)
      }
      return source
    },
    onCommitted: () => {
      throw new Error('a listener')
    }
  })
  await pipeline.waitFor(29, never)
  expect(world.storage.rows.size).toBe(30)
  await pipeline.close()
})

test('decoding lets others run, however much there is to decode', async () => {
  const wide = JSON.stringify(Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`field_${index}`, index + 0.5])))
  const world = worldOf(many(6000, ordinal => recordOf({ ordinal, topic: `devices/d${ordinal}/telemetry`, payload: wide })))
  let longest = 0
  let last = performance.now()
  let ticking = true
  const tick = (): void => {
    longest = Math.max(longest, performance.now() - last)
    last = performance.now()
    if (ticking) setImmediate(tick)
  }
  tick()
  const storage = new FakeStorage()
  storage.write = async (batch, settle) => {
    storage.catalogue.stored = await settle([])
    expect(batch.points.length).toBeGreaterThan(0)
  }
  await using pipeline = await openPipeline({ ...world, storage }, { batchPoints: 100_000, chunk: 6000 })
  await pipeline.waitFor(5999, never)
  ticking = false
  expect(pipeline.stats.decodeMs).toBeGreaterThan(3)
  // Generous for a busy machine; without yielding the whole takes longer than that.
  expect(longest).toBeLessThan(Math.max(60, pipeline.stats.decodeMs / 2))
})

test('a record that takes long lets others run while it is decoded', async () => {
  const lines = Array.from({ length: 40_000 }, (_, index) => (index % 2 === 0 ? 'a b' : `m,device=d${index % 50} v=${index}`))
  const world = worldOf([good(0), recordOf({ ordinal: 1, payload: lines.join('\n') }), good(2)])
  await using pipeline = await openPipeline(world)
  let turns = 0
  let watching = true
  const watch = (): void => {
    turns += 1
    if (watching) setImmediate(watch)
  }
  setImmediate(watch)
  await pipeline.waitFor(2, never)
  watching = false
  // It takes 100 ms and more; a turn lasts 3 ms.
  expect(turns).toBeGreaterThan(8)
  expect(pipeline.ledger().totals).toMatchObject({ stored: 2, deadLettered: 1 })
  expect(world.committed.flatMap(each => each.messages.map(({ points }) => points.length))).toEqual([1, 20_000, 1])
})

test('a batch is full at five values for each point that it may have', async () => {
  const fields = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`f${index}`, index]))
  const wide = (ordinal: number): JournalRecord => recordOf({ ordinal, payload: JSON.stringify(fields) })
  const world = worldOf(many(30, wide))
  await using pipeline = await openPipeline(world, { batchPoints: 10, chunk: 30 })
  await pipeline.waitFor(29, never)
  // 50 values: the third record of 20 fills it.
  expect(world.committed.map(({ from, to }) => [from, to])).toEqual(Array.from({ length: 10 }, (_, index) => [index * 3, index * 3 + 3]))
})

test('when the journal is closed under it, ingest says once that it has stopped, and nobody waits any more', async () => {
  const world = worldOf(many(4))
  const source = new FakeSource(world.records, 0)
  const stopped: unknown[] = []
  const gone = deferred()
  await using pipeline = await openPipeline(world, {
    openSource: () => source,
    onStopped: error => {
      stopped.push(error)
      gone.resolve()
    }
  })
  await pipeline.waitFor(3, never)
  const waiting = pipeline.waitFor(4, never)
  await source.close()
  await expect(waiting).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
  await gone.promise
  await pipeline.close()
  expect(stopped).toMatchObject([{ code: 'TG_JOURNAL_CLOSED' }])
})

test('a pipeline that is closed has not stopped by itself', async () => {
  const stopped: unknown[] = []
  const pipeline = await openPipeline(worldOf(many(4)), { onStopped: error => stopped.push(error) })
  await pipeline.close()
  expect(stopped).toEqual([])
})
