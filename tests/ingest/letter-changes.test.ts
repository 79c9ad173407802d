import { expect, test } from 'vitest'
import type { ErrorCode } from '../../errors.ts'
import { TidegateError } from '../../errors.ts'
import { DeadLetters } from '../../ingest/dead-letters.ts'
import type { LetterSelection } from '../../ingest/dead-letters.ts'
import type { ReplayedPublish } from '../../ingest/letter-changes.ts'
import { purgeLetters, replayLetters } from '../../ingest/letter-changes.ts'
import { deferred, FakeBoundFile, FakeJournal, ImpatientClock, journalUuid, receivedMs, recordOf, silent } from './fakes.ts'

interface World {
  readonly journal: FakeJournal
  readonly letters: DeadLetters
  readonly clock: ImpatientClock
  readonly closing: AbortController
  /** Topics appended, in order. */
  readonly appended: string[]
  append: (publish: ReplayedPublish) => Promise<unknown>
  replay(selection?: LetterSelection): ReturnType<typeof replayLetters>
}

/** Letters of that many records: record 3 has topic t/3, and every other one a user. */
async function worldOf(count: number): Promise<World> {
  const journal = new FakeJournal()
  const bound = new FakeBoundFile()
  const records = { journal: journalUuid, position: 0, since: 0 }
  const letters = await DeadLetters.open({ journal, scan: journal.scan, bound, maxBytes: 100_000_000, records, log: silent })
  for (let ordinal = 0; ordinal < count; ordinal += 1) letters.append(letter(ordinal), 'no-fields', '')
  await letters.durable()
  letters.forgetBelow(count)
  const world: World = {
    journal,
    letters,
    clock: new ImpatientClock(),
    closing: new AbortController(),
    appended: [],
    append: async ({ topic }) => await Promise.resolve(world.appended.push(topic)),
    replay: async (selection = {}) =>
      await replayLetters({
        deadLetters: letters,
        selection,
        append: async publish => await world.append(publish),
        signal: world.closing.signal,
        clock: world.clock
      })
  }
  return world
}

function letter(ordinal: number) {
  return recordOf({
    ordinal,
    topic: `t/${ordinal}`,
    clientId: `c${ordinal}`,
    user: ordinal % 2 === 0 ? 'ann' : undefined,
    payload: `{"n":${ordinal}`,
    qos: 2,
    retain: true,
    will: true
  })
}

const topicsOf = (ordinals: readonly number[]): readonly string[] => ordinals.map(ordinal => `t/${ordinal}`)
const upTo = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index)
const refusal = (code: ErrorCode): TidegateError => new TidegateError(code, `no: ${code}`)

async function keptTopics(letters: DeadLetters): Promise<readonly string[]> {
  const topics: string[] = []
  for await (const page of letters.pages({})) topics.push(...page.map(each => each.topic))
  return topics
}

test('a replay appends each letter once, in order, with the time, client and user of the original', async () => {
  const world = await worldOf(600)
  const seen: ReplayedPublish[] = []
  world.append = async publish => await Promise.resolve(seen.push(publish))
  expect(await world.replay()).toEqual({ replayed: 600, failed: 0, remaining: 0, error: undefined })
  expect(seen.map(({ payload, ...rest }) => ({ ...rest, payload: Buffer.from(payload).toString() }))).toEqual(
    upTo(600).map(ordinal => ({
      topic: `t/${ordinal}`,
      clientId: `c${ordinal}`,
      user: ordinal % 2 === 0 ? 'ann' : undefined,
      payload: `{"n":${ordinal}`,
      received: { ms: receivedMs + ordinal, subNs: ordinal }
    }))
  )
  expect([world.letters.kept, world.letters.replayed]).toEqual([0, 600])
  expect(await world.replay()).toEqual({ replayed: 0, failed: 0, remaining: 0, error: undefined })
})

test('only what is selected is replayed, and a letter has its tombstone when its record is durable, not before', async () => {
  const world = await worldOf(20)
  const durable = deferred()
  world.append = async ({ topic }) => {
    await durable.promise
    world.appended.push(topic)
  }
  const fromNs = BigInt(receivedMs + 5) * 1_000_000n
  const replaying = world.replay({ topic: 't/+', fromNs, toNs: fromNs + 4_000_000n })
  for (let turn = 0; turn < 20; turn += 1) await new Promise(resolve => setImmediate(resolve))
  expect([world.letters.kept, world.journal.records.length]).toEqual([20, 20])
  durable.resolve()
  expect(await replaying).toMatchObject({ replayed: 4, remaining: 0 })
  expect(world.appended).toEqual(topicsOf([5, 6, 7, 8]))
  expect(await keptTopics(world.letters)).toEqual(topicsOf(upTo(20).filter(ordinal => ordinal < 5 || ordinal > 8)))
})

test('a letter that fails again while a replay runs is left for the next one', async () => {
  const world = await worldOf(300)
  let next = 300
  world.append = async publish => {
    world.letters.append({ ...letter(next++), topic: publish.topic }, 'no-fields', 'again')
    await world.letters.durable()
  }
  expect(await world.replay()).toMatchObject({ replayed: 300, remaining: 0 })
  expect(world.letters.kept).toBe(300)
  expect(await keptTopics(world.letters)).toEqual(topicsOf(upTo(300)))
})

