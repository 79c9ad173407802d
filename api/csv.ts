/**
 * Rows as CSV (RFC 4180, CRLF, one header line). The layout is stable: the columns time, device, measurement and tags
 * always come first and in this order; tags is a JSON object, since rows of one answer may carry different tags. Then one
 * column for each field: those asked for in `fields`, in that order, else all that the catalogue knows for the selection,
 * by name. Aggregated answers have a column `field.aggregate` for each field and aggregate. A field that a row lacks is
 * empty; an empty string is written as two quotes.
 */
import { TidegateError } from '../errors.ts'
import type { Aggregate, AggregateRow, RawRow } from '../storage/port.ts'
import type { FieldValue } from '../telemetry.ts'
import { timeToText } from './times.ts'
import type { TimeFormat } from './times.ts'

const fixedColumns = ['time', 'device', 'measurement', 'tags']

/** Fields that one CSV answer may have as columns; more have to be chosen by `fields`. */
export const maxCsvFields = 1_000

/** The header line. */
export function csvHeader(fields: readonly string[], aggregates: readonly Aggregate[]): string {
  const columns = aggregates.length === 0 ? fields : fields.flatMap(field => aggregates.map(aggregate => `${field}.${aggregate}`))
  return `${[...fixedColumns, ...columns].map(escapeCsv).join(',')}\r\n`
}

/** Writes raw rows for the given columns. The writer throws when a row has a field that no column is for: dropping it would be silent. */
export function rawCsvWriter(fields: readonly string[], format: TimeFormat): (row: RawRow) => string {
  const columnOf = new Map(fields.map((name, index) => [name, index]))
  return row => {
    const cells = Array.from({ length: fields.length }, () => '')
    for (const { name, value } of row.fields) cells[requireColumn(columnOf, name)] = valueToCsv(value)
    return csvLine(row, format, cells)
  }
}

/** Writes aggregated rows, as rawCsvWriter does. */
export function aggregateCsvWriter(
  fields: readonly string[],
  aggregates: readonly Aggregate[],
  format: TimeFormat
): (row: AggregateRow) => string {
  const columnOf = new Map(fields.map((name, index) => [name, index * aggregates.length]))
  return row => {
    const cells = Array.from({ length: fields.length * aggregates.length }, () => '')
    for (const { name, values } of row.fields) {
      const column = requireColumn(columnOf, name)
      for (const [index, aggregate] of aggregates.entries()) {
        const value = values[aggregate]
        if (value !== undefined) cells[column + index] = valueToCsv(value)
      }
    }
    return csvLine(row, format, cells)
  }
}

function requireColumn(columnOf: ReadonlyMap<string, number>, name: string): number {
  const column = columnOf.get(name)
  if (column === undefined)
    throw new TidegateError('TG_BUG', 'a row has a field that appeared after the header was written', { context: { name } })
  return column
}

function csvLine(row: Pick<RawRow, 'source' | 'timeNs'>, format: TimeFormat, cells: readonly string[]): string {
  const { device, measurement, tags } = row.source
  const head = `${timeToText(row.timeNs, format)},${escapeCsv(device)},${escapeCsv(measurement)},${escapeCsv(JSON.stringify(tags))}`
  return cells.length === 0 ? `${head}\r\n` : `${head},${cells.join(',')}\r\n`
}

function valueToCsv(value: FieldValue): string {
  if (typeof value === 'string') return value === '' ? '""' : escapeCsv(value)
  return typeof value === 'number' && !Number.isFinite(value) ? '' : String(value)
}

function escapeCsv(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
