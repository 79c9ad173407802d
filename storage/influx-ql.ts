/**
 * The InfluxQL statements of the store. Names and values get into them only through the two functions here that quote,
 * numbers only as bigint; regular expressions are not used.
 */
import { maxTimeNs, minTimeNs } from './influx-lines.ts'
import type { Order, Selection } from './port.ts'

/** A name: of a measurement, field or tag. */
export function quoteName(name: string): string {
  return `"${escapeText(name).replaceAll('"', '\\"')}"`
}

/** A string value. */
export function quoteText(text: string): string {
  return `'${escapeText(text).replaceAll("'", "\\'")}'`
}

/** Which rows of one measurement, from `fromNs` inclusive to `toNs` exclusive. */
export interface Range {
  readonly measurement: string
  readonly fromNs: bigint
  readonly toNs: bigint
  readonly devices: readonly string[]
  readonly tags: Selection['tags']
}

/** More devices than that are not named in a statement; the reader leaves out what was not asked for. */
const namedDevices = 200

/** Aliases contain a line feed, which no tag of a stored point can, so that no tag column is ever renamed. */
export function rawStatement(range: Range, fields: readonly string[], order: Order, limit: number): string {
  const columns = fields.map((name, at) => `${quoteName(name)}::field AS ${quoteName(`f\n${at}`)}`)
  return `SELECT ${[...columns, '*::tag'].join(', ')} ${from(range)} ORDER BY time ${order === 'asc' ? 'ASC' : 'DESC'} LIMIT ${limit}`
}

/** One row for each bucket of each source that has values; `columns` are expressions. */
export function groupStatement(range: Range, columns: readonly string[], everyNs: bigint): string {
  const named = columns.map((column, at) => `${column} AS ${quoteName(`f\n${at}`)}`)
  return `SELECT ${named.join(', ')} ${from(range)} GROUP BY time(${everyNs}ns), * fill(none)`
}

/** The newest value of one field, for each source. */
export function lastStatement(range: Range, field: string): string {
  return `SELECT last(${quoteName(field)}::field) ${from(range)} GROUP BY *`
}

export function countStatement(measurement: string, fields: readonly string[]): string {
  const range = { measurement, fromNs: minTimeNs, toNs: maxTimeNs + 1n, devices: [], tags: [] }
  return `SELECT ${fields.map(name => `count(${quoteName(name)}::field)`).join(', ')} ${from(range)}`
}

function from({ measurement, fromNs, toNs, devices, tags }: Range): string {
  const conditions = [`time >= ${fromNs}`, `time <= ${toNs - 1n}`]
  const unique = [...new Set(devices)]
  if (unique.length > 0 && unique.length <= namedDevices) {
    conditions.push(`(${unique.map(device => `"device"::tag = ${quoteText(device)}`).join(' OR ')})`)
  }
  for (const { name, value } of tags) conditions.push(`${quoteName(name)}::tag = ${quoteText(value)}`)
  return `FROM ${quoteName(measurement)} WHERE ${conditions.join(' AND ')}`
}

function escapeText(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
}
