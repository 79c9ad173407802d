import { cp, readFile, readdir, rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { Journal, JournalOptions } from '../../journal/journal.ts'
import { FaultyFiles, systemError } from './faulty-files.ts'
import { appendRecords, makeFolder, openJournal, ordinalsOf, plain, readAll, recordOf, segmentPaths, until } from './fixture.ts'

/** Clocks that move by hand, both at once; the wall clock is also set. */
function makeClocks(): { readonly options: Partial<JournalOptions>; pass(ms: number): void; step(ms: number): void } {
  let wallMs = Date.now()
  let monotonicMs = 0
  return {
    options: { clock: () => wallMs, monotonic: () => monotonicMs },
    pass(ms) {
      wallMs += ms
      monotonicMs += ms
    },
    step(ms) {
      wallMs += ms
    }
  }
}

/** Resolves when what may go has gone. */
async function tidied(journal: Journal): Promise<void> {
  // Behind every record, so that it keeps none.
  const release = await journal.pin(Infinity)
  release()
}

const firstsOf = async (folder: string): Promise<number[]> =>
  (await segmentPaths(folder)).map(path => Number(/-(\d+)\.seg$/.exec(path)?.[1]))

test('committed segments stay until keep.time is passed, and a minute at least', async () => {
  await using folder = await makeFolder()
  const clocks = makeClocks()
  await using journal = await openJournal(folder.path, { ...clocks.options, segmentBytes: 100, keep: { timeMs: 30_000, bytes: 1e9 } })
  for (let group = 0; group < 5; group++) await appendRecords(journal, 2)
  expect(await firstsOf(folder.path)).toEqual([0, 2, 4, 6, 8])
  expect(journal.oldest).toBe(0)
  journal.commit(7)
  clocks.pass(59_000)
  journal.commit(7)
  await tidied(journal)
  expect(await firstsOf(folder.path)).toEqual([0, 2, 4, 6, 8])
  clocks.pass(2000)
  journal.commit(7)
  await until(() => journal.oldest === 6, 'removal')
  expect(await firstsOf(folder.path)).toEqual([6, 8])
})

for (const [step, years] of [
  ['forward', 50],
  ['back', -10]
] as const) {
  test(`a wall clock that is set ${step} lets go of nothing too early and of nothing too late`, async () => {
    await using folder = await makeFolder()
    const clocks = makeClocks()
    const options = { ...clocks.options, segmentBytes: 100, keep: { timeMs: 3_600_000, bytes: 1e9 } }
    {
      await using journal = await openJournal(folder.path, options)
      for (let group = 0; group < 3; group++) await appendRecords(journal, 1)
      journal.commit(3)
    }
    // While it is down, and while it runs.
    clocks.step(years * 365 * 86_400_000)
    await using journal = await openJournal(folder.path, options)
    await appendRecords(journal, 1)
    journal.commit(4)
    clocks.pass(1_800_000)
    clocks.step(years * 365 * 86_400_000)
    await appendRecords(journal, 1)
    journal.commit(5)
    clocks.pass(1_700_000)
    await appendRecords(journal, 1)
    expect(await firstsOf(folder.path)).toEqual([0, 1, 2, 3, 4, 5])
    clocks.pass(200_000)
    journal.commit(6)
    await until(() => journal.oldest === 3, 'removal')
    clocks.pass(3_600_000)
    journal.commit(6)
    await until(() => journal.oldest === 5, 'the rest')
  })
}

test('committed segments go oldest first while they are more than keep.bytes, what is not committed never', async () => {
  await using folder = await makeFolder()
  const clocks = makeClocks()
  await using journal = await openJournal(folder.path, { ...clocks.options, segmentBytes: 100, keep: { timeMs: 1e9, bytes: 5000 } })
  for (let group = 0; group < 10; group++) await appendRecords(journal, 1, 1500)
  journal.commit(8)
  clocks.pass(61_000)
  journal.commit(8)
  await until(() => journal.oldest === 5, 'the rest')
  expect(await firstsOf(folder.path)).toEqual([5, 6, 7, 8, 9])
  journal.commit(0)
  clocks.pass(1e6)
  journal.commit(0)
  await appendRecords(journal, 1)
  expect(await firstsOf(folder.path)).toEqual([5, 6, 7, 8, 9, 10])
})

test('what may be read again stays although it is committed, however long, and goes once it may not', async () => {
  await using folder = await makeFolder()
  const clocks = makeClocks()
  await using journal = await openJournal(folder.path, { ...clocks.options, segmentBytes: 100, keep: { timeMs: 0, bytes: 0 } })
  for (let group = 0; group < 5; group++) await appendRecords(journal, 2)
  // A store that went away: what it was given in the minute before may have to be written again when it is back.
  journal.commit(9, 5)
  clocks.pass(7_200_000)
  journal.commit(9, 5)
  await until(() => journal.oldest === 4, 'the removal of what is below')
  expect(await firstsOf(folder.path)).toEqual([4, 6, 8])
  journal.commit(9, 9)
  await until(() => journal.oldest === 8, 'the removal of the rest')
  expect(await firstsOf(folder.path)).toEqual([8])
})

test('reject-new refuses at maxBytes of what is not committed, and accepts after a commit', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path, { maxBytes: 60_000 })
  const states: string[] = []
  journal.onState(state => states.push(state))
  while (journal.state === 'accepting') await appendRecords(journal, 1, 2000)
  const { head } = journal
  expect(head).toBeGreaterThan(25)
  expect(head).toBeLessThan(32)
  expect(() => journal.append(recordOf(head))).toThrow(expect.objectContaining({ code: 'TG_JOURNAL_FULL' }))
  journal.commit(head - 3)
  await appendRecords(journal, 2, 2000)
  expect(states).toEqual(['full', 'accepting'])
  const { records, gaps } = await readAll(folder.path, 0, head + 2)
  expect(gaps).toEqual([])
  expect(records.map(plain)).toEqual(Array.from({ length: head + 2 }, (_, ordinal) => plain(recordOf(ordinal, 2000))))
})

