import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkRestored, restoreBackup } from '../../backup/restore.ts'
import { writeBackup } from '../../backup/write-backup.ts'
import { nodeFiles } from '../../journal/files.ts'
import { verifyJournal } from '../../journal/inspection.ts'
import { FolderLock } from '../../journal/lock.ts'
import type { JournalRecord } from '../../journal/record.ts'
import { appendRecords, makeFolder, openJournal, plain, readAll, recordOf, until } from '../journal/fixture.ts'
import { makeFolders, sourcesOf, treeOf } from './fixture.ts'

const never = new AbortController().signal

/** A backup of a closed world with 200 records, 150 of them committed, and 5 letters. */
async function makeBackup(folder: string): Promise<{ readonly data: string; readonly backup: string }> {
  const { data, backup } = await makeFolders(folder)
  await using letters = await openJournal(path.join(data, 'dead-letters'))
  await appendRecords(letters, 5)
  await using journal = await openJournal(path.join(data, 'journal'), { segmentBytes: 4096 })
  for (let group = 0; group < 50; group++) await appendRecords(journal, 4)
  journal.commit(150)
  await writeBackup(backup, sourcesOf(data, { journal, letters, position: () => 150 }), never)
  return { data, backup }
}

async function openRestored(data: string) {
  const journal = await openJournal(path.join(data, 'journal'))
  const { oldest, durable } = journal
  const { records, gaps } = await readAll(path.join(data, 'journal'), oldest, durable)
  return { journal, records, gaps }
}

function expectRecords(records: readonly JournalRecord[], from: number, to: number): void {
  const wanted = records.filter(({ ordinal }) => ordinal >= from)
  expect(wanted.map(({ ordinal }) => ordinal)).toEqual(Array.from({ length: to - from }, (_, index) => from + index))
  for (const record of wanted) expect(plain(record)).toEqual(plain(recordOf(record.ordinal, record.payload.byteLength)))
}

