/**
 * The manifest of a backup: the file `manifest.json`, written last, so that a folder without one is no backup. It names
 * every file with its length and SHA-256, and carries a SHA-256 of itself.
 */
import { createHash } from 'node:crypto'
import path from 'node:path'
import { TidegateError } from '../errors.ts'
import { loadFile, type FilePort } from '../journal/files.ts'

export const manifestName = 'manifest.json'
/** Of the folder of a backup; a greater one is not restored. */
export const backupVersion = 1
const manifestBytes = 64 * 1024 * 1024

/** A file of a backup. */
export interface BackupFile {
  /** Below the folder of the backup, and later below the data folder. */
  readonly path: string
  readonly bytes: number
  /** Hexadecimal. */
  readonly sha256: string
}

/** What a backup says of itself. */
export interface Manifest {
  readonly version: number
  /** ISO 8601. */
  readonly created: string
  /** UUID of the journal, and of the timeline that its positions named. */
  readonly journal: string
  readonly timeline: string
  /** Every record below has its outcome in the database; null where nobody asked the database (it was not running). */
  readonly checkpoint: number | null
  /** Every record below, from the checkpoint on, is in the journal of the backup; null when all of its folder is there. */
  readonly head: number | null
  /** Where the points are: in the backup, or in an InfluxDB that is not part of it. */
  readonly store: 'embedded' | 'influx'
  readonly files: readonly BackupFile[]
}

/** The text of the manifest. */
export function encodeManifest(manifest: Manifest): string {
  return `${JSON.stringify({ ...manifest, check: checkOf(manifest) }, undefined, 1)}\n`
}

/**
 * Reads the manifest of a backup and checks that it is whole and of this version; not yet the files that it names.
 * @throws TidegateError TG_BACKUP_INVALID
 */
export async function loadManifest(files: FilePort, folder: string): Promise<Manifest> {
  let bytes: Buffer | undefined
  try {
    if ((await files.stat(folder)) === undefined) throw invalid(folder, 'it is not there')
    const stat = await files.stat(path.join(folder, manifestName))
    if (stat === undefined) throw invalid(folder, `it has no ${manifestName}: no backup, or one that was not finished`)
    bytes = stat.bytes > manifestBytes ? undefined : await loadFile(files, path.join(folder, manifestName), stat.bytes)
  } catch (error) {
    if (error instanceof TidegateError) throw error
    throw invalid(folder, `${manifestName} cannot be read`, error)
  }
  const parsed = parse(bytes?.toString('utf8') ?? '')
  if (parsed === undefined) throw invalid(folder, `${manifestName} is damaged`)
  const { version } = parsed
  if (typeof version === 'number' && version !== backupVersion) {
    throw invalid(folder, `its version is ${version} and this Tidegate restores version ${backupVersion}`)
  }
  const { check: _check, ...manifest } = parsed
  // Byte for byte: a change that JSON does not notice is damage too.
  if (!isManifest(manifest) || encodeManifest(manifest) !== bytes?.toString('utf8')) throw invalid(folder, `${manifestName} is damaged`)
  return manifest
}

/** The error for what cannot be restored; the reason is one sentence without a full stop. */
export function invalid(folder: string, reason: string, cause?: unknown): TidegateError {
  return new TidegateError('TG_BACKUP_INVALID', `${folder} cannot be restored: ${reason}`, { context: { folder }, cause })
}

function checkOf(manifest: Manifest): string {
  return createHash('sha256').update(JSON.stringify(manifest)).digest('hex')
}

function parse(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : undefined
  } catch {
    return undefined
  }
}

function isManifest(value: Readonly<Record<string, unknown>>): value is Readonly<Record<string, unknown>> & Manifest {
  const { version, created, journal, timeline, checkpoint, head, store, files } = value
  return (
    version === backupVersion &&
    [created, journal, timeline].every(text => typeof text === 'string') &&
    [checkpoint, head].every(ordinal => ordinal === null || Number.isSafeInteger(ordinal)) &&
    (store === 'embedded' || store === 'influx') &&
    Array.isArray(files) &&
    files.every(isFile)
  )
}

/** A path can name nothing outside the folder. */
const pathPattern = /^(?:(?:journal|dead-letters)\/)?[A-Za-z0-9][\w.-]*$/

function isFile(file: unknown): file is BackupFile {
  if (typeof file !== 'object' || file === null || !('path' in file) || !('bytes' in file) || !('sha256' in file)) return false
  const { path: name, bytes, sha256 } = file
  return typeof name === 'string' && pathPattern.test(name) && Number.isSafeInteger(bytes) && typeof sha256 === 'string'
}
