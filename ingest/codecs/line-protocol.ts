import type { Field, FieldValue } from '../../telemetry.ts'
import type { RefusalReason, Refusals } from '../refusals.ts'
import { nameLength } from '../names.ts'
import { quote } from '../refusals.ts'

/** One line of InfluxDB line protocol. Names are unescaped and not checked any further. */
export interface Line {
  /** Measurement and tags as they were written: lines with the same head have the same source. */
  readonly head: string
  readonly measurement: string
  readonly tags: readonly (readonly [string, string])[]
  /** In order; a name may come twice. */
  readonly fields: Field[]
  /** Nanoseconds since 1970. */
  readonly timeNs: bigint | undefined
  /** From 1. */
  readonly number: number
}

const tab = 9
const newline = 10
const carriageReturn = 13
const space = 32
const doubleQuote = 34
const hash = 35
const comma = 44
const equals = 61
const backslash = 92

const decimal = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/
const wholeNumber = /^[+-]?\d{1,40}$/
const nonFinite = /^[+-]?(?:nan|inf(?:inity)?)$/i
const truths: ReadonlyMap<string, boolean> = new Map([
  ...['t', 'T', 'true', 'True', 'TRUE'].map(text => [text, true] as const),
  ...['f', 'F', 'false', 'False', 'FALSE'].map(text => [text, false] as const)
])
/** Each tag is compared with those before it. */
const mostTags = 64
const int64Max = 2n ** 63n - 1n
const int64Min = -(2n ** 63n)

/**
 * Parses InfluxDB line protocol (docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol), time in nanoseconds.
 * Stricter than the server where that is lenient: a tag without a value, a tag twice, an unescaped = in a tag value and
 * anything after the time are faults. A bad line adds a refusal that says its number and costs no other line.
 */
