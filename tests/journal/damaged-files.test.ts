import { copyFile, readFile, readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { encodeSegmentHeader, segmentName } from '../../journal/frame.ts'
import { changeSegment, firstOf, range, reopenAndAppend, writeSegments, writeTen } from './damage-fixture.ts'
import { FaultyFiles, systemError } from './faulty-files.ts'
import { appendRecords, makeFolder, openJournal, plain, readAll, recordOf, segmentPaths } from './fixture.ts'

const untouched = { damagedRecords: 0, damagedBytes: 0, cutBytes: 0 }

function quarantined(folder: string): Promise<string[]> {
  return readdir(`${folder}/quarantine`).catch((): string[] => [])
}

test('a missing segment in the middle is a gap of exactly its records', async () => {
  await using folder = await makeFolder()
  const [, first = 0, end = 0] = await writeSegments(folder.path)
  await rm((await segmentPaths(folder.path))[1] ?? '')
  expect(await reopenAndAppend(folder.path, 60, range(first, end))).toMatchObject({ damagedRecords: end - first, damagedBytes: 0 })
})

test('an empty file where the last segment should be costs nothing and goes', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  await writeFile(`${folder.path}/${segmentName(77, 999)}`, '')
  expect(await reopenAndAppend(folder.path, 10, [])).toMatchObject({ ...untouched, quarantinedFiles: 0 })
  expect(await quarantined(folder.path)).toEqual([])
})

test('an empty file in place of a segment is a gap of exactly its records', async () => {
  await using folder = await makeFolder()
  const [, first = 0, end = 0] = await writeSegments(folder.path)
  await truncate((await segmentPaths(folder.path))[1] ?? '', 0)
  expect(await reopenAndAppend(folder.path, 60, range(first, end))).toMatchObject({ damagedRecords: end - first, damagedBytes: 0 })
})

for (const [what, content] of [
  ['a truncated header', Buffer.from('TGJOURNL\u0001')],
  ['junk', Buffer.alloc(300, 'junk ')],
  ['zeros', Buffer.alloc(8192)]
] as const) {
  for (const [where, name] of [
    ['where the last segment should be', segmentName(77, 999)],
    ['between two segments, with an ordinal of the first one', segmentName(2, 5)]
  ] as const) {
    test(`${what} in a file with a segment's name, ${where}, goes to quarantine and costs nothing`, async () => {
      await using folder = await makeFolder()
      await writeTen(folder.path)
      {
        await using journal = await openJournal(folder.path)
        await appendRecords(journal, 10)
      }
      await writeFile(`${folder.path}/${name}`, content)
      expect(await reopenAndAppend(folder.path, 20, [])).toMatchObject({ ...untouched, quarantinedFiles: 1 })
      expect(await quarantined(folder.path)).toEqual([name])
      expect(await readFile(`${folder.path}/quarantine/${name}`)).toEqual(content)
    })
  }
}

test('files with foreign names are left alone', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  await writeFile(`${folder.path}/notes.txt`, 'mine')
  await writeFile(`${folder.path}/12-3.seg`, 'mine too')
  expect(await reopenAndAppend(folder.path, 10, [])).toMatchObject({ ...untouched, quarantinedFiles: 0 })
  expect(await readFile(`${folder.path}/notes.txt`, 'utf8')).toBe('mine')
  expect(await readFile(`${folder.path}/12-3.seg`, 'utf8')).toBe('mine too')
})

for (const [where, index] of [
  ['in the middle', 1],
  ['at the end', -1]
] as const) {
  test(`a segment of a later format ${where} is kept as it is, named and counted`, async () => {
    await using folder = await makeFolder()
    await writeSegments(folder.path)
    const paths = await segmentPaths(folder.path)
    const file = paths.at(index) ?? ''
    const end = index === -1 ? firstOf(file) : firstOf(paths[2] ?? '')
    const bytes = await readFile(file)
    bytes.writeUInt16LE(2, 8)
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60)
    await writeFile(file, bytes)
    const lines: string[] = []
    const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) })
    await (await openJournal(folder.path, { log })).close()
    const named = lines.map(line => JSON.parse(line) as Record<string, unknown>).find(line => line['version'] === 2)
    expect(named).toMatchObject({ code: 'TG_JOURNAL_DAMAGED', segment: path.basename(file), moved: true })
    expect(await readFile(`${folder.path}/quarantine/${path.basename(file)}`)).toEqual(bytes)
    const head = index === -1 ? end : 60
    await reopenAndAppend(folder.path, head, index === -1 ? [] : range(firstOf(file), end))
  })
}

test('a segment of another journal goes to quarantine', async () => {
  await using folder = await makeFolder()
  await using other = await makeFolder()
  await writeTen(folder.path)
  await writeTen(other.path)
  const name = segmentName(2, 10)
  await copyFile((await segmentPaths(other.path))[0] ?? '', `${folder.path}/${name}`)
  expect(await reopenAndAppend(folder.path, 10, [])).toMatchObject({ ...untouched, quarantinedFiles: 1 })
  expect(await quarantined(folder.path)).toEqual([name])
})

test('a copy of a segment under a later name hides nothing and goes to quarantine', async () => {
  await using folder = await makeFolder()
  await writeSegments(folder.path)
  const name = segmentName(99, 0)
  await copyFile((await segmentPaths(folder.path))[0] ?? '', `${folder.path}/${name}`)
  expect(await reopenAndAppend(folder.path, 60, [])).toMatchObject({ ...untouched, quarantinedFiles: 1 })
  expect(await quarantined(folder.path)).toHaveLength(1)
})

