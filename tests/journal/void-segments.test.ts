import { readFile, rename, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { encodeSegmentHeader } from '../../journal/frame.ts'
import { FaultyFiles, systemError } from './faulty-files.ts'
import { appendRecords, makeFolder, openJournal, plain, readAll, recordOf, segmentPaths } from './fixture.ts'

/** A segment without a record, as a process leaves it that was killed, or lost its last group. */
async function writeEmptySegment(folder: string, name: string, first: number): Promise<void> {
  const marks = JSON.parse((await readFile(path.join(folder, 'marks'), 'utf8')).slice(0, -10)) as { uuid: string; marker: number }
  await writeFile(path.join(folder, name), encodeSegmentHeader({ ...marks, sequence: Number(name.slice(0, 10)), first, createdMs: 0 }))
}

test('a segment that holds nothing and begins behind a later one hides nothing of that', async () => {
  await using folder = await makeFolder()
  {
    await using journal = await openJournal(folder.path)
    await appendRecords(journal, 7)
  }
  {
    await using journal = await openJournal(folder.path)
    await appendRecords(journal, 1)
  }
  const [first = '', second = ''] = await segmentPaths(folder.path)
  await rename(second, path.join(folder.path, '0000000009-000000000000007.seg'))
  await writeEmptySegment(folder.path, '0000000004-000000000000011.seg', 11)
  await truncate(first, (await readFile(first)).length - 1)
  const { records, gaps } = await readAll(folder.path, 0, 8)
  expect(gaps).toEqual([{ from: 6, to: 7, kind: 'damaged' }])
  expect(records.map(plain)).toEqual([0, 1, 2, 3, 4, 5, 7].map(number => plain(recordOf(number))))
})

test('a segment that holds nothing and cannot be removed ends the one before it, for the writer as for readers', async () => {
  await using folder = await makeFolder()
  {
    await using journal = await openJournal(folder.path)
    await appendRecords(journal, 3)
  }
  await writeEmptySegment(folder.path, '0000000002-000000000000002.seg', 2)
  const files = new FaultyFiles()
  files.fault = (call, name) => {
    if (call === 'unlink' && name.endsWith('.seg')) throw systemError('EIO')
  }
  await using journal = await openJournal(folder.path, { files: files.port })
  expect(journal.head).toBe(2)
  await appendRecords(journal, 2)
  const { records, gaps } = await readAll(folder.path, 0, 4)
  expect(gaps).toEqual([])
  expect(records.map(plain)).toEqual([0, 1, 2, 3].map(number => plain(recordOf(number))))
})
