/** The figures of one measurement: names carry the unit. */
export type Figures = Readonly<Record<string, number | string>>

export function round(value: number, digits = 2): number {
  return Number(value.toFixed(digits))
}

/** Nearest rank. */
export function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN
}

/** The lower of the two in the middle where their number is even. */
export function median(values: readonly number[]): number {
  return percentile(
    values.toSorted((a, b) => a - b),
    0.5
  )
}
