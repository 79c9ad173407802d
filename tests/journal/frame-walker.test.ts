import path from 'node:path'
import { expect, test } from 'vitest'
import { nodeFiles, type FilePort } from '../../journal/files.ts'
import { FrameWalker } from '../../journal/frame-walker.ts'
import { decodeFrame } from '../../journal/frame.ts'
import { loadMarks } from '../../journal/marks.ts'
import { systemError } from './faulty-files.ts'
import { appendRecords, makeDoor, makeFolder, openJournal, plain, recordOf, segmentPaths } from './fixture.ts'

type Sizes = (number: number) => number

/** Frames that end everywhere in the windows of 256 KiB, some far longer than the room in front of one read ahead, or than a window. */
const mixed: Sizes = number => [150, 7000, 90_000, 20, 30_000, 700_000, 16_000][number % 7] ?? 0
/** Frames that all fit into the room. */
const short: Sizes = number => 7000 + number
const count = 150

async function writeSegment(folder: string, payloadBytes = mixed): Promise<{ readonly file: string; readonly marker: number }> {
  await using journal = await openJournal(folder, { segmentBytes: 64 * 1024 * 1024 })
  for (let number = 0; number < count; number++) await appendRecords(journal, 1, payloadBytes(number))
  const [file = ''] = await segmentPaths(folder)
  return { file, marker: (await loadMarks(nodeFiles, folder))?.marker ?? 0 }
}

/** Every frame to the end of the file, compared with what was appended. */
async function walk(
  files: FilePort,
  { file, marker }: { readonly file: string; readonly marker: number },
  payloadBytes = mixed
): Promise<void> {
  const fd = await files.open(file, 'read')
  const walker = new FrameWalker(files, fd, marker)
  const records = []
  for (let step = walker.step(); step !== 'end'; step = walker.step()) {
    expect(walker.damage).toBeUndefined()
    if (step === 'more') await walker.fill()
    else records.push(decodeFrame(walker.bytes, walker.at))
  }
  // Compared at the end: the views must outlive the windows that were read since.
  expect(records.map(record => [record.ordinal, plain(record)])).toEqual(
    Array.from({ length: count }, (_, number) => [number, plain(recordOf(number, payloadBytes(number)))])
  )
  await files.close(fd)
}

test('frames that windows cut anywhere, and that are longer than a window, are walked as they were appended', async () => {
  await using folder = await makeFolder()
  await walk(nodeFiles, await writeSegment(folder.path))
})

test('the next window is being read while the one before it is walked', async () => {
  await using folder = await makeFolder()
  const segment = await writeSegment(folder.path)
  const door = makeDoor()
  let reads = 0
  const fd = await nodeFiles.open(segment.file, 'read')
  const files: FilePort = {
    ...nodeFiles,
    read: async (...call) => {
      reads += 1
      if (reads > 1) await door.passed
      return await nodeFiles.read(...call)
    }
  }
  const walker = new FrameWalker(files, fd, segment.marker)
  await walker.fill()
  expect(walker.step()).toBe('frame')
  expect(reads).toBe(2)
  door.open()
  await nodeFiles.close(fd)
})

test('a window that cannot be read ahead is read again in its turn', async () => {
  await using folder = await makeFolder()
  const segment = await writeSegment(folder.path, short)
  let reads = 0
  const files: FilePort = {
    ...nodeFiles,
    read: async (...call) => {
      reads += 1
      if (reads === 2) throw systemError('ENOMEM')
      return await nodeFiles.read(...call)
    }
  }
  await walk(files, segment, short)
  expect(reads).toBeGreaterThan(4)
})

test('what is behind a restart is read as it is then', async () => {
  await using folder = await makeFolder()
  const { file, marker } = await writeSegment(folder.path)
  const copy = path.join(folder.path, 'growing')
  const whole = Buffer.alloc(1024 * 1024)
  const from = await nodeFiles.open(file, 'read')
  await nodeFiles.read(from, whole, 0, whole.length, 0)
  await nodeFiles.close(from)
  const fd = await nodeFiles.open(copy, 'create')
  await nodeFiles.write(fd, whole, 0, 300_000, 0)
  const walker = new FrameWalker(nodeFiles, fd, marker)
  let frames = await framesUntilEnd(walker)
  await nodeFiles.write(fd, whole, 300_000, whole.length - 300_000, 300_000)
  walker.restart()
  frames += await framesUntilEnd(walker)
  await nodeFiles.close(fd)
  const reference = await nodeFiles.open(copy, 'read')
  expect(frames).toBe(await framesUntilEnd(new FrameWalker(nodeFiles, reference, marker)))
  await nodeFiles.close(reference)
})

async function framesUntilEnd(walker: FrameWalker): Promise<number> {
  let frames = 0
  for (let step = walker.step(); step !== 'end'; step = walker.step()) {
    if (step === 'more') await walker.fill()
    else frames += 1
  }
  return frames
}
