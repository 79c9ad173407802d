/**
 * When a reading was taken. A device's own time is used inside a window around the time at which its record was received,
 * never around now, so that decoding the same record later gives the same point.
 */
import type { JournalRecord } from '../journal/record.ts'
import { receivedNs } from '../journal/record.ts'

/** Milliseconds before and after the received time in which a device's time is believed. */
export interface TimeWindow {
  readonly past: number
  readonly future: number
}

export interface EventTime {
  readonly timeNs: bigint
  /** The device's time as it wrote it, where that lies outside the window. */
  readonly deviceTime: string | undefined
  /** received: there was no time, or none that can be read (then `unusable`). */
  readonly origin: 'device' | 'received' | 'outside' | 'unusable'
}

const iso = /^(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,18}))?)?(?:([Zz])|([+-])(\d{2}):?(\d{2}))$/

/** Decides on the time of a reading from what the device says: undefined when it says nothing. */
export function eventTime(said: unknown, record: JournalRecord, window: TimeWindow): EventTime {
  if (said === undefined) return { timeNs: receivedNs(record), deviceTime: undefined, origin: 'received' }
  const timeNs = parseTime(said)
  if (timeNs === undefined) return { timeNs: receivedNs(record), deviceTime: undefined, origin: 'unusable' }
  const offsetMs = Number(timeNs / 1_000_000n) - record.receivedMs
  if (offsetMs >= -window.past && offsetMs <= window.future) return { timeNs, deviceTime: undefined, origin: 'device' }
  return { timeNs: receivedNs(record), deviceTime: textOf(said), origin: 'outside' }
}

/**
 * Nanoseconds since 1970 of ISO 8601 with a zone, or of a number: below 1e11 seconds, below 1e14 milliseconds, below 1e17
 * microseconds, else nanoseconds. A bigint is nanoseconds. Undefined for anything else.
 */
export function parseTime(said: unknown): bigint | undefined {
  if (typeof said === 'number') return parseNumber(said)
  if (typeof said === 'string') return parseIso(said)
  return typeof said === 'bigint' ? said : undefined
}

function textOf(said: unknown): string {
  return typeof said === 'string' || typeof said === 'number' || typeof said === 'bigint' ? `${said}` : ''
}

function parseNumber(said: number): bigint | undefined {
  const size = Math.abs(said)
  if (size >= 1e11 && size < 1e14 && Number.isInteger(said)) return BigInt(said) * 1_000_000n
  if (!Number.isFinite(said)) return undefined
  if (size < 1e11) return scale(said, 9)
  if (size < 1e14) return scale(said, 6)
  if (size < 1e17) return scale(said, 3)
  return BigInt(Math.round(said))
}

/** A number times a power of ten, by its shortest decimal form: 1631186545.04 s are …040000000 ns, not …039999961. */
function scale(said: number, power: number): bigint {
  if (Number.isInteger(said)) return BigInt(said) * 10n ** BigInt(power)
  const [, sign = '', whole = '0', fraction = ''] = /^(-?)(\d+)\.(\d+)$/.exec(String(said)) ?? []
  const digits = BigInt(whole + fraction.slice(0, power).padEnd(power, '0'))
  return sign === '-' ? -digits : digits
}

/** RFC 3339, with up to 18 digits of a second's fraction (nine are used), a zone with or without colon. */
function parseIso(said: string): bigint | undefined {
  const match = iso.exec(said)
  if (match === null) return undefined
  const part = (index: number): number => Number(match[index] ?? 0)
  const [year, month, day, hour, minute, second] = [part(1), part(2), part(3), part(4), part(5), part(6)]
  // Date.UTC rolls 31 February over; a date that does not come back as it was is none.
  const date = new Date(Date.UTC(year, month - 1, day))
  if (year < 1000 || date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined
  if (hour > 23 || minute > 59 || second > 60 || part(10) > 23 || part(11) > 59) return undefined
  const zoneMinutes = (part(10) * 60 + part(11)) * (match[9] === '-' ? -1 : 1)
  const seconds = date.getTime() / 1000 + hour * 3600 + (minute - zoneMinutes) * 60 + second
  return BigInt(seconds) * 1_000_000_000n + BigInt((match[7] ?? '').slice(0, 9).padEnd(9, '0'))
}

const stamps = /"(?:ts|time|timestamp)"\s*:\s*(-?\d{16,30})(?![\d.eE])/g

/**
 * Exact nanosecond stamps of a JSON text: a number above 2^53 loses its last digits in JSON.parse, so they are read from
 * the text again. `exact(rounded)` answers the digits that round to that number, in order of appearance; else the number.
 */
export function exactStamps(text: string): (rounded: unknown) => unknown {
  let found: bigint[] | undefined
  let at = 0
  return rounded => {
    if (typeof rounded !== 'number' || Math.abs(rounded) <= Number.MAX_SAFE_INTEGER || !Number.isInteger(rounded)) return rounded
    found ??= [...text.matchAll(stamps)].map(match => BigInt(match[1] ?? 0))
    while (at < found.length) {
      const next = found[at]
      at += 1
      if (next !== undefined && Number(next) === rounded) return next
    }
    return rounded
  }
}
