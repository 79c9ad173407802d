/** Opening data/tidegate.duckdb: every bound set and locked before anything runs, and a code for all that can be in the way. */
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, realpath, rm, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import type { Logger } from 'pino'
import { TidegateError } from '../errors.ts'

const maxSpillBytes = 4 * 1024 ** 3

/** An open file with its writing connection and one for short reads. */
export interface Opened {
  readonly instance: DuckDBInstance
  readonly writer: DuckDBConnection
  readonly reader: DuckDBConnection
}

/** Opens the file with every bound set and locked; while another process has it, tries again until performance.now() is the deadline. */
export async function openInstance(
  options: { readonly memoryBytes: number; readonly threads?: number },
  paths: { readonly path: string; readonly spill: string },
  deadline: number
): Promise<Opened> {
  // A folder of its own for each opening: DuckDB may spill while it replays its log, and what a crash has left behind may
  // only go once the lock is held.
  const spill = randomUUID()
  await mkdir(paths.spill, { recursive: true })
  const settings = {
    memory_limit: `${options.memoryBytes}B`,
    threads: String(options.threads ?? Math.max(1, availableParallelism() - 1)),
    // Allowed together with enable_external_access=false: a sort that does not fit into memory still ends.
    temp_directory: join(paths.spill, spill),
    max_temp_directory_size: `${maxSpillBytes}B`,
    enable_external_access: 'false',
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    // Nothing relies on it, and without it large INSERT … SELECT need far less memory.
    preserve_insertion_order: 'false',
    lock_configuration: 'true'
  }
  for (;;) {
    try {
      const instance = await DuckDBInstance.create(paths.path, settings)
      for (const left of await readdir(paths.spill)) {
        if (left !== spill) await rm(join(paths.spill, left), { recursive: true, force: true })
      }
      return { instance, writer: await instance.connect(), reader: await instance.connect() }
    } catch (error) {
      if (!/could not set lock|conflicting lock/i.test(String(error))) throw openError(paths.path, error)
      if (performance.now() >= deadline) throw inUse(paths.path, error)
      await delay(50)
    }
  }
}

/** Makes the folder and answers its real path. */
export async function makeFolder(folder: string): Promise<string> {
  try {
    await mkdir(folder, { recursive: true })
    return await realpath(folder)
  } catch (error) {
    throw new TidegateError('TG_DATA_UNWRITABLE', `The data folder ${folder} cannot be made: ${firstLine(error)}`, {
      cause: error,
      context: { folder }
    })
  }
}

/** A crash while the file was made leaves it empty; DuckDB refuses such a file although nothing can be in it. */
export async function removeEmpty(path: string, log: Logger): Promise<void> {
  const found = await stat(path).catch(() => undefined)
  if (found?.size !== 0) return
  log.warn({ path }, 'empty database file is replaced by a new one')
  await rm(path)
}

function openError(path: string, cause: unknown): TidegateError {
  const denied = /cannot open file|permission denied|read-only/i.test(String(cause))
  const advice = denied
    ? 'let this user read and write it'
    : 'restore it from a backup, or move it and its .wal away: then a new one is filled with what the journal keeps'
  const message = `The database ${path} cannot be opened; ${advice} (${firstLine(cause)})`
  return new TidegateError(denied ? 'TG_DATA_UNWRITABLE' : 'TG_STORE_UNREADABLE', message, { cause, context: { path } })
}

/** The error for a database that somebody else has open. */
export function inUse(path: string, cause: unknown): TidegateError {
  const message = `The database ${path} is in use by another process${cause === undefined ? '' : `: ${firstLine(cause)}`}`
  return new TidegateError('TG_DATA_IN_USE', message, { cause, context: { path } })
}

/** The first line of an error's message; DuckDB adds advice below it. */
export function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message.split('\n', 1)[0] ?? message
}
