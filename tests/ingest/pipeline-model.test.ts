import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { TidegateError } from '../../errors.ts'
import type { JournalGap, JournalRecord } from '../../journal/record.ts'
import type { FieldValue } from '../../telemetry.ts'
import { buildSource } from '../../telemetry.ts'
import { deferred, receivedMs, recordOf, whyOf } from './fakes.ts'
import { openPipeline, worldOf } from './world.ts'

type Kind = 'good' | 'late' | 'typed' | 'line' | 'broken' | 'partial' | 'ignored' | 'refused' | JournalGap['kind']

interface Expected {
  readonly outcome: 'stored' | 'deadLettered' | 'ignored' | 'damaged' | 'dropped'
  readonly device?: string
  readonly timeNs?: bigint
  readonly fields?: Readonly<Record<string, FieldValue>>
}

/** A record of that kind, and what must become of it: written down here, not taken from the decoder. */
function make(
  kind: Kind,
  ordinal: number,
  device: string
): { readonly record: JournalRecord | JournalGap['kind']; readonly expected: Expected } {
  const received = BigInt(receivedMs + ordinal) * 1_000_000n + BigInt(ordinal)
  const topic = `devices/${device}/telemetry`
  const late = receivedMs - (ordinal % 5)
  const lateNs = BigInt(late) * 1_000_000n
  const record = (payload: string, on = topic): JournalRecord => recordOf({ ordinal, topic: on, payload, clientId: `c-${device}` })
  switch (kind) {
    case 'good':
      return {
        record: record(`{"v":${ordinal}.5}`),
        expected: { outcome: 'stored', device, timeNs: received, fields: { v: ordinal + 0.5 } }
      }
    case 'late':
      return {
        record: record(`{"ts":${late},"v":${ordinal},"w${ordinal % 2}":true}`),
        expected: { outcome: 'stored', device, timeNs: lateNs, fields: { v: ordinal, [`w${ordinal % 2}`]: true } }
      }
    case 'typed':
      return {
        record: record(`{"ts":${late},"v":"text ${ordinal}"}`),
        expected: { outcome: 'stored', device, timeNs: lateNs, fields: { v_str: `text ${ordinal}` } }
      }
    case 'line':
      return {
        record: record(`telemetry,device=${device} n=${ordinal}i ${lateNs}`, 'any/lines'),
        expected: { outcome: 'stored', device, timeNs: lateNs, fields: { n: BigInt(ordinal) } }
      }
    case 'broken':
      return { record: record(`{"v":${ordinal}`), expected: { outcome: 'deadLettered' } }
    case 'partial':
      return {
        record: record(`{"v":${ordinal},"bad":null}`),
        expected: { outcome: 'deadLettered', device, timeNs: received, fields: { v: ordinal } }
      }
    case 'ignored':
      return { record: record('ON', `cmnd/${device}/Power`), expected: { outcome: 'ignored' } }
    case 'refused':
      return { record: record(`{"ts":${late},"v":${ordinal}}`, 'devices/refused/telemetry'), expected: { outcome: 'deadLettered' } }
    default:
      return { record: kind, expected: { outcome: kind } }
  }
}

/** What happens at the next stages of writes: an error, the death of the service, or nothing. */
type Fate = 'well' | 'error' | 'death'

const kinds: readonly Kind[] = ['good', 'late', 'typed', 'line', 'broken', 'partial', 'ignored', 'refused', 'damaged', 'dropped']
const entry = fc.record({ kind: fc.constantFrom(...kinds), device: fc.constantFrom('d1', 'd2', 'd3') })
const fate: fc.Arbitrary<Fate> = fc.oneof(
  { weight: 5, arbitrary: fc.constant('well' as const) },
  { weight: 2, arbitrary: fc.constant('error' as const) },
  { weight: 2, arbitrary: fc.constant('death' as const) }
)

test('whatever fails and whenever the service dies, each record has one outcome and each reading is there once, as the model has it', async () => {
  const run = fc.asyncProperty(
    // The first record fixes v as a float, so that what `typed` becomes does not depend on the order.
    fc.array(entry, { minLength: 1, maxLength: 60 }),
    fc.array(fate, { maxLength: 30 }),
    fc.integer({ min: 1, max: 12 }),
    fc.integer({ min: 1, max: 9 }),
    async (entries, fates, batchPoints, chunk) => {
      const made = [make('good', 0, 'd0'), ...entries.map(({ kind, device }, index) => make(kind, index + 1, device))]
      const world = worldOf(made.map(each => each.record))
      let dead = false
      let death = deferred()
      world.storage.reject = point => (point.source.device === 'refused' ? 'never' : undefined)
      world.storage.fail = () => {
        if (dead) return new Error('dead')
        const next = fates.shift() ?? 'well'
        if (next === 'well') return undefined
        if (next === 'death') {
          dead = true
          death.resolve()
        }
        return new TidegateError('TG_STORE_UNAVAILABLE', next)
      }
      for (let lives = 0; lives < 50; lives += 1) {
        dead = false
        death = deferred()
        await using pipeline = await openPipeline(world, { batchPoints, chunk })
        const finished = pipeline.waitFor(made.length - 1, new AbortController().signal)
        finished.catch(() => undefined)
        await Promise.race([finished, death.promise])
        await pipeline.close()
        if (!dead) break
        // What the disk did not have is gone with the process.
        world.letterJournal.crash()
      }
      check(made, world)
    }
  )
  await fc.assert(run, { numRuns: 150 })
})

function check(made: readonly ReturnType<typeof make>[], world: ReturnType<typeof worldOf>): void {
  const rows = new Map<string, FieldValue>()
  const totals = { stored: 0, deadLettered: 0, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 }
  const letters: number[] = []
  for (const [ordinal, { expected }] of made.entries()) {
    totals[expected.outcome] += 1
    if (expected.outcome === 'deadLettered') letters.push(ordinal)
    const { device, timeNs, fields } = expected
    if (device === undefined) continue
    for (const [name, value] of Object.entries(fields ?? {})) {
      rows.set(`${buildSource('telemetry', device, []).key} ${name} ${timeNs}`, value)
    }
  }
  expect(world.storage.catalogue.stored).toMatchObject({ position: made.length, since: 0, totals })
  expect(Object.fromEntries(world.storage.rows)).toEqual(Object.fromEntries(rows))
  const kept = world.letterJournal.records.map(record => whyOf(record)['ordinal'])
  expect(kept).toEqual(letters)
  let position = 0
  let confirmed = true
  for (const effect of world.storage.effects) {
    // The same batch again only when the first one could not say that it took effect.
    if (confirmed) expect(effect.position).toBeGreaterThan(position)
    else expect(effect.position).toBeGreaterThanOrEqual(position)
    if (effect.position > position) for (const ordinal of effect.ordinals) expect(ordinal).toBeGreaterThanOrEqual(position)
    ;({ position, confirmed } = effect)
  }
}
