import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { TidegateError } from '../../errors.ts'
import { receivedNs } from '../../journal/record.ts'
import { FaultyFiles, systemError } from './faulty-files.ts'
import { appendRecords, makeDoor, makeFolder, openJournal, plain, readAll, recordOf, segmentPaths, until } from './fixture.ts'

const isSegment = (name: string): boolean => name.endsWith('.seg')

async function expectOnDisk(folder: string, count: number, bytesOf: (ordinal: number) => number = () => 20): Promise<void> {
  const { records, gaps } = await readAll(folder, 0, count)
  expect(gaps).toEqual([])
  expect(records.map(plain)).toEqual(Array.from({ length: count }, (_, ordinal) => plain(recordOf(ordinal, bytesOf(ordinal)))))
}

test('nothing is durable before its bytes were written, synced, and a new segment is in its folder', async () => {
  await using folder = await makeFolder()
  const files = new FaultyFiles()
  await using journal = await openJournal(folder.path, { files: files.port, segmentBytes: 3000 })
  const before: { durable: number; bytes: number; unsynced: boolean; folderSynced: boolean }[] = []
  journal.onDurable(durable => {
    const segments = files.events.filter(event => isSegment(event.name) || event.call === 'syncFolder')
    const bytes = segments.reduce((sum, event) => sum + (event.call === 'write' ? (event.bytes ?? 0) : 0), 0)
    const last = segments.findLastIndex(event => event.call === 'write')
    const created = segments.findLastIndex(event => event.call === 'create')
    before.push({
      durable,
      bytes,
      unsynced: !segments.slice(last).some(event => event.call === 'datasync'),
      folderSynced: segments.slice(created).some(event => event.call === 'syncFolder')
    })
  })
  for (let group = 0; group < 8; group++) await appendRecords(journal, 5)
  const starts = await segmentPaths(folder.path)
  expect(starts.length).toBeGreaterThan(1)
  expect(before.map(({ durable }) => durable)).toEqual([5, 10, 15, 20, 25, 30, 35, 40])
  expect(before.every(({ unsynced, folderSynced }) => !unsynced && folderSynced)).toBe(true)
  // Bytes written grow with every acknowledgement: none runs ahead of its records.
  expect(before.every(({ bytes }, index) => bytes > (before[index - 1]?.bytes ?? 0))).toBe(true)
  await expectOnDisk(folder.path, 40)
})

test('a group is written after the delay without anyone asking, and never while a sync runs', async () => {
  await using folder = await makeFolder()
  const files = new FaultyFiles()
  await using journal = await openJournal(folder.path, { files: files.port })
  const door = makeDoor()
  let syncing = false
  files.gate = () => {
    syncing = true
    return door.passed
  }
  const durables: number[] = []
  journal.onDurable(durable => durables.push(durable))
  journal.append(recordOf(0))
  await until(() => syncing, 'the first sync')
  files.events.length = 0
  for (let ordinal = 1; ordinal < 3000; ordinal++) journal.append(recordOf(ordinal, 200))
  await new Promise(resolve => {
    setTimeout(resolve, 20)
  })
  expect(durables).toEqual([])
  expect(files.events).toEqual([])
  door.open()
  await until(() => durables.at(-1) === 3000, 'both groups')
  expect(durables).toEqual([1, 3000])
  await expectOnDisk(folder.path, 3000, ordinal => (ordinal === 0 ? 20 : 200))
})

test('a group of 256 KiB does not wait for its delay', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path, { syncDelayMs: 60_000 })
  for (let ordinal = 0; ordinal < 30; ordinal++) journal.append(recordOf(ordinal, 10_000))
  await until(() => journal.durable === 27, 'the group')
  journal.append(recordOf(30))
  await journal.drain()
  await expectOnDisk(folder.path, 31, ordinal => (ordinal === 30 ? 20 : 10_000))
})

test('a record larger than a group is kept like any other', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path, { segmentBytes: 100_000 })
  journal.append(recordOf(0))
  journal.append(recordOf(1, 700_000))
  journal.append(recordOf(2))
  await journal.drain()
  await expectOnDisk(folder.path, 3, ordinal => (ordinal === 1 ? 700_000 : 20))
})

for (const [call, code, state] of [
  ['datasync', 'EIO', 'failing'],
  ['datasync', 'ENOSPC', 'full'],
  ['write', 'ENOSPC', 'full'],
  ['write', 'EDQUOT', 'full'],
  ['create', 'EMFILE', 'failing'],
  ['syncFolder', 'EIO', 'failing']
] as const) {
  test(`after a failed ${call} (${code}) nothing is acknowledged until the records are in another segment`, async () => {
    await using folder = await makeFolder()
    const files = new FaultyFiles()
    await using journal = await openJournal(folder.path, { files: files.port, segmentBytes: call === 'create' ? 100 : 1_000_000 })
    if (call !== 'syncFolder') await appendRecords(journal, 4)
    const begun = journal.head
    const states: string[] = []
    const durables: number[] = []
    journal.onState(state => states.push(state))
    journal.onDurable(durable => durables.push(durable))
    let failures = 0
    files.fault = (which, name) => {
      if (which !== call || !(isSegment(name) || which === 'syncFolder') || failures === 3) return
      failures++
      throw systemError(code)
    }
    for (let index = 0; index < 3; index++) journal.append(recordOf(journal.head))
    await until(() => journal.state === state, 'the failure')
    expect(durables).toEqual([])
    expect(() => journal.append(recordOf(99))).toThrow(expect.objectContaining({ code: `TG_JOURNAL_${state.toUpperCase()}` }))
    await until(() => journal.state === 'accepting', 'the recovery')
    await journal.drain()
    expect(failures).toBe(3)
    expect(journal.stats.writeFailures).toBe(3)
    expect(states).toEqual([state, 'accepting'])
    expect(durables).toEqual([begun + 3])
    await appendRecords(journal, 2)
    await expectOnDisk(folder.path, begun + 5)
    if (call === 'datasync') {
      // Sealed: the segment that failed is never written again.
      const failed = files.events.findLastIndex(event => event.name.startsWith('0000000001-'))
      const next = files.events.findIndex(event => event.call === 'create' && event.name.startsWith('0000000002-'))
      expect(failed).toBeLessThan(next)
    }
    await journal.close()
    await using again = await openJournal(folder.path)
    expect(again.head).toBe(begun + 5)
    expect(again.stats.damagedRecords).toBe(0)
  })
}

