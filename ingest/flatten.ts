import type { Field } from '../telemetry.ts'
import { isObject } from './codecs/json.ts'
import type { Refusals } from './refusals.ts'

export interface FlattenOptions {
  /** Objects and arrays within each other at most; the reading itself is the first. */
  readonly depth: number
  /** Fields of one reading at most. */
  readonly fields: number
  /** Before every name; with an underscore after it. */
  readonly prefix?: string | undefined
  /** Top-level keys that are no fields. */
  readonly omit?: ReadonlySet<string> | undefined
  /** Names, as they come out, of fields that are integers. */
  readonly integers?: ReadonlySet<string> | undefined
}

export interface FlatReading {
  readonly fields: Field[]
  /** A name may come twice; the later one counts. */
  readonly nested: boolean
}

/** Keys of a reading that are its time, never a field; the first one that can be read counts. */
export const timeKeys: readonly string[] = ['ts', 'time', 'timestamp']
const timeKeySet: ReadonlySet<string> = new Set(timeKeys)

/**
 * The fields of a JSON object: nested ones are joined with _, array elements by index. Nulls, numbers that are not finite
 * and what lies too deep add a refusal each and cost no neighbour; too many fields, or 16 times as many values that are
 * none, refuse the whole reading (undefined), so that the work is bounded.
 */
export function flatten(
  reading: Record<string, unknown> | readonly unknown[],
  options: FlattenOptions,
  refusals: Refusals,
  where: string
): FlatReading | undefined {
  const flattener = new Flattener(options, refusals, where)
  flattener.add(reading, options.prefix === undefined ? '' : `${options.prefix}_`, 1, options.omit)
  if (!flattener.tooMany) return flattener
  refusals.add('too-many-fields', `${where}more than ${options.fields} fields`)
  return undefined
}

/** Values looked at for one reading, as a multiple of the fields that it may have. */
const visitsPerField = 16

class Flattener implements FlatReading {
  readonly fields: Field[] = []
  nested = false
  tooMany = false
  #visits = 0
  readonly #options: FlattenOptions
  readonly #refusals: Refusals
  readonly #where: string

  constructor(options: FlattenOptions, refusals: Refusals, where: string) {
    this.#options = options
    this.#refusals = refusals
    this.#where = where
  }

  add(values: Record<string, unknown> | readonly unknown[], prefix: string, depth: number, omit: ReadonlySet<string> | undefined): void {
    if (depth > this.#options.depth) {
      this.#refusals.add('too-deep', () => `${this.#where}${prefix.slice(0, -1)} is nested deeper than ${this.#options.depth}`)
      return
    }
    if (!isObject(values)) {
      for (let index = 0; index < values.length && !this.tooMany; index += 1) this.#value(`${prefix}${index}`, values[index], depth)
      return
    }
    // JSON.parse makes __proto__ an own key like any other, and nothing inherited is enumerable here.
    for (const key in values) {
      if (this.tooMany) return
      if (omit !== undefined && omit.has(key)) continue
      this.#value(prefix === '' ? key : prefix + key, values[key], depth)
    }
  }

  #value(name: string, value: unknown, depth: number): void {
    this.#visits += 1
    if (this.#visits > this.#options.fields * visitsPerField) {
      this.tooMany = true
      return
    }
    if (typeof value === 'number') {
      if (!Number.isFinite(value)) {
        this.#refusals.add('non-finite-number', () => `${this.#where}${name} is no finite number`)
        return
      }
      const { integers } = this.#options
      this.#push(name, integers !== undefined && integers.has(name) && Number.isSafeInteger(value) ? BigInt(value) : value)
    } else if (typeof value === 'string' || typeof value === 'boolean') {
      this.#push(name, value)
    } else if (value === null) {
      this.#refusals.add('null-value', () => `${this.#where}${name} is null`)
    } else if (isObject(value) || Array.isArray(value)) {
      this.nested = true
      this.add(value, `${name}_`, depth + 1, undefined)
    }
  }

  #push(name: string, value: Field['value']): void {
    if (this.fields.length >= this.#options.fields) this.tooMany = true
    else this.fields.push({ name, value })
  }
}

/** Top-level keys that are no fields: the time keys and those of a dialect. */
export function omittedKeys(more: Iterable<string> = []): ReadonlySet<string> {
  return new Set([...timeKeySet, ...more])
}

/** Is it `{"ts":…,"values":{…}}`: a time key, `values`, and nothing else? Then `values` holds the fields, all of them. */
export function valuesOf(reading: Record<string, unknown>): Record<string, unknown> | undefined {
  if (!Object.hasOwn(reading, 'values')) return undefined
  const { values } = reading
  if (!isObject(values)) return undefined
  const others = Object.keys(reading).filter(key => key !== 'values')
  return others.length > 0 && others.every(key => timeKeySet.has(key)) ? values : undefined
}
