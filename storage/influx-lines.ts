/**
 * Points as InfluxDB line protocol, one line a point. The part before the fields is kept per source, which makes a line
 * several times cheaper than the client's Point. What the protocol or the server cannot represent is refused here, with
 * the reason: a server would take such a line for another one, or refuse its neighbours with it.
 */
import type { FieldValue, Point, Source } from '../telemetry.ts'

/** A line without its end of line, or why there is none. */
export type EncodedLine = { readonly line: string; readonly reason?: undefined } | { readonly line?: undefined; readonly reason: string }

/** The times that InfluxDB takes, both inclusive. */
export const minTimeNs = -(2n ** 63n) + 2n
export const maxTimeNs = 2n ** 63n - 2n
const minInteger = -(2n ** 63n)
const maxInteger = 2n ** 63n - 1n

/** Names that stand for something else in InfluxDB. */
const reservedTags: ReadonlySet<string> = new Set(['time', '_field', '_measurement'])

/** Encodes points; what it keeps lives as long as the sources do. */
export class LineEncoder {
  readonly #prefixes = new WeakMap<Source, EncodedLine>()
  /** Field names recur; bounded, since clients choose them. */
  readonly #names = new Map<string, EncodedLine>()

  /** The line of a point. */
  encode({ source, fields, timeNs }: Point): EncodedLine {
    let prefix = this.#prefixes.get(source)
    if (prefix === undefined) {
      prefix = encodePrefix(source)
      this.#prefixes.set(source, prefix)
    }
    if (prefix.line === undefined) return prefix
    if (timeNs < minTimeNs || timeNs > maxTimeNs) return { reason: 'the time is outside of what InfluxDB stores (1677 to 2262)' }
    if (fields.length === 0) return { reason: 'the point has no fields' }
    let line = prefix.line
    let separator = ' '
    for (const { name, value } of fields) {
      const key = this.#fieldName(name)
      if (key.line === undefined) return key
      const written = encodeValue(value)
      if (written === undefined) return { reason: `the value of field ${quote(name)} cannot be stored` }
      line += `${separator}${key.line}=${written}`
      separator = ','
    }
    return { line: `${line} ${timeNs}` }
  }

  #fieldName(name: string): EncodedLine {
    const known = this.#names.get(name)
    if (known !== undefined) return known
    const encoded: EncodedLine =
      name === 'time' ? { reason: 'a field cannot be named time' } : encodeName(name, 'field name', { unescapesQuotes: true })
    if (this.#names.size >= 10_000) this.#names.clear()
    this.#names.set(name, encoded)
    return encoded
  }
}

function encodePrefix({ measurement, device, tags }: Source): EncodedLine {
  if (measurement.startsWith('#')) return { reason: 'a measurement cannot start with #' }
  const first = encodeName(measurement, 'measurement', { special: /[, ]/g, unescapesQuotes: true })
  if (first.line === undefined) return first
  let line = first.line
  for (const [name, value] of Object.entries({ ...tags, device }).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (reservedTags.has(name)) return { reason: `a tag cannot be named ${name}` }
    const key = encodeName(name, 'tag name')
    if (key.line === undefined) return key
    const written = encodeName(value, `tag ${name}`)
    if (written.line === undefined) return written
    line += `,${key.line}=${written.line}`
  }
  return { line }
}

/**
 * `special` are the characters that a backslash escapes; before anything else it stands for itself, but before a double
 * quote InfluxDB drops it in measurements and field names.
 */
function encodeName(text: string, what: string, { special = /[,= ]/g, unescapesQuotes = false } = {}): EncodedLine {
  if (text === '') return { reason: `the ${what} is empty` }
  // In front of a special character or at the end it would escape our own escape, or what follows.
  if ((unescapesQuotes ? /\\(?:[,= "]|$)/ : /\\(?:[,= ]|$)/).test(text)) {
    return { reason: `the ${what} ${quote(text)} has a backslash where InfluxDB takes it for an escape` }
  }
  if (/[\n\0]|\p{Surrogate}/u.test(text)) return { reason: `the ${what} ${quote(text)} has a line feed, a NUL or half a character` }
  return { line: text.replace(special, '\\$&') }
}

function encodeValue(value: FieldValue): string | undefined {
  switch (typeof value) {
    case 'number':
      return Number.isFinite(value) ? String(value) : undefined
    case 'bigint':
      return value < minInteger || value > maxInteger ? undefined : `${value}i`
    case 'boolean':
      return value ? 'T' : 'F'
    case 'string':
      return /\p{Surrogate}/u.test(value) ? undefined : `"${value.replace(/["\\]/g, '\\$&')}"`
  }
}

function quote(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text)
}
