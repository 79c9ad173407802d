import type { FieldDefinition, FieldType } from '../telemetry.ts'

/** What a value is stored as. */
export interface StoredField {
  readonly name: string
  readonly type: FieldType
  /** No field of that name had a type so far. */
  readonly isNew: boolean
}

/**
 * The type of every field of every measurement. The first type of a field owns its bare name for good; values of other
 * types go to `<field>_num` (always float), `<field>_str` and `<field>_bool`. Integers into a float field become floats.
 * Names that are taken by a field of another type get the suffix again. Bounded by the series budget: a field is defined
 * only when a series of it was admitted.
 */
export class FieldTypes {
  readonly #types = new Map<string, Map<string, FieldType>>()
  readonly #below: FieldTypes | undefined
  #fresh: FieldDefinition[] = []

  /** Begins with what the catalogue knows; `below` is asked for what is not known here. */
  constructor(known: readonly FieldDefinition[], below?: FieldTypes) {
    for (const { measurement, field, type } of known) this.#set(measurement, field, type)
    this.#below = below
  }

  /** One that knows the same and learns for itself alone. */
  fork(): FieldTypes {
    return new FieldTypes([], this)
  }

  /** Says where a value of that type goes, without defining anything. */
  resolve(measurement: string, field: string, type: FieldType): StoredField {
    const bare = this.#typeOf(measurement, field)
    if (bare === undefined) return { name: field, type, isNew: true }
    if (bare === type || (bare === 'float' && type === 'integer')) return { name: field, type: bare, isNew: false }
    const wanted = type === 'integer' ? 'float' : type
    for (let name = field + suffixes[wanted]; ; name += suffixes[wanted]) {
      const taken = this.#typeOf(measurement, name)
      if (taken === undefined || taken === wanted) return { name, type: wanted, isNew: taken === undefined }
    }
  }

  define(measurement: string, stored: StoredField): void {
    this.#set(measurement, stored.name, stored.type)
    this.#fresh.push({ measurement, field: stored.name, type: stored.type })
  }

  /** Fields defined since the last call, to be committed with the batch that they came with. */
  takeNew(): readonly FieldDefinition[] {
    const taken = this.#fresh
    this.#fresh = []
    return taken
  }

  #typeOf(measurement: string, field: string): FieldType | undefined {
    const own = this.#types.get(measurement)?.get(field)
    return own === undefined && this.#below !== undefined ? this.#below.#typeOf(measurement, field) : own
  }

  #set(measurement: string, field: string, type: FieldType): void {
    let fields = this.#types.get(measurement)
    if (fields === undefined) this.#types.set(measurement, (fields = new Map<string, FieldType>()))
    fields.set(field, type)
  }
}

const suffixes = { float: '_num', integer: '_num', boolean: '_bool', string: '_str' } as const satisfies Record<FieldType, string>