describe('a backup that is restored', () => {
  test('has the database and the letters byte for byte, the journal from the checkpoint on, and goes on where it ended', async () => {
    await using folder = await makeFolder()
    const { data, backup } = await makeBackup(folder.path)
    const target = path.join(folder.path, 'restored')
    const { manifest, timeline } = await restoreBackup(backup, target, nodeFiles)
    expect(manifest).toMatchObject({ version: 1, checkpoint: 150, head: 200, store: 'embedded' })
    const tree = await treeOf(target)
    for (const name of ['tidegate.duckdb', 'tidegate.duckdb.wal']) expect(tree.get(name)).toEqual(await readFile(path.join(data, name)))
    expect([...tree.keys()].filter(name => name.startsWith('dead-letters/'))).toHaveLength(2)
    const verified = await verifyJournal(nodeFiles, path.join(target, 'journal'))
    expect(verified).toMatchObject({ whole: true, committedBelow: 150, timeline })
    expect(verified.segments[0]?.first).toBeGreaterThan(100)

    const { journal, records, gaps } = await openRestored(target)
    await using restored = journal
    expect([restored.head, restored.timeline, restored.uuid, gaps]).toEqual([200, timeline, manifest.journal, []])
    expect(timeline).not.toBe(manifest.timeline)
    expectRecords(records, 150, 200)
    await appendRecords(restored, 1)
    expectRecords((await readAll(path.join(target, 'journal'), 150, 201)).records, 150, 201)
  })

  test('two restores of one backup have timelines of their own, and the next start keeps them', async () => {
    await using folder = await makeFolder()
    const { backup } = await makeBackup(folder.path)
    const timelines: string[] = []
    for (const name of ['a', 'b']) {
      const target = path.join(folder.path, name)
      const { timeline } = await restoreBackup(backup, target, nodeFiles)
      for (let start = 0; start < 2; start++) {
        await using journal = await openJournal(path.join(target, 'journal'))
        await appendRecords(journal, 1)
        journal.commit(journal.head)
        expect(journal.timeline).toBe(timeline)
      }
      timelines.push(timeline)
    }
    expect(timelines[0]).not.toBe(timelines[1])
  })

  test('what was appended after the checkpoint was taken, up to when the journal is copied, is in it', async () => {
    await using folder = await makeFolder()
    const { data, backup } = await makeFolders(folder.path)
    await using letters = await openJournal(path.join(data, 'dead-letters'))
    await using journal = await openJournal(path.join(data, 'journal'), { segmentBytes: 4096 })
    await appendRecords(journal, 40)
    let position = 40
    const sources = sourcesOf(data, {
      journal,
      letters,
      position: () => position,
      meanwhile: async () => {
        // Ingest goes on as soon as the database is let go: a letter speaks of a record that came after the checkpoint.
        await appendRecords(journal, 30)
        await appendRecords(letters, 1)
        position = 70
        journal.commit(70)
      }
    })
    const { checkpoint, head } = await writeBackup(backup, sources, never)
    expect([checkpoint, head]).toEqual([40, 70])
    const target = path.join(folder.path, 'restored')
    await restoreBackup(backup, target, nodeFiles)
    expect(await verifyJournal(nodeFiles, path.join(target, 'journal'))).toMatchObject({ whole: true, committedBelow: 40 })
    const opened = await openRestored(target)
    await using restored = opened.journal
    expect(restored.head).toBe(70)
    expectRecords(opened.records, 40, 70)
  })

  test('records that have to be written into the store again are in it, though they have their outcome', async () => {
    await using folder = await makeFolder()
    const { data, backup } = await makeFolders(folder.path)
    await using letters = await openJournal(path.join(data, 'dead-letters'))
    await using journal = await openJournal(path.join(data, 'journal'), { segmentBytes: 4096 })
    for (let group = 0; group < 50; group++) await appendRecords(journal, 4)
    journal.commit(150)
    const { checkpoint } = await writeBackup(backup, sourcesOf(data, { journal, letters, position: () => 150, rewriteFrom: 60 }), never)
    expect(checkpoint).toBe(150)
    const target = path.join(folder.path, 'restored')
    await restoreBackup(backup, target, nodeFiles)
    const { committedBelow, segments } = await verifyJournal(nodeFiles, path.join(target, 'journal'))
    expect(committedBelow).toBe(150)
    expect(segments[0]?.first, 'what lies before is not').toBeGreaterThan(0)
    const opened = await openRestored(target)
    await using restored = opened.journal
    expect(restored.head).toBe(200)
    expectRecords(opened.records, 60, 200)
  })

  test('records whose rewrite began after the backup, and ended while it was made, are in it', async () => {
    await using folder = await makeFolder()
    const { data, backup } = await makeFolders(folder.path)
    let nowMs = 0
    await using letters = await openJournal(path.join(data, 'dead-letters'))
    await using journal = await openJournal(path.join(data, 'journal'), {
      segmentBytes: 4096,
      keep: { timeMs: 0, bytes: 0 },
      monotonic: () => nowMs
    })
    for (let group = 0; group < 50; group++) await appendRecords(journal, 4)
    // A replay of all that is kept: so the database says it, and the edge was told.
    const meanwhile = async (): Promise<void> => {
      journal.commit(150)
      nowMs += 120_000
      journal.commit(150)
      const release = await journal.pin(Infinity)
      release()
    }
    journal.commit(150, 60)
    const sources = sourcesOf(data, { journal, letters, position: () => 150, rewriteFrom: 60, meanwhile })
    await writeBackup(backup, { ...sources, settledBelow: 150 }, never)
    await restoreBackup(backup, path.join(folder.path, 'restored'), nodeFiles)
    const opened = await openRestored(path.join(folder.path, 'restored'))
    await using restored = opened.journal
    expect(restored.head).toBe(200)
    expectRecords(opened.records, 60, 200)
    await until(() => journal.oldest > 60, 'what was pinned goes')
  })

  test('what the database has got since the backup was begun is below the head of its journal', async () => {
    await using folder = await makeFolder()
    const { data, backup } = await makeFolders(folder.path)
    await using letters = await openJournal(path.join(data, 'dead-letters'))
    await using journal = await openJournal(path.join(data, 'journal'), { segmentBytes: 4096 })
    await appendRecords(journal, 40)
    let position = 40
    const before = async (): Promise<void> => {
      await appendRecords(journal, 60)
      position = 90
    }
    const { checkpoint, head } = await writeBackup(backup, sourcesOf(data, { journal, letters, position: () => position, before }), never)
    expect([checkpoint, head]).toEqual([90, 100])
    await restoreBackup(backup, path.join(folder.path, 'restored'), nodeFiles)
    const opened = await openRestored(path.join(folder.path, 'restored'))
    await using restored = opened.journal
    // A checkpoint ahead of its journal would be thrown away, with everything it counts.
    expect(restored.head).toBe(100)
    expectRecords(opened.records, 90, 100)
  })

  test.each([
    ['committed and past every bound of keep', { keep: { timeMs: 0, bytes: 0 } }],
    ['in the way of drop-oldest', { maxBytes: 60_000, whenFull: 'drop-oldest', pendingBytes: 8_000 }]
  ] as const)('no segment goes while it is copied, though it is %s', async (_name, options) => {
    await using folder = await makeFolder()
    const { data, backup } = await makeFolders(folder.path)
    let nowMs = 0
    await using letters = await openJournal(path.join(data, 'dead-letters'))
    // Every look at this clock is later than the 60 s for which what is committed stays in any case.
    await using journal = await openJournal(path.join(data, 'journal'), {
      segmentBytes: 4096,
      monotonic: () => (nowMs += 70_000),
      ...options
    })
    for (let group = 0; group < 20; group++) await appendRecords(journal, 1, 1000)
    const segmentsBefore = journal.stats.segments
    let appended = 20
    const sources = sourcesOf(data, {
      journal,
      letters,
      position: () => 20,
      meanwhile: async () => {
        for (; appended < 400 && journal.state === 'accepting'; appended++) {
          await appendRecords(journal, 1, 1000)
          if ('keep' in options) journal.commit(journal.head)
        }
        // Whatever would have gone is asked for once more.
        for (let round = 0; round < 3; round++) {
          journal.commit('keep' in options ? journal.head : 20)
          const release = await journal.pin(Infinity)
          release()
        }
      }
    })
    const { head } = await writeBackup(backup, sources, never)
    expect(segmentsBefore).toBeGreaterThan(1)
    expect(appended).toBeGreaterThan(50)
    expect(head).toBe(appended)
    const target = path.join(folder.path, 'restored')
    await restoreBackup(backup, target, nodeFiles)
    const opened = await openRestored(target)
    await using restored = opened.journal
    expect([restored.head, opened.gaps.filter(({ to }) => to > 20)]).toEqual([appended, []])
    expectRecords(opened.records, 20, appended)
    // The pins went with the backup.
    expect([journal.stats.pins, letters.stats.pins]).toEqual([0, 0])
    await until(() => journal.oldest > 20 && journal.state === 'accepting', 'what was pinned goes')
  })
})

