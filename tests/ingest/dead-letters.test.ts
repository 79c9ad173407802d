import { readFile, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { DeadLetters } from '../../ingest/dead-letters.ts'
import type { DeadLetter, LetterAccounts, LetterSelection } from '../../ingest/dead-letters.ts'
import { letterBoundFile } from '../../ingest/letter-bound.ts'
import type { RefusalReason } from '../../ingest/refusals.ts'
import { scan } from '../../journal/scan.ts'
import { makeFolder, openJournal, segmentPaths } from '../journal/fixture.ts'
import { FakeBoundFile, FakeJournal, journalUuid, receivedMs, recordOf, silent } from './fakes.ts'

interface Options {
  readonly maxBytes?: number
  readonly uuid?: string
  readonly position?: number
  readonly since?: number
  readonly lostFrom?: number
  readonly bound?: FakeBoundFile
}

async function open(journal: FakeJournal, options: Options = {}) {
  const { maxBytes = 1_000_000, uuid = journalUuid, position = 0, since = 0, lostFrom = Infinity, bound = new FakeBoundFile() } = options
  return await DeadLetters.open({
    journal,
    scan: journal.scan,
    bound,
    maxBytes,
    records: { journal: uuid, position, since, lostFrom },
    log: silent
  })
}

function letter(ordinal: number) {
  return recordOf({
    ordinal,
    payload: Buffer.from([ordinal, 0xff, 0x00]),
    topic: `plant/${ordinal % 3}/x`,
    clientId: `c${ordinal}`,
    user: ordinal % 2 === 0 ? 'ann' : undefined,
    properties: Buffer.from([1, 2, ordinal])
  })
}

test('a letter keeps the record as it came, and says why and which it was', async () => {
  const journal = new FakeJournal()
  const letters = await open(journal)
  expect(letters.append(letter(40), 'broken-json', 'at the end')).toBeGreaterThan(0)
  await letters.durable()
  const { items, counts, next } = await letters.list({ limit: 10 })
  const { receivedMs: ms, clientId, user, topic, payload } = letter(40)
  expect(items).toEqual([
    {
      ordinal: 0,
      recordJournal: journalUuid,
      recordOrdinal: 40,
      receivedMs: ms,
      receivedSubNs: 40,
      receivedNs: BigInt(ms) * 1_000_000n + 40n,
      clientId,
      user,
      topic,
      payload,
      reason: 'broken-json',
      detail: 'at the end'
    }
  ])
  expect(counts).toEqual({ 'broken-json': 1 })
  expect(next).toBeUndefined()
})

test('durable waits for the disk, and says when the journal fails or is closed', async () => {
  const journal = new FakeJournal()
  const letters = await open(journal)
  await letters.durable()
  journal.held = true
  letters.append(letter(1), 'no-fields', '')
  let done = false
  const waiting = letters.durable().then(() => (done = true))
  await new Promise(resolve => setImmediate(resolve))
  expect(done).toBe(false)
  journal.held = false
  journal.sync()
  await waiting
  journal.held = true
  letters.append(letter(2), 'no-fields', '')
  const failing = letters.durable()
  journal.setState('failing')
  await expect(failing).rejects.toMatchObject({ code: 'TG_JOURNAL_FAILING' })
  journal.setState('full')
  await expect(letters.durable()).rejects.toMatchObject({ code: 'TG_JOURNAL_FULL' })
  journal.setState('closed')
  await expect(letters.durable()).rejects.toMatchObject({ code: 'TG_JOURNAL_CLOSED' })
})

test('a record gets one letter, also when opening finds it behind the checkpoint; another journal or position is another matter', async () => {
  const journal = new FakeJournal()
  const letters = await open(journal)
  for (const ordinal of [5, 6, 7]) letters.append(letter(ordinal), 'no-fields', `first ${ordinal}`)
  expect(letters.append(letter(6), 'no-fields', 'again')).toBe(0)
  await letters.durable()
  const reopened = await open(journal, { position: 6 })
  expect([5, 6, 7, 8].map(ordinal => reopened.has(ordinal))).toEqual([false, true, true, false])
  expect(reopened.append(letter(7), 'no-fields', 'again')).toBe(0)
  reopened.forgetBelow(7)
  expect([6, 7].map(ordinal => reopened.has(ordinal))).toEqual([false, true])
  expect(reopened.unsettled).toBe(1)
  const foreign = await open(journal, { uuid: 'ffffffff-1111-4222-8333-944445555666' })
  expect(foreign.has(6)).toBe(false)
  expect(foreign.kept).toBe(3)
})

test('letters of records that the journal has lost are kept and replayed like others, and count for no record that it has', async () => {
  const journal = new FakeJournal()
  const bound = new FakeBoundFile()
  const before = await open(journal, { bound })
  for (const ordinal of [4, 5, 6, 7, 8, 9]) before.append(letter(ordinal), 'no-fields', '')
  await before.durable()
  await before.bury((await before.list({ limit: 10 })).items.slice(4, 5), 'purged')
  const counted = async (letters: DeadLetters, below: number) => await letters.accounts({ journal: journalUuid, since: 0, below })

  // The journal has the records below 7; what comes gets the ordinals 7, 8 and 9 again.
  const letters = await open(journal, { bound, position: 6, lostFrom: 7 })
  expect([letters.kept, letters.unsettled, letters.countIn(0, 100)]).toEqual([5, 1, 1])
  expect([6, 7, 8, 9].map(ordinal => letters.has(ordinal))).toEqual([true, false, false, false])
  expect(await counted(letters, 100)).toEqual({ kept: 3, tombstoned: 0, evicted: 0 })
  expect(letters.append({ ...letter(8), receivedMs: 1 }, 'no-fields', 'another')).toBeGreaterThan(0)
  await letters.durable()
  expect(await counted(letters, 100)).toEqual({ kept: 4, tombstoned: 0, evicted: 0 })

  // So it stays when the journal has come by, and it is said once.
  const entries = journal.records.length
  const later = await open(journal, { bound, position: 6, lostFrom: 20 })
  expect([journal.records.length, later.kept, later.unsettled]).toEqual([entries, 6, 2])
  expect([6, 7, 8, 9].map(ordinal => later.has(ordinal))).toEqual([true, false, true, false])
  expect(await counted(later, 100)).toEqual({ kept: 4, tombstoned: 0, evicted: 0 })
  const { items } = await later.list({ limit: 10 })
  expect(items.map(item => item.recordOrdinal)).toEqual([4, 5, 6, 7, 9, 8])
  await later.bury(items.slice(3, 4), 'replayed')
  expect(await counted(later, 100)).toEqual({ kept: 4, tombstoned: 0, evicted: 0 })

  // What goes because of the cap is counted without those, too: the oldest block holds all of the above.
  for (let ordinal = 100; ordinal < 164; ordinal += 1) later.append(letter(ordinal), 'no-fields', '')
  await later.durable()
  later.forgetBelow(164)
  const small = await open(journal, { bound, position: 164, lostFrom: 164, maxBytes: 1 })
  await small.close()
  const { evicted, ...rest } = (await counted(small, 164)) ?? expect.fail('not counted')
  expect([small.evicted - evicted, rest.kept + evicted, rest.tombstoned]).toEqual([1, 68, 0])
  expect(evicted).toBeGreaterThan(4)
})

test('lists filter by reason, topic and time, page by page, without leaving one out', async () => {
  const journal = new FakeJournal()
  const letters = await open(journal)
  const reasons: readonly RefusalReason[] = ['no-fields', 'broken-json', 'not-utf8', 'no-fields']
  const all = Array.from({ length: 40 }, (_, ordinal) => ordinal)
  for (const ordinal of all) letters.append(letter(ordinal), reasons[ordinal % 4] ?? 'no-fields', '')
  await letters.durable()
  const pages = async (filter: object): Promise<number[]> => {
    const found: number[] = []
    let after: number | undefined
    do {
      const page = await letters.list({ ...filter, limit: 3, ...(after === undefined ? {} : { after }) })
      expect(page.items.length).toBeLessThanOrEqual(3)
      expect(page.counts).toEqual({ 'no-fields': 20, 'broken-json': 10, 'not-utf8': 10 })
      found.push(...page.items.map(item => item.recordOrdinal))
      after = page.next
    } while (after !== undefined)
    return found
  }
  expect(await pages({})).toEqual(all)
  expect(await pages({ reason: 'broken-json' })).toEqual(all.filter(ordinal => ordinal % 4 === 1))
  expect(await pages({ topic: 'plant/+/x' })).toEqual(all)
  expect(await pages({ topic: 'plant/1/#' })).toEqual(all.filter(ordinal => ordinal % 3 === 1))
  expect(await pages({ fromNs: BigInt(receivedMs + 10) * 1_000_000n, toNs: BigInt(receivedMs + 15) * 1_000_000n })).toEqual([
    10, 11, 12, 13, 14
  ])
  expect(await pages({ reason: 'series-limit' })).toEqual([])
  await expect(letters.list({ topic: 'a/#/b', limit: 1 })).rejects.toMatchObject({
    code: 'TG_PARAMETER_INVALID',
    message: 'topic: # is allowed as the last level only',
    context: { parameter: 'topic' }
  })
  // A slip must not pass for "there are none".
  await expect(letters.list({ reason: 'broken-jsno', limit: 1 })).rejects.toMatchObject({
    code: 'TG_PARAMETER_INVALID',
    message: expect.stringMatching(/^reason: .* broken-json, /),
    context: { parameter: 'reason' }
  })
})

test('a page of large letters is bounded in bytes, and the pages together have each once', async () => {
  const journal = new FakeJournal()
  const letters = await open(journal)
  for (let ordinal = 0; ordinal < 20; ordinal += 1) {
    letters.append({ ...letter(ordinal), payload: Buffer.alloc(200 * 1024, ordinal) }, 'broken-json', '')
  }
  await letters.durable()
  const pages: number[][] = []
  let after: number | undefined
  do {
    const page = await letters.list({ limit: 1000, ...(after === undefined ? {} : { after }) })
    pages.push(page.items.map(item => item.recordOrdinal))
    after = page.next
  } while (after !== undefined)
  expect(pages.flat()).toEqual(Array.from({ length: 20 }, (_, ordinal) => ordinal))
  expect(Math.max(...pages.map(page => page.length))).toBe(6)
})

test('beyond the cap the oldest go, counted, and opening again finds the same bound', async () => {
  const journal = new FakeJournal()
  const bound = new FakeBoundFile()
  const letters = await open(journal, { maxBytes: 40_000, bound })
  for (let ordinal = 0; ordinal < 1000; ordinal += 1) letters.append(letter(ordinal), 'no-fields', 'x'.repeat(50))
  await letters.durable()
  letters.forgetBelow(1000)
  await letters.close()
  expect(letters.bytes).toBeLessThanOrEqual(40_000)
  expect(letters.bytes).toBeGreaterThan(20_000)
  expect(letters.kept + letters.evicted).toBe(1000)
  const { items, counts } = await letters.list({ limit: 1000 })
  expect(items.map(item => item.recordOrdinal)).toEqual(Array.from({ length: letters.kept }, (_, index) => letters.evicted + index))
  expect(counts).toEqual({ 'no-fields': letters.kept })
  const reopened = await open(journal, { maxBytes: 40_000, position: 1000, bound })
  expect([reopened.kept, reopened.evicted, reopened.bytes]).toEqual([letters.kept, letters.evicted, letters.bytes])
})

test('what is replayed or purged is listed and counted no more, and stays so when they are opened again', async () => {
  const journal = new FakeJournal()
  const bound = new FakeBoundFile()
  const letters = await open(journal, { bound })
  for (let ordinal = 0; ordinal < 10; ordinal += 1) letters.append(letter(ordinal), ordinal % 2 === 0 ? 'no-fields' : 'not-utf8', '')
  await letters.durable()
  const page = await pageOf(letters, {})
  await letters.bury([page[1], page[2], page[3]].filter(isThere), 'purged')
  await letters.bury([page[7], page[3]].filter(isThere), 'replayed')
  for (const each of [letters, await open(journal, { bound, position: 9 })]) {
    const { items, counts } = await each.list({ limit: 100 })
    expect(items.map(item => item.recordOrdinal)).toEqual([0, 4, 5, 6, 8, 9])
    expect(counts).toEqual({ 'no-fields': 4, 'not-utf8': 2 })
    expect([each.kept, each.purged, each.replayed, each.evicted]).toEqual([6, 3, 1, 0])
    expect(await each.accounts({ journal: journalUuid, since: 0, below: 10 })).toEqual({ kept: 6, tombstoned: 4, evicted: 0 })
  }
})

test('a record whose letter has its tombstone gets no second one when it is worked off again', async () => {
  const journal = new FakeJournal()
  const letters = await open(journal)
  for (const ordinal of [5, 6]) letters.append(letter(ordinal), 'no-fields', '')
  await letters.durable()
  await letters.bury(await pageOf(letters, {}), 'purged')
  const reopened = await open(journal, { position: 5 })
  expect([5, 6, 7].map(ordinal => reopened.has(ordinal))).toEqual([true, true, false])
  expect(reopened.append(letter(6), 'no-fields', '')).toBe(0)
  expect([reopened.countIn(0, 6), reopened.countIn(5, 9), reopened.countIn(7, 9)]).toEqual([1, 2, 0])
})

test('a letter is gone when its tombstone is durable, and there again when that was lost', async () => {
  const journal = new FakeJournal()
  const letters = await open(journal)
  letters.append(letter(1), 'no-fields', '')
  await letters.durable()
  journal.held = true
  let gone = false
  const burying = letters.bury(await pageOf(letters, {}), 'purged').then(() => (gone = true))
  await new Promise(resolve => setImmediate(resolve))
  expect(gone).toBe(false)
  journal.crash()
  expect((await open(journal, { position: 1 })).kept).toBe(1)
  journal.setState('failing')
  await expect(burying).rejects.toMatchObject({ code: 'TG_JOURNAL_FAILING' })
})

test('letters of records beyond the checkpoint are not evicted, whatever the cap', async () => {
  const journal = new FakeJournal()
  const bound = new FakeBoundFile()
  const letters = await open(journal, { maxBytes: 20_000, bound })
  for (let ordinal = 0; ordinal < 500; ordinal += 1) letters.append(letter(ordinal), 'no-fields', 'x'.repeat(50))
  await letters.durable()
  letters.forgetBelow(100)
  await letters.close()
  expect(letters.evicted).toBe(64)
  expect((await open(journal, { bound, position: 100, maxBytes: 20_000 })).has(100)).toBe(true)
  letters.forgetBelow(500)
  await letters.close()
  expect(letters.bytes).toBeLessThanOrEqual(20_000)
})

test('while they are pinned nothing is freed, and afterwards what is over the cap is', async () => {
  const journal = new FakeJournal()
  const bound = new FakeBoundFile()
  const letters = await open(journal, { maxBytes: 20_000, bound })
  const first = await letters.pin()
  const second = await letters.pin()
  for (let ordinal = 0; ordinal < 500; ordinal += 1) letters.append(letter(ordinal), 'no-fields', 'x'.repeat(50))
  await letters.durable()
  letters.forgetBelow(500)
  first()
  first()
  await letters.close()
  expect([letters.evicted, bound.saved?.below, journal.committed]).toEqual([0, 0, 0])
  second()
  await letters.close()
  expect(letters.bytes).toBeLessThanOrEqual(20_000)
})

test('all that goes is counted from the files, by records, and a record that comes again from the start is counted anew', async () => {
  const journal = new FakeJournal()
  const bound = new FakeBoundFile()
  const letters = await open(journal, { maxBytes: 40_000, bound })
  for (let ordinal = 0; ordinal < 1000; ordinal += 1) letters.append(letter(ordinal), 'no-fields', 'x'.repeat(50))
  await letters.durable()
  // Half of the first ones have their tombstone before they are evicted.
  let seen = 0
  for await (const page of letters.pages({ reason: 'no-fields' })) {
    await letters.bury(
      page.filter(item => item.ordinal % 2 === 0),
      'purged'
    )
    seen += page.length
  }
  expect(seen).toBe(1000)
  letters.forgetBelow(900)
  await letters.close()
  const counts = await accountsOf(letters, 0, 900)
  expect(counts.kept + counts.tombstoned + counts.evicted).toBe(900)
  expect(counts.tombstoned).toBe(450)
  expect(counts.evicted).toBeGreaterThan(200)
  expect(
    await (await open(journal, { bound, position: 900, maxBytes: 40_000 })).accounts({ journal: journalUuid, since: 0, below: 900 })
  ).toEqual(counts)
  const totals = [letters.kept, letters.purged, letters.evicted]
  expect(totals.reduce((sum, count) => sum + count)).toBe(1000)
  // The catalogue is lost: records come again from the oldest that the journal has.
  const anew = await open(journal, { bound, position: 50, since: 50, maxBytes: 10_000_000 })
  expect([anew.kept, anew.purged, anew.evicted]).toEqual(totals)
  for (let ordinal = 50; ordinal < 1000; ordinal += 1) anew.append(letter(ordinal), 'no-fields', '')
  await anew.durable()
  const again = await accountsOf(anew, 50, 1000)
  expect([again.kept + again.tombstoned, again.evicted]).toEqual([950, 0])
})

test('an entry that is missing from the files is missing from the accounts', async () => {
  const journal = new FakeJournal()
  const letters = await open(journal)
  for (let ordinal = 0; ordinal < 200; ordinal += 1) letters.append(letter(ordinal), 'no-fields', '')
  await letters.durable()
  letters.forgetBelow(200)
  const hidden = journal.records.splice(77, 1)
  expect(hidden).toHaveLength(1)
  expect(await letters.accounts({ journal: journalUuid, since: 0, below: 200 })).toEqual({ kept: 199, tombstoned: 0, evicted: 0 })
})

test('one flipped bit in a segment while the process runs is one letter that the accounts do not find', async () => {
  await using folder = await makeFolder()
  const journal = await openJournal(folder.path, { segmentBytes: 20_000 })
  const letters = await DeadLetters.open({
    journal,
    scan: range => scan({ folder: folder.path, ...range, log: silent }),
    bound: letterBoundFile(folder.path),
    maxBytes: 1_000_000,
    records: { journal: journalUuid, position: 0, since: 0 },
    log: silent
  })
  for (let ordinal = 0; ordinal < 300; ordinal += 1) letters.append(letter(ordinal), 'no-fields', `because ${ordinal}`)
  await letters.durable()
  letters.forgetBelow(300)
  await letters.bury((await pageOf(letters, {})).slice(10, 60), 'purged')
  expect(await accountsOf(letters, 0, 300)).toEqual({ kept: 250, tombstoned: 50, evicted: 0 })
  for (const [index, text] of ['because 20"', 'because 200"'].entries()) {
    for (const path of await segmentPaths(folder.path)) {
      const bytes = await readFile(path)
      const at = bytes.indexOf(text)
      if (at < 0) continue
      bytes[at] = (bytes[at] ?? 0) ^ 4
      await writeFile(path, bytes)
    }
    expect(await accountsOf(letters, 0, 300)).toEqual({ kept: index === 0 ? 250 : 249, tombstoned: 49, evicted: 0 })
  }
  await letters.close()
  await journal.close()
})

test('a bound that cannot be written evicts nothing, says so once, and at twice the cap takes no letter', async () => {
  const journal = new FakeJournal()
  const bound = new FakeBoundFile()
  const letters = await open(journal, { maxBytes: 20_000, bound })
  bound.fail = new Error('no space')
  let refused: unknown
  let ordinal = 0
  for (; refused === undefined && ordinal < 1000; ordinal += 1) {
    try {
      letters.append(letter(ordinal), 'no-fields', 'x'.repeat(50))
    } catch (error) {
      refused = error
    }
    await letters.durable()
    letters.forgetBelow(ordinal)
    await letters.close()
  }
  expect(refused).toMatchObject({ code: 'TG_JOURNAL_FULL', outcome: 'retry' })
  expect([letters.evicted, letters.kept]).toEqual([0, ordinal - 1])
  expect(letters.bytes).toBeLessThan(41_000)
  bound.fail = undefined
  letters.forgetBelow(ordinal)
  await letters.close()
  expect(letters.bytes).toBeLessThanOrEqual(20_000)
  expect(letters.append(letter(ordinal), 'no-fields', '')).toBeGreaterThan(0)
})

test('a bound of another journal of letters counts nothing here, and one ahead of the journal hides no new letter', async () => {
  const journal = new FakeJournal()
  const bound = new FakeBoundFile()
  const letters = await open(journal, { maxBytes: 20_000, bound })
  for (let ordinal = 0; ordinal < 500; ordinal += 1) letters.append(letter(ordinal), 'no-fields', 'x'.repeat(50))
  await letters.durable()
  letters.forgetBelow(500)
  await letters.close()
  // Every segment went, and with them what the head was known by.
  const emptied = new FakeJournal()
  const behind = await open(emptied, { position: 500, bound })
  expect([behind.evicted, behind.kept]).toEqual([letters.evicted, 0])
  behind.append(letter(500), 'no-fields', '')
  await behind.durable()
  expect((await open(emptied, { position: 500, bound })).kept).toBe(1)
  if (bound.saved === undefined) expect.fail('no bound')
  bound.saved = { ...bound.saved, journal: 'another', below: 400 }
  const other = await open(emptied, { position: 501, bound })
  expect([other.evicted, other.kept]).toEqual([0, 1])
})

async function accountsOf(letters: DeadLetters, since: number, below: number): Promise<LetterAccounts> {
  return (await letters.accounts({ journal: journalUuid, since, below })) ?? expect.fail('not counted')
}

function isThere(letter: DeadLetter | undefined): letter is DeadLetter {
  return letter !== undefined
}

async function pageOf(letters: DeadLetters, selection: LetterSelection): Promise<readonly DeadLetter[]> {
  for await (const page of letters.pages(selection)) return page
  return []
}
