import { fieldTypeOf, type FieldType, type Point, type Source } from '../telemetry.ts'
import type { Selection } from './port.ts'

/** A series that the catalogue does not have yet. */
export interface NewSeries {
  readonly source: Source
  /** Stored field name. */
  readonly field: string
  readonly type: FieldType
}

/** A field of a source, with the number that stands for it in the table of points. */
export interface Series extends NewSeries {
  readonly id: number
}

/** A source with its number and its fields. */
export interface SourceEntry {
  readonly id: number
  readonly source: Source
  readonly series: Map<string, Series>
}

/** Every source and series of the catalogue, in memory, by all that they are looked for. */
export class SeriesDictionary {
  readonly #sources = new Map<string, SourceEntry>()
  readonly #byDevice = new Map<string, SourceEntry[]>()
  readonly #byId: Series[] = []
  #sorted: readonly SourceEntry[] | undefined

  get sourceCount(): number {
    return this.#sources.size
  }

  get seriesCount(): number {
    return this.#byId.length
  }

  /** The source with that key. */
  source(key: string): SourceEntry | undefined {
    return this.#sources.get(key)
  }

  series(id: number): Series | undefined {
    return this.#byId[id]
  }

  sourcesOf(device: string): readonly SourceEntry[] {
    return this.#byDevice.get(device) ?? []
  }

  addSource(entry: SourceEntry): void {
    this.#sources.set(entry.source.key, entry)
    this.#sorted = undefined
    const beside = this.#byDevice.get(entry.source.device)
    if (beside === undefined) this.#byDevice.set(entry.source.device, [entry])
    else beside.push(entry)
  }

  /** Adds a series of a source that was added. */
  addSeries(series: Series): void {
    this.#byId[series.id] = series
    this.#sources.get(series.source.key)?.series.set(series.field, series)
  }

  /** The series that points bring and the catalogue does not have, each once. */
  newSeries(points: readonly Point[]): readonly NewSeries[] {
    const found: NewSeries[] = []
    const seen = new Map<string, Set<string>>()
    for (const { source, fields } of points) {
      const known = this.#sources.get(source.key)?.series
      for (const { name, value } of fields) {
        if (known?.has(name) === true) continue
        let names = seen.get(source.key)
        if (names === undefined) seen.set(source.key, (names = new Set()))
        if (names.has(name)) continue
        names.add(name)
        found.push({ source, field: name, type: fieldTypeOf(value) })
      }
    }
    return found
  }

  /** The series that a selection is about, in order of their source keys, then field names. */
  select(selection: Pick<Selection, 'measurement' | 'devices' | 'tags' | 'fields'>): readonly Series[] {
    const wanted = selection.fields.length === 0 ? undefined : new Set(selection.fields)
    const entries = selection.devices.length === 0 ? this.#sortedSources() : this.#sortedSourcesOf(selection.devices)
    const found: Series[] = []
    for (const { source, series } of entries) {
      if (selection.measurement !== undefined && source.measurement !== selection.measurement) continue
      if (!selection.tags.every(tag => (tag.name === 'device' ? source.device : ownTag(source, tag.name)) === tag.value)) continue
      const from = found.length
      for (const one of series.values()) if (wanted === undefined || wanted.has(one.field)) found.push(one)
      if (found.length - from > 1) found.push(...found.splice(from).toSorted((a, b) => compare(a.field, b.field)))
    }
    return found
  }

  #sortedSources(): readonly SourceEntry[] {
    this.#sorted ??= [...this.#sources.values()].toSorted((a, b) => compare(a.source.key, b.source.key))
    return this.#sorted
  }

  #sortedSourcesOf(devices: readonly string[]): readonly SourceEntry[] {
    const entries = [...new Set(devices)].flatMap(device => this.#byDevice.get(device) ?? [])
    return entries.toSorted((a, b) => compare(a.source.key, b.source.key))
  }
}

function ownTag(source: Source, name: string): string | undefined {
  return Object.hasOwn(source.tags, name) ? source.tags[name] : undefined
}

/** Order of UTF-16 code units, as JavaScript sorts. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
