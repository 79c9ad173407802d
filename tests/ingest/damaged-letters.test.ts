import { readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { DeadLetters } from '../../ingest/dead-letters.ts'
import { letterBoundFile } from '../../ingest/letter-bound.ts'
import type { Journal } from '../../journal/journal.ts'
import { scan } from '../../journal/scan.ts'
import { framesOf } from '../journal/damage-fixture.ts'
import { makeFolder, openJournal, segmentPaths } from '../journal/fixture.ts'
import { journalUuid, recordOf, silent } from './fakes.ts'

const letterOf = (ordinal: number) => recordOf({ ordinal, payload: `{"broken ${ordinal}`, clientId: `c${ordinal}` })

/** Opens the dead letters of a folder as the service does. */
async function open(folder: string, journal: Journal): Promise<DeadLetters> {
  return await DeadLetters.open({
    journal,
    scan: ({ from, to }) => scan({ folder, from: Math.max(from, journal.oldest), to, log: silent }),
    bound: letterBoundFile(folder),
    maxBytes: 1_000_000,
    records: { journal: journalUuid, position: 0, since: 0 },
    log: silent
  })
}

async function append(letters: DeadLetters, from: number, count: number): Promise<void> {
  for (let ordinal = from; ordinal < from + count; ordinal++) {
    letters.append(letterOf(ordinal), 'broken-json', 'at the end')
    await letters.durable()
  }
}

async function listed(letters: DeadLetters): Promise<number[]> {
  const { items } = await letters.list({ limit: 1000 })
  for (const item of items) expect(Buffer.from(item.payload).toString()).toBe(`{"broken ${item.recordOrdinal}`)
  return items.map(item => item.recordOrdinal)
}

const all = Array.from({ length: 40 }, (_, ordinal) => ordinal)

for (const [what, damage, missing] of [
  [
    'a flipped bit',
    async (folder: string) => {
      const [path = ''] = await segmentPaths(folder)
      const frame = (await framesOf(folder))[3] ?? expect.fail()
      const bytes = await readFile(path)
      bytes[frame.start + 50] = (bytes[frame.start + 50] ?? 0) ^ 8
      await writeFile(path, bytes)
      return [3]
    },
    1
  ],
  [
    'a torn tail',
    async (folder: string) => {
      const path = (await segmentPaths(folder)).at(-1) ?? ''
      await truncate(path, (await readFile(path)).length - 5)
      return [39]
    },
    0
  ],
  [
    'a missing segment',
    async (folder: string) => {
      const [, second = '', third = ''] = await segmentPaths(folder)
      await rm(second)
      const [first, end] = [second, third].map(path => Number(path.slice(-19, -4)))
      return all.filter(ordinal => ordinal >= (first ?? 0) && ordinal < (end ?? 0))
    },
    undefined
  ],
  [
    'lost marks',
    async (folder: string) => {
      await rm(`${folder}/marks`)
      return []
    },
    0
  ]
] as const) {
  test(`${what} in the dead letters costs those that were hit; the others are listed, and new ones are kept`, async () => {
    await using folder = await makeFolder()
    {
      await using journal = await openJournal(folder.path, { segmentBytes: 2000, whenFull: 'drop-oldest' })
      await append(await open(folder.path, journal), 0, 40)
    }
    expect((await segmentPaths(folder.path)).length).toBeGreaterThan(3)
    const hit = await damage(folder.path)
    const rest = all.filter(ordinal => !hit.includes(ordinal))
    {
      await using journal = await openJournal(folder.path, { whenFull: 'drop-oldest' })
      expect(journal.stats.damagedRecords).toBe(missing ?? hit.length)
      const letters = await open(folder.path, journal)
      expect(letters.kept).toBe(rest.length)
      expect(await listed(letters)).toEqual(rest)
      // A record whose letter was hit gets another one when it is settled again; the others do not.
      expect(all.filter(ordinal => !letters.has(ordinal))).toEqual(hit)
      await append(letters, 0, 45)
      expect((await listed(letters)).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 45 }, (_, ordinal) => ordinal))
    }
    await using journal = await openJournal(folder.path, { whenFull: 'drop-oldest' })
    expect(await listed(await open(folder.path, journal))).toHaveLength(45)
  })
}