export function decodeLines(text: string, refusals: Refusals): readonly Line[] {
  const steps = decodeLinesInSteps(text, refusals)
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** The same in steps of 128 lines, for texts that may be long. */
export function decodeLinesInSteps(text: string, refusals: Refusals): Generator<void, readonly Line[], void> {
  return new LineScanner(text).scan(refusals)
}

const linesPerStep = 128
const longestName = 2 * nameLength

/** No Error: a payload of nothing but bad lines must not capture a stack for each of them. */
class LineFault {
  readonly reason: RefusalReason
  readonly detail: () => string

  constructor(reason: RefusalReason, detail: () => string) {
    this.reason = reason
    this.detail = detail
  }
}

function fail(reason: RefusalReason, detail: () => string): never {
  // oxlint-disable-next-line typescript/only-throw-error -- caught in this file, see LineFault
  throw new LineFault(reason, detail)
}

class LineScanner {
  readonly #text: string
  #at = 0
  #number = 1
  #escaped = false

  constructor(text: string) {
    this.#text = text
  }

  *scan(refusals: Refusals): Generator<void, readonly Line[], void> {
    const lines: Line[] = []
    for (let count = 1; this.#toNextLine(); count += 1) {
      if (count % linesPerStep === 0) yield
      const start = this.#at
      const number = this.#number
      try {
        lines.push(this.#line())
      } catch (error) {
        if (!(error instanceof LineFault)) throw error
        const { reason, detail } = error
        refusals.add(reason, () => `line ${number}: ${detail()}`)
        this.#number = number + countNewlines(this.#text, start, this.#at)
        this.#skipLine()
      }
    }
    return lines
  }

  /** Moves over white space, empty lines and comments. Answers false at the end. */
  #toNextLine(): boolean {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code === newline) this.#number += 1
      if (code === hash) this.#skipLine()
      else if (code === space || code === tab || code === carriageReturn || code === newline) this.#at += 1
      else return this.#at < this.#text.length
    }
  }

  #skipLine(): void {
    const end = this.#text.indexOf('\n', this.#at)
    this.#at = end === -1 ? this.#text.length : end
  }

  #line(): Line {
    const number = this.#number
    const start = this.#at
    const measurement = this.#name('measurement', false)
    const tags = this.#tags()
    const head = this.#text.slice(start, this.#at)
    this.#skipSpaces()
    const fields = this.#fields()
    this.#skipSpaces()
    const timeNs = this.#time()
    this.#skipSpaces()
    if (!this.#atEnd()) fail('line-syntax', () => `${this.#here()} follows the time`)
    return { head, measurement, tags, fields, timeNs, number }
  }

  #tags(): (readonly [string, string])[] {
    const tags: (readonly [string, string])[] = []
    while (this.#text.charCodeAt(this.#at) === comma) {
      if (tags.length === mostTags) fail('too-many-tags', () => `more than ${mostTags} tags`)
      this.#at += 1
      const key = this.#name('tag', true)
      if (this.#text.charCodeAt(this.#at) !== equals) fail('line-syntax', () => `the tag ${quote(key)} has no value`)
      this.#at += 1
      const value = this.#name('tag value', true)
      if (this.#text.charCodeAt(this.#at) === equals) {
        fail('line-syntax', () => `an unescaped = in the value of tag ${quote(key)}`)
      }
      if (tags.some(([known]) => known === key)) fail('line-syntax', () => `the tag ${quote(key)} comes twice`)
      tags.push([key, value])
    }
    return tags
  }

  #fields(): Field[] {
    const fields: Field[] = []
    for (;;) {
      const name = this.#name('field', true)
      if (this.#text.charCodeAt(this.#at) !== equals) fail('line-syntax', () => `the field ${quote(name)} has no value`)
      this.#at += 1
      fields.push({ name, value: this.#text.charCodeAt(this.#at) === doubleQuote ? this.#string() : this.#value(name) })
      if (this.#text.charCodeAt(this.#at) !== comma) return fields
      this.#at += 1
    }
  }

  /** A name up to an unescaped comma, space, line end or, where = is special, an =. */
  #name(what: string, equalsIsSpecial: boolean): string {
    const start = this.#at
    this.#escaped = false
    let at = start
    for (; at < this.#text.length; at += 1) {
      const code = this.#text.charCodeAt(at)
      if (code === comma || code === space || code === newline || (code === equals && equalsIsSpecial)) break
      if (code !== backslash) continue
      const next = this.#text.charCodeAt(at + 1)
      if (next === comma || next === space || (next === equals && equalsIsSpecial)) {
        this.#escaped = true
        at += 1
      }
    }
    this.#at = at
    if (at === start) fail('line-syntax', () => `a ${what} is missing at ${this.#here()}`)
    const raw = this.#text.slice(start, at)
    // Also with every character escaped it would be too long; taking the escapes out of a whole payload takes 40 ms.
    if (raw.length > longestName) fail('name-too-long', () => `the ${what} ${quote(raw)} is too long`)
    if (!this.#escaped) return raw
    return equalsIsSpecial ? raw.replaceAll(/\\([,= ])/g, '$1') : raw.replaceAll(/\\([, ])/g, '$1')
  }

  /** A quoted string; line breaks in it belong to it. */
  #string(): string {
    const start = this.#at + 1
    let escaped = false
    for (let at = start; at < this.#text.length; at += 1) {
      const code = this.#text.charCodeAt(at)
      if (code === newline) this.#number += 1
      if (code === backslash) {
        const next = this.#text.charCodeAt(at + 1)
        if (next === doubleQuote || next === backslash) {
          escaped = true
          at += 1
        }
      } else if (code === doubleQuote) {
        this.#at = at + 1
        const raw = this.#text.slice(start, at)
        return escaped ? raw.replaceAll(/\\(["\\])/g, '$1') : raw
      }
    }
    fail('line-syntax', () => 'a string has no closing quote')
  }

  #value(name: string): FieldValue {
    const token = this.#token()
    const truth = truths.get(token)
    if (truth !== undefined) return truth
    if (decimal.test(token)) {
      const value = Number(token)
      if (!Number.isFinite(value)) fail('non-finite-number', () => `the field ${quote(name)} is too large for a float`)
      return value
    }
    const suffix = token.at(-1)
    const digits = token.slice(0, -1)
    if ((suffix === 'i' || (suffix === 'u' && !digits.startsWith('-'))) && wholeNumber.test(digits)) return integer(name, digits)
    if (nonFinite.test(token)) fail('non-finite-number', () => `the field ${quote(name)} is ${token}`)
    fail('line-syntax', () => `the field ${quote(name)} has the value ${quote(token)}`)
  }

  #time(): bigint | undefined {
    if (this.#atEnd()) return undefined
    const token = this.#token()
    const timeNs = wholeNumber.test(token) && !token.startsWith('+') ? BigInt(token) : undefined
    if (timeNs === undefined || timeNs > int64Max || timeNs < int64Min) fail('line-syntax', () => `${quote(token)} is no time`)
    return timeNs
  }

  /** Characters up to a comma, white space or the end. */
  #token(): string {
    const start = this.#at
    let at = start
    for (; at < this.#text.length; at += 1) {
      const code = this.#text.charCodeAt(at)
      if (code === comma || code === space || code === newline || code === carriageReturn) break
    }
    this.#at = at
    return this.#text.slice(start, at)
  }

  #skipSpaces(): void {
    while (this.#text.charCodeAt(this.#at) === space) this.#at += 1
    if (this.#text.charCodeAt(this.#at) === carriageReturn && this.#text.charCodeAt(this.#at + 1) === newline) this.#at += 1
  }

  #atEnd(): boolean {
    return this.#at >= this.#text.length || this.#text.charCodeAt(this.#at) === newline
  }

  #here(): string {
    return this.#at >= this.#text.length ? 'the end' : quote(this.#text.slice(this.#at, this.#at + 20))
  }
}

function integer(name: string, digits: string): bigint {
  const value = BigInt(digits.startsWith('+') ? digits.slice(1) : digits)
  if (value > int64Max || value < int64Min) {
    fail('integer-out-of-range', () => `the field ${quote(name)} does not fit into 64 bits`)
  }
  return value
}

function countNewlines(text: string, from: number, to: number): number {
  let count = 0
  for (let at = text.indexOf('\n', from); at !== -1 && at < to; at = text.indexOf('\n', at + 1)) count += 1
  return count
}
