import { expect, test } from 'vitest'
import { countJournal } from '../../ingest/journal-count.ts'
import { Pace } from '../../ingest/pace.ts'
import { scan } from '../../journal/scan.ts'
import { appendRecords, makeFolder, openJournal, segmentPaths, silent, until } from '../journal/fixture.ts'
import { ImpatientClock } from './fakes.ts'

const { signal } = new AbortController()

/** A count of a journal's folder, as the service takes it, with the checkpoint where `position` says. */
async function count(folder: string, range: { readonly from: number; readonly to: number }, position: () => number) {
  const pace = new Pace({ clock: new ImpatientClock(), signal, share: () => 0.5 })
  return await countJournal({ scan: part => scan({ folder, ...part, log: silent }), ...range, position, pace, signal })
}

test('finds all that has no outcome while segments that have theirs are removed under the reader', async () => {
  await using folder = await makeFolder()
  let minutes = 0
  const journal = await openJournal(folder.path, {
    segmentBytes: 20_000,
    keep: { timeMs: 0, bytes: 0 },
    monotonic: () => (minutes += 1) * 60_000
  })
  let checkpoint = 0
  let counts = 0
  const work = async (): Promise<void> => {
    for (let turn = 0; turn < 60; turn += 1) {
      await appendRecords(journal, 500)
      await until(() => journal.durable === journal.head, 'the records are durable')
      // Behind by a changing number of records; what lies below goes with the next look at the folder.
      checkpoint = Math.max(checkpoint, journal.durable - ((turn * 379) % 2500))
      journal.commit(checkpoint)
    }
  }
  const state = { working: true }
  const working = work().finally(() => (state.working = false))
  while (state.working) {
    const from = checkpoint
    const to = journal.durable
    const result = await count(folder.path, { from, to }, () => checkpoint)
    expect(result, `${from} … ${to}, now at ${checkpoint}`).toEqual({
      from: result.from,
      to,
      found: to - result.from,
      firstMissing: undefined
    })
    counts += 1
    // With nothing to read a count waits for nothing.
    await new Promise(resolve => setImmediate(resolve))
  }
  await working
  expect(counts).toBeGreaterThan(5)
  await until(async () => (await segmentPaths(folder.path)).length < 20, 'segments went')
  await journal.close()
})

test('takes what drop-oldest removes under the reader as found', async () => {
  await using folder = await makeFolder()
  const journal = await openJournal(folder.path, { segmentBytes: 20_000, maxBytes: 120_000, whenFull: 'drop-oldest' })
  let counts = 0
  const work = async (): Promise<void> => {
    for (let turn = 0; turn < 60; turn += 1) {
      await appendRecords(journal, 300)
      await until(() => journal.durable === journal.head, 'the records are durable')
    }
  }
  const state = { working: true }
  const working = work().finally(() => (state.working = false))
  while (state.working) {
    const to = journal.durable
    expect(await count(folder.path, { from: 0, to }, () => 0)).toEqual({ from: 0, to, found: to, firstMissing: undefined })
    counts += 1
    // With nothing to read a count waits for nothing.
    await new Promise(resolve => setImmediate(resolve))
  }
  await working
  expect(journal.stats.droppedRecords).toBeGreaterThan(5000)
  expect(counts).toBeGreaterThan(5)
  await journal.close()
})