test("segments that have each other's names get their own back", async () => {
  await using folder = await makeFolder()
  await writeSegments(folder.path)
  const before = await segmentPaths(folder.path)
  const [, a = '', b = ''] = before
  await rename(a, `${folder.path}/x`)
  await rename(b, a)
  await rename(`${folder.path}/x`, b)
  expect(await reopenAndAppend(folder.path, 60, [])).toMatchObject({ ...untouched, quarantinedFiles: 0 })
  expect((await segmentPaths(folder.path)).slice(0, before.length)).toEqual(before)
})

test('a renamed segment gets its name back, with a good header and, by its frames, with a damaged one', async () => {
  for (const name of ['backup.seg', segmentName(50, 3)]) {
    for (const damaged of name === 'backup.seg' ? [false] : [false, true]) {
      await using folder = await makeFolder()
      await writeSegments(folder.path)
      const before = await segmentPaths(folder.path)
      if (damaged) await changeSegment(folder.path, bytes => bytes.fill(0, 0, 64), 1)
      await rename(before[1] ?? '', `${folder.path}/${name}`)
      expect(await reopenAndAppend(folder.path, 60, [])).toMatchObject({ ...untouched, quarantinedFiles: 0 })
      expect((await segmentPaths(folder.path)).slice(0, before.length)).toEqual(before)
    }
  }
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

test('a journal that lost its marks and every header is still read, also where a payload looks like a frame of another', async () => {
  await using folder = await makeFolder()
  await using other = await makeFolder()
  await writeTen(other.path)
  const foreign = (await readFile((await segmentPaths(other.path))[0] ?? '')).subarray(64)
  {
    await using journal = await openJournal(folder.path)
    journal.append({ ...recordOf(0), payload: foreign })
    for (let ordinal = 1; ordinal < 10; ordinal++) journal.append(recordOf(ordinal))
    await journal.drain()
  }
  await rm(`${folder.path}/marks`)
  await changeSegment(folder.path, bytes => bytes.fill(0, 0, 65))
  await using journal = await openJournal(folder.path)
  expect(journal.head).toBe(10)
  const { records } = await readAll(folder.path, 1, 10)
  expect(records.map(plain)).toEqual(range(1, 10).map(ordinal => plain(recordOf(ordinal))))
})

test('marks of another journal are not believed', async () => {
  await using folder = await makeFolder()
  await using other = await makeFolder()
  await writeTen(folder.path)
  await writeTen(other.path)
  await copyFile(`${other.path}/marks`, `${folder.path}/marks`)
  expect(await reopenAndAppend(folder.path, 10, [])).toMatchObject({ ...untouched, quarantinedFiles: 0 })
})

test('a segment that says too low an ordinal in its header and name takes nothing from the one before', async () => {
  await using folder = await makeFolder()
  await writeSegments(folder.path)
  const [, file = ''] = await segmentPaths(folder.path)
  await changeSegment(folder.path, bytes => bytes.fill(0, 0, 64), 1)
  await rename(file, `${folder.path}/${segmentName(2, firstOf(file) - 3)}`)
  expect(await reopenAndAppend(folder.path, 60, [])).toMatchObject(untouched)
  expect((await stat(file)).isFile()).toBe(true)
})

test('the header of a segment says its sequence, and one of before that does not stands by its name', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const marks = JSON.parse((await readFile(`${folder.path}/marks`, 'utf8')).slice(0, -10)) as { uuid: string; marker: number }
  const old = encodeSegmentHeader({ ...marks, first: 0, createdMs: 1, sequence: 0 })
  await changeSegment(folder.path, bytes => Buffer.concat([old, bytes.subarray(64)]))
  expect(await reopenAndAppend(folder.path, 10, [])).toMatchObject({ ...untouched, quarantinedFiles: 0 })
})

test('a disk that may only be read is refused, with the setting and the reason', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const faulty = new FaultyFiles()
  faulty.fault = call => {
    if (call !== 'freeBytes') throw systemError('EROFS')
  }
  await expect(openJournal(folder.path, { files: faulty.port })).rejects.toMatchObject({
    code: 'TG_DATA_UNWRITABLE',
    message: `cannot open the journal in ${folder.path} (setting: data): EROFS`,
    context: { setting: 'data', folder: folder.path }
  })
})

test('where there can be no folder `quarantine`, what is no segment gets out of the way under another name', async () => {
  await using folder = await makeFolder()
  await writeSegments(folder.path)
  await writeFile(`${folder.path}/quarantine`, 'a file where the folder should be')
  const name = segmentName(2, 5)
  await writeFile(`${folder.path}/${name}`, 'junk')
  expect(await reopenAndAppend(folder.path, 60, [])).toMatchObject({ ...untouched, quarantinedFiles: 1 })
  expect(await readFile(`${folder.path}/${name}.quarantine`, 'utf8')).toBe('junk')
})

test('quarantine keeps what it has when another file of that name comes', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const name = segmentName(77, 999)
  for (const content of ['first', 'second', 'third']) {
    await writeFile(`${folder.path}/${name}`, content)
    await (await openJournal(folder.path)).close()
  }
  const kept = await Promise.all(
    (await quarantined(folder.path)).map(async each => await readFile(`${folder.path}/quarantine/${each}`, 'utf8'))
  )
  expect(kept.toSorted()).toEqual(['first', 'second', 'third'])
})
