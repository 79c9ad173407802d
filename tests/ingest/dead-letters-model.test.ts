import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { TidegateError } from '../../errors.ts'
import { DeadLetters } from '../../ingest/dead-letters.ts'
import { purgeLetters, replayLetters } from '../../ingest/letter-changes.ts'
import { letterBoundFile } from '../../ingest/letter-bound.ts'
import type { RefusalReason } from '../../ingest/refusals.ts'
import { Journal } from '../../journal/journal.ts'
import { scan } from '../../journal/scan.ts'
import { Dice } from '../journal/simulation/dice.ts'
import { Machine } from '../journal/simulation/machine.ts'
import { SimulatedDisk } from '../journal/simulation/simulated-disk.ts'
import type { SimulatedProcess } from '../journal/simulation/simulated-process.ts'
import { SimulatedTime } from '../journal/simulation/simulated-time.ts'
import { ImpatientClock, journalUuid, receivedMs, recordOf, silent } from './fakes.ts'

const folder = '/letters'
const maxBytes = 30_000
const reasons: readonly RefusalReason[] = ['no-fields', 'broken-json', 'not-utf8']
const never = new AbortController().signal

/** What must be on the disk, whatever happened. */
interface Model {
  /** The durable checkpoint. */
  position: number
  /** Records below it that became dead letters, oldest first. */
  readonly lettered: number[]
  /** Records whose letters were being purged when the power went, or are. */
  readonly purging: Set<number>
  readonly purged: Set<number>
  /** Records that are durable again: by their received time. */
  readonly appended: Set<number>
  readonly replayed: Set<number>
}

interface Life {
  readonly process: SimulatedProcess
  readonly journal: Journal
  readonly letters: DeadLetters
}

type Step =
  | { readonly kind: 'settle'; readonly records: number; readonly commits: boolean }
  | { readonly kind: 'purge' | 'replay'; readonly reason: RefusalReason | undefined; readonly fromRecord: number }
  | { readonly kind: 'restart' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('settle' as const), records: fc.integer({ min: 1, max: 80 }), commits: fc.boolean() })
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('purge' as const, 'replay' as const),
      reason: fc.constantFrom(undefined, ...reasons),
      fromRecord: fc.integer({ min: 0, max: 300 })
    })
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'restart' as const }) }
)

/** A step, and after how many quarters of a millisecond the power goes or the process is killed, if it is. */
const eventful = fc.record({
  step,
  cut: fc.option(fc.record({ quarters: fc.integer({ min: 0, max: 30 }), how: fc.constantFrom('kill', 'power') }), { freq: 2 })
})

function recordAt(ordinal: number) {
  return recordOf({ ordinal, payload: `payload ${ordinal} `.padEnd(60, '.'), topic: `t/${ordinal}`, clientId: `c${ordinal}` })
}

const isLettered = (ordinal: number): boolean => ordinal % 5 !== 4
const reasonOf = (ordinal: number): RefusalReason => reasons[ordinal % 3] ?? 'no-fields'

async function open(machine: Machine, position: number): Promise<Life> {
  const process = machine.start()
  const files = process.port
  const { time } = machine.options
  const journal = await Journal.open({
    folder,
    files,
    sync: 'fsync',
    syncDelayMs: 0,
    segmentBytes: 4096,
    maxBytes: Number.MAX_SAFE_INTEGER,
    reserveBytes: 0,
    whenFull: 'reject-new',
    keep: { timeMs: 0, bytes: 0 },
    // What may go goes a few milliseconds later.
    monotonic: () => time.monotonicMs * 10_000,
    clock: () => time.wallMs,
    log: silent
  })
  const letters = await DeadLetters.open({
    journal,
    scan: range => scan({ folder, ...range, log: silent, files }),
    bound: letterBoundFile(folder, files),
    maxBytes,
    records: { journal: journalUuid, position, since: 0 },
    log: silent
  })
  return { process, journal, letters }
}