test.each(['TG_EDGE_BUSY', 'TG_JOURNAL_FULL', 'TG_JOURNAL_FAILING'] as const)('%s is tried again, with back-off', async code => {
  const world = await worldOf(10)
  let refused = 0
  world.append = async ({ topic }) => {
    if (topic !== 't/2' && topic !== 't/9' && refused < 16) {
      refused += 1
      throw refusal(code)
    }
    await Promise.resolve(world.appended.push(topic))
  }
  expect(await world.replay()).toMatchObject({ replayed: 10, failed: 0, remaining: 0, error: undefined })
  expect(world.appended).toHaveLength(10)
  expect(world.clock.slept).toEqual([50, 100])
})

test('when nothing is taken for long it ends, and says honestly what is left', async () => {
  const world = await worldOf(600)
  world.append = async ({ topic }) => {
    if (world.appended.length >= 300) throw refusal('TG_JOURNAL_FULL')
    await Promise.resolve(world.appended.push(topic))
  }
  const { replayed, failed, remaining, error } = await world.replay()
  expect([replayed, failed, remaining, error?.code]).toEqual([300, 0, 300, 'TG_JOURNAL_FULL'])
  expect(world.clock.slept).toHaveLength(24)
  expect(Math.max(...world.clock.slept)).toBe(2000)
  expect(await keptTopics(world.letters)).toEqual(topicsOf(upTo(600).slice(300)))
})

test('what is refused for good is kept, counted and said, and costs no other letter', async () => {
  const world = await worldOf(10)
  world.append = async ({ topic }) => {
    if (topic === 't/4') throw refusal('TG_BODY_TOO_LARGE')
    if (topic === 't/6') throw new Error('odd')
    await Promise.resolve(world.appended.push(topic))
  }
  const { error, ...counts } = await world.replay()
  expect(counts).toEqual({ replayed: 8, failed: 2, remaining: 2 })
  expect(error?.code).toBe('TG_BODY_TOO_LARGE')
  expect(await keptTopics(world.letters)).toEqual(['t/4', 't/6'])
  expect(world.clock.slept).toEqual([])
})

test('an edge that stops is not waited for', async () => {
  const world = await worldOf(3)
  world.append = async () => await Promise.reject(refusal('TG_JOURNAL_CLOSED'))
  const { replayed, remaining, error } = await world.replay()
  expect([replayed, remaining, error?.code, world.clock.slept.length]).toEqual([0, 3, 'TG_JOURNAL_CLOSED', 0])
})

test('a client that goes away ends it behind the page under way, whose letters have their tombstones', async () => {
  const world = await worldOf(600)
  world.append = async ({ topic }) => {
    if (world.appended.length === 300) world.closing.abort()
    await Promise.resolve(world.appended.push(topic))
  }
  await world.replay()
  expect(world.appended).toEqual(topicsOf(upTo(512)))
  expect(await keptTopics(world.letters)).toEqual(topicsOf(upTo(600).slice(512)))
})

test('letters whose tombstones cannot be written count as remaining, not as replayed', async () => {
  const world = await worldOf(5)
  world.append = async ({ topic }) => {
    world.journal.held = true
    await Promise.resolve(world.appended.push(topic))
    world.journal.setState('failing')
  }
  const { replayed, remaining, error } = await world.replay()
  expect([replayed, remaining, error?.code]).toEqual([0, 5, 'TG_JOURNAL_FAILING'])
  expect(world.appended).toHaveLength(5)
})

test('a purge removes what is selected, and without a filter everything', async () => {
  const world = await worldOf(600)
  expect(await purgeLetters(world.letters, { topic: 't/7' }, world.closing.signal)).toBe(1)
  expect(await keptTopics(world.letters)).toEqual(topicsOf(upTo(600).filter(ordinal => ordinal !== 7)))
  expect(await purgeLetters(world.letters, {}, world.closing.signal)).toBe(599)
  expect([world.letters.kept, world.letters.purged]).toEqual([0, 600])
  await expect(purgeLetters(world.letters, { topic: 'a/#/b' }, world.closing.signal)).rejects.toMatchObject({
    code: 'TG_PARAMETER_INVALID'
  })
})

test('a purge that cannot go on says how far it came; the same call does the rest', async () => {
  const world = await worldOf(600)
  const append = world.journal.append.bind(world.journal)
  world.journal.append = record => {
    if (world.letters.purged === 512) throw refusal('TG_JOURNAL_FULL')
    return append(record)
  }
  await expect(purgeLetters(world.letters, {}, world.closing.signal)).rejects.toMatchObject({
    code: 'TG_JOURNAL_FULL',
    message: 'no: TG_JOURNAL_FULL; 512 dead letters were purged before'
  })
  world.journal.append = append
  expect(await purgeLetters(world.letters, {}, world.closing.signal)).toBe(88)
})

test('one replay or purge at a time, and then the next', async () => {
  const world = await worldOf(3)
  const durable = deferred()
  world.append = async () => await durable.promise
  const replaying = world.replay()
  await expect(world.replay()).rejects.toMatchObject({ code: 'TG_DEAD_LETTERS_BUSY', outcome: 'retry' })
  await expect(purgeLetters(world.letters, {}, world.closing.signal)).rejects.toMatchObject({ code: 'TG_DEAD_LETTERS_BUSY' })
  durable.resolve()
  expect(await replaying).toMatchObject({ replayed: 3 })
  expect(await world.replay()).toMatchObject({ replayed: 0 })
  await expect(world.replay({ topic: 'a/#/b' })).rejects.toMatchObject({ code: 'TG_PARAMETER_INVALID' })
  expect(await world.replay()).toMatchObject({ replayed: 0 })
})
