import { readFile, truncate, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Journal } from '../../journal/journal.ts'
import { makeFolder, openJournal, ordinalsOf, plain, readAll, recordOf, segmentPaths } from './fixture.ts'

/** What the test believes to be on disk: the number that made each record, and which ordinals are damaged. */
interface Model {
  readonly numbers: number[]
  readonly damaged: Set<number>
  /** Segments with a flipped bit: they are left alone from then on. */
  readonly flipped: Set<string>
  made: number
}

type Step =
  | { readonly kind: 'append'; readonly count: number }
  | { readonly kind: 'reopen' }
  | { readonly kind: 'flip'; readonly segment: number; readonly bit: number }
  | { readonly kind: 'cut'; readonly byte: number }
  | { readonly kind: 'read'; readonly from: number; readonly maxRecords: number; readonly maxBytes: number }

const fraction = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('append' as const),
        count: fc.integer({ min: 1, max: 25 })
      })
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('flip' as const), segment: fraction, bit: fraction }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const), byte: fraction }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('read' as const),
        from: fraction,
        maxRecords: fc.integer({ min: 1, max: 40 }),
        maxBytes: fc.integer({ min: 1, max: 20_000 })
      })
    }
  ),
  { minLength: 1, maxLength: 14 }
)

const sizeOf = (number: number): number => 12 + ((number * 7919) % 700)

/** Frames of an undamaged segment: where each ends and its ordinal. */
async function framesOf(path: string): Promise<{ readonly end: number; readonly ordinal: number }[]> {
  const bytes = await readFile(path)
  const frames = []
  for (let at = 64; at < bytes.length;) {
    const end = at + 20 + bytes.readUInt32LE(at + 8)
    frames.push({ end, ordinal: bytes.readUIntLE(at + 12, 6) })
    at = end
  }
  return frames
}

async function flip(folder: string, step: { readonly segment: number; readonly bit: number }, model: Model): Promise<void> {
  const paths = (await segmentPaths(folder)).filter(path => !model.flipped.has(basename(path)))
  const path = paths[Math.floor(step.segment * paths.length)]
  if (path === undefined) return
  const frames = await framesOf(path)
  const bytes = await readFile(path)
  const bit = Math.floor(step.bit * bytes.length * 8)
  const at = bit >> 3
  bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7))
  await writeFile(path, bytes)
  model.flipped.add(basename(path))
  const hit = at < 64 ? undefined : frames.find(frame => at < frame.end)
  if (hit !== undefined) model.damaged.add(hit.ordinal)
}

async function cut(folder: string, byte: number, model: Model): Promise<void> {
  const path = (await segmentPaths(folder)).at(-1)
  if (path === undefined || model.flipped.has(basename(path))) return
  const frames = await framesOf(path)
  const size = Math.floor(byte * ((frames.at(-1)?.end ?? 0) + 1))
  await truncate(path, size)
  const lost = frames.find(frame => frame.end > size)
  if (lost !== undefined) model.numbers.splice(lost.ordinal)
}

async function check(
  folder: string,
  from: number,
  limits: { readonly maxRecords: number; readonly maxBytes: number },
  model: Model
): Promise<void> {
  const { records, gaps } = await readAll(folder, from, model.numbers.length, limits)
  const expected = model.numbers.map((number, ordinal) => ({ number, ordinal })).slice(from)
  expect(ordinalsOf(gaps, 'damaged').toSorted((a, b) => a - b)).toEqual(
    [...model.damaged].filter(ordinal => ordinal >= from).toSorted((a, b) => a - b)
  )
  expect(records.map(record => ({ ordinal: record.ordinal, ...plain(record) }))).toEqual(
    expected
      .filter(({ ordinal }) => !model.damaged.has(ordinal))
      .map(({ number, ordinal }) => ({ ordinal, ...plain(recordOf(number, sizeOf(number))) }))
  )
}

async function append(journal: Journal, count: number, model: Model): Promise<void> {
  for (let index = 0; index < count; index++) {
    const number = model.made++
    expect(journal.append(recordOf(number, sizeOf(number)))).toBe(model.numbers.length)
    model.numbers.push(number)
  }
  await journal.drain()
}

