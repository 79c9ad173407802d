import type { Refusal } from './refusals.ts'
import { quote } from './refusals.ts'

/** Longest name of a measurement, device, tag (name and value) or field, in UTF-16 code units. */
export const nameLength = 256
/**
 * Longest string value. InfluxDB 2 takes four times as much; in the embedded store longer ones pile up in blocks that a
 * checkpoint holds all at once, until no write fits into its memory any more (from 32 KiB on, measured at 64 MiB).
 */
const stringBytes = 16 * 1024

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const control = /[\u0000-\u001f\u007f]/

/** Why a name cannot be one, or undefined. `what` says whose name it is: "field", "device". */
export function nameFault(what: string, name: string): Refusal | undefined {
  if (name.length === 0) return { reason: 'name-invalid', detail: `the name of a ${what} is empty` }
  if (name.length > nameLength) {
    return { reason: 'name-too-long', detail: `the ${what} ${quote(name)} is longer than ${nameLength} characters` }
  }
  if (control.test(name)) return { reason: 'name-invalid', detail: `the ${what} ${quote(name)} has control characters` }
  return undefined
}

/** Is the string longer than a store takes? */
export function isTooLong(value: string): boolean {
  if (value.length * 3 <= stringBytes) return false
  return value.length > stringBytes || Buffer.byteLength(value) > stringBytes
}
