import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { EmbeddedDatabase } from '../../storage/embedded-database.ts'
import type { Checkpoint, Point, FieldValue, Source } from '../../telemetry.ts'

export const log = pino({ level: 'silent' })
export const journal = '6f0c7a52-1b1e-4c7a-9a53-3f1d2c4b5a69'

/** A folder that is removed when it goes out of scope. */
export async function makeFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'tidegate-embedded-'))
  return { path, [Symbol.asyncDispose]: async () => await rm(path, { recursive: true, force: true }) }
}

export async function openDatabase(folder: string, lockWaitMs = 5000): Promise<EmbeddedDatabase> {
  return await EmbeddedDatabase.open({ folder, memoryBytes: 64 * 1024 ** 2, threads: 1, lockWaitMs, log })
}

export function source(device: string, measurement = 'telemetry', tags: Readonly<Record<string, string>> = {}): Source {
  return { key: JSON.stringify([measurement, device, Object.entries(tags)]), measurement, device, tags }
}

export function point(of: Source, timeNs: bigint, fields: Readonly<Record<string, FieldValue>>, ordinal = 0): Point {
  return { source: of, timeNs, fields: Object.entries(fields).map(([name, value]) => ({ name, value })), ordinal }
}

export function checkpoint(position: number): Checkpoint {
  const totals = { stored: position, deadLettered: 1, ignored: 2, deduplicated: 3, dropped: 4, damaged: 5 }
  return { journal, position, since: 0, totals }
}
