/** Times and durations as the API reads and writes them. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { parameterError } from './problems.ts'

const nsPerMs = 1_000_000n
const int64Max = 2n ** 63n - 1n
const int64Min = -(2n ** 63n)

/** How times are written: ISO 8601 with nine decimals, whole milliseconds as a number, or nanoseconds as a decimal string. */
export const TimeFormat = Type.Union([Type.Literal('iso'), Type.Literal('ms'), Type.Literal('ns')], {
  description:
    'How times are written: iso (ISO 8601 with nine decimals, the default), ms (whole milliseconds, a number) or ns (a decimal string)'
})
export type TimeFormat = Static<typeof TimeFormat>

/** A time in an answer. */
export const Time = Type.Union([Type.String(), Type.Integer()], {
  description: 'ISO 8601 in UTC with nine decimals; with epoch=ms a number, with epoch=ns a decimal string',
  examples: ['2026-05-04T03:02:01.000000000Z']
})

// the space is a plus sign that the client forgot to percent-encode
const isoPattern = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:([Zz])|([+\- ])(\d\d):?(\d\d))$/

/**
 * The nanoseconds since 1970 of a time parameter: ISO 8601 with a zone, or epoch milliseconds; `orElse` is what else it could
 * have been, for the error.
 * @throws TidegateError TG_PARAMETER_INVALID
 */
export function parseTime(parameter: string, text: string, orElse?: string): bigint {
  const ns = /^-?\d{1,17}$/.test(text) ? BigInt(text) * nsPerMs : isoToNs(text)
  if (ns === undefined) {
    const times = 'ISO 8601 with a zone (2026-05-04T03:02:01Z) or milliseconds since 1970'
    throw parameterError(parameter, `${quoted(text)} is not a time: ${times}${orElse === undefined ? '' : `; or ${orElse}`}`)
  }
  if (ns > int64Max || ns < int64Min) throw parameterError(parameter, 'the time is out of range (1677-09-21 to 2262-04-11)')
  return ns
}

function isoToNs(text: string): bigint | undefined {
  const match = isoPattern.exec(text)
  if (match === null) return undefined
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(part => Number(part ?? 0))
  const zoneHours = Number(match[10] ?? 0)
  const zoneMinutes = Number(match[11] ?? 0)
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  const exists = date.getUTCMonth() === month - 1 && date.getUTCDate() === day
  if (!exists || hour > 23 || minute > 59 || second > 59 || zoneHours > 23 || zoneMinutes > 59) return undefined
  const offsetMinutes = (match[9] === '-' ? -1 : 1) * (zoneHours * 60 + zoneMinutes)
  const ms = date.setUTCHours(hour, minute - offsetMinutes, second)
  return BigInt(ms) * nsPerMs + BigInt((match[7] ?? '').padEnd(9, '0'))
}

/** A time as JSON text, in the format asked for. Takes ns since 1970 (int64). */
export function timeToJson(ns: bigint, format: TimeFormat): string {
  if (format === 'ms') return String(floorMs(ns))
  return `"${format === 'ns' ? ns : nsToIso(ns)}"`
}

/** A time as bare text, as CSV has it. */
export function timeToText(ns: bigint, format: TimeFormat): string {
  if (format === 'ms') return String(floorMs(ns))
  return format === 'ns' ? String(ns) : nsToIso(ns)
}

/** A time as the value that JSON.stringify writes as timeToJson does. */
export function timeToValue(ns: bigint, format: TimeFormat): string | number {
  if (format === 'ms') return floorMs(ns)
  return format === 'ns' ? String(ns) : nsToIso(ns)
}

/** Milliseconds as nanoseconds. */
export function msToNs(ms: number): bigint {
  return BigInt(Math.trunc(ms)) * nsPerMs
}

function floorMs(ns: bigint): number {
  const ms = ns / nsPerMs
  return Number(ns % nsPerMs < 0n ? ms - 1n : ms)
}

const nsPerSecond = 1_000_000_000n
let lastSeconds = 0
let lastPrefix = '1970-01-01T00:00:00.'

/** Rows come in the order of time, so that most share their second with the one before: its text is kept. */
function nsToIso(ns: bigint): string {
  let seconds = Number(ns / nsPerSecond)
  let rest = Number(ns % nsPerSecond)
  if (rest < 0) {
    rest += 1_000_000_000
    seconds -= 1
  }
  if (seconds !== lastSeconds) {
    lastSeconds = seconds
    lastPrefix = new Date(seconds * 1_000).toISOString().slice(0, 20)
  }
  return `${lastPrefix}${String(rest).padStart(9, '0')}Z`
}

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds of a duration such as `250ms`, `5s`, `15m`, `1h` or `7d`; undefined for anything else. */
export function parseDurationMs(text: string): number | undefined {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text)
  const unit = unitsMs[match?.[2] ?? '']
  return unit === undefined ? undefined : Number(match?.[1]) * unit
}

/** Client text as a message may repeat it: short and quoted. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
}