test('a journal that is full is full again after a restart, and committed records do not count', async () => {
  await using folder = await makeFolder()
  {
    await using journal = await openJournal(folder.path, { maxBytes: 60_000 })
    while (journal.state === 'accepting') await appendRecords(journal, 1, 2000)
  }
  {
    await using journal = await openJournal(folder.path, { maxBytes: 60_000 })
    expect(journal.state).toBe('full')
    journal.commit(journal.head)
    expect(journal.state).toBe('accepting')
  }
  await using journal = await openJournal(folder.path, { maxBytes: 60_000 })
  expect(journal.state).toBe('accepting')
})

test('a process that is killed does not count what was committed in whole segments as uncommitted again', async () => {
  await using folder = await makeFolder()
  await using copy = await makeFolder()
  await using journal = await openJournal(folder.path, { maxBytes: 60_000 })
  while (journal.state === 'accepting') await appendRecords(journal, 1, 2000)
  journal.commit(journal.head)
  await until(
    async () => Number(/"committedBelow":(\d+)/.exec(await readFile(`${folder.path}/marks`, 'utf8'))?.[1]) === journal.head,
    'the marks'
  )
  await cp(folder.path, copy.path, { recursive: true })
  await using again = await openJournal(copy.path, { maxBytes: 60_000 })
  expect(again.state).toBe('accepting')
  expect(again.stats.uncommittedBytes).toBe(0)
})

test('drop-oldest goes on accepting; what it dropped is on disk as dropped before its segment goes, and is counted', async () => {
  await using folder = await makeFolder()
  const files = new FaultyFiles()
  await using journal = await openJournal(folder.path, {
    files: files.port,
    maxBytes: 80_000,
    whenFull: 'drop-oldest',
    pendingBytes: 20_000
  })
  for (let group = 0; group < 100; group++) {
    await appendRecords(journal, 1, 2000)
    // The dropping has the length of the pending bound to keep up; how many groups that is depends on the machine.
    await until(() => journal.stats.uncommittedBytes <= 80_000, 'dropping')
  }
  const { oldest, stats } = journal
  expect(oldest).toBeGreaterThan(50)
  expect(stats.droppedRecords).toBe(oldest)
  const { records, gaps } = await readAll(folder.path, 0, 100)
  expect(gaps).toEqual([{ from: 0, to: oldest, kind: 'dropped' }])
  expect(records.map(plain)).toEqual(Array.from({ length: 100 - oldest }, (_, index) => plain(recordOf(oldest + index, 2000))))
  let marked: 'no' | 'renamed' | 'synced' = 'no'
  let unlinked = 0
  for (const event of files.events) {
    if (event.call === 'rename' && event.name === 'marks') marked = 'renamed'
    if (event.call === 'syncFolder' && marked === 'renamed') marked = 'synced'
    if (event.call !== 'unlink' || !event.name.endsWith('.seg')) continue
    expect(marked).toBe('synced')
    marked = 'no'
    unlinked++
  }
  expect(unlinked).toBeGreaterThan(5)
})