/** One step, as far as the power lasts: rejects, or never resolves, when it goes. */
async function play({ letters }: Life, step: Step, model: Model): Promise<void> {
  if (step.kind === 'settle') {
    const to = model.position + step.records
    for (let ordinal = model.position; ordinal < to; ordinal += 1) {
      if (isLettered(ordinal)) letters.append(recordAt(ordinal), reasonOf(ordinal), `because ${ordinal}`)
    }
    await letters.durable()
    // The store did not take the batch: it comes again, and so do its records.
    if (!step.commits) return
    for (let ordinal = model.position; ordinal < to; ordinal += 1) if (isLettered(ordinal)) model.lettered.push(ordinal)
    model.position = to
    letters.forgetBelow(to)
    return
  }
  if (step.kind === 'restart') return
  const { reason, fromRecord } = step
  const fromNs = BigInt(receivedMs + fromRecord) * 1_000_000n
  const selection = { fromNs, ...(reason === undefined ? {} : { reason }) }
  const selected = async (): Promise<number[]> => {
    const found: number[] = []
    for await (const page of letters.pages(selection)) found.push(...page.map(letter => letter.recordOrdinal))
    return found
  }
  const before = await selected()
  expect(before.every(ordinal => ordinal >= fromRecord && (reason === undefined || reasonOf(ordinal) === reason))).toBe(true)
  if (step.kind === 'purge') {
    for (const ordinal of before) model.purging.add(ordinal)
    expect(await purgeLetters(letters, selection, never)).toBe(before.length)
    for (const ordinal of before) model.purged.add(ordinal)
  } else {
    const busy = new Set<number>()
    const { replayed, failed, remaining, error } = await replayLetters({
      deadLetters: letters,
      selection,
      append: async publish => {
        await new Promise(resolve => setImmediate(resolve))
        const ordinal = Number(publish.topic.slice(2))
        expect({ ...publish, payload: Buffer.from(publish.payload).toString() }).toEqual(publishAt(ordinal))
        if (ordinal % 11 === 0) throw new TidegateError('TG_BODY_TOO_LARGE', 'too large')
        if (ordinal % 7 === 0 && !busy.has(ordinal)) {
          busy.add(ordinal)
          throw new TidegateError('TG_EDGE_BUSY', 'busy')
        }
        model.appended.add(ordinal)
      },
      signal: never,
      clock: new ImpatientClock()
    })
    if (error !== undefined && error.code !== 'TG_BODY_TOO_LARGE') throw error
    const refused = before.filter(ordinal => ordinal % 11 === 0)
    expect({ replayed, failed, remaining }).toEqual({
      replayed: before.length - refused.length,
      failed: refused.length,
      remaining: refused.length
    })
    for (const ordinal of before) if (ordinal % 11 !== 0) model.replayed.add(ordinal)
  }
  expect(await selected()).toEqual(step.kind === 'purge' ? [] : before.filter(ordinal => ordinal % 11 === 0))
}

function publishAt(ordinal: number) {
  const { clientId, user, topic, payload, receivedMs: ms, receivedSubNs: subNs } = recordAt(ordinal)
  return { clientId, user, topic, payload: Buffer.from(payload).toString(), received: { ms, subNs } }
}

