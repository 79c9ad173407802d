import { chmod, readFile, writeFile } from 'node:fs/promises'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { expect, test } from 'vitest'
import { nodeFiles } from '../../journal/files.ts'
import { FolderLock } from '../../journal/lock.ts'
import { systemError } from './faulty-files.ts'
import { makeFolder, openJournal } from './fixture.ts'

/** Another process that takes the name of the folder, as the lock does, and says so. */
const holderScript = `
  import { createServer } from 'node:net'
  import { statSync, writeFileSync } from 'node:fs'
  const folder = process.argv[2]
  const stat = statSync(folder, { bigint: true })
  const server = createServer()
  server.on('error', error => process.send(error.code))
  server.listen({ path: '\\0tidegate-' + stat.dev + '-' + stat.ino }, () => {
    writeFileSync(folder + '/lock', JSON.stringify({ pid: process.pid, since: '2026-01-02T03:04:05.000Z' }))
    process.send('held')
  })
`

test('a folder is taken once, and free again when it is released', async () => {
  await using folder = await makeFolder()
  const data = path.join(folder.path, 'deep/data')
  const lock = await FolderLock.acquire(data)
  await expect(FolderLock.acquire(data)).rejects.toMatchObject({
    code: 'TG_DATA_IN_USE',
    message: expect.stringMatching(new RegExp(`${data}.*process ${process.pid} .*setting: data`)),
    context: { setting: 'data', folder: data, pid: process.pid }
  })
  expect(JSON.parse(await readFile(`${data}/lock`, 'utf8'))).toMatchObject({ pid: process.pid })
  await Promise.all([lock.release(), lock.release()])
  await using again = await FolderLock.acquire(data)
  expect(again.folder).toBe(data)
})

test('the same folder by another name is the same folder, another folder is not', async () => {
  await using folder = await makeFolder()
  await using other = await makeFolder()
  await using lock = await FolderLock.acquire(folder.path)
  await expect(FolderLock.acquire(`${lock.folder}/../${path.basename(folder.path)}`)).rejects.toMatchObject({ code: 'TG_DATA_IN_USE' })
  await using second = await FolderLock.acquire(other.path)
  expect(second.folder).toBe(other.path)
})

test.runIf(process.platform === 'linux')('another process that has the folder is named, and its death frees the folder', async () => {
  await using folder = await makeFolder()
  await using scripts = await makeFolder()
  const script = path.join(scripts.path, 'holder.mjs')
  await writeFile(script, holderScript)
  const child = fork(script, [folder.path])
  try {
    expect(await once(child, 'message')).toEqual(['held', undefined])
    await expect(FolderLock.acquire(folder.path)).rejects.toMatchObject({
      code: 'TG_DATA_IN_USE',
      context: { pid: child.pid, since: '2026-01-02T03:04:05.000Z' }
    })
    child.kill('SIGKILL')
    await once(child, 'exit')
    // The note it left behind does not hold the folder.
    await using lock = await FolderLock.acquire(folder.path)
    const second = fork(script, [lock.folder])
    expect(await once(second, 'message')).toEqual(['EADDRINUSE', undefined])
    await once(second, 'exit')
  } finally {
    child.kill('SIGKILL')
  }
})

test('a folder that cannot be made or written is refused with the name of the setting', async () => {
  await using folder = await makeFolder()
  const file = path.join(folder.path, 'file')
  await writeFile(file, 'mine')
  const refused = { code: 'TG_DATA_UNWRITABLE', message: expect.stringContaining('setting: data'), context: { setting: 'data' } }
  await expect(FolderLock.acquire(path.join(file, 'data'))).rejects.toMatchObject(refused)
  await expect(FolderLock.acquire(file)).rejects.toMatchObject(refused)
  await expect(openJournal(path.join(file, 'journal'))).rejects.toMatchObject(refused)
  const readOnly = { ...nodeFiles, open: () => Promise.reject(systemError('EROFS')) }
  await expect(FolderLock.acquire(folder.path, readOnly)).rejects.toMatchObject(refused)
  await expect(openJournal(folder.path, { files: readOnly })).rejects.toMatchObject(refused)
  // What was refused holds nothing.
  await using lock = await FolderLock.acquire(folder.path)
  expect(lock.folder).toBe(folder.path)
})

test.runIf(process.platform === 'linux')('a disk without room for the note keeps nobody out, and leaves no note of another', async () => {
  await using folder = await makeFolder()
  await writeFile(path.join(folder.path, 'lock'), JSON.stringify({ pid: 1, since: '2026-01-02T03:04:05.000Z' }))
  const full = { ...nodeFiles, write: () => Promise.reject(systemError('ENOSPC')) }
  await using lock = await FolderLock.acquire(folder.path, full)
  await expect(FolderLock.acquire(lock.folder)).rejects.toMatchObject({
    code: 'TG_DATA_IN_USE',
    message: expect.stringContaining('by another process')
  })
})

test.runIf(process.getuid?.() !== 0)('a folder without write permission is refused', async () => {
  await using folder = await makeFolder()
  await chmod(folder.path, 0o500)
  try {
    await expect(FolderLock.acquire(folder.path)).rejects.toMatchObject({ code: 'TG_DATA_UNWRITABLE' })
  } finally {
    await chmod(folder.path, 0o700)
  }
})
