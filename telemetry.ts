/**
 * The vocabulary that all rooms share: what a reading is once it is decoded, and what can become of a record.
 */

/** The type of a field, as InfluxDB line protocol names it. */
export type FieldType = 'float' | 'integer' | 'boolean' | 'string'

/** A value with its type: a float is a finite number, an integer a bigint within int64. */
export type FieldValue = number | bigint | boolean | string

/** One field of a point. The type follows from the value: number float, bigint integer, boolean, string. */
export interface Field {
  readonly name: string
  readonly value: FieldValue
}

/**
 * Who and what a point is about: measurement, device and the other tags. Sources are interned, so that two points of
 * one source hold the same object; `key` is equal exactly when measurement, device and tags are.
 */
export interface Source {
  readonly key: string
  readonly measurement: string
  readonly device: string
  /** Tags other than device, sorted by name. */
  readonly tags: Readonly<Record<string, string>>
}

/** A reading: fields of one source at one time. The same source and time again: later wins, field by field. */
export interface Point {
  readonly source: Source
  /** Event time in nanoseconds since 1970 (int64). */
  readonly timeNs: bigint
  readonly fields: readonly Field[]
  /** Ordinal of the journal record that it came from. */
  readonly ordinal: number
}

/** A record whose points are in the store, as the live stream gets it. */
export interface StoredMessage {
  readonly ordinal: number
  readonly points: readonly Point[]
}

/** A type that a field of a measurement was given for good when it was first seen. */
export interface FieldDefinition {
  readonly measurement: string
  /** The stored name: the bare one for the first type, else with the suffix _num, _str or _bool. */
  readonly field: string
  readonly type: FieldType
  readonly unit?: string
}

/** What can become of an accepted record; each has exactly one. */
export const outcomes = ['stored', 'deadLettered', 'ignored', 'deduplicated', 'dropped', 'damaged'] as const
export type Outcome = (typeof outcomes)[number]
/** Records per outcome, counted from the ordinal `since` of the checkpoint on. */
export type OutcomeTotals = Readonly<Record<Outcome, number>>

/** How far the journal has been worked off: durable in the catalogue, written with or after the points. */
export interface Checkpoint {
  /** UUID of the journal that the ordinals belong to. */
  readonly journal: string
  /** Every record with an ordinal below this one has its outcome. */
  readonly position: number
  /** The ordinal at which the totals start. */
  readonly since: number
  readonly totals: OutcomeTotals
  /**
   * The next start writes the records from here to the position into the store again: it may have forgotten them, or a
   * rewrite of them was cut off. Missing: there is nothing like that. Neither position nor totals depend on it.
   */
  readonly rewriteFrom?: number
}

/**
 * A source with its key, the same wherever it is made: ingest and every store compare keys. Tags come out sorted by name;
 * device is not among them.
 */
export function buildSource(measurement: string, device: string, tags: Iterable<readonly [string, string]>): Source {
  const sorted = [...tags].toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const key = JSON.stringify([measurement, device, ...sorted.flat()])
  return { key, measurement, device, tags: Object.fromEntries(sorted) }
}

/** The type of a field value. */
export function fieldTypeOf(value: FieldValue): FieldType {
  switch (typeof value) {
    case 'number':
      return 'float'
    case 'bigint':
      return 'integer'
    case 'boolean':
      return 'boolean'
    case 'string':
      return 'string'
  }
}

/** The position of a record as clients see it: it names its journal and orders within it. */
export function encodePosition(journal: string, ordinal: number): string {
  return `${journal}:${ordinal}`
}

/** Reads a position. Answers undefined for anything that is not one. */
export function decodePosition(text: string): { readonly journal: string; readonly ordinal: number } | undefined {
  const match = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(\d{1,15})$/.exec(text)
  return match?.[1] === undefined ? undefined : { journal: match[1], ordinal: Number(match[2]) }
}
