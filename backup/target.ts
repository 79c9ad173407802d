/**
 * Where a running Tidegate may write a backup. Whoever asks over HTTP must show that they can write there themselves: they
 * make an empty folder with one file, `backup.key`, and name its content. So a request alone, from whomever it comes,
 * makes Tidegate write nowhere.
 */
import { timingSafeEqual } from 'node:crypto'
import { lstat, realpath } from 'node:fs/promises'
import path from 'node:path'
import { TidegateError } from '../errors.ts'
import { loadFile, type FilePort } from '../journal/files.ts'

export const keyName = 'backup.key'
const keyBytes = 256

export interface BackupTarget {
  /** Absolute path. */
  readonly folder: string
  /** What the file `backup.key` in it holds. */
  readonly key: string
}

/**
 * The real path of the target when a backup may be written there. What is wrong with a folder is only told to those who
 * have shown the key.
 * @throws TidegateError TG_BACKUP_REFUSED
 */
export async function acceptTarget(files: FilePort, target: BackupTarget, data: string): Promise<string> {
  const folder = await realpath(target.folder).catch(() => undefined)
  const known = folder === undefined ? undefined : await loadKey(files, path.join(folder, keyName))
  if (folder === undefined || known === undefined || !isSame(known, target.key)) {
    throw refused(`folder: it has to be there, with the key in a file ${keyName} that this user can read`)
  }
  await checkApart(folder, data)
  if ((await files.list(folder)).some(name => name !== keyName)) throw refused('folder: it has to be empty but for the key')
  return folder
}

/**
 * Refuses a folder in the data folder, or around it.
 * @throws TidegateError TG_BACKUP_REFUSED
 */
export async function checkApart(folder: string, data: string): Promise<void> {
  const own = await realpath(data)
  if (isWithin(folder, own) || isWithin(own, folder)) throw refused(`folder: ${folder} and the data folder ${own} lie in one another`)
}

/** The error for a folder that a backup is not written to. */
export function refused(reason: string): TidegateError {
  return new TidegateError('TG_BACKUP_REFUSED', reason, { context: { parameter: 'folder' } })
}

function isWithin(inner: string, outer: string): boolean {
  const relative = path.relative(outer, inner)
  return relative === '' || (!relative.startsWith(`..${path.sep}`) && relative !== '..' && !path.isAbsolute(relative))
}

async function loadKey(files: FilePort, file: string): Promise<Buffer | undefined> {
  try {
    return (await lstat(file)).isFile() ? await loadFile(files, file, keyBytes) : undefined
  } catch {
    return undefined
  }
}

function isSame(known: Buffer, given: string): boolean {
  const bytes = Buffer.from(given)
  return known.length === bytes.length && timingSafeEqual(known, bytes)
}
