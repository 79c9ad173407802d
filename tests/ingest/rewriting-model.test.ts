import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { TidegateError } from '../../errors.ts'
import type { Pipeline } from '../../ingest/pipeline.ts'
import type { ReplayRange } from '../../ingest/replay.ts'
import type { JournalRecord } from '../../journal/record.ts'
import type { FieldValue } from '../../telemetry.ts'
import { buildSource } from '../../telemetry.ts'
import { FakeStorage, journalUuid, receivedMs, recordOf } from './fakes.ts'
import { openPipeline, worldOf } from './world.ts'

/** A store that loses what it was given in its last seconds when it dies, as long as that is less than a minute. */
class ForgetfulStorage extends FakeStorage {
  override readonly forgetful = true
  readonly #before: { readonly atMs: number; readonly rows: ReadonlyMap<string, FieldValue> }[] = []

  /** Called before each write. */
  remember(atMs: number): void {
    this.#before.push({ atMs, rows: new Map(this.rows) })
  }

  forget(nowMs: number, seconds: number): void {
    const first = this.#before.findIndex(({ atMs }) => atMs > nowMs - seconds * 1000)
    const kept = this.#before[first]
    if (kept === undefined) return
    this.rows.clear()
    for (const [key, value] of kept.rows) this.rows.set(key, value)
    this.#before.splice(first)
  }
}

/** Where the next writes fail. */
type Fate = 'before' | 'settled' | 'after' | 'none'