describe('a backup that fails', () => {
  test('leaves no pin and no file, and what made it fail is told', async () => {
    await using folder = await makeFolder()
    const { data, backup } = await makeFolders(folder.path)
    await writeFile(path.join(backup, 'backup.key'), 'stays')
    await using letters = await openJournal(path.join(data, 'dead-letters'))
    await appendRecords(letters, 2)
    await using journal = await openJournal(path.join(data, 'journal'))
    await appendRecords(journal, 20)
    const abort = new AbortController()
    const meanwhile = async (): Promise<void> => abort.abort(new Error('the client went away'))
    const sources = sourcesOf(data, { journal, letters, position: () => 20, meanwhile })
    await expect(writeBackup(backup, sources, abort.signal)).rejects.toThrow('the client went away')
    expect([...(await treeOf(backup)).keys()]).toEqual(['backup.key'])
    expect([journal.stats.pins, letters.stats.pins]).toEqual([0, 0])

    const full = { ...sources, files: { ...nodeFiles, freeBytes: async () => 1_000_000 }, reserveBytes: 900_000 }
    await expect(writeBackup(backup, full, never)).rejects.toMatchObject({
      code: 'TG_BACKUP_UNWRITABLE',
      message: expect.stringMatching(/it needs \d+ bytes with journal.reserve and 1000000 are free$/)
    })
    const broken = { ...nodeFiles, datasync: async () => await Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' })) }
    await expect(writeBackup(backup, { ...sources, files: broken }, never)).rejects.toMatchObject({ code: 'TG_BACKUP_UNWRITABLE' })
    expect([...(await treeOf(backup)).keys()]).toEqual(['backup.key'])
  })
})

describe('restore refuses', () => {
  test('every backup with one bit flipped, anywhere in it', async () => {
    await using folder = await makeFolder()
    const { backup } = await makeBackup(folder.path)
    const tree = await treeOf(backup)
    const names = [...tree.keys()].toSorted()
    const target = path.join(folder.path, 'restored')
    await fc.assert(
      fc.asyncProperty(fc.nat(names.length - 1), fc.nat(999_999), fc.nat(7), async (which, share, bit) => {
        const name = names[which] ?? expect.fail()
        const bytes = Buffer.from(tree.get(name) ?? expect.fail())
        const at = Math.floor((share * bytes.length) / 1_000_000)
        bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
        await writeFile(path.join(backup, name), bytes)
        await expect(restoreBackup(backup, target, nodeFiles)).rejects.toMatchObject({ code: 'TG_BACKUP_INVALID' })
        await writeFile(path.join(backup, name), tree.get(name) ?? '')
        expect(await nodeFiles.stat(target), 'nothing was made').toBeUndefined()
      }),
      { numRuns: 80 }
    )
    await restoreBackup(backup, target, nodeFiles)
  })

  test('what is missing, cut, of a later version or no backup, each with one line', async () => {
    await using folder = await makeFolder()
    const { data, backup } = await makeBackup(folder.path)
    const refusal = async (spoil: (copy: string) => Promise<unknown>): Promise<string> => {
      const copy = path.join(folder.path, 'copy')
      await cp(backup, copy, { recursive: true })
      await spoil(copy)
      const error: unknown = await restoreBackup(copy, path.join(folder.path, 'restored'), nodeFiles).catch((thrown: unknown) => thrown)
      await rm(copy, { recursive: true })
      expect(error).toMatchObject({ code: 'TG_BACKUP_INVALID' })
      const message = error instanceof Error ? error.message : ''
      expect(message.split('\n')).toHaveLength(1)
      return message
    }
    expect(await refusal(async copy => await rm(path.join(copy, 'manifest.json')))).toContain('it has no manifest.json')
    expect(await refusal(async copy => await rm(path.join(copy, 'tidegate.duckdb.wal')))).toContain('tidegate.duckdb.wal is missing')
    expect(await refusal(async copy => await writeFile(path.join(copy, 'tidegate.duckdb'), 'x'))).toContain('has 1 bytes and not 700000')
    expect(
      await refusal(async copy => {
        const file = path.join(copy, 'manifest.json')
        await writeFile(file, (await readFile(file, 'utf8')).replace('"version": 1', '"version": 2'))
      })
    ).toContain('its version is 2')
    await expect(restoreBackup(data, path.join(folder.path, 'restored'), nodeFiles)).rejects.toThrow('it has no manifest.json')
    const nowhere = path.join(folder.path, 'nowhere')
    await expect(restoreBackup(nowhere, path.join(folder.path, 'restored'), nodeFiles)).rejects.toThrow('it is not there')
  })

  test('a folder that is not empty, and one that is in use', async () => {
    await using folder = await makeFolder()
    const { backup, data } = await makeBackup(folder.path)
    const before = await treeOf(data)
    await expect(restoreBackup(backup, data, nodeFiles)).rejects.toMatchObject({ code: 'TG_DATA_NOT_EMPTY' })
    expect(await treeOf(data)).toEqual(before)
    const target = path.join(folder.path, 'taken')
    const lock = await FolderLock.acquire(target)
    await expect(restoreBackup(backup, target, nodeFiles)).rejects.toMatchObject({ code: 'TG_DATA_IN_USE' })
    await lock.release()
    await restoreBackup(backup, target, nodeFiles)
  })

  test('to be taken for whole when it was not finished: Tidegate does not start on it', async () => {
    await using folder = await makeFolder()
    const { backup } = await makeBackup(folder.path)
    const target = path.join(folder.path, 'restored')
    let renames = 0
    const broken = {
      ...nodeFiles,
      rename: async (from: string, to: string) => {
        // The marks of the new timeline are the first; what is moved into place comes then.
        if (path.dirname(to) === target && !to.endsWith('/lock') && ++renames === 3) throw Object.assign(new Error('EIO'), { code: 'EIO' })
        await nodeFiles.rename(from, to)
      }
    }
    await expect(restoreBackup(backup, target, broken)).rejects.toMatchObject({ code: 'TG_BACKUP_UNWRITABLE' })
    await expect(checkRestored(nodeFiles, target)).rejects.toMatchObject({ code: 'TG_RESTORE_UNFINISHED' })
    await expect(restoreBackup(backup, target, nodeFiles)).rejects.toMatchObject({ code: 'TG_DATA_NOT_EMPTY' })
    await rm(target, { recursive: true })
    await restoreBackup(backup, target, nodeFiles)
    await checkRestored(nodeFiles, target)
  })
})
