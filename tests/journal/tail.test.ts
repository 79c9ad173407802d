import { readFile, rm, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { nodeFiles, type FilePort } from '../../journal/files.ts'
import { segmentHeaderBytes } from '../../journal/frame.ts'
import { loadMarks } from '../../journal/marks.ts'
import type { Journal } from '../../journal/journal.ts'
import { visitTail } from '../../journal/tail.ts'
import { FaultyFiles, systemError } from './faulty-files.ts'
import { appendRecords, makeFolder, openJournal, plain, recordOf, segmentPaths, until } from './fixture.ts'

type Seen = Readonly<Record<string, unknown>> & { readonly ordinal: number }

/** What a visitor sees, copied: the views are good only until it returns. */
async function tailOf(journal: Journal): Promise<readonly Seen[]> {
  const seen: Seen[] = []
  await journal.readTail(Infinity, record => {
    const { ordinal, receivedMs } = record
    seen.push({ ...plain({ ...record, dup: false, will: false, received: undefined }), ordinal, receivedMs })
  })
  return seen
}

function expected(ordinal: number, receivedMs: number, payloadBytes?: number): Seen {
  return { ...plain(recordOf(ordinal, payloadBytes)), dup: false, will: false, ordinal, receivedMs }
}

const ordinals = (from: number, to: number): readonly number[] => Array.from({ length: to - from }, (_, index) => from + index)

test('every record that was there at the opening is visited, in order, as it was', async () => {
  await using folder = await makeFolder()
  const clock = (): number => 1_700_000_000_123
  {
    await using journal = await openJournal(folder.path, { segmentBytes: 3000, clock })
    for (const _ of ordinals(0, 20)) await appendRecords(journal, 10)
    expect(await tailOf(journal)).toEqual([])
  }
  await using journal = await openJournal(folder.path, { clock })
  await appendRecords(journal, 5)
  const seen = await tailOf(journal)
  expect((await segmentPaths(folder.path)).length).toBeGreaterThan(5)
  expect(seen).toEqual(ordinals(0, 200).map(ordinal => expected(ordinal, clock())))
})

test('a payload with the marker of the journal, which is masked in the file, is visited as it was', async () => {
  await using folder = await makeFolder()
  const payload = Buffer.alloc(100, 1)
  {
    await using journal = await openJournal(folder.path)
    payload.writeUInt32LE((await loadMarks(nodeFiles, folder.path))?.marker ?? 0, 30)
    journal.append({ ...recordOf(1), payload })
  }
  await using journal = await openJournal(folder.path)
  const [seen] = await tailOf(journal)
  expect(seen?.['payload']).toEqual(plain({ ...recordOf(1), payload })['payload'])
})

test('only the newest bytes are read, wherever in a segment they begin', async () => {
  await using folder = await makeFolder()
  {
    await using journal = await openJournal(folder.path, { segmentBytes: 4000 })
    for (const _ of ordinals(0, 20)) await appendRecords(journal, 6)
  }
  const marker = (await loadMarks(nodeFiles, folder.path))?.marker ?? 0
  const paths = await segmentPaths(folder.path)
  const sizes = await Promise.all(paths.map(async path => (await readFile(path)).length))
  const all = sizes.reduce((sum, size) => sum + size, 0)
  const counts: number[] = []
  for (const bytes of [0, 1, 500, 1000, 3999, 4500, 9000, all, all * 2]) {
    const seen: number[] = []
    await visitTail({
      files: nodeFiles,
      folder: folder.path,
      marker,
      from: Infinity,
      end: 120,
      bytes,
      visit: ({ ordinal }) => seen.push(ordinal)
    })
    expect(seen).toEqual(ordinals(120 - seen.length, 120))
    counts.push(seen.length)
  }
  expect(counts).toEqual(counts.toSorted((a, b) => a - b))
  expect(counts.slice(0, 2)).toEqual([0, 0])
  expect(new Set(counts).size).toBeGreaterThan(6)
  expect(counts.slice(-2)).toEqual([120, 120])
})

test('what lies before the newest bytes is visited from an ordinal on, and what is with it is all there', async () => {
  await using folder = await makeFolder()
  {
    await using journal = await openJournal(folder.path, { segmentBytes: 4000 })
    for (const _ of ordinals(0, 20)) await appendRecords(journal, 6)
  }
  const marker = (await loadMarks(nodeFiles, folder.path))?.marker ?? 0
  for (const bytes of [0, 1, 500, 3000, 4500, 9000]) {
    for (const from of [0, 1, 37, 60, 100, 101, 118, 119, 120]) {
      const seen: number[] = []
      await visitTail({ files: nodeFiles, folder: folder.path, marker, from, end: 120, bytes, visit: ({ ordinal }) => seen.push(ordinal) })
      expect(seen).toEqual(ordinals(120 - seen.length, 120))
      expect(seen[0] ?? 120).toBeLessThanOrEqual(from)
    }
  }
})

test('what a failed segment holds beyond the next one is not visited twice', async () => {
  await using folder = await makeFolder()
  const files = new FaultyFiles()
  {
    await using journal = await openJournal(folder.path, { files: files.port })
    await appendRecords(journal, 5)
    let failed = false
    files.fault = call => {
      if (call !== 'datasync' || failed) return
      failed = true
      throw systemError('EIO')
    }
    for (const _ of ordinals(5, 8)) journal.append(recordOf(journal.head))
    await until(() => journal.durable === 8, 'they are written again')
    expect(failed).toBe(true)
  }
  await using journal = await openJournal(folder.path)
  expect((await tailOf(journal)).map(({ ordinal }) => ordinal)).toEqual(ordinals(0, 8))
})

test('blocks that come twice, or from a later segment, end nothing and bring no record a second time', async () => {
  await using folder = await makeFolder()
  {
    await using journal = await openJournal(folder.path, { segmentBytes: 2000 })
    for (const _ of ordinals(0, 4)) await appendRecords(journal, 6)
  }
  const [first = '', second = ''] = await segmentPaths(folder.path)
  const [bytes, later] = [await readFile(first), await readFile(second)]
  const own = bytes.subarray(segmentHeaderBytes)
  await writeFile(first, Buffer.concat([bytes.subarray(0, segmentHeaderBytes), later.subarray(segmentHeaderBytes), own, own]))
  await using journal = await openJournal(folder.path)
  expect((await tailOf(journal)).map(({ ordinal }) => ordinal)).toEqual(ordinals(0, 24))
})

test('a damaged record and a segment that has gone cost only themselves', async () => {
  await using folder = await makeFolder()
  {
    await using journal = await openJournal(folder.path, { segmentBytes: 2000 })
    for (const _ of ordinals(0, 10)) await appendRecords(journal, 6)
  }
  const [first = '', second = ''] = await segmentPaths(folder.path)
  const bytes = await readFile(first)
  const at = bytes.indexOf('client-3')
  bytes[at] = 0
  await writeFile(first, bytes)
  await using journal = await openJournal(folder.path)
  const before = (await tailOf(journal)).map(({ ordinal }) => ordinal)
  expect(before).toEqual(ordinals(0, 60).filter(ordinal => ordinal !== 3))
  // It goes between the list and the reading.
  const stat: FilePort['stat'] = async path => {
    const found = await nodeFiles.stat(path)
    if (path === second) await rm(path)
    return found
  }
  const marker = (await loadMarks(nodeFiles, folder.path))?.marker ?? 0
  const after: number[] = []
  const visit = ({ ordinal }: { readonly ordinal: number }): number => after.push(ordinal)
  await visitTail({ files: { ...nodeFiles, stat }, folder: folder.path, marker, from: Infinity, end: 60, visit })
  expect(after.length).toBeLessThan(before.length)
  expect([after[0], after.at(-1)]).toEqual([0, 59])
})
