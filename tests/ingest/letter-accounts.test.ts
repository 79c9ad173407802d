import { expect, test } from 'vitest'
import { DeadLetters } from '../../ingest/dead-letters.ts'
import { countLetters } from '../../ingest/letter-accounts.ts'
import { Pace } from '../../ingest/pace.ts'
import { Journal } from '../../journal/journal.ts'
import { scan } from '../../journal/scan.ts'
import { cutFrame } from '../harness/segments.ts'
import { makeFolder } from '../journal/fixture.ts'
import { ImpatientClock, journalUuid, recordOf, silent } from './fakes.ts'

const { signal } = new AbortController()
const otherUuid = '99999999-1111-4222-8333-944445555666'

/** Real dead letters in a folder, opened as the service does. */
async function openLetters(folder: string, options: { readonly maxBytes?: number; readonly uuid?: string; readonly since?: number } = {}) {
  const { maxBytes = 10_000_000, uuid = journalUuid, since = 0 } = options
  let minutes = 0
  const journal = await Journal.open({
    folder,
    sync: 'os',
    syncDelayMs: 1,
    segmentBytes: Math.ceil(maxBytes / 8),
    maxBytes: 2 * maxBytes,
    reserveBytes: 0,
    whenFull: 'drop-oldest',
    keep: { timeMs: 0, bytes: 0 },
    // Segments whose letters are evicted go at the next look, not a minute later.
    monotonic: () => (minutes += 1) * 60_000,
    log: silent
  })
  const scanLetters = (range: { readonly from: number; readonly to: number }) => scan({ folder, ...range, log: silent })
  const letters = await DeadLetters.open({
    journal,
    scan: scanLetters,
    maxBytes,
    records: { journal: uuid, position: since },
    log: silent
  })
  const pace = new Pace({ clock: new ImpatientClock(), signal, share: () => 1 })
  return {
    append: async (from: number, to: number, payloadBytes = 10) => {
      for (let ordinal = from; ordinal < to; ordinal += 1)
        letters.append(recordOf({ ordinal, payload: Buffer.alloc(payloadBytes, ordinal) }), 'broken-json', 'at the end')
      await letters.durable()
    },
    count: async (to = Infinity) =>
      await countLetters({ scan: scanLetters, letters: journal, records: { journal: uuid, from: since, to }, pace, signal }),
    [Symbol.asyncDispose]: async () => await journal.close()
  }
}

test('counts the letters that are in the files, also those of before a restart', async () => {
  await using folder = await makeFolder()
  {
    await using letters = await openLetters(folder.path)
    expect(await letters.count()).toEqual({ kept: 0, tombstoned: 0, evicted: 0 })
    await letters.append(0, 40)
    expect(await letters.count()).toEqual({ kept: 40, tombstoned: 0, evicted: 0 })
  }
  await using letters = await openLetters(folder.path)
  await letters.append(40, 45)
  expect(await letters.count()).toEqual({ kept: 45, tombstoned: 0, evicted: 0 })
  expect(await letters.count(42)).toEqual({ kept: 42, tombstoned: 0, evicted: 0 })
})

test('a letter that was taken out of its file counts as nothing', async () => {
  await using folder = await makeFolder()
  {
    await using letters = await openLetters(folder.path)
    await letters.append(0, 40)
  }
  for (const ordinal of [0, 17]) await cutFrame(folder.path, ordinal)
  await using letters = await openLetters(folder.path)
  expect(await letters.count()).toEqual({ kept: 38, tombstoned: 0, evicted: 0 })
})

test('letters of another journal, and of records before the totals, are not counted', async () => {
  await using folder = await makeFolder()
  {
    await using letters = await openLetters(folder.path, { uuid: otherUuid })
    await letters.append(0, 5)
  }
  await using letters = await openLetters(folder.path)
  await letters.append(0, 12)
  expect(await letters.count()).toEqual({ kept: 12, tombstoned: 0, evicted: 0 })
  await letters[Symbol.asyncDispose]()
  await using later = await openLetters(folder.path, { since: 10 })
  expect(await later.count()).toEqual({ kept: 2, tombstoned: 0, evicted: 0 })
})

test('what the cap has evicted is counted, while and after its segments go', async () => {
  await using folder = await makeFolder()
  await using letters = await openLetters(folder.path, { maxBytes: 1024 * 1024 })
  let evicted = 0
  for (let from = 0; evicted < 1000; from += 500) {
    await letters.append(from, from + 500, 1000)
    const accounts = await letters.count()
    expect((accounts?.kept ?? 0) + (accounts?.evicted ?? 0)).toBe(from + 500)
    evicted = accounts?.evicted ?? 0
  }
})

test('evicted letters are nobody’s where letters of other totals may be among them', async () => {
  await using folder = await makeFolder()
  await using letters = await openLetters(folder.path, { maxBytes: 1024 * 1024, since: 100 })
  await letters.append(100, 110)
  expect(await letters.count()).toEqual({ kept: 10, tombstoned: 0, evicted: 0 })
  let from = 110
  while ((await letters.count()) !== undefined) {
    await letters.append(from, from + 500, 1000)
    from += 500
  }
  expect(from).toBeGreaterThan(1000)
})
