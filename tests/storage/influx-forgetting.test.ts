import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { expect, it } from 'vitest'
import type { Pipeline } from '../../ingest/pipeline.ts'
import { InfluxStore } from '../../storage/influx-store.ts'
import { ForgetfulInflux } from '../harness/forgetful-influx.ts'
import type { ForgetfulInfluxOptions } from '../harness/forgetful-influx.ts'
import { eventually } from '../harness/tidegate.ts'
import { journalUuid, receivedMs, recordOf } from '../ingest/fakes.ts'
import { openPipeline, worldOf } from '../ingest/world.ts'

/** Every third reading corrects the one before it. */
const records = Array.from({ length: 400 }, (_, ordinal) =>
  recordOf({
    ordinal,
    topic: `devices/d${ordinal % 7}/telemetry`,
    clientId: `d${ordinal % 7}`,
    payload:
      ordinal % 3 === 2 ? `{"ts":${receivedMs + ordinal - 7},"v":${ordinal}}` : `{"ts":${receivedMs + ordinal},"v":${ordinal},"w":true}`
  })
)

/** What the server has to hold once the first records are in. */
function expectedRows(count: number): Record<string, Record<string, string>> {
  const rows: Record<string, Record<string, string>> = {}
  for (let ordinal = 0; ordinal < count; ordinal += 1) {
    const corrects = ordinal % 3 === 2
    const key = `telemetry,device=d${ordinal % 7} ${receivedMs + ordinal - (corrects ? 7 : 0)}000000`
    rows[key] = { ...rows[key], v: String(ordinal), ...(corrects ? {} : { w: 'T' }) }
  }
  return rows
}

/** A data folder, a server and a clock, which outlive pipelines. */
async function makeWorld(options: ForgetfulInfluxOptions = {}) {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-forgetting-'))
  const world = worldOf(records)
  const server = await ForgetfulInflux.start({ ...options, clock: () => world.clock.nowMs })
  let durable = 0
  return {
    server,
    clock: world.clock,
    /** As the service does at its start. */
    async open() {
      const storage = await InfluxStore.open({
        folder,
        url: server.url,
        org: 'o',
        bucket: 'b',
        token: 't',
        timeoutMs: 3000,
        queryTimeoutMs: 5000,
        queuedQueries: 10,
        memoryBytes: 64 * 1024 ** 2,
        log: pino({ level: 'silent' }),
        probe: { idleMs: 20, outageMs: 20 }
      })
      const pipeline = await openPipeline(world, { storage, journal: { uuid: journalUuid, oldest: 0, durable } })
      return {
        pipeline,
        storage,
        async [Symbol.asyncDispose]() {
          await pipeline.close()
          await storage[Symbol.asyncDispose]()
        }
      }
    },
    async come(pipeline: Pipeline, count: number) {
      durable += count
      pipeline.advance(durable)
      await eventually('they have their outcome', () => (pipeline.position.position === durable ? true : undefined))
      world.clock.nowMs += 1000
    },
    async expectAll() {
      await eventually('everything is in the store', () => {
        expect(Object.fromEntries(server.rows())).toEqual(expectedRows(durable))
        return true
      })
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    }
  }
}

it.each([false, true])(
  'a server that loses its last five seconds has everything again once it is back (tells its start: %s)',
  async tellsStart => {
    await using world = await makeWorld({ tellsStart })
    await using opened = await world.open()
    const { pipeline, storage } = opened
    const { server, clock } = world
    for (let rounds = 0; rounds < 4; rounds += 1) {
      for (let batches = 0; batches < 4; batches += 1) await world.come(pipeline, 20)
      await server.kill()
      expect(server.lost).toBeGreaterThan(0)
      await eventually('the outage is seen', () => storage.outage)
      // Hours, on the clock of ingest.
      clock.nowMs += 7_200_000
      const before = storage.catalogue.checkpoint()
      await server.start()
      await world.expectAll()
      await eventually('the rewrite is through', () => (pipeline.stats.rewriting ? undefined : true))
      const { rewriteFrom: _, ...checkpoint } = storage.catalogue.checkpoint() ?? {}
      expect(before).toMatchObject(checkpoint)
      // And again, with what was just written again.
      await server.kill()
      await server.start()
      await world.expectAll()
    }
    expect(pipeline.ledger()).toMatchObject({ position: 320, totals: { stored: 320, deadLettered: 0 } })
  }
)

it('what it forgets while the service is away, too, is there again after the next start', async () => {
  await using world = await makeWorld()
  for (let lives = 0; lives < 4; lives += 1) {
    await using opened = await world.open()
    await world.expectAll()
    for (let batches = 0; batches < 3; batches += 1) await world.come(opened.pipeline, 30)
    await opened[Symbol.asyncDispose]()
    await world.server.kill()
    world.clock.nowMs += 7_200_000
    await world.server.start()
  }
  await using opened = await world.open()
  await world.expectAll()
  expect(opened.pipeline.ledger().totals.stored).toBe(360)
})

it('a server that is only busy is not written to twice', async () => {
  await using world = await makeWorld()
  await using opened = await world.open()
  const { pipeline } = opened
  await world.come(pipeline, 100)
  let refusals = 0
  world.server.interfere = (_, response) => {
    refusals += 1
    if (refusals > 4) return false
    response.writeHead(refusals % 2 === 0 ? 429 : 503).end('{}')
    return true
  }
  await world.come(pipeline, 100)
  expect(refusals).toBeGreaterThan(4)
  await world.come(pipeline, 100)
  expect(pipeline.stats.rewritten).toEqual({ start: 0, outage: 0, replay: 0 })
  await world.expectAll()
})

it('an emptied bucket is filled again by a replay, also when the server dies in the middle of it and after it', async () => {
  await using world = await makeWorld()
  await using opened = await world.open()
  const { pipeline } = opened
  for (let batches = 0; batches < 4; batches += 1) {
    await world.come(pipeline, 100)
    world.clock.nowMs += 100_000
  }
  world.server.empty()
  let died: Promise<void> | undefined
  const report = await pipeline.replay({}, new AbortController().signal, ({ position }) => {
    if (position >= 200) died ??= world.server.kill().then(async () => await world.server.start())
  })
  await died
  expect(report).toMatchObject({ records: 400, damaged: 0, refused: 0 })
  await world.expectAll()
  world.clock.nowMs += 4000
  await world.server.kill()
  await world.server.start()
  await world.expectAll()
})
