import { expect, test } from 'vitest'
import { checkLedger, type LedgerSources } from '../../ingest/ledger-check.ts'
import type { Scan } from '../../ingest/journal-count.ts'
import type { JournalGap, JournalRecord } from '../../journal/record.ts'
import type { StoreAccounts } from '../../storage/port.ts'
import type { Checkpoint } from '../../telemetry.ts'
import { ImpatientClock, journalUuid, recordOf } from './fakes.ts'

const { signal } = new AbortController()

/** A service whose counts agree: 24 records have an outcome, 5 of them are dead letters, and 6 wait. */
class Counts implements LedgerSources {
  readonly clock = new ImpatientClock()
  readonly journal: (JournalRecord | JournalGap['kind'])[] = Array.from({ length: 40 }, (_, ordinal) => recordOf({ ordinal }))
  readonly pipeline = { position: checkpointOf({}), durable: 40, stats: { batches: 1 } }
  stored: StoreAccounts = {
    checkpoint: this.pipeline.position,
    points: { counted: 50, tally: { inserted: 70, replaced: 15, expired: 5 } }
  }
  letters: LedgerSources['letters'] = {
    accounts: () => Promise.resolve({ kept: 2, tombstoned: 2, evicted: 1 }),
    unsettled: 0
  }
  storage = { accounts: async () => await Promise.resolve(this.stored) }

  readonly scan: Scan = async function* (this: Counts, range: Parameters<Scan>[0]) {
    for (let from = range.from; from < range.to; from += 4) {
      const to = Math.min(range.to, from + 4)
      const entries = this.journal.slice(from, to)
      const records = entries.filter(entry => typeof entry === 'object')
      const gaps = entries.flatMap((entry, index): JournalGap[] =>
        typeof entry === 'string' ? [{ from: from + index, to: from + index + 1, kind: entry }] : []
      )
      yield await Promise.resolve({ from, to, records, gaps })
    }
  }.bind(this)
}

function checkpointOf(part: Partial<Checkpoint> & { readonly deadLettered?: number; readonly stored?: number }): Checkpoint {
  const { deadLettered = 5, stored = 12, ...rest } = part
  const totals = { stored, deadLettered, ignored: 3, deduplicated: 1, dropped: 2, damaged: 1 }
  return { journal: journalUuid, position: 34, since: 10, totals, ...rest }
}

async function faultsOf(counts: Counts): Promise<readonly Record<string, unknown>[]> {
  const check = await checkLedger(counts, signal)
  if (check === undefined) expect.fail('the check was given up')
  for (const { message } of check.faults) expect(message).toMatch(/^.{20,}$/)
  return check.faults.map(({ count, expected, found }) => ({ count, expected, found }))
}

test('nothing is wrong when every count agrees', async () => {
  expect(await faultsOf(new Counts())).toEqual([])
})

test('outcomes that do not add up to what was worked off are a fault, more of them as well as fewer', async () => {
  for (const [stored, found] of [
    [11, 23],
    [13, 25]
  ] as const) {
    const counts = new Counts()
    counts.stored = { ...counts.stored, checkpoint: checkpointOf({ stored }) }
    expect(await faultsOf(counts)).toEqual([{ count: 'outcomes', expected: 24, found }])
  }
})

test('a record that no reader finds is a fault until it has its outcome, one that was dropped is none', async () => {
  const counts = new Counts()
  counts.journal[36] = 'damaged'
  counts.journal[37] = 'dropped'
  expect(await faultsOf(counts)).toEqual([{ count: 'journal', expected: 6, found: 5 }])
  counts.pipeline.position = checkpointOf({ position: 37, stored: 15 })
  expect(await faultsOf(counts)).toEqual([])
})

test('a record below the checkpoint need not be in the journal', async () => {
  const counts = new Counts()
  counts.journal.fill('damaged', 0, 34)
  expect(await faultsOf(counts)).toEqual([])
})

test('a checkpoint ahead of the journal is a fault', async () => {
  const counts = new Counts()
  counts.pipeline.durable = 30
  expect(await faultsOf(counts)).toEqual([{ count: 'journal', expected: -4, found: 0 }])
})

