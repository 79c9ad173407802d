import { appendFile, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { segmentName } from '../../journal/frame.ts'
import { appendRecords, makeFolder, openJournal, ordinalsOf, plain, readAll, recordOf, segmentPaths } from './fixture.ts'

const frameBytesOf = async (folder: string): Promise<number[]> => {
  // Frame starts of a single segment, by the length field of each header.
  const [path] = await segmentPaths(folder)
  const bytes = await readFile(path ?? '')
  const starts: number[] = []
  for (let at = 64; at < bytes.length; at += 20 + bytes.readUInt32LE(at + 8)) starts.push(at)
  return starts
}

async function writeTen(folder: string): Promise<void> {
  await using journal = await openJournal(folder)
  await appendRecords(journal, 10)
}

async function expectRecords(folder: string, durable: number, missing: readonly number[]): Promise<void> {
  const { records, gaps } = await readAll(folder, 0, durable)
  expect(ordinalsOf(gaps, 'damaged')).toEqual(missing)
  const expected = Array.from({ length: durable }, (_, index) => index).filter(ordinal => !missing.includes(ordinal))
  expect(records.map(record => record.ordinal)).toEqual(expected)
  expect(records.map(plain)).toEqual(expected.map(ordinal => plain(recordOf(ordinal))))
}

async function changeSegment(folder: string, change: (bytes: Buffer) => Buffer | undefined, index = 0): Promise<void> {
  const path = (await segmentPaths(folder))[index] ?? ''
  const bytes = await readFile(path)
  await writeFile(path, change(bytes) ?? bytes)
}

/** Reopens, appends five more and reads everything. */
async function reopenAndAppend(folder: string, head: number, missing: readonly number[]): Promise<void> {
  await using journal = await openJournal(folder)
  expect(journal.head).toBe(head)
  await appendRecords(journal, 5)
  await expectRecords(folder, head + 5, missing)
}

test('a torn tail is cut and the next record does not touch it', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const starts = await frameBytesOf(folder.path)
  await truncate((await segmentPaths(folder.path))[0] ?? '', (starts[9] ?? 0) + 33)
  await using journal = await openJournal(folder.path)
  expect(journal.stats).toMatchObject({ cutBytes: 33, damagedRecords: 0 })
  expect(journal.head).toBe(9)
  await appendRecords(journal, 3)
  await expectRecords(folder.path, 12, [])
})

test('a tail of zeros is cut', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  await appendFile((await segmentPaths(folder.path))[0] ?? '', Buffer.alloc(5000))
  await reopenAndAppend(folder.path, 10, [])
})

for (const [name, offset] of [
  ['marker', 0],
  ['CRC', 4],
  ['length', 8],
  ['high byte of the length', 11],
  ['ordinal', 12],
  ['header check', 18],
  ['body', 30],
  ['payload', 80]
] as const) {
  for (const ordinal of [0, 4, 9]) {
    test(`a flipped bit in the ${name} of record ${ordinal} costs that record alone`, async () => {
      await using folder = await makeFolder()
      await writeTen(folder.path)
      const start = (await frameBytesOf(folder.path))[ordinal] ?? 0
      await changeSegment(folder.path, bytes => {
        bytes[start + offset] = (bytes[start + offset] ?? 0) ^ 4
        return bytes
      })
      await expectRecords(folder.path, 10, [ordinal])
      await reopenAndAppend(folder.path, 10, [ordinal])
      expect(await readdir(`${folder.path}/quarantine`)).toHaveLength(1)
    })
  }
}

test('a flipped bit in the header of a segment costs no record', async () => {
  for (const offset of [0, 9, 13, 30, 44, 61]) {
    await using folder = await makeFolder()
    await writeTen(folder.path)
    await changeSegment(folder.path, bytes => {
      bytes[offset] = (bytes[offset] ?? 0) ^ 1
      return bytes
    })
    await reopenAndAppend(folder.path, 10, [])
  }
})

test('a journal that lost its marks and its header is still read', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  await rm(`${folder.path}/marks`)
  await changeSegment(folder.path, bytes => bytes.fill(0, 0, 64))
  await reopenAndAppend(folder.path, 10, [])
})

test('a journal that lost its marks is the same journal', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path)
  await appendRecords(journal, 3)
  await journal.close()
  await rm(`${folder.path}/marks`)
  await using again = await openJournal(folder.path)
  expect(again.uuid).toBe(journal.uuid)
  expect(again.head).toBe(3)
})

test('a missing segment in the middle is a gap of exactly its records', async () => {
  await using folder = await makeFolder()
  {
    await using journal = await openJournal(folder.path, { segmentBytes: 2000 })
    for (let group = 0; group < 6; group++) await appendRecords(journal, 10)
  }
  const paths = await segmentPaths(folder.path)
  expect(paths.length).toBeGreaterThan(3)
  const first = Number(/-(\d+)\.seg$/.exec(paths[1] ?? '')?.[1])
  const end = Number(/-(\d+)\.seg$/.exec(paths[2] ?? '')?.[1])
  await rm(paths[1] ?? '')
  await reopenAndAppend(
    folder.path,
    60,
    Array.from({ length: end - first }, (_, index) => first + index)
  )
})

test('an empty file, a truncated header and junk where the last segment should be cost nothing', async () => {
  for (const [content, kept] of [
    [Buffer.alloc(0), false],
    [Buffer.from('TGJOURNL\u0001'), true],
    [Buffer.alloc(300, 'junk '), true]
  ] as const) {
    await using folder = await makeFolder()
    await writeTen(folder.path)
    const name = segmentName(77, 999)
    await writeFile(`${folder.path}/${name}`, content)
    await reopenAndAppend(folder.path, 10, [])
    const quarantined = await readdir(`${folder.path}/quarantine`).catch((): string[] => [])
    expect(quarantined).toEqual(kept ? [name] : [])
  }
})

test('files that are no segments are left alone', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  await writeFile(`${folder.path}/notes.txt`, 'mine')
  await writeFile(`${folder.path}/12-3.seg`, 'mine too')
  await reopenAndAppend(folder.path, 10, [])
  expect(await readFile(`${folder.path}/notes.txt`, 'utf8')).toBe('mine')
  expect(await readFile(`${folder.path}/12-3.seg`, 'utf8')).toBe('mine too')
})

test('a segment of another journal is moved away', async () => {
  await using folder = await makeFolder()
  await using other = await makeFolder()
  await writeTen(folder.path)
  await writeTen(other.path)
  const foreign = await readFile((await segmentPaths(other.path))[0] ?? '')
  const name = segmentName(2, 10)
  await writeFile(`${folder.path}/${name}`, foreign)
  await reopenAndAppend(folder.path, 10, [])
  expect(await readdir(`${folder.path}/quarantine`)).toEqual([name])
})

test('a payload that is a frame itself is never taken for a record', async () => {
  await using folder = await makeFolder()
  await using other = await makeFolder()
  await writeTen(other.path)
  const frames = (await readFile((await segmentPaths(other.path))[0] ?? '')).subarray(64)
  {
    await using journal = await openJournal(folder.path)
    await appendRecords(journal, 1)
    journal.append({ ...recordOf(1), payload: frames })
    journal.append(recordOf(2))
    await journal.drain()
  }
  const start = (await frameBytesOf(folder.path))[1] ?? 0
  await changeSegment(folder.path, bytes => {
    bytes[start + 8] = (bytes[start + 8] ?? 0) ^ 1
    return bytes
  })
  await expectRecords(folder.path, 3, [1])
})
