import { appendFile, readdir, truncate } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { changeSegment, expectRecords, firstOf, framesOf, range, reopenAndAppend, writeTen } from './damage-fixture.ts'
import { FaultyFiles, systemError } from './faulty-files.ts'
import { appendRecords, makeFolder, openJournal, segmentPaths } from './fixture.ts'

test('a torn tail is cut and the next record does not touch it', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const frames = await framesOf(folder.path)
  await truncate((await segmentPaths(folder.path))[0] ?? '', (frames[9]?.start ?? 0) + 33)
  await using journal = await openJournal(folder.path)
  expect(journal.stats).toMatchObject({ cutBytes: 33, damagedRecords: 0, damagedBytes: 0, quarantinedFiles: 0 })
  expect(journal.head).toBe(9)
  await appendRecords(journal, 3)
  await expectRecords(folder.path, 12, [])
})

test('a tail of zeros is cut', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  await appendFile((await segmentPaths(folder.path))[0] ?? '', Buffer.alloc(5000))
  expect(await reopenAndAppend(folder.path, 10, [])).toMatchObject({ cutBytes: 5000, damagedRecords: 0, damagedBytes: 0 })
})

test('zeros over the end of the last record are damage: it may have been acknowledged', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const last = (await framesOf(folder.path)).at(-1) ?? expect.fail()
  await changeSegment(folder.path, bytes => bytes.fill(0, last.start + 40))
  expect(await reopenAndAppend(folder.path, 10, [9])).toMatchObject({
    cutBytes: 0,
    damagedRecords: 1,
    damagedBytes: last.end - last.start
  })
})

test('garbage behind the last record uses up one ordinal: it may be what is left of a record', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  await appendFile((await segmentPaths(folder.path))[0] ?? '', Buffer.alloc(700, 'garbage '))
  expect(await reopenAndAppend(folder.path, 11, [10])).toMatchObject({ cutBytes: 0, damagedRecords: 1, damagedBytes: 700 })
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
      const frame = (await framesOf(folder.path))[ordinal] ?? expect.fail()
      await changeSegment(folder.path, bytes => {
        bytes[frame.start + offset] = (bytes[frame.start + offset] ?? 0) ^ 4
        return bytes
      })
      const counts = { damagedRecords: 1, damagedBytes: frame.end - frame.start }
      expect(await expectRecords(folder.path, 10, [ordinal])).toMatchObject(counts)
      expect(await reopenAndAppend(folder.path, 10, [ordinal])).toMatchObject({ ...counts, quarantinedFiles: 0, cutBytes: 0 })
      expect(await readdir(`${folder.path}/quarantine`)).toHaveLength(1)
    })
  }
}

for (const [name, offset] of [
  ['magic', 0],
  ['version', 9],
  ['UUID', 13],
  ['first ordinal', 30],
  ['marker', 44],
  ['sequence', 48],
  ['CRC', 61]
] as const) {
  test(`a flipped bit in the ${name} of a segment's header costs no record`, async () => {
    await using folder = await makeFolder()
    await writeTen(folder.path)
    await changeSegment(folder.path, bytes => {
      bytes[offset] = (bytes[offset] ?? 0) ^ 1
      return bytes
    })
    expect(await reopenAndAppend(folder.path, 10, [])).toMatchObject({ damagedRecords: 0, damagedBytes: 0, quarantinedFiles: 0 })
  })
}

test('a run of damaged records is one gap, and its bytes are counted once, by whoever opens and by whoever reads', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const frames = await framesOf(folder.path)
  const [from = 0, to = 0] = [frames[3]?.start, frames[6]?.start]
  await changeSegment(folder.path, bytes => bytes.fill(0xaa, from, to))
  const counts = { damagedRecords: 3, damagedBytes: to - from }
  expect(await expectRecords(folder.path, 10, range(3, 6))).toMatchObject(counts)
  expect(await reopenAndAppend(folder.path, 10, range(3, 6))).toMatchObject(counts)
})

test('damage at the seam, where a sync failed and the records were written again, costs what was acknowledged there alone', async () => {
  await using folder = await makeFolder()
  const faulty = new FaultyFiles()
  {
    await using journal = await openJournal(folder.path, { files: faulty.port, syncDelayMs: 0 })
    await appendRecords(journal, 5)
    let failures = 1
    faulty.fault = call => {
      if (call === 'datasync' && failures-- > 0) throw systemError('EIO')
    }
    await appendRecords(journal, 3)
    faulty.fault = () => undefined
    await appendRecords(journal, 2)
  }
  // The first segment has 0 … 4, and 5 … 7 void; the second one has these again.
  expect((await segmentPaths(folder.path)).map(firstOf)).toEqual([0, 5])
  const frames = await framesOf(folder.path)
  expect(frames).toHaveLength(8)
  const [from, to] = [(frames[4]?.start ?? 0) + 30, (frames[6]?.start ?? 0) + 30]
  await changeSegment(folder.path, bytes => bytes.fill(0x55, from, to))
  expect(await expectRecords(folder.path, 10, [4])).toMatchObject({ damagedRecords: 1 })
  expect(await reopenAndAppend(folder.path, 10, [4])).toMatchObject({ damagedRecords: 1, quarantinedFiles: 0 })
})
