import { randomBytes } from 'node:crypto'
import { chown, mkdir, readdir, realpath, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import { openHeldFiles } from '../backup/held-files.ts'
import { checkRestored } from '../backup/restore.ts'
import { checkApart, keyName, refused } from '../backup/target.ts'
import { writeBackup } from '../backup/write-backup.ts'
import type { Config } from '../config.ts'
import { loadConfig } from '../config/load.ts'
import { TidegateError } from '../errors.ts'
import { nodeFiles } from '../journal/files.ts'
import { FolderLock } from '../journal/lock.ts'
import { encodePosition } from '../telemetry.ts'
import { ask } from './ask.ts'
import { addConfigOptions, configSources } from './context.ts'
import type { CommandContext, ConfigOptions } from './context.ts'
import { journalFolder } from './data-folder.ts'
import { pageUrl } from './start.ts'

/** What a backup is, from a running Tidegate or not. */
type Report = Readonly<Record<string, unknown>>

/** Adds `backup`. */
export function addBackup(program: Command, context: CommandContext): void {
  addConfigOptions(
    program
      .command('backup')
      .argument('<folder>', 'where to put it: a new or empty folder')
      .description('back up the data folder, also while Tidegate runs. Exit code 0 only if the whole backup is on the disk')
  )
    .option('--http <address>', 'address of the running Tidegate (default: that of the configuration)')
    .option('--json', 'what was backed up as JSON')
    .action(async (folder: string, options: ConfigOptions) => {
      const config = loadConfig(configSources(options, context))
      const target = path.resolve(context.folder, folder)
      const http = typeof options['http'] === 'string' ? options['http'] : pageUrl(config.http.host, config.http.port)
      const report = await backUp(config, target, http)
      context.print(options['json'] === true ? JSON.stringify(report, undefined, 2) : reportText(report))
    })
}

/** Made under another name, so that what a crash leaves behind never has the name of the backup. */
async function backUp(config: Config, target: string, http: string): Promise<Report> {
  await journalFolder(config.data)
  await checkRestored(nodeFiles, config.data)
  const parent = await realpath(path.dirname(target)).catch(() => {
    throw refused(`folder: ${path.dirname(target)} is not there`)
  })
  await checkApart(path.join(parent, path.basename(target)), config.data)
  const names = await readdir(target).catch(() => [])
  if (names.length > 0 || (await isOther(target))) throw refused(`folder: ${target} is there and not an empty folder`)
  const partial = `${target}.partial`
  await makePartial(partial, config.data)
  try {
    const report = await write(config, partial, http)
    await rm(path.join(partial, keyName), { force: true })
    await nodeFiles.syncFolder(partial)
    await rmdir(target).catch(() => undefined)
    await rename(partial, target)
    await nodeFiles.syncFolder(parent)
    return { ...report, folder: target }
  } catch (error) {
    await rm(partial, { recursive: true, force: true })
    throw error
  }
}

async function isOther(target: string): Promise<boolean> {
  const found = await stat(target).catch(() => undefined)
  return found !== undefined && !found.isDirectory()
}

/** Where this is root and Tidegate is not, the folder is given to the user that the data folder belongs to. */
async function makePartial(partial: string, data: string): Promise<void> {
  try {
    await mkdir(partial, { mode: 0o750 })
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
      throw refused(`folder: ${partial} is left of a backup that was not finished, or one is being made; remove it if none is`)
    }
    throw new TidegateError('TG_BACKUP_UNWRITABLE', `the backup cannot be written to ${partial}: ${String(error)}`, { cause: error })
  }
  const owner = await stat(data)
  if (process.getuid?.() === 0 && owner.uid !== 0) await chown(partial, owner.uid, owner.gid)
}

async function write(config: Config, partial: string, http: string): Promise<Report> {
  let lock: FolderLock
  try {
    lock = await FolderLock.acquire(config.data)
  } catch (error) {
    if (error instanceof TidegateError && error.code === 'TG_DATA_IN_USE') return await askForBackup(partial, http)
    throw error
  }
  try {
    return await copyStopped(config, partial)
  } finally {
    await lock.release()
  }
}

async function askForBackup(partial: string, http: string): Promise<Report> {
  const key = randomBytes(24).toString('hex')
  await writeFile(path.join(partial, keyName), key, { mode: 0o644 })
  return await ask(http, { method: 'POST', path: '/api/v1/backup', body: { folder: partial, key } })
}

/** Nobody writes to the folder while its lock is held, so that the files can be copied as they stand. */
async function copyStopped(config: Config, partial: string): Promise<Report> {
  const report = await writeBackup(
    partial,
    {
      files: nodeFiles,
      data: config.data,
      store: config.store.kind,
      reserveBytes: config.journal.reserve,
      settledBelow: 0,
      running: undefined,
      hold: async work => {
        await using database = await openHeldFiles(nodeFiles, config.data)
        return await work({ checkpoint: undefined, files: database.files })
      },
      now: Date.now
    },
    new AbortController().signal
  )
  const { timeline, checkpoint, head, files, ...facts } = report
  const position = (ordinal: number | null): string | null => (ordinal === null ? null : encodePosition(timeline, ordinal))
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  return { ...facts, checkpoint: position(checkpoint), head: position(head), files: files.length, bytes }
}

function reportText(report: Report): string {
  const shown = (name: string): string =>
    typeof report[name] === 'string' || typeof report[name] === 'number' ? String(report[name]) : '-'
  const lines = [
    `backup       ${shown('folder')}`,
    `created      ${shown('created')}`,
    `files        ${shown('files')} (${shown('bytes')} bytes)`,
    `checkpoint   ${shown('checkpoint')}`,
    `head         ${shown('head')}`,
    `took         ${shown('tookMs')} ms; writes to the database waited ${shown('heldMs')} ms`
  ]
  if (report['store'] === 'influx') lines.push('points       are in InfluxDB, which is not part of this backup: back it up too')
  return lines.join('\n')
}
