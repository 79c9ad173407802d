import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { Backups } from '../../backup/backups.ts'
import { nodeFiles } from '../../journal/files.ts'
import { appendRecords, makeDoor, makeFolder, openJournal } from '../journal/fixture.ts'
import { makeDatabase, sourcesOf, treeOf } from './fixture.ts'

const never = new AbortController().signal
const key = 'a key of this test'

async function makeTarget(folder: string): Promise<{ readonly folder: string; readonly key: string }> {
  await mkdir(folder)
  await writeFile(path.join(folder, 'backup.key'), key)
  return { folder, key }
}

test('one backup at a time; when the service stops, the one that runs is taken back and none begins', async () => {
  await using folder = await makeFolder()
  const data = path.join(folder.path, 'data')
  await makeDatabase(data)
  await using letters = await openJournal(path.join(data, 'dead-letters'))
  await using journal = await openJournal(path.join(data, 'journal'))
  await appendRecords(journal, 10)
  const backups = new Backups(data, nodeFiles)
  const first = await makeTarget(path.join(folder.path, 'first'))
  const second = await makeTarget(path.join(folder.path, 'second'))
  const held = makeDoor()
  const go = makeDoor()
  const open = () =>
    sourcesOf(data, {
      journal,
      letters,
      position: () => 10,
      meanwhile: async () => {
        held.open()
        await go.passed
      }
    })
  const running = backups.make(first, open, never)
  await held.passed
  expect(backups.running).toBe(true)
  await expect(backups.make(second, open, never)).rejects.toMatchObject({ code: 'TG_BACKUP_RUNNING' })
  const closing = backups.close()
  go.open()
  await expect(running).rejects.toMatchObject({ code: 'TG_STOPPING' })
  await closing
  expect([...(await treeOf(first.folder)).keys()]).toEqual(['backup.key'])
  expect([journal.stats.pins, backups.running, backups.made, backups.failed]).toEqual([0, false, 0, 1])
  await expect(backups.make(second, open, never)).rejects.toMatchObject({ code: 'TG_STOPPING' })
  expect([...(await treeOf(second.folder)).keys()]).toEqual(['backup.key'])
})

test('a refused target is no failed backup, and the next one is taken', async () => {
  await using folder = await makeFolder()
  const data = path.join(folder.path, 'data')
  await makeDatabase(data)
  await using letters = await openJournal(path.join(data, 'dead-letters'))
  await using journal = await openJournal(path.join(data, 'journal'))
  await appendRecords(journal, 10)
  const backups = new Backups(data, nodeFiles)
  const target = await makeTarget(path.join(folder.path, 'target'))
  const open = () => sourcesOf(data, { journal, letters, position: () => 10 })
  await expect(backups.make({ ...target, key: 'another key of it' }, open, never)).rejects.toMatchObject({ code: 'TG_BACKUP_REFUSED' })
  expect((await backups.make(target, open, never)).head).toBe(10)
  await expect(backups.make(target, open, never)).rejects.toMatchObject({ code: 'TG_BACKUP_REFUSED' })
  expect([backups.made, backups.failed]).toEqual([1, 0])
})
