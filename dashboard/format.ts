import type { FieldValue } from './readings.ts'

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 2 })

/** A count; large ones are shortened. */
export function formatCount(value: number): string {
  return value < 10_000_000 ? whole.format(value) : short.format(value)
}

/** A rate: one decimal while it is small. */
export function formatRate(value: number): string {
  return value < 9.95 ? value.toFixed(1) : whole.format(value)
}

/** A value of a field, as short as it can be said without lying about it. */
export function formatValue(value: FieldValue): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'string') return value === '' ? '(empty)' : value.slice(0, 200)
  const size = Math.abs(value)
  if (size !== 0 && (size >= 1e12 || size < 1e-4)) return value.toExponential(3)
  return new Intl.NumberFormat('en-US', { maximumFractionDigits: size >= 1000 ? 1 : size >= 10 ? 2 : 4 }).format(value)
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
