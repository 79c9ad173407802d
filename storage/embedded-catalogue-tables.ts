/** The catalogue's tables, their staging tables, and the checks of what is read back from them. */
import { BIGINT, INTEGER, VARCHAR } from '@duckdb/node-api'
import { TidegateError } from '../errors.ts'
import { type Checkpoint, type FieldType, outcomes, type OutcomeTotals } from '../telemetry.ts'

/** Of the tables below; a file with a greater one is not opened. */
export const schemaVersion = 1

export const catalogueTables = `
CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sources (id INTEGER NOT NULL, key VARCHAR NOT NULL, measurement VARCHAR NOT NULL, device VARCHAR NOT NULL, tags VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS series (id INTEGER NOT NULL, source INTEGER NOT NULL, field VARCHAR NOT NULL, type VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS fields (measurement VARCHAR NOT NULL, field VARCHAR NOT NULL, type VARCHAR NOT NULL, unit VARCHAR);
CREATE TABLE IF NOT EXISTS devices (device VARCHAR NOT NULL, first_seen BIGINT NOT NULL, last_seen BIGINT NOT NULL, client VARCHAR, messages BIGINT NOT NULL, points BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS checkpoint (journal VARCHAR NOT NULL, position BIGINT NOT NULL, since BIGINT NOT NULL, totals VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS rewrite_from (position BIGINT NOT NULL);
`

export const stagedSources = {
  name: 'staged_sources',
  columns: [
    { name: 'id', type: INTEGER },
    { name: 'key', type: VARCHAR },
    { name: 'measurement', type: VARCHAR },
    { name: 'device', type: VARCHAR },
    { name: 'tags', type: VARCHAR }
  ]
} as const
export const stagedSeries = {
  name: 'staged_series',
  columns: [
    { name: 'id', type: INTEGER },
    { name: 'source', type: INTEGER },
    { name: 'field', type: VARCHAR },
    { name: 'type', type: VARCHAR }
  ]
} as const
export const stagedFields = {
  name: 'staged_fields',
  columns: [
    { name: 'measurement', type: VARCHAR },
    { name: 'field', type: VARCHAR },
    { name: 'type', type: VARCHAR },
    { name: 'unit', type: VARCHAR }
  ]
} as const
export const stagedDevices = {
  name: 'staged_devices',
  columns: [
    { name: 'device', type: VARCHAR },
    { name: 'first_seen', type: BIGINT },
    { name: 'last_seen', type: BIGINT },
    { name: 'client', type: VARCHAR },
    { name: 'messages', type: BIGINT },
    { name: 'points', type: BIGINT }
  ]
} as const

/** A stored field type. */
export function readFieldType(value: unknown): FieldType {
  switch (value) {
    case 'float':
    case 'integer':
    case 'boolean':
    case 'string':
      return value
    default:
      throw unreadable('field type', value)
  }
}

/** Stored tags: an object of strings. */
export function readTags(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(entriesOf('tags', value).map(([name, tag]) => [name, String(tag)]))
}

/** The stored totals of a checkpoint; an outcome that is not in them counts 0. */
function readTotals(value: unknown): OutcomeTotals {
  const stored = new Map(entriesOf('totals', value))
  const totals = { stored: 0, deadLettered: 0, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 }
  for (const outcome of outcomes) totals[outcome] = Number(stored.get(outcome) ?? 0)
  return totals
}

/** A stored checkpoint: its columns in the order of the table. */
export function readCheckpoint([journal, position, since, totals]: readonly unknown[]): Checkpoint {
  return { journal: String(journal), position: Number(position), since: Number(since), totals: readTotals(totals) }
}

function entriesOf(what: string, value: unknown): [string, unknown][] {
  const parsed: unknown = JSON.parse(String(value))
  if (typeof parsed !== 'object' || parsed === null) throw unreadable(what, value)
  return Object.entries(parsed)
}

function unreadable(what: string, value: unknown): TidegateError {
  return new TidegateError('TG_STORE_UNREADABLE', `The database has ${what} that cannot be read`, { context: { value } })
}
