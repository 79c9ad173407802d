import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { encodeFrame, frameBytesOf, markerBytes, maskBytes, newMarker } from '../../journal/frame.ts'
import { changeSegment, expectRecords, framesOf, range, reopenAndAppend, writeTen } from './damage-fixture.ts'
import { makeFolder, openJournal, plain, readAll, recordOf, segmentPaths } from './fixture.ts'

/** The bytes of some frames of a segment. */
async function blockOf(folder: string, first: number, last: number): Promise<Buffer> {
  const frames = await framesOf(folder)
  const bytes = await readFile((await segmentPaths(folder))[0] ?? '')
  return bytes.subarray(frames[first]?.start, frames[last]?.end)
}

test('a block of frames that comes twice is read once', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const frames = await framesOf(folder.path)
  const block = await blockOf(folder.path, 2, 4)
  const at = frames[4]?.end ?? 0
  await changeSegment(folder.path, bytes => Buffer.concat([bytes.subarray(0, at), block, bytes.subarray(at)]))
  expect(await expectRecords(folder.path, 10, [])).toMatchObject({ damagedBytes: 0 })
  expect(await reopenAndAppend(folder.path, 10, [])).toMatchObject({ damagedRecords: 0, damagedBytes: 0, cutBytes: 0 })
})

test('a block of frames behind the last one is read once and ends nothing', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const block = await blockOf(folder.path, 1, 8)
  await changeSegment(folder.path, bytes => Buffer.concat([bytes, block]))
  expect(await reopenAndAppend(folder.path, 10, [])).toMatchObject({ damagedRecords: 0, damagedBytes: 0, cutBytes: 0 })
})

test('a block of later frames over earlier ones costs those and none between', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const frames = await framesOf(folder.path)
  const block = await blockOf(folder.path, 7, 8)
  const from = (frames[2]?.start ?? 0) + 7
  await changeSegment(folder.path, bytes => {
    block.copy(bytes, from)
    return bytes
  })
  const hit = range(0, 10).filter(ordinal => (frames[ordinal]?.end ?? 0) > from && (frames[ordinal]?.start ?? 0) < from + block.length)
  expect(hit.length).toBeGreaterThan(1)
  const bytes = (frames[hit.at(-1) ?? 0]?.end ?? 0) - (frames[2]?.start ?? 0) - block.length
  expect(await expectRecords(folder.path, 10, hit)).toMatchObject({ damagedBytes: bytes })
  expect(await reopenAndAppend(folder.path, 10, hit)).toMatchObject({ damagedRecords: hit.length, damagedBytes: bytes })
})

test('a block of earlier frames over later ones costs those alone', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const frames = await framesOf(folder.path)
  const block = await blockOf(folder.path, 1, 2)
  const from = frames[6]?.start ?? 0
  await changeSegment(folder.path, bytes => {
    block.copy(bytes, from)
    return bytes
  })
  const hit = range(0, 10).filter(ordinal => (frames[ordinal]?.end ?? 0) > from && (frames[ordinal]?.start ?? 0) < from + block.length)
  await expectRecords(folder.path, 10, hit)
  expect(await reopenAndAppend(folder.path, 10, hit)).toMatchObject({ damagedRecords: hit.length })
})

test('blocks that changed places cost nothing: every record is found', async () => {
  await using folder = await makeFolder()
  await writeTen(folder.path)
  const frames = await framesOf(folder.path)
  const [early, between, late] = [await blockOf(folder.path, 1, 2), await blockOf(folder.path, 3, 5), await blockOf(folder.path, 6, 8)]
  await changeSegment(folder.path, bytes =>
    Buffer.concat([bytes.subarray(0, frames[1]?.start), late, between, early, bytes.subarray(frames[9]?.start)])
  )
  expect(await expectRecords(folder.path, 10, [])).toMatchObject({ damagedBytes: 0 })
  expect(await reopenAndAppend(folder.path, 10, [])).toMatchObject({ damagedRecords: 0, damagedBytes: 0 })
})

for (const [name, ordinals] of [
  ['its own ordinal', [1]],
  ['ordinals to come', [2, 3, 4]],
  ['one far beyond', [90_000_000_000]]
] as const) {
  test(`a payload of frames of this very journal with ${name} is never taken for records, whatever is damaged around it`, async () => {
    await using folder = await makeFolder()
    await using journal = await openJournal(folder.path)
    const { marker } = JSON.parse((await readFile(`${folder.path}/marks`, 'utf8')).slice(0, -10)) as { marker: number }
    const forged = ordinals.map(ordinal => {
      const record = { ...recordOf(666), clientId: Buffer.from('somebody-else') }
      const bytes = Buffer.alloc(frameBytesOf(record) + maskBytes)
      return bytes.subarray(0, encodeFrame(bytes, 0, markerBytes(marker), ordinal, 1, 0, record))
    })
    const written = range(0, 6).map(ordinal => (ordinal === 1 ? { ...recordOf(1), payload: Buffer.concat(forged) } : recordOf(ordinal)))
    for (const record of written) journal.append(record)
    await journal.close()
    expect((await readAll(folder.path, 0, 6)).records.map(plain)).toEqual(written.map(plain))
    const frame = (await framesOf(folder.path))[1] ?? expect.fail()
    const whole = await readFile((await segmentPaths(folder.path))[0] ?? '')
    for (let offset = 0; offset < 20; offset++) {
      await changeSegment(folder.path, () => {
        const bytes = Buffer.from(whole)
        bytes[frame.start + offset] = (bytes[frame.start + offset] ?? 0) ^ 16
        return bytes
      })
      const { records, reader } = await readAll(folder.path, 0, 6)
      expect(records.map(record => record.ordinal)).toEqual([0, 2, 3, 4, 5])
      expect(records.map(plain)).toEqual([0, 2, 3, 4, 5].map(ordinal => plain(recordOf(ordinal))))
      expect(reader).toMatchObject({ damagedRecords: 1, damagedBytes: frame.end - frame.start })
      await using again = await openJournal(folder.path)
      expect(again.head).toBe(6)
    }
  })
}

test('a new marker begins with a byte that no text has, so that text is never searched twice', () => {
  for (let turn = 0; turn < 1000; turn++) {
    const bytes = markerBytes(newMarker())
    expect(bytes).toHaveLength(4)
    expect(bytes[0]).toBeGreaterThanOrEqual(0xf8)
  }
})
