import type { FieldType, FieldValue, Source } from '../telemetry.ts'

/** A stored field of a source, as the catalogue knows it. */
export interface InfluxField {
  readonly source: Source
  readonly field: string
  readonly type: FieldType
}

/** The selected sources and fields of one measurement. */
export class MeasurementSelection {
  readonly measurement: string
  readonly sources: readonly Source[]
  /** Names and types, sorted by name. */
  readonly fields: readonly { readonly name: string; readonly type: FieldType }[]
  readonly #lookups = new Map<string, ReadonlyMap<string, Source>>()

  constructor(measurement: string, selected: readonly InfluxField[]) {
    this.measurement = measurement
    this.sources = [...new Set(selected.map(one => one.source))]
    const types = new Map(selected.map(one => [one.field, one.type]))
    this.fields = [...types].map(([name, type]) => ({ name, type })).toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  /**
   * The selected source that has these tags and no others. Undefined for what was not selected and for what the catalogue
   * does not know (yet): rows of a batch become visible when its checkpoint has moved.
   */
  source(names: readonly string[], values: readonly unknown[]): Source | undefined {
    const shape = JSON.stringify(names)
    let lookup = this.#lookups.get(shape)
    if (lookup === undefined) {
      lookup = lookupOf(this.sources, names)
      this.#lookups.set(shape, lookup)
    }
    return lookup.get(values.map(value => (typeof value === 'string' ? value : '')).join('\0'))
  }
}

/** Splits what was selected by measurement. */
export function byMeasurement(selected: readonly InfluxField[]): readonly MeasurementSelection[] {
  const found = new Map<string, InfluxField[]>()
  for (const one of selected) {
    const beside = found.get(one.source.measurement)
    if (beside === undefined) found.set(one.source.measurement, [one])
    else beside.push(one)
  }
  return [...found].map(([measurement, fields]) => new MeasurementSelection(measurement, fields))
}

/** A value of an answer, with the type that the catalogue has for its field. Undefined when there is none. */
export function valueOf(type: FieldType, value: unknown): FieldValue | undefined {
  if (value === null || value === undefined) return undefined
  switch (type) {
    case 'float':
      return Number(value)
    case 'integer':
      return typeof value === 'string' || typeof value === 'number' ? BigInt(value) : undefined
    case 'boolean':
      return value === true
    case 'string':
      return typeof value === 'string' ? value : undefined
  }
}

/** A time of an answer. */
export function timeOf(value: unknown): bigint {
  return typeof value === 'string' || typeof value === 'number' ? BigInt(value) : 0n
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** NUL separates, since no stored tag contains it. */
function lookupOf(sources: readonly Source[], names: readonly string[]): ReadonlyMap<string, Source> {
  const known = new Set(names)
  const lookup = new Map<string, Source>()
  for (const source of sources) {
    const { device, tags } = source
    if (!Object.keys(tags).every(name => known.has(name))) continue
    const values = names.map(name => (name === 'device' ? device : Object.hasOwn(tags, name) ? tags[name] : ''))
    lookup.set(values.join('\0'), source)
  }
  return lookup
}
