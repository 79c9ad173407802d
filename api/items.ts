/**
 * The one place where readings become JSON: query, latest, stream and mappings/test all answer these items. They are
 * written as text because int64 values need exact digits, which JSON.stringify has no way to write, and because the part
 * of a row that its source decides is written once a source.
 */
import { Type } from 'typebox'
import { aggregates as allAggregates } from '../storage/port.ts'
import type { Aggregate, AggregateRow, RawRow } from '../storage/port.ts'
import type { Field, FieldValue, Source } from '../telemetry.ts'
import { Time, timeToJson } from './times.ts'
import type { TimeFormat } from './times.ts'

/** A value in an answer: integers have all their digits, up to int64. */
export const Value = Type.Union([Type.Number(), Type.Boolean(), Type.String(), Type.Null()], {
  description: 'A number (integers with all digits of int64), a boolean or a string; null where a result is not a finite number'
})

const itemHead = {
  time: Time,
  device: Type.String(),
  measurement: Type.String(),
  tags: Type.Record(Type.String(), Type.String(), { description: 'Tags other than device' })
}

/** A raw reading as an item: all selected fields of one device, measurement, tags and time. */
export const RawItem = Type.Object({ ...itemHead, fields: Type.Record(Type.String(), Value) }, { title: 'RawItem' })

/** One bucket of an aggregated query: for each field the aggregates asked for. */
export const AggregateItem = Type.Object(
  { ...itemHead, fields: Type.Record(Type.String(), Type.Record(Type.String(), Value)) },
  { title: 'AggregateItem' }
)

/** The JSON text of a raw row or point. `wanted` leaves out fields that are not in it. */
export function rawItemToJson(row: Pick<RawRow, 'source' | 'timeNs' | 'fields'>, format: TimeFormat, wanted?: ReadonlySet<string>): string {
  return `{"time":${timeToJson(row.timeNs, format)}${sourceToJson(row.source)}"fields":${fieldsToJson(row.fields, wanted)}}`
}

/** The JSON text of an aggregated row. */
export function aggregateItemToJson(row: AggregateRow, format: TimeFormat): string {
  let text = ''
  for (const { name, values } of row.fields) text += `${text === '' ? '' : ','}${JSON.stringify(name)}:${aggregatesToJson(values)}`
  return `{"time":${timeToJson(row.timeNs, format)}${sourceToJson(row.source)}"fields":{${text}}}`
}

/** The JSON text of a value. What is no finite number (a sum that overflowed) is null. */
export function valueToJson(value: FieldValue): string {
  switch (typeof value) {
    case 'number':
      return Number.isFinite(value) ? String(value) : 'null'
    case 'string':
      return JSON.stringify(value)
    default:
      return String(value)
  }
}

function fieldsToJson(fields: readonly Field[], wanted: ReadonlySet<string> | undefined): string {
  let text = ''
  for (const { name, value } of fields) {
    if (wanted !== undefined && !wanted.has(name)) continue
    text += `${text === '' ? '{' : ','}${JSON.stringify(name)}:${valueToJson(value)}`
  }
  return text === '' ? '{}' : `${text}}`
}

function aggregatesToJson(values: Readonly<Partial<Record<Aggregate, FieldValue>>>): string {
  let text = ''
  for (const name of allAggregates) {
    const value = values[name]
    if (value !== undefined) text += `${text === '' ? '{' : ','}"${name}":${valueToJson(value)}`
  }
  return text === '' ? '{}' : `${text}}`
}

// sources are interned by their owners; the map keeps none alive
const sourceTexts = new WeakMap<Source, string>()

function sourceToJson(source: Source): string {
  const known = sourceTexts.get(source)
  if (known !== undefined) return known
  const text = `,"device":${JSON.stringify(source.device)},"measurement":${JSON.stringify(source.measurement)},"tags":${JSON.stringify(source.tags)},`
  sourceTexts.set(source, text)
  return text
}
