/**
 * Restores a backup into an empty data folder. Everything is copied below `restore.partial` in it first and moved into
 * place then; while that folder is there, Tidegate does not start, so that half of a restore never passes for the whole.
 *
 * The restored journal begins a timeline of its own: its next records get the ordinals that the original gave to others
 * after the backup, so positions of the one must not pass for positions of the other.
 */
import { randomUUID } from 'node:crypto'
import { rmdir } from 'node:fs/promises'
import path from 'node:path'
import { TidegateError } from '../errors.ts'
import type { FilePort } from '../journal/files.ts'
import { FolderLock, lockName } from '../journal/lock.ts'
import { beginTimeline } from '../journal/marks.ts'
import { copyTo, digest, settleFile, unwritable, withSource } from './copying.ts'
import { invalid, loadManifest, type Manifest } from './manifest.ts'

const partialName = 'restore.partial'

export interface RestoreReport {
  readonly data: string
  /** The timeline that begins. */
  readonly timeline: string
  readonly manifest: Manifest
}

/**
 * Restores the backup in a folder. Checks every byte of it before the first one is written.
 * @throws TidegateError TG_BACKUP_INVALID, TG_DATA_NOT_EMPTY, TG_DATA_IN_USE, TG_DATA_UNWRITABLE, TG_BACKUP_UNWRITABLE
 */
export async function restoreBackup(backup: string, data: string, files: FilePort): Promise<RestoreReport> {
  await checkEmpty(files, data)
  const manifest = await loadManifest(files, backup)
  for (const file of manifest.files) await checkFile(files, backup, file)
  await using lock = await FolderLock.acquire(data, files)
  await checkEmpty(files, lock.folder)
  try {
    await checkSpace(files, data, manifest)
    const timeline = await copyAll(files, backup, data, manifest)
    return { data, timeline, manifest }
  } catch (error) {
    throw unwritable(error, data)
  }
}

/**
 * Refuses a data folder in which a restore was not finished.
 * @throws TidegateError TG_RESTORE_UNFINISHED
 */
export async function checkRestored(files: FilePort, data: string): Promise<void> {
  if ((await files.stat(path.join(data, partialName))) === undefined) return
  throw new TidegateError(
    'TG_RESTORE_UNFINISHED',
    `the restore into ${data} was not finished (it holds ${partialName}); empty the folder and restore again (setting: data)`,
    { context: { setting: 'data', folder: data } }
  )
}

async function checkEmpty(files: FilePort, data: string): Promise<void> {
  const stat = await files.stat(data)
  if (stat === undefined) return
  let names: readonly string[]
  try {
    names = await files.list(data)
  } catch (error) {
    throw new TidegateError('TG_DATA_UNWRITABLE', `${data} is no folder that can be read (setting: data)`, { cause: error })
  }
  // A file system of its own brings lost+found.
  const kept = names.filter(name => name !== lockName && name !== 'lost+found')
  if (kept.length === 0) return
  throw new TidegateError(
    'TG_DATA_NOT_EMPTY',
    `the data folder ${data} is not empty (${kept[0]}${kept.length === 1 ? '' : ' …'}); restore into an empty or new one (setting: data)`,
    { context: { setting: 'data', folder: data } }
  )
}

async function checkFile(files: FilePort, backup: string, file: Manifest['files'][number]): Promise<void> {
  const source = path.join(backup, file.path)
  const stat = await files.stat(source)
  if (stat === undefined) throw invalid(backup, `${file.path} is missing`)
  if (stat.bytes !== file.bytes) throw invalid(backup, `${file.path} has ${stat.bytes} bytes and not ${file.bytes}`)
  const sha256 = await withSource(files, source, undefined, async bytes => await digest(bytes, undefined, async () => {}))
  if (sha256 !== file.sha256) throw invalid(backup, `${file.path} is damaged: its SHA-256 is another one than in the manifest`)
}

async function checkSpace(files: FilePort, data: string, manifest: Manifest): Promise<void> {
  const needed = manifest.files.reduce((sum, file) => sum + file.bytes, 0)
  const free = await files.freeBytes(data)
  if (free >= needed) return
  throw new TidegateError('TG_BACKUP_UNWRITABLE', `the backup needs ${needed} bytes and on the disk of ${data} ${free} are free`, {
    context: { folder: data, needed, free }
  })
}

async function copyAll(files: FilePort, backup: string, data: string, manifest: Manifest): Promise<string> {
  const partial = path.join(data, partialName)
  const folders = ['journal', 'dead-letters'].filter(name => manifest.files.some(file => file.path.startsWith(`${name}/`)))
  await files.makeFolder(partial)
  for (const name of folders) await files.makeFolder(path.join(partial, name))
  for (const file of manifest.files) {
    const target = path.join(partial, file.path)
    const sha256 = await withSource(
      files,
      path.join(backup, file.path),
      file.bytes,
      async source => await copyTo(source, target, { files })
    )
    if (sha256 !== file.sha256) throw invalid(backup, `${file.path} was changed while it was restored`)
    await settleFile(files, target)
  }
  const timeline = randomUUID()
  await beginTimeline(files, path.join(partial, 'journal'), timeline)
  for (const name of folders) await files.syncFolder(path.join(partial, name))
  await files.syncFolder(partial)
  const top = manifest.files.map(file => file.path).filter(name => !name.includes('/'))
  for (const name of [...top, ...folders]) await files.rename(path.join(partial, name), path.join(data, name))
  await files.syncFolder(data)
  await rmdir(partial)
  await files.syncFolder(data)
  return timeline
}