test('a dead letter that is gone, or one too many, is a fault', async () => {
  for (const [kept, expected, found] of [
    [1, 5, 4],
    [3, 5, 6]
  ] as const) {
    const counts = new Counts()
    counts.letters = { accounts: () => Promise.resolve({ kept, tombstoned: 2, evicted: 1 }), unsettled: 0 }
    expect(await faultsOf(counts)).toEqual([{ count: 'deadLetters', expected, found }])
  }
})

test('asks for the letters of the records below the checkpoint on disk', async () => {
  const counts = new Counts()
  counts.pipeline.position = checkpointOf({ position: 37, stored: 15 })
  const asked: number[] = []
  counts.letters = {
    accounts: below => {
      asked.push(below)
      return Promise.resolve({ kept: 5, tombstoned: 0, evicted: 0 })
    },
    unsettled: 0
  }
  expect(await faultsOf(counts)).toEqual([])
  expect(asked).toEqual([34])
})

test('letters that are ahead of the checkpoint are none too many', async () => {
  const counts = new Counts()
  counts.letters = { accounts: () => Promise.resolve({ kept: 4, tombstoned: 2, evicted: 1 }), unsettled: 2 }
  expect(await faultsOf(counts)).toEqual([])
})

test.each([37, 40, 45])('letters and records that ingest settles up to %i while the others are counted make no fault', async position => {
  const counts = new Counts()
  counts.letters = {
    accounts: () => {
      // The batch under way, with two dead letters, is committed, and what lies below may be removed.
      counts.pipeline.position = checkpointOf({ position, deadLettered: 7, stored: position - 24 })
      counts.pipeline.durable = Math.max(40, position)
      counts.journal.fill('damaged', 0, position)
      return Promise.resolve({ kept: 4, tombstoned: 2, evicted: 1 })
    },
    unsettled: 0
  }
  expect(await faultsOf(counts)).toEqual([])
})

test('letters of which nobody knows whose they were, and points that have no tally, are not judged', async () => {
  const counts = new Counts()
  counts.letters = { accounts: () => Promise.resolve(undefined), unsettled: 0 }
  counts.stored = { ...counts.stored, points: undefined }
  expect(await faultsOf(counts)).toEqual([])
})

test('rows that do not agree with the tally are a fault', async () => {
  for (const counted of [49, 51]) {
    const counts = new Counts()
    counts.stored = { ...counts.stored, points: { counted, tally: { inserted: 70, replaced: 15, expired: 5 } } }
    expect(await faultsOf(counts)).toEqual([{ count: 'points', expected: 50, found: counted }])
  }
})

test('every count that disagrees is named', async () => {
  const counts = new Counts()
  counts.journal[39] = 'damaged'
  counts.letters = { accounts: () => Promise.resolve({ kept: 0, tombstoned: 2, evicted: 1 }), unsettled: 0 }
  counts.stored = {
    checkpoint: checkpointOf({ stored: 11 }),
    points: { counted: 1, tally: { inserted: 0, replaced: 0, expired: 0 } }
  }
  expect((await faultsOf(counts)).map(({ count }) => count)).toEqual(['outcomes', 'journal', 'deadLetters', 'points'])
})

test('until the first batch the totals are those that ingest began with, whatever the database has', async () => {
  const counts = new Counts()
  // A checkpoint of another journal, with other totals.
  counts.stored = { ...counts.stored, checkpoint: checkpointOf({ journal: 'another', position: 900, deadLettered: 600 }) }
  const totals = { stored: 0, deadLettered: 0, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 }
  Object.assign(counts.pipeline, { position: { journal: journalUuid, position: 30, since: 30, totals }, stats: { batches: 0 } })
  counts.letters = { accounts: () => Promise.resolve({ kept: 0, tombstoned: 0, evicted: 0 }), unsettled: 0 }
  expect(await faultsOf(counts)).toEqual([])
})

test('is given up when the signal comes', async () => {
  const ending = new AbortController()
  ending.abort()
  expect(await checkLedger(new Counts(), ending.signal)).toBeUndefined()
})
