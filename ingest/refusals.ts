/**
 * Why a reading, or a whole record, becomes a dead letter. Operators filter dead letters by these, so a name is for good.
 */
export const refusalReasons = {
  'not-utf8': 'The payload is not UTF-8',
  'empty-payload': 'The payload is empty',
  'broken-json': 'The payload is not JSON although it starts like it, or the route says that it is',
  'non-finite-number': 'A number is not finite (NaN, infinite, or too large for a double)',
  'null-value': 'A value is null',
  'too-deep': 'Objects or arrays are nested deeper than limits.payloadDepth',
  'too-many-fields': 'A reading has more fields than limits.payloadFields',
  'too-many-tags': 'A line has more than 64 tags',
  'no-fields': 'Nothing in it is a field',
  'not-a-reading': 'An element of an array is no object although others are',
  'line-syntax': 'A line is not InfluxDB line protocol',
  'integer-out-of-range': 'An integer does not fit into 64 bits with sign',
  'string-too-long': 'A string is longer than 16 KiB of UTF-8',
  'name-invalid': 'The name of a measurement, device, tag or field is empty or has control characters',
  'name-too-long': 'The name of a measurement, device, tag or field is longer than 256 characters',
  'series-limit': 'A new series would exceed limits.series or limits.seriesPerDevice',
  'decoder-failed': 'Decoding failed unexpectedly, which is a fault of Tidegate; the record is kept here',
  'store-rejected': 'The store will never take it; the detail is in its own words'
} as const

export type RefusalReason = keyof typeof refusalReasons

/** Is it one of the reasons? */
export function isReason(reason: unknown): reason is RefusalReason {
  return typeof reason === 'string' && Object.hasOwn(refusalReasons, reason)
}

/** One thing that was refused; the rest of its record may still be stored. */
export interface Refusal {
  readonly reason: RefusalReason
  /** For people: which part of the record, and what is wrong with it. */
  readonly detail: string
}

/** Refusals kept of one record, whatever it contains; more are only counted. */
const keptRefusals = 8
const detailLength = 200

/** Collects the refusals of one record, bounded; a record without any costs one object. */
export class Refusals {
  #kept: Refusal[] | undefined
  #more = 0

  get any(): boolean {
    return this.#kept !== undefined
  }

  /** A detail given as a function is only made when it is kept: a payload may have 40,000 faults. */
  add(reason: RefusalReason, detail: string | (() => string)): void {
    this.#kept ??= []
    if (this.#kept.length < keptRefusals) this.#kept.push({ reason, detail: shorten(typeof detail === 'string' ? detail : detail()) })
    else this.#more += 1
  }

  /** Takes over what another one has collected. */
  addAll(other: Refusals): void {
    for (const { reason, detail } of other.#kept ?? []) this.add(reason, detail)
    this.#more += other.#more
  }

  /** At most nine; the last one then says how many more there were. */
  list(): readonly Refusal[] {
    const last = this.#kept?.at(-1)
    if (this.#kept === undefined || last === undefined) return noRefusals
    return this.#more === 0 ? this.#kept : [...this.#kept, { reason: last.reason, detail: `and ${this.#more} more` }]
  }
}

export const noRefusals: readonly Refusal[] = []

/** The first reason, and the details of all: what one dead letter says. */
export function summarize(refusals: readonly Refusal[]): Refusal | undefined {
  const [first] = refusals
  if (first === undefined) return undefined
  return { reason: first.reason, detail: refusals.map(each => each.detail).join('; ') }
}

/** Text of a payload in a message for people: short, and control characters visible. */
export function quote(text: string): string {
  return shorten(JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text))
}

function shorten(text: string): string {
  return text.length > detailLength ? `${text.slice(0, detailLength)}…` : text
}
