import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { openHeldFiles } from '../../backup/held-files.ts'
import type { BackupSources } from '../../backup/write-backup.ts'
import { nodeFiles } from '../../journal/files.ts'
import type { Journal } from '../../journal/journal.ts'
import type { HeldDatabase } from '../../storage/port.ts'
import type { Checkpoint } from '../../telemetry.ts'

export const noTotals = { stored: 0, deadLettered: 0, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 }

/** A stand-in for a database: a backup copies its bytes and asks nothing of them. */
export async function makeDatabase(data: string): Promise<void> {
  await mkdir(data, { recursive: true })
  await writeFile(path.join(data, 'tidegate.duckdb'), Buffer.alloc(700_000, 'database'))
  await writeFile(path.join(data, 'tidegate.duckdb.wal'), 'log of the database')
}

/** A data folder with a database, and an empty folder for a backup beside it. */
export async function makeFolders(folder: string): Promise<{ readonly data: string; readonly backup: string }> {
  const data = path.join(folder, 'data')
  const backup = path.join(folder, 'backup')
  await makeDatabase(data)
  await mkdir(backup)
  return { data, backup }
}

export interface RunningOptions {
  readonly journal: Journal
  readonly letters: Journal
  /** The checkpoint in the database when it is held, and from where on its records have to be written again. */
  readonly position: () => number
  readonly rewriteFrom?: number
  /** Default: pins their journal. */
  readonly pinLetters?: () => Promise<() => void>
  /** Happens before the database is held, with the journal pinned. */
  readonly before?: () => Promise<void>
  /** Happens while the database is held, with it copied, and before the journal is. */
  readonly meanwhile?: () => Promise<void>
}

/** What a running Tidegate gives a backup, over real journals. */
export function sourcesOf(data: string, running: RunningOptions): BackupSources {
  const { journal, letters, position, rewriteFrom, before, meanwhile, pinLetters = async () => await letters.pin(0) } = running
  return {
    files: nodeFiles,
    data,
    store: 'embedded',
    reserveBytes: 0,
    settledBelow: rewriteFrom ?? position(),
    running: {
      journal: journal.uuid,
      pinJournal: async from => {
        const release = await journal.pin(from)
        return { readable: journal.readable, release }
      },
      pinLetters
    },
    hold: async <T>(work: (database: HeldDatabase) => Promise<T>): Promise<T> => {
      await before?.()
      await using database = await openHeldFiles(nodeFiles, data)
      const floor = rewriteFrom === undefined ? {} : { rewriteFrom }
      const checkpoint: Checkpoint = { journal: journal.uuid, position: position(), since: 0, totals: noTotals, ...floor }
      const result = await work({ checkpoint, files: database.files })
      await meanwhile?.()
      return result
    },
    now: () => Date.UTC(2026, 4, 4, 3, 2, 1)
  }
}

/** Every file below a folder, by its path. */
export async function treeOf(folder: string): Promise<ReadonlyMap<string, Buffer>> {
  const files = new Map<string, Buffer>()
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name)
    if (entry.isFile()) files.set(path.relative(folder, file), await readFile(file))
  }
  return files
}
