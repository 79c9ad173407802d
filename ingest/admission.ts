import type { Catalogue } from '../storage/port.ts'
import type { Field, FieldValue } from '../telemetry.ts'
import { fieldTypeOf } from '../telemetry.ts'
import type { FieldTypes, StoredField } from './field-types.ts'
import { isTooLong, nameFault } from './names.ts'
import type { Refusals } from './refusals.ts'
import { quote } from './refusals.ts'
import type { SeriesBudget } from './series-budget.ts'
import type { Slot, SourceState } from './source-interner.ts'

/**
 * Gives the fields of a reading their stored names and types, and admits new series within the budget. What may not be
 * stored adds a refusal and is left out.
 */
export class Admission {
  readonly #types: FieldTypes
  readonly #budget: Pick<SeriesBudget, 'admit'>
  readonly #dry: boolean

  /** `dry`: nothing is learnt beyond this object, and slots of sources stay as they are. */
  constructor(types: FieldTypes, budget: Pick<SeriesBudget, 'admit'>, dry = false) {
    this.#types = types
    this.#budget = budget
    this.#dry = dry
  }

  /** One whose decisions change nothing here. */
  dry(): Admission {
    return new Admission(this.#types.fork(), this.#budget, true)
  }

  /**
   * One that admits what the catalogue knows and nothing else, so that it never learns: for records that had their outcome
   * already. What was refused then is refused again, and types are as they were, since a type once given never changes.
   */
  known(catalogue: Pick<Catalogue, 'hasSeries'>): Admission {
    const budget: Pick<SeriesBudget, 'admit'> = {
      admit: ({ source }, field) => (catalogue.hasSeries(source, field) ? 'admitted' : 'series')
    }
    return new Admission(this.#types, budget, true)
  }

  /** `mayRepeat`: a name may come twice, then the later one wins. Takes the array over; it may be the answer. */
  admit(state: SourceState, fields: Field[], mayRepeat: boolean, refusals: Refusals, where: string): readonly Field[] {
    for (let index = 0; index < fields.length; index += 1) {
      const field = fields[index]
      if (field === undefined || !isUnchanged(state, field)) return this.#adapt(state, fields, refusals, where)
    }
    return mayRepeat ? lastOfEach(fields) : fields
  }

  #adapt(state: SourceState, fields: readonly Field[], refusals: Refusals, where: string): readonly Field[] {
    const adapted: Field[] = []
    for (const field of fields) {
      const { name, value } = field
      if (typeof value === 'string' && isTooLong(value)) {
        refusals.add('string-too-long', `${where}${quote(name)} has ${value.length} characters`)
        continue
      }
      const stored = slotName(state.slots.get(name), value) ?? this.#decide(state, field, refusals, where)
      if (stored === undefined) continue
      const asFloat = typeof value === 'bigint' && state.slots.get(name)?.integerIsFloat === true
      adapted.push(asFloat ? { name: stored, value: Number(value) } : { name: stored, value })
    }
    return lastOfEach(adapted)
  }

  #decide(state: SourceState, { name, value }: Field, refusals: Refusals, where: string): string | undefined {
    const { measurement, device } = state.source
    const stored = this.#types.resolve(measurement, name, fieldTypeOf(value))
    const fault = nameFault('field', name) ?? nameFault('field', stored.name)
    if (fault !== undefined) {
      refusals.add(fault.reason, where + fault.detail)
      return undefined
    }
    const decision = this.#budget.admit(state, stored.name, this.#dry)
    if (decision !== 'admitted') {
      refusals.add('series-limit', `${where}${quote(stored.name)} of ${quote(device)} would exceed limits.${decision}`)
      return undefined
    }
    if (stored.isNew) this.#types.define(measurement, stored)
    remember(state, name, value, stored)
    return stored.name
  }
}

function isUnchanged(state: SourceState, { name, value }: Field): boolean {
  const slot = state.slots.get(name)
  if (slot === undefined) return false
  switch (typeof value) {
    case 'number':
      return slot.float === name
    case 'boolean':
      return slot.boolean === name
    case 'string':
      return slot.string === name && !isTooLong(value)
    case 'bigint':
      return slot.integer === name && !slot.integerIsFloat
  }
}

function slotName(slot: Slot | undefined, value: FieldValue): string | undefined {
  return slot?.[fieldTypeOf(value)]
}

function remember({ slots }: SourceState, name: string, value: FieldValue, stored: StoredField): void {
  let slot = slots.get(name)
  if (slot === undefined) {
    slot = { float: undefined, integer: undefined, integerIsFloat: false, boolean: undefined, string: undefined }
    slots.set(name, slot)
  }
  slot[fieldTypeOf(value)] = stored.name
  if (typeof value === 'bigint') slot.integerIsFloat = stored.type === 'float'
}

function lastOfEach(fields: readonly Field[]): readonly Field[] {
  if (fields.length < 2) return fields
  const byName = new Map<string, Field>()
  for (const field of fields) byName.set(field.name, field)
  return byName.size === fields.length ? fields : [...byName.values()]
}
