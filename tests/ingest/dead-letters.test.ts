import { expect, test } from 'vitest'
import { DeadLetters } from '../../ingest/dead-letters.ts'
import type { RefusalReason } from '../../ingest/refusals.ts'
import { FakeJournal, journalUuid, receivedMs, recordOf, silent } from './fakes.ts'

async function open(
  journal: FakeJournal,
  options: { readonly maxBytes?: number; readonly position?: number; readonly uuid?: string } = {}
) {
  return await DeadLetters.open({
    journal,
    scan: journal.scan,
    maxBytes: options.maxBytes ?? 1_000_000,
    records: { journal: options.uuid ?? journalUuid, position: options.position ?? 0 },
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
  const foreign = await open(journal, { uuid: 'ffffffff-1111-4222-8333-944445555666' })
  expect(foreign.has(6)).toBe(false)
  expect(foreign.kept).toBe(3)
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
    context: { parameter: 'topic' }
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
  const letters = await open(journal, { maxBytes: 40_000 })
  for (let ordinal = 0; ordinal < 1000; ordinal += 1) letters.append(letter(ordinal), 'no-fields', 'x'.repeat(50))
  await letters.durable()
  expect(letters.bytes).toBeLessThanOrEqual(40_000)
  expect(letters.bytes).toBeGreaterThan(20_000)
  expect(letters.kept + letters.evicted).toBe(1000)
  const { items, counts } = await letters.list({ limit: 1000 })
  expect(items.map(item => item.recordOrdinal)).toEqual(Array.from({ length: letters.kept }, (_, index) => letters.evicted + index))
  expect(counts).toEqual({ 'no-fields': letters.kept })
  const reopened = await open(journal, { maxBytes: 40_000 })
  expect([reopened.kept, reopened.evicted, reopened.bytes]).toEqual([letters.kept, letters.evicted, letters.bytes])
})