async function check({ letters }: Life, model: Model): Promise<void> {
  await letters.close()
  const counts = (await letters.accounts({ journal: journalUuid, since: 0, below: model.position })) ?? expect.fail('not counted')
  expect(counts.kept + counts.tombstoned + counts.evicted).toBe(model.lettered.length)
  const { items, counts: byReason, next } = await letters.list({ limit: 100_000 })
  expect(next).toBeUndefined()
  const listed = items.map(item => item.recordOrdinal)
  expect(new Set(listed).size).toBe(listed.length)
  for (const item of items) {
    const { topic, clientId, payload } = recordAt(item.recordOrdinal)
    expect([item.topic, item.clientId, Buffer.from(item.payload).toString(), item.reason, item.detail]).toEqual([
      topic,
      clientId,
      Buffer.from(payload).toString(),
      reasonOf(item.recordOrdinal),
      `because ${item.recordOrdinal}`
    ])
  }
  const expectedReasons: Record<string, number> = {}
  for (const ordinal of listed) expectedReasons[reasonOf(ordinal)] = (expectedReasons[reasonOf(ordinal)] ?? 0) + 1
  expect(byReason).toEqual(expectedReasons)
  expect(letters.kept).toBe(listed.length)
  // Nobody's letter is gone but for a reason: purged, durable again as a record, or older than all that are there.
  const there = new Set(listed)
  const oldest = Math.min(model.position, ...listed)
  expect(listed.filter(ordinal => model.purged.has(ordinal) || model.replayed.has(ordinal))).toEqual([])
  const missing = model.lettered.filter(ordinal => !there.has(ordinal) && !model.purging.has(ordinal) && !model.appended.has(ordinal))
  expect(missing.filter(ordinal => ordinal > oldest)).toEqual([])
  expect(missing.length).toBeLessThanOrEqual(counts.evicted)
  expect(letters.bytes).toBeLessThanOrEqual(maxBytes + 80 * 400)
}

function sums(letters: DeadLetters): readonly number[] {
  return [letters.kept, letters.replayed, letters.purged, letters.evicted, letters.bytes]
}

/** Lets time pass until the promise is settled, or so many ms have; false in the latter case. */
async function passes(time: SimulatedTime, promise: Promise<unknown>, longestMs: number): Promise<boolean> {
  const end = { reached: false }
  const reach = (): void => {
    end.reached = true
  }
  promise.then(reach, reach)
  const endMs = time.monotonicMs + longestMs
  // Turns of the real loop are waited for, too, in which no simulated time passes.
  for (let turn = 0; !end.reached && (time.monotonicMs < endMs || turn < 2); turn += 1) await time.pass(0.25)
  return end.reached
}

async function settle<Value>(time: SimulatedTime, promise: Promise<Value>): Promise<Value> {
  expect(await passes(time, promise, 60_000)).toBe(true)
  return await promise
}

test('whatever is dead-lettered, purged, replayed and evicted, and whenever the power goes: every letter has one place, counted', async () => {
  let cuts = 0
  let evicted = 0
  await fc.assert(
    fc.asyncProperty(fc.array(eventful, { minLength: 1, maxLength: 14 }), fc.nat(), async (steps, seed) => {
      using time = new SimulatedTime()
      const dice = new Dice(seed)
      const disk = new SimulatedDisk(dice)
      const machine = new Machine({ time, disk, dice })
      const model: Model = {
        position: 0,
        lettered: [],
        purging: new Set(),
        purged: new Set(),
        appended: new Set(),
        replayed: new Set()
      }
      let life = await settle(time, open(machine, 0))
      for (const { step, cut } of steps) {
        const playing = play(life, step, model)
        if (cut === null) await settle(time, playing)
        else if (await passes(time, playing, cut.quarters / 4)) await playing
        // What a crash makes of a promise that is under way is no matter; what it says before the crash is.
        else playing.catch(() => undefined)
        if (cut === null) await settle(time, check(life, model))
        if (cut === null && step.kind !== 'restart') continue
        const before = sums(life.letters)
        if (cut === null) {
          await settle(time, life.letters.close())
          await settle(time, life.journal.close())
        } else {
          life.process.kill()
          time.cancelTimers()
          if (cut.how === 'power') disk.losePower()
          cuts += 1
        }
        life = await settle(time, open(machine, model.position))
        if (cut === null) expect(sums(life.letters)).toEqual(before)
        await settle(time, check(life, model))
      }
      evicted += life.letters.evicted
      await settle(time, life.journal.close())
    }),
    { numRuns: 150 }
  )
  // Otherwise nothing of it was tried.
  expect([cuts > 100, evicted > 1000]).toEqual([true, true])
}, 120_000)
