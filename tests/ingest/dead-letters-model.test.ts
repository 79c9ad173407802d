import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { TidegateError } from '../../errors.ts'
import { DeadLetters } from '../../ingest/dead-letters.ts'
import { purgeLetters, replayLetters } from '../../ingest/letter-changes.ts'
import { letterBoundFile } from '../../ingest/letter-bound.ts'
import type { RefusalReason } from '../../ingest/refusals.ts'
import { Journal } from '../../journal/journal.ts'
import { scan } from '../../journal/scan.ts'
import { ImpatientClock, journalUuid, receivedMs, recordOf, silent } from './fakes.ts'
import { PowerCutDisk } from './power-cut-disk.ts'

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

/** A step, and after how many calls that change files the power goes, if it does. */
const eventful = fc.record({
  step,
  cut: fc.option(fc.record({ calls: fc.integer({ min: 1, max: 25 }), killed: fc.boolean() }), { freq: 2 })
})

function recordAt(ordinal: number) {
  return recordOf({ ordinal, payload: `payload ${ordinal} `.padEnd(60, '.'), topic: `t/${ordinal}`, clientId: `c${ordinal}` })
}

const isLettered = (ordinal: number): boolean => ordinal % 5 !== 4
const reasonOf = (ordinal: number): RefusalReason => reasons[ordinal % 3] ?? 'no-fields'

async function open(disk: PowerCutDisk, position: number): Promise<Life> {
  const files = disk.port()
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
    monotonic: () => performance.now() * 10_000,
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
  return { journal, letters }
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

test('whatever is dead-lettered, purged, replayed and evicted, and whenever the power goes: every letter has one place, counted', async () => {
  let cuts = 0
  let evicted = 0
  await fc.assert(
    fc.asyncProperty(fc.array(eventful, { minLength: 1, maxLength: 14 }), async steps => {
      const disk = new PowerCutDisk()
      const model: Model = {
        position: 0,
        lettered: [],
        purging: new Set(),
        purged: new Set(),
        appended: new Set(),
        replayed: new Set()
      }
      let life = await open(disk, 0)
      try {
        for (const { step, cut } of steps) {
          const gone = cut === null ? undefined : disk.cutAfter(cut.calls).then(() => 'gone' as const)
          const playing = play(life, step, model).then(() => 'played' as const)
          // What a crash makes of a promise that is under way is no matter; what it says before the crash is.
          const ended = gone === undefined ? await playing : await Promise.race([gone, playing])
          if (ended === 'gone') playing.catch(() => undefined)
          else if (gone === undefined) await check(life, model)
          if (ended === 'gone' || step.kind === 'restart' || cut !== null) {
            const before = sums(life.letters)
            const clean = ended === 'played' && cut === null
            if (clean) await life.letters.close()
            if (!clean) {
              disk.restart(cut?.killed ?? true)
              cuts += 1
            }
            await life.journal.close().catch(() => undefined)
            await playing.catch(() => undefined)
            life = await open(disk, model.position)
            if (clean) expect(sums(life.letters)).toEqual(before)
            await check(life, model)
          }
        }
        evicted += life.letters.evicted
      } finally {
        await life.journal.close()
      }
    }),
    { numRuns: 150 }
  )
  // Otherwise nothing of it was tried.
  expect([cuts > 100, evicted > 1000]).toEqual([true, true])
}, 120_000)
