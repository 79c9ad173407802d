import { readFile, writeFile } from 'node:fs/promises'
import { expect } from 'vitest'
import type { Journal } from '../../journal/journal.ts'
import { appendRecords, openJournal, ordinalsOf, plain, readAll, recordOf, segmentPaths } from './fixture.ts'

/** Frames of a segment that is whole: where each begins and ends. */
export async function framesOf(folder: string, index = 0): Promise<{ readonly start: number; readonly end: number }[]> {
  const bytes = await readFile((await segmentPaths(folder))[index] ?? '')
  const frames = []
  for (let start = 64; start < bytes.length;) {
    const end = start + 20 + bytes.readUInt32LE(start + 8)
    frames.push({ start, end })
    start = end
  }
  return frames
}

export async function writeTen(folder: string): Promise<void> {
  await using journal = await openJournal(folder)
  await appendRecords(journal, 10)
}

/** Sixty records in segments of ten; answers their first ordinals. */
export async function writeSegments(folder: string): Promise<number[]> {
  await using journal = await openJournal(folder, { segmentBytes: 2000 })
  for (let group = 0; group < 6; group++) await appendRecords(journal, 10)
  return (await segmentPaths(folder)).map(firstOf)
}

/** The first ordinal in the name of a segment. */
export function firstOf(path: string): number {
  return Number(/-(\d+)\.seg$/.exec(path)?.[1])
}

/** Ordinals [from, to). */
export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index)
}

/** Changes the bytes of a segment. */
export async function changeSegment(folder: string, change: (bytes: Buffer) => Buffer, index = 0): Promise<void> {
  const path = (await segmentPaths(folder))[index] ?? ''
  await writeFile(path, change(await readFile(path)))
}

/** Reads everything below an ordinal: all are as they were but those that are missing. Answers what the reader counted. */
export async function expectRecords(folder: string, durable: number, missing: readonly number[]) {
  const { records, gaps, reader } = await readAll(folder, 0, durable)
  expect(ordinalsOf(gaps, 'damaged')).toEqual(missing)
  const expected = range(0, durable).filter(ordinal => !missing.includes(ordinal))
  expect(records.map(record => record.ordinal)).toEqual(expected)
  expect(records.map(plain)).toEqual(expected.map(ordinal => plain(recordOf(ordinal))))
  expect(reader.damagedRecords).toBe(missing.length)
  return reader
}

/** Reopens, appends five more and reads everything; once more after that. Answers what the first opening counted. */
export async function reopenAndAppend(folder: string, head: number, missing: readonly number[]): Promise<Journal['stats']> {
  const journal = await openJournal(folder)
  const { stats } = journal
  try {
    expect(journal.head).toBe(head)
    await appendRecords(journal, 5)
    await expectRecords(folder, head + 5, missing)
  } finally {
    await journal.close()
  }
  await using again = await openJournal(folder)
  expect(again.head).toBe(head + 5)
  await expectRecords(folder, head + 5, missing)
  return stats
}