test('whatever is appended, reopened, cut and flipped: every record but those hit is read as it was, at its ordinal', async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 500, max: 8000 }), async (run, segmentBytes) => {
      await using folder = await makeFolder()
      const model: Model = { numbers: [], damaged: new Set(), flipped: new Set(), made: 0 }
      let journal = await openJournal(folder.path, { segmentBytes, syncDelayMs: 0 })
      try {
        for (const step of run) {
          if (step.kind === 'append') await append(journal, step.count, model)
          else if (step.kind === 'read') await check(folder.path, Math.floor(step.from * model.numbers.length), step, model)
          else {
            await journal.close()
            if (step.kind === 'flip') await flip(folder.path, step, model)
            if (step.kind === 'cut') await cut(folder.path, step.byte, model)
            journal = await openJournal(folder.path, { segmentBytes, syncDelayMs: 0 })
            expect(journal.head).toBe(model.numbers.length)
          }
        }
        await check(folder.path, 0, { maxRecords: 1000, maxBytes: 1_000_000 }, model)
      } finally {
        await journal.close()
      }
    }),
    { numRuns: 80 }
  )
}, 60_000)

test('a journal cut at every byte of its last segment keeps every whole record', async () => {
  await using folder = await makeFolder()
  const model: Model = { numbers: [], damaged: new Set(), flipped: new Set(), made: 0 }
  {
    await using journal = await openJournal(folder.path)
    await append(journal, 3, model)
  }
  const [path = ''] = await segmentPaths(folder.path)
  const whole = await readFile(path)
  const frames = await framesOf(path)
  for (let size = 0; size < whole.length; size += size < 200 ? 1 : 13) {
    await writeFile(path, whole.subarray(0, size))
    const left = frames.filter(frame => frame.end <= size).length
    await using journal = await openJournal(folder.path)
    expect([size, journal.head, journal.stats.damagedRecords]).toEqual([size, left, 0])
  }
})

test('a run of damaged bytes of any length and place costs only the records that it touches', async () => {
  await fc.assert(
    fc.asyncProperty(
      fraction,
      fc.integer({ min: 1, max: 1500 }),
      fc.uint8Array({ minLength: 1, maxLength: 8 }),
      async (place, length, noise) => {
        await using folder = await makeFolder()
        const model: Model = { numbers: [], damaged: new Set(), flipped: new Set(), made: 0 }
        {
          await using journal = await openJournal(folder.path)
          await append(journal, 12, model)
        }
        const [path = ''] = await segmentPaths(folder.path)
        const frames = await framesOf(path)
        const bytes = await readFile(path)
        // The last frame stays whole: behind it there would be nothing to tell how many were there.
        const last = frames.at(-2)?.end ?? 0
        const from = Math.floor(place * last)
        const to = Math.min(last, from + length)
        let changed = false
        for (let at = from; at < to; at++) {
          const value = noise[at % noise.length] ?? 0
          changed ||= bytes[at] !== value
          bytes[at] = value
        }
        await writeFile(path, bytes)
        for (const [index, frame] of frames.entries()) {
          const start = frames[index - 1]?.end ?? 64
          const original = plain(recordOf(index, sizeOf(index)))
          if (changed && start < to && frame.end > from && original !== undefined) model.damaged.add(frame.ordinal)
        }
        await using journal = await openJournal(folder.path)
        expect(journal.head).toBe(12)
        const { records, gaps } = await readAll(folder.path, 0, 12)
        const missing = ordinalsOf(gaps, 'damaged')
        expect(missing.every(ordinal => model.damaged.has(ordinal))).toBe(true)
        expect(records.map(record => ({ ordinal: record.ordinal, ...plain(record) }))).toEqual(
          model.numbers
            .filter(number => !missing.includes(number))
            .map(number => ({ ordinal: number, ...plain(recordOf(number, sizeOf(number))) }))
        )
      }
    ),
    { numRuns: 40 }
  )
}, 60_000)
