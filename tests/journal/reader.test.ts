import { rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { JournalReader } from '../../journal/reader.ts'
import { scan } from '../../journal/scan.ts'
import { appendRecords, checkBatch, makeFolder, openJournal, plain, readAll, recordOf, segmentPaths, silent } from './fixture.ts'

const limits = { maxRecords: 7, maxBytes: 1_000_000 }

test('a reader waits for what is durable, wakes by advance, and sees each record once while segments come', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path, { segmentBytes: 1500 })
  await using reader = await JournalReader.open({ folder: folder.path, from: 0, durable: journal.durable, log: silent })
  journal.onReadable(readable => reader.advance(readable))
  const reading = (async () => {
    const read: Record<string, unknown>[] = []
    while (read.length < 200) {
      const batch = await reader.read(limits)
      checkBatch(batch, read.length)
      expect(batch.gaps).toEqual([])
      expect(batch.records.length).toBeLessThanOrEqual(7)
      read.push(...batch.records.map(plain))
    }
    return read
  })()
  for (let group = 0; group < 40; group++) await appendRecords(journal, 5)
  expect(await reading).toEqual(Array.from({ length: 200 }, (_, ordinal) => plain(recordOf(ordinal))))
  expect((await segmentPaths(folder.path)).length).toBeGreaterThan(5)
})

test('a reader never goes beyond durable, even where more is in the files', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path)
  await appendRecords(journal, 10)
  await using reader = await JournalReader.open({ folder: folder.path, from: 2, durable: 4, log: silent })
  expect((await reader.read(limits)).records.map(record => record.ordinal)).toEqual([2, 3])
  const next = reader.read(limits)
  reader.advance(4)
  reader.advance(3)
  reader.advance(5)
  expect((await next).records.map(record => record.ordinal)).toEqual([4])
})

test('a batch holds about maxBytes, and one record at least', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path)
  await appendRecords(journal, 20, 1000)
  await using reader = await JournalReader.open({ folder: folder.path, from: 0, durable: 20, log: silent })
  expect((await reader.read({ maxRecords: 100, maxBytes: 1 })).records).toHaveLength(1)
  const { records } = await reader.read({ maxRecords: 100, maxBytes: 5000 })
  expect(records.length).toBeGreaterThan(2)
  expect(records.length).toBeLessThan(6)
})

test('a read ends with nothing when it is aborted or its reader closed', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path)
  await appendRecords(journal, 3)
  const reader = await JournalReader.open({ folder: folder.path, from: 3, durable: 3, log: silent })
  const abort = new AbortController()
  const aborted = reader.read({ ...limits, signal: abort.signal })
  abort.abort()
  expect(await aborted).toEqual({ from: 3, to: 3, records: [], gaps: [] })
  const closed = reader.read(limits)
  await Promise.all([reader.close(), reader.close()])
  expect(await closed).toEqual({ from: 3, to: 3, records: [], gaps: [] })
})

test('a reader in a segment that is removed under it reads on, and finds what came after', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path, { segmentBytes: 400 })
  for (let group = 0; group < 6; group++) await appendRecords(journal, 4)
  await using reader = await JournalReader.open({ folder: folder.path, from: 0, durable: 24, log: silent })
  const first = await reader.read({ maxRecords: 1, maxBytes: 1 })
  expect(first.to).toBe(1)
  const paths = await segmentPaths(folder.path)
  for (const path of paths.slice(0, 3)) await rm(path)
  const records = [...first.records]
  const gaps = []
  for (let position = 1; position < 24;) {
    const batch = await reader.read(limits)
    checkBatch(batch, position)
    records.push(...batch.records)
    gaps.push(...batch.gaps)
    position = batch.to
  }
  // The open segment is still read; the two behind it are gone.
  expect(gaps).toEqual([{ from: 4, to: 12, kind: 'damaged' }])
  expect(records.map(record => record.ordinal)).toEqual([0, 1, 2, 3, ...Array.from({ length: 12 }, (_, index) => 12 + index)])
  expect(records.map(plain)).toEqual(records.map(record => plain(recordOf(record.ordinal))))
  expect(reader.stats.damagedRecords).toBe(8)
})

test('the gap up to where records exist is told even when nothing else is there yet', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path)
  await appendRecords(journal, 3)
  for (const path of await segmentPaths(folder.path)) await rm(path)
  const { records, gaps } = await readAll(folder.path, 1, 3)
  expect(records).toEqual([])
  expect(gaps).toEqual([{ from: 1, to: 3, kind: 'damaged' }])
})

test('payloads of a batch stay what they are while the reader reads on', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path)
  await appendRecords(journal, 2000, 500)
  const { records } = await readAll(folder.path, 0, 2000)
  expect(records.map(plain)).toEqual(Array.from({ length: 2000 }, (_, ordinal) => plain(recordOf(ordinal, 500))))
})

test('scan goes through all that is on disk, oldest first, and no further than asked while the writer appends', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path, { segmentBytes: 2000 })
  for (let group = 0; group < 10; group++) await appendRecords(journal, 30)
  const collect = async (range: { from?: number; to?: number }): Promise<number[]> => {
    const ordinals: number[] = []
    for await (const batch of scan({ folder: folder.path, log: silent, ...range })) {
      ordinals.push(...batch.records.map(record => record.ordinal))
      if (range.to !== undefined && journal.head < 400) journal.append(recordOf(journal.head))
    }
    return ordinals
  }
  expect(await collect({})).toEqual(Array.from({ length: 300 }, (_, ordinal) => ordinal))
  expect(await collect({ from: 290 })).toEqual(Array.from({ length: 10 }, (_, index) => 290 + index))
  expect(await collect({ from: 5, to: 280 })).toEqual(Array.from({ length: 275 }, (_, index) => 5 + index))
  await rm((await segmentPaths(folder.path))[0] ?? '')
  const [first] = await collect({})
  expect(first).toBeGreaterThan(0)
})

test('scan of an empty or missing folder has nothing', async () => {
  await using folder = await makeFolder()
  for (const path of [folder.path, `${folder.path}/missing`]) {
    for await (const batch of scan({ folder: path, log: silent })) expect(batch).toBeUndefined()
  }
})
