import type { FieldValue } from './readings.ts'

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 2 })

/** A count; large ones are shortened. */
export function formatCount(value: number): string {
  return value < 10_000_000 ? whole.format(value) : short.format(value)
}

/** A rate: one decimal while it is small and not nothing. */
export function formatRate(value: number): string {
  return value > 0 && value < 9.95 ? value.toFixed(1) : whole.format(value)
}

/**
 * A value of a field, as short as it can be said without lying about it. A number has at least `decimals` where its size
 * allows so many, so that one that moves does not jump.
 */
export function formatValue(value: FieldValue, decimals = 0): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'string') return value === '' ? '(empty)' : value
  const size = Math.abs(value)
  if (size !== 0 && (size >= 1e12 || size < 1e-4)) return value.toExponential(3)
  return decimalFormat(decimals, size >= 1000 ? 1 : size >= 10 ? 2 : 4).format(value)
}

/** How many decimals a value shows by itself. */
export function decimalsOf(value: FieldValue): number {
  return typeof value === 'number' ? (/\.(\d+)$/.exec(formatValue(value))?.[1]?.length ?? 0) : 0
}

/** A format is dear to build: there are a few dozen at most, and each is built once. */
const formats = new Map<number, Intl.NumberFormat>()

function decimalFormat(least: number, most: number): Intl.NumberFormat {
  const minimumFractionDigits = Math.min(least, most)
  const key = minimumFractionDigits * 10 + most
  const known = formats.get(key)
  if (known !== undefined) return known
  const format = new Intl.NumberFormat('en-US', { minimumFractionDigits, maximumFractionDigits: most })
  formats.set(key, format)
  return format
}

/** The labels of an axis: all with the decimals that its step needs, so that they stand under each other. */
export function formatTicks(ticks: readonly number[], step: number): string[] {
  const largest = ticks.reduce((size, tick) => Math.max(size, Math.abs(tick)), 0)
  if (largest >= 1e9 || step < 1e-6) return ticks.map(tick => formatValue(tick))
  // floats: 0.30000000000000004 has one decimal where the step is 0.1
  const decimals = [0, 1, 2, 3, 4, 5, 6, 7].find(count => isWhole(step * 10 ** count)) ?? 8
  return ticks.map(tick => decimalFormat(decimals, decimals).format(tick))
}

function isWhole(value: number): boolean {
  return value > 0.5 && Math.abs(value - Math.round(value)) < 1e-6
}

/** The time of day here, and the day before it where it is not the day of `nowMs`. */
export function formatClock(timeMs: number, nowMs: number): string {
  const time = new Date(timeMs)
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(':')
  return time.toDateString() === new Date(nowMs).toDateString() ? clock : `${formatDay(time)} ${clock}`
}

/** A label on an axis of time whose labels are `stepS` apart. */
export function formatTimeTick(seconds: number, stepS: number): string {
  const time = new Date(seconds * 1000)
  const clock = `${two(time.getHours())}:${two(time.getMinutes())}`
  if (stepS < 60) return `${clock}:${two(time.getSeconds())}`
  return stepS >= 86_400 || clock === '00:00' ? formatDay(time) : clock
}

function formatDay(time: Date): string {
  return `${two(time.getMonth() + 1)}-${two(time.getDate())}`
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}

/** How long ago, in one unit. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  if (seconds < 2) return 'now'
  if (seconds < 90) return `${seconds} s ago`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`
  return `${Math.round(seconds / 86_400)} d ago`
}
