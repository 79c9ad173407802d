import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { countJournal, type Scan } from '../../ingest/journal-count.ts'
import { Pace } from '../../ingest/pace.ts'
import type { JournalGap, JournalRecord } from '../../journal/record.ts'
import { ImpatientClock, recordOf } from './fakes.ts'

type Entry = JournalRecord | JournalGap['kind'] | undefined

/** Reads an array in batches; `onBatch` is called with each, so that a test can let something happen meanwhile. */
function scanOf(entries: readonly Entry[], chunk: number, onBatch: (to: number) => void = () => undefined): Scan {
  return async function* ({ from, to }) {
    for (let at = from; at < to; at += chunk) {
      const end = Math.min(at + chunk, to)
      const records: JournalRecord[] = []
      const gaps: JournalGap[] = []
      for (let ordinal = at; ordinal < end; ordinal += 1) {
        const entry = entries[ordinal]
        if (typeof entry === 'object') records.push(entry)
        else if (entry !== undefined) gaps.push({ from: ordinal, to: ordinal + 1, kind: entry })
      }
      onBatch(end)
      yield await Promise.resolve({ from: at, to: end, records, gaps })
    }
  }
}

function count(part: {
  readonly scan: Scan
  readonly from: number
  readonly to: number
  readonly position?: () => number
  readonly signal?: AbortSignal
}) {
  const { signal } = new AbortController()
  const pace = new Pace({ clock: new ImpatientClock(), signal, share: () => 0.5 })
  return countJournal({ position: () => part.from, pace, signal, ...part })
}

const journalOf = (length: number): Entry[] => Array.from({ length }, (_, ordinal) => recordOf({ ordinal, payload: `${ordinal}` }))

test('finds every record that is there, and nothing to count where the checkpoint is at the head', async () => {
  const scan = scanOf(journalOf(100), 7)
  expect(await count({ scan, from: 13, to: 100 })).toEqual({ from: 13, to: 100, found: 87, firstMissing: undefined })
  expect(await count({ scan, from: 100, to: 100 })).toEqual({ from: 100, to: 100, found: 0, firstMissing: undefined })
  expect(await count({ scan, from: 103, to: 100 })).toEqual({ from: 103, to: 100, found: 0, firstMissing: undefined })
})

test('misses what is damaged or left out without a word, and takes what was dropped as found', async () => {
  const entries = journalOf(40)
  entries[20] = 'damaged'
  entries[21] = 'dropped'
  entries[30] = undefined
  const scan = scanOf(entries, 9)
  expect(await count({ scan, from: 5, to: 40 })).toEqual({ from: 5, to: 40, found: 33, firstMissing: 20 })
  expect(await count({ scan, from: 21, to: 40 })).toEqual({ from: 21, to: 40, found: 18, firstMissing: 30 })
})

test('a reader that ends early has not found the rest', async () => {
  const scan: Scan = async function* ({ from }) {
    if (from < 10) yield await Promise.resolve({ from, to: 10, records: [], gaps: [{ from, to: 10, kind: 'dropped' }] })
  }
  expect(await count({ scan, from: 0, to: 15 })).toEqual({ from: 0, to: 15, found: 10, firstMissing: 10 })
})

test('what gets its outcome meanwhile need not be found: its segments may be gone', async () => {
  const entries = journalOf(60)
  let position = 10
  // Ingest is at 35 when the second batch is read, and the segments below are removed.
  const scan = scanOf(entries, 10, to => {
    if (to !== 30) return
    position = 35
    entries.fill('damaged', 0, 35)
  })
  expect(await count({ scan, from: 10, to: 60, position: () => position })).toEqual({
    from: 35,
    to: 60,
    found: 25,
    firstMissing: undefined
  })
})

test('goes on where ingest is when ingest comes by, and reads nothing twice', async () => {
  let position = 0
  const read: number[] = []
  const scan = scanOf(journalOf(1000), 10, to => {
    read.push(to)
    if (to === 30) position = 905
  })
  expect(await count({ scan, from: 0, to: 1000, position: () => position })).toEqual({
    from: 905,
    to: 1000,
    found: 95,
    firstMissing: undefined
  })
  expect(read).toEqual([10, 20, 30, ...Array.from({ length: 10 }, (_, index) => Math.min(1000, 915 + index * 10))])
})

test('nothing is left to find when ingest is beyond the end by then', async () => {
  let position = 0
  const scan = scanOf(journalOf(50), 10, to => (position = to === 20 ? 170 : position))
  expect(await count({ scan, from: 0, to: 50, position: () => position })).toEqual({ from: 50, to: 50, found: 0, firstMissing: undefined })
})

test('a journal that is all holes is not read to its end', async () => {
  const entries = journalOf(10_000).map((entry, ordinal) => (ordinal % 2 === 0 ? entry : ('damaged' as const)))
  let read = 0
  const scan = scanOf(entries, 10, to => (read = to))
  const { to, found } = await count({ scan, from: 0, to: 10_000 })
  expect(read).toBe(2000)
  expect({ to, found }).toEqual({ to: 2000, found: 1000 })
})

test('ends when it is told to', async () => {
  const ending = new AbortController()
  let read = 0
  const scan = scanOf(journalOf(1000), 10, to => {
    read = to
    if (to === 50) ending.abort()
  })
  await count({ scan, from: 0, to: 1000, signal: ending.signal })
  expect(read).toBe(50)
})

test('whatever is missing, and however ingest moves: found is what is there and still has no outcome', async () => {
  const kinds = fc.constantFrom('record', 'record', 'record', 'damaged', 'dropped', 'nothing')
  await fc.assert(
    fc.asyncProperty(
      fc.array(kinds, { maxLength: 80 }),
      fc.nat(80),
      fc.integer({ min: 1, max: 9 }),
      fc.array(fc.nat(12)),
      async (model, start, chunk, steps) => {
        const entries = model.map((kind, ordinal): Entry =>
          kind === 'record' ? recordOf({ ordinal, payload: `${ordinal}` }) : kind === 'nothing' ? undefined : kind
        )
        const from = Math.min(start, model.length)
        let position = from
        let turn = 0
        const scan = scanOf(entries, chunk, () => {
          position = Math.min(model.length, position + (steps[turn++] ?? 0))
          entries.fill('damaged', 0, position)
        })
        const result = await count({ scan, from, to: model.length, position: () => position })
        const open = model.slice(position)
        expect(result.from).toBe(position)
        expect(result.found).toBe(open.filter(kind => kind === 'record' || kind === 'dropped').length)
      }
    )
  )
})
