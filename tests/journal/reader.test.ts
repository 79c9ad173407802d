import { readFile, rm, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { nodeFiles, type FilePort } from '../../journal/files.ts'
import { JournalReader } from '../../journal/reader.ts'
import { scan } from '../../journal/scan.ts'
import { systemError } from './faulty-files.ts'
import {
  appendRecords,
  checkBatch,
  makeFolder,
  openJournal,
  ordinalsOf,
  plain,
  readAll,
  recordOf,
  segmentPaths,
  silent
} from './fixture.ts'

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

test('what was half written when the reader looked is read again when it is durable', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path)
  await appendRecords(journal, 20, 100)
  let half = true
  // Behind the first five records the file looks as while a write is under way.
  const seen = {
    ...nodeFiles,
    read: async (fd: number, buffer: Uint8Array, offset: number, length: number, position: number) => {
      const bytes = await nodeFiles.read(fd, buffer, offset, length, position)
      if (half) buffer.fill(0, offset + Math.max(0, 64 + 5 * 240 - position), offset + bytes)
      return bytes
    }
  }
  await using reader = await JournalReader.open({ folder: folder.path, from: 0, durable: 3, log: silent, files: seen })
  expect((await reader.read({ maxRecords: 100, maxBytes: 1e6 })).to).toBe(3)
  half = false
  reader.advance(20)
  const batch = await reader.read({ maxRecords: 100, maxBytes: 1e6 })
  expect(batch.gaps).toEqual([])
  expect(batch.records.map(plain)).toEqual(Array.from({ length: 17 }, (_, index) => plain(recordOf(index + 3, 100))))
})

test('where durable ends within a run of damage, the rest of the run and the record behind it come with the next read', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path)
  await appendRecords(journal, 10)
  const [path = ''] = await segmentPaths(folder.path)
  const bytes = await readFile(path)
  const starts: number[] = []
  for (let at = 64; at < bytes.length; at += 20 + bytes.readUInt32LE(at + 8)) starts.push(at)
  await writeFile(path, bytes.fill(0xaa, starts[3], starts[6]))
  await using reader = await JournalReader.open({ folder: folder.path, from: 0, durable: 5, log: silent })
  const first = await reader.read({ maxRecords: 100, maxBytes: 1e6 })
  checkBatch(first, 0)
  expect(first.gaps).toEqual([{ from: 3, to: 5, kind: 'damaged' }])
  reader.advance(10)
  const second = await reader.read({ maxRecords: 100, maxBytes: 1e6 })
  checkBatch(second, 5)
  expect(second.gaps).toEqual([{ from: 5, to: 6, kind: 'damaged' }])
  expect(second.records.map(plain)).toEqual([6, 7, 8, 9].map(ordinal => plain(recordOf(ordinal))))
  expect(reader.stats).toMatchObject({ damagedRecords: 3, damagedBytes: (starts[6] ?? 0) - (starts[3] ?? 0) })
})

test('a file call that fails now and then costs no record and repeats none', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path, { segmentBytes: 60_000 })
  for (let group = 0; group < 10; group++) await appendRecords(journal, 50, 1000)
  await rm((await segmentPaths(folder.path))[3] ?? '')
  const [path = ''] = await segmentPaths(folder.path)
  const bytes = await readFile(path)
  let at = 64
  for (let ordinal = 0; ordinal < 20; ordinal++) at += 20 + bytes.readUInt32LE(at + 8)
  await writeFile(path, bytes.fill(0xaa, at + 100, at + 110))
  let random = 7
  let injected = 0
  const failing = <Result>(call: () => Promise<Result>): Promise<Result> => {
    random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0
    if (random >>> 30 !== 0) return call()
    injected++
    return Promise.reject(systemError('EMFILE'))
  }
  const files: FilePort = {
    ...nodeFiles,
    open: (path, mode) => failing(() => nodeFiles.open(path, mode)),
    read: (fd, buffer, offset, length, position) => failing(() => nodeFiles.read(fd, buffer, offset, length, position)),
    list: path => failing(() => nodeFiles.list(path))
  }
  await using reader = await JournalReader.open({ folder: folder.path, from: 0, durable: 500, log: silent, files })
  const records: Record<string, unknown>[] = []
  const gaps = []
  for (let position = 0; position < 500;) {
    try {
      const batch = await reader.read({ maxRecords: 30, maxBytes: 1e6 })
      checkBatch(batch, position)
      records.push(...batch.records.map(plain))
      gaps.push(...batch.gaps)
      position = batch.to
    } catch (error) {
      expect(error).toMatchObject({ code: 'EMFILE' })
    }
  }
  expect(injected).toBeGreaterThan(5)
  expect(ordinalsOf(gaps, 'damaged')).toEqual([20, ...Array.from({ length: 50 }, (_, index) => 150 + index)])
  const expected = Array.from({ length: 500 }, (_, ordinal) => ordinal).filter(
    ordinal => ordinal !== 20 && (ordinal < 150 || ordinal >= 200)
  )
  expect(records).toEqual(expected.map(ordinal => plain(recordOf(ordinal, 1000))))
})

test('a block that the disk cannot read costs the records in it', async () => {
  await using folder = await makeFolder()
  const badBlock = {
    ...nodeFiles,
    read: async (fd: number, buffer: Uint8Array, offset: number, length: number, position: number) => {
      if (position < 12_288 && position + length > 8192) throw systemError('EIO')
      return await nodeFiles.read(fd, buffer, offset, length, position)
    }
  }
  {
    await using journal = await openJournal(folder.path)
    await appendRecords(journal, 30, 1000)
  }
  const bytes = await readFile((await segmentPaths(folder.path))[0] ?? '')
  const hit: number[] = []
  for (let at = 64, ordinal = 0; at < bytes.length; ordinal++) {
    const end = at + 20 + bytes.readUInt32LE(at + 8)
    if (at < 12_288 && end > 8192) hit.push(ordinal)
    at = end
  }
  await using journal = await openJournal(folder.path, { files: badBlock })
  expect(journal.head).toBe(30)
  await using reader = await JournalReader.open({ folder: folder.path, from: 0, durable: 30, log: silent, files: badBlock })
  const batch = await reader.read({ maxRecords: 100, maxBytes: 1e6 })
  checkBatch(batch, 0)
  expect(batch.to).toBe(30)
  expect(batch.gaps).toEqual([{ from: hit[0], to: (hit.at(-1) ?? 0) + 1, kind: 'damaged' }])
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