test('when the marks cannot be written drop-oldest removes nothing and the journal becomes full', async () => {
  await using folder = await makeFolder()
  const files = new FaultyFiles()
  await using journal = await openJournal(folder.path, {
    files: files.port,
    maxBytes: 40_000,
    whenFull: 'drop-oldest',
    pendingBytes: 20_000
  })
  files.fault = (call, name) => {
    if (call === 'rename' && name === 'marks') throw systemError('EIO')
  }
  while (journal.state === 'accepting') await appendRecords(journal, 1, 2000)
  expect(journal.state).toBe('full')
  expect(journal.oldest).toBe(0)
  files.fault = () => undefined
  await until(() => journal.state === 'accepting', 'dropping')
  expect(journal.oldest).toBeGreaterThan(0)
})

test('below the reserve the journal is full, and committed segments go at once to make room', async () => {
  await using folder = await makeFolder()
  const clocks = makeClocks()
  const files = new FaultyFiles()
  files.freeBytes = 1_000_000
  await using journal = await openJournal(folder.path, { ...clocks.options, files: files.port, segmentBytes: 100, reserveBytes: 1000 })
  for (let group = 0; group < 4; group++) await appendRecords(journal, 1)
  files.freeBytes = 10
  clocks.pass(1000)
  await appendRecords(journal, 1)
  await until(() => journal.state === 'full', 'the full disk')
  expect(await firstsOf(folder.path)).toEqual([0, 1, 2, 3, 4])
  await until(() => {
    journal.commit(3)
    return journal.oldest === 3
  }, 'removal')
  files.freeBytes = 1_000_000
  clocks.pass(1000)
  journal.commit(3)
  await until(() => journal.state === 'accepting', 'room')
  expect(await firstsOf(folder.path)).toEqual([3, 4])
})

test('a disk without space costs committed segments first, and with drop-oldest then the oldest, one at a time', async () => {
  await using folder = await makeFolder()
  const files = new FaultyFiles()
  await using journal = await openJournal(folder.path, { files: files.port, segmentBytes: 100, whenFull: 'drop-oldest' })
  for (let group = 0; group < 6; group++) await appendRecords(journal, 1)
  journal.commit(2)
  files.fault = (call, name) => {
    if (call === 'write' && name.endsWith('.seg') && journal.oldest < 3) throw systemError('ENOSPC')
  }
  journal.append(recordOf(6))
  await until(() => journal.durable === 7, 'the record')
  expect(journal.stats.droppedRecords).toBe(1)
  const { records, gaps } = await readAll(folder.path, 2, 7)
  expect(gaps).toEqual([{ from: 2, to: 3, kind: 'dropped' }])
  expect(records.map(plain)).toEqual([3, 4, 5, 6].map(ordinal => plain(recordOf(ordinal))))
})

test('a disk that cannot be asked for its space, and segments that cannot be removed, stop nothing', async () => {
  await using folder = await makeFolder()
  const clocks = makeClocks()
  const files = new FaultyFiles()
  await using journal = await openJournal(folder.path, {
    ...clocks.options,
    files: files.port,
    segmentBytes: 100,
    keep: { timeMs: 0, bytes: 0 }
  })
  files.fault = call => {
    if (call === 'unlink' || call === 'freeBytes') throw systemError('EIO')
  }
  for (let group = 0; group < 4; group++) await appendRecords(journal, 1)
  clocks.pass(61_000)
  journal.commit(2)
  clocks.pass(61_000)
  journal.commit(2)
  await until(() => journal.stats.removeFailures > 0, 'the failure')
  await appendRecords(journal, 1)
  files.fault = () => undefined
  journal.commit(2)
  await until(() => journal.oldest === 2, 'removal')
  expect((await readdir(folder.path)).filter(name => name.endsWith('.seg'))).toHaveLength(3)
})