test('one failed sync alone does not stop the journal from accepting, and the records keep their times', async () => {
  await using folder = await makeFolder()
  const files = new FaultyFiles()
  let now = 1_700_000_000_000
  await using journal = await openJournal(folder.path, { files: files.port, clock: () => now })
  await appendRecords(journal, 2)
  let failed = false
  files.fault = call => {
    if (call !== 'datasync' || failed) return
    failed = true
    now += 50
    throw systemError('EIO')
  }
  const states: string[] = []
  journal.onState(state => states.push(state))
  await appendRecords(journal, 3)
  expect(failed).toBe(true)
  expect(states).toEqual([])
  const { records } = await readAll(folder.path, 0, 5)
  expect(records.map(record => receivedNs(record))).toEqual([0n, 1n, 2n, 3n, 4n].map(ordinal => 1_700_000_000_000_000_000n + ordinal))
})

test('a journal that is closed while its disk fails says so to whoever waits, and has acknowledged nothing', async () => {
  await using folder = await makeFolder()
  const files = new FaultyFiles()
  const journal = await openJournal(folder.path, { files: files.port })
  const durables: number[] = []
  journal.onDurable(durable => durables.push(durable))
  files.fault = call => {
    if (call === 'write') throw systemError('EIO')
  }
  journal.append(recordOf(0))
  const drained = journal.drain()
  const refused = expect(drained).rejects.toMatchObject({ code: 'TG_JOURNAL_FAILING' })
  await Promise.all([journal.close(), journal.close()])
  await refused
  expect(durables).toEqual([])
  expect(() => journal.append(recordOf(1))).toThrow(TidegateError)
})

test('what is not yet durable is bounded, and the journal accepts again when the disk catches up', async () => {
  await using folder = await makeFolder()
  const files = new FaultyFiles()
  await using journal = await openJournal(folder.path, { files: files.port, pendingBytes: 100_000 })
  const door = makeDoor()
  files.gate = () => door.passed
  let appended = 0
  while (journal.state === 'accepting') journal.append(recordOf(appended++, 1000))
  expect(journal.state).toBe('behind')
  expect(journal.stats.pendingBytes).toBeLessThan(102_000)
  expect(() => journal.append(recordOf(appended))).toThrow(expect.objectContaining({ code: 'TG_JOURNAL_BEHIND' }))
  door.open()
  await until(() => journal.state === 'accepting', 'room')
  await journal.drain()
  expect(journal.stats.pendingBytes).toBe(0)
  await expectOnDisk(folder.path, appended, () => 1000)
})

test('sync os acknowledges after the write without a sync, sync none before it', async () => {
  await using folder = await makeFolder()
  const files = new FaultyFiles()
  {
    await using journal = await openJournal(folder.path, { files: files.port, sync: 'os' })
    await appendRecords(journal, 3)
    expect(journal.durable).toBe(3)
    expect(files.events.some(event => event.call === 'datasync' && isSegment(event.name))).toBe(false)
  }
  await using journal = await openJournal(folder.path, { files: files.port, sync: 'none', syncDelayMs: 60_000 })
  journal.append(recordOf(3))
  await until(() => journal.durable === 4, 'the acknowledgement')
  expect(journal.readable).toBe(3)
  await journal.drain()
  expect(journal.readable).toBe(4)
  await expectOnDisk(folder.path, 4)
})

test('a listener that throws stops neither the others nor the journal', async () => {
  await using folder = await makeFolder()
  await using journal = await openJournal(folder.path)
  const durables: number[] = []
  journal.onDurable(() => {
    throw new Error('mine')
  })
  const remove = journal.onDurable(durable => durables.push(durable))
  await appendRecords(journal, 1)
  remove()
  await appendRecords(journal, 1)
  expect(durables).toEqual([1])
  expect(journal.durable).toBe(2)
})

test('received times ascend within a ms and a replayed record keeps its own', async () => {
  await using folder = await makeFolder()
  let now = 5_000
  await using journal = await openJournal(folder.path, { clock: () => now })
  await appendRecords(journal, 2)
  journal.append({ ...recordOf(2), received: { ms: 77, subNs: 123_456 } })
  now = 4_000
  await appendRecords(journal, 1)
  const { records } = await readAll(folder.path, 0, 4)
  expect(records.map(record => [record.receivedMs, record.receivedSubNs])).toEqual([
    [5000, 0],
    [5000, 1],
    [77, 123_456],
    [4000, 3]
  ])
})

test('a journal that never took a record leaves no segment behind', async () => {
  await using folder = await makeFolder()
  for (let round = 0; round < 3; round++) await (await openJournal(folder.path)).close()
  expect(await readdir(folder.path)).toEqual(['marks'])
})