type Action =
  | { readonly kind: 'come'; readonly records: number }
  | { readonly kind: 'wait'; readonly seconds: number }
  | { readonly kind: 'turns'; readonly turns: number }
  | { readonly kind: 'fail'; readonly stages: readonly Fate[] }
  | { readonly kind: 'forget'; readonly seconds: number }
  | { readonly kind: 'die'; readonly seconds: number }
  | { readonly kind: 'replay'; readonly from: number; readonly to: number; readonly device: string | undefined; readonly turns: number }

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('come' as const), records: fc.integer({ min: 1, max: 25 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), seconds: fc.integer({ min: 1, max: 70 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('turns' as const), turns: fc.integer({ min: 1, max: 30 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('fail' as const),
      stages: fc.array(fc.constantFrom<Fate>('before', 'settled', 'after', 'none'), { maxLength: 4 })
    })
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('forget' as const), seconds: fc.integer({ min: 1, max: 59 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('die' as const), seconds: fc.integer({ min: 0, max: 59 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('replay' as const),
      from: fc.integer({ min: 0, max: 150 }),
      to: fc.integer({ min: 0, max: 200 }),
      device: fc.constantFrom('d1', 'd2', undefined),
      turns: fc.integer({ min: 0, max: 20 })
    })
  }
)

/** Times and fields meet often, so that what wins shows. */
interface Reading {
  readonly device: string
  readonly time: number | undefined
  readonly fields: Readonly<Record<string, number>>
}

const reading: fc.Arbitrary<Omit<Reading, 'fields'> & { readonly names: readonly string[] }> = fc.record({
  device: fc.constantFrom('d1', 'd2'),
  time: fc.constantFrom(undefined, 1, 2, 3),
  names: fc.uniqueArray(fc.constantFrom('v', 'w', 'x'), { minLength: 1 })
})

function recordFor({ device, time, fields }: Reading, ordinal: number): JournalRecord {
  const payload = JSON.stringify({ ...(time === undefined ? {} : { ts: receivedMs + time }), ...fields })
  return recordOf({ ordinal, topic: `devices/${device}/telemetry`, payload, clientId: device })
}

function modelOf(readings: readonly Reading[]): Map<string, FieldValue> {
  const rows = new Map<string, FieldValue>()
  for (const [ordinal, { device, time, fields }] of readings.entries()) {
    const ms = BigInt(receivedMs + (time ?? ordinal)) * 1_000_000n
    const timeNs = time === undefined ? ms + BigInt(ordinal) : ms
    const { key } = buildSource('telemetry', device, [])
    for (const [name, value] of Object.entries(fields)) rows.set(`${key} ${name} ${timeNs}`, value)
  }
  return rows
}

const sorted = (rows: ReadonlyMap<string, FieldValue>): [string, FieldValue][] => [...rows].toSorted(([a], [b]) => (a < b ? -1 : 1))
const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn += 1) await new Promise(resolve => setImmediate(resolve))
}

test('whatever is forgotten, replayed, cut off and comes meanwhile, the store ends with what all records give in order, once', async () => {
  const run = fc.asyncProperty(
    fc.array(reading, { minLength: 1, maxLength: 150 }),
    fc.array(action, { maxLength: 25 }),
    fc.integer({ min: 1, max: 12 }),
    fc.integer({ min: 1, max: 9 }),
    async (drawn, actions, batchPoints, chunk) => {
      const readings = drawn.map(({ names, ...rest }, ordinal) => ({
        ...rest,
        fields: Object.fromEntries(names.map((name, index) => [name, ordinal * 10 + index]))
      }))
      const storage = new ForgetfulStorage()
      const world = { ...worldOf(readings.map(recordFor)), storage }
      const { clock } = world
      const fates: Fate[] = []
      storage.fail = stage => {
        if (stage === 'before') storage.remember(clock.nowMs)
        if (fates[0] !== stage && fates[0] !== 'none') return undefined
        return fates.shift() === 'none' ? undefined : new TidegateError('TG_STORE_UNAVAILABLE', stage)
      }
      storage.gate = async () => await turns(1)
      let durable = 0
      const replays: Promise<unknown>[] = []
      const open = async (): Promise<Pipeline> =>
        await openPipeline(world, { batchPoints, chunk, journal: { uuid: journalUuid, oldest: 0, durable } })
      let pipeline = await open()
      const act = async (next: Action): Promise<void> => {
        switch (next.kind) {
          case 'come':
            pipeline.advance((durable = Math.min(readings.length, durable + next.records)))
            break
          case 'wait':
            await turns(20)
            clock.nowMs += next.seconds * 1000
            break
          case 'turns':
            await turns(next.turns)
            break
          case 'fail':
            fates.push(...next.stages)
            break
          case 'forget':
            storage.forget(clock.nowMs, next.seconds)
            storage.returned()
            break
          case 'die':
            await pipeline.close()
            world.letterJournal.crash()
            storage.forget(clock.nowMs, next.seconds)
            pipeline = await open()
            break
          case 'replay': {
            const range: ReplayRange = {
              from: { ordinal: next.from },
              to: { ordinal: next.to },
              ...(next.device === undefined ? {} : { topic: `devices/${next.device}/telemetry` })
            }
            const client = new AbortController()
            replays.push(pipeline.replay(range, client.signal, () => undefined).catch((error: unknown) => error))
            await turns(next.turns)
            if (next.turns % 2 === 1) client.abort()
          }
        }
      }
      try {
        for (const next of actions) await act(next)
        pipeline.advance((durable = readings.length))
        await pipeline.waitFor(durable - 1, AbortSignal.timeout(20_000))
        while (pipeline.stats.rewriting) await turns(1)
        expect(sorted(storage.rows)).toEqual(sorted(modelOf(readings)))
        expect(storage.catalogue.stored).toMatchObject({ position: durable, totals: { stored: durable, deadLettered: 0, damaged: 0 } })
        expect(storage.mostInFlight).toBe(1)
        for (const each of await Promise.all(replays)) {
          if (each instanceof Error) expect(each).toMatchObject({ code: expect.stringMatching(/TG_(REPLAY|QUERY|STOPPING)/) })
        }
      } finally {
        await pipeline.close()
      }
    }
  )
  await fc.assert(run, { numRuns: Number(process.env['TIDEGATE_RUNS'] ?? 300) })
})