test('a disk that never says how much space it has keeps nothing for longer', async () => {
  await using folder = await makeFolder()
  const clocks = makeClocks()
  const files = new FaultyFiles()
  files.fault = call => {
    if (call === 'freeBytes') throw systemError('EIO')
  }
  const options = { ...clocks.options, files: files.port, segmentBytes: 100, keep: { timeMs: 0, bytes: 0 } }
  await using journal = await openJournal(folder.path, options)
  for (let group = 0; group < 4; group++) await appendRecords(journal, 1)
  journal.commit(3)
  clocks.pass(61_000)
  await until(() => {
    journal.commit(3)
    return journal.oldest === 3
  }, 'removal')
  expect(journal.stats.removeFailures).toBeGreaterThan(0)
})

test('after losing its segments a journal never uses an ordinal again that was committed', async () => {
  await using folder = await makeFolder()
  {
    await using journal = await openJournal(folder.path)
    await appendRecords(journal, 5)
    journal.commit(5)
  }
  for (const path of await segmentPaths(folder.path)) await rm(path)
  await using journal = await openJournal(folder.path)
  expect(journal.head).toBe(5)
  await appendRecords(journal, 1)
  const { gaps, records } = await readAll(folder.path, 3, 6)
  expect(ordinalsOf(gaps, 'damaged')).toEqual([3, 4])
  expect(records.map(plain)).toEqual([plain(recordOf(5))])
})

test('a checkpoint that goes back behind what was removed gives no ordinal a second time', async () => {
  await using folder = await makeFolder()
  const clocks = makeClocks()
  const options = { ...clocks.options, keep: { timeMs: 0, bytes: 0 } }
  {
    await using journal = await openJournal(folder.path, options)
    await appendRecords(journal, 5)
  }
  {
    await using journal = await openJournal(folder.path, options)
    journal.commit(5)
    clocks.pass(61_000)
    journal.commit(5)
    await until(() => journal.oldest === 5, 'removal')
    journal.commit(2)
  }
  await using journal = await openJournal(folder.path, options)
  expect(journal.head).toBe(5)
})

test('what is held stays although a bound of keep is passed, and goes when the hold moves on', async () => {
  await using folder = await makeFolder()
  const clocks = makeClocks()
  const held: boolean[] = []
  await using journal = await openJournal(folder.path, {
    ...clocks.options,
    segmentBytes: 100,
    keep: { timeMs: 0, bytes: 0 },
    heldFrom: 3,
    onHeld: pressed => held.push(pressed)
  })
  for (let group = 0; group < 5; group++) await appendRecords(journal, 2)
  journal.commit(10)
  await tidied(journal)
  expect(held).toEqual([])
  clocks.pass(61_000)
  journal.commit(10)
  await tidied(journal)
  expect(await firstsOf(folder.path)).toEqual([2, 4, 6, 8])
  expect(new Set(held)).toEqual(new Set([false]))
  journal.hold(8)
  await tidied(journal)
  expect(await firstsOf(folder.path)).toEqual([8])
})

test('what is held is not dropped by drop-oldest, nor for a full disk: the journal is full until the hold moves on', async () => {
  await using folder = await makeFolder()
  const files = new FaultyFiles()
  const held: boolean[] = []
  await using journal = await openJournal(folder.path, {
    files: files.port,
    segmentBytes: 1000,
    maxBytes: 8000,
    pendingBytes: 4000,
    reserveBytes: 1000,
    whenFull: 'drop-oldest',
    heldFrom: 0,
    onHeld: pressed => held.push(pressed)
  })
  while (journal.state === 'accepting') await appendRecords(journal, 1, 500)
  expect([journal.state, journal.oldest, held.includes(true)]).toEqual(['full', 0, true])
  files.freeBytes = 0
  journal.commit(journal.head)
  await tidied(journal)
  expect(journal.oldest).toBe(0)
  files.freeBytes = undefined
  journal.commit(0)
  journal.hold(5)
  await until(() => journal.state === 'accepting', 'accepting')
  expect(journal.oldest).toBeGreaterThan(0)
  expect(journal.oldest).toBeLessThanOrEqual(5)
})
