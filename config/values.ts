/** What reading one text gave: its value, or what is wrong with it and what to write instead. */
export type Parsed<T> = { readonly value: T } | { readonly fault: string }

const durationUnits = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const sizeUnits = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 } as const

/** Milliseconds of a duration such as `250ms`, `2s`, `10m`, `24h` or `400d`. A number without a unit is a fault that says so. */
export function parseDuration(text: string): Parsed<number> {
  return parseQuantity(text, durationUnits, 'a duration', 'ms')
}

/** Bytes of a size such as `512B`, `64KiB`, `1.5MiB` or `4GiB`. A number without a unit is a fault that says so. */
export function parseSize(text: string): Parsed<number> {
  return parseQuantity(text, sizeUnits, 'a size', 'B')
}

/** The shortest exact text of a duration in ms, as parseDuration reads it. */
export function formatDuration(ms: number): string {
  return formatQuantity(ms, durationUnits)
}

/** The shortest exact text of a size in bytes, as parseSize reads it. */
export function formatSize(bytes: number): string {
  return formatQuantity(bytes, sizeUnits)
}

function parseQuantity(text: string, units: Readonly<Record<string, number>>, what: string, smallest: string): Parsed<number> {
  const match = /^(\d{1,15}(?:\.\d{1,9})?)\s?([A-Za-z]*)$/.exec(text)
  const names = Object.keys(units)
  const example = names.map(name => `${match?.[1] ?? 5}${name}`)
  if (match?.[1] === undefined || match[2] === undefined) {
    return { fault: `"${shown(text)}" is not ${what}: write a number with a unit, such as ${listed(example)}` }
  }
  if (match[2] === '') return { fault: `"${text}" has no unit: write ${listed(example)}` }
  const unit = units[match[2]]
  if (unit === undefined) {
    const meant = names.find(name => name.toLowerCase() === match[2]?.toLowerCase() || name.replace('i', '') === match[2]?.toUpperCase())
    return { fault: `"${match[2]}" is not a unit of ${what}: write ${meant === undefined ? listed(example) : `${match[1]}${meant}`}` }
  }
  const value = Number(match[1]) * unit
  if (!Number.isSafeInteger(value)) return { fault: `"${text}" is not a whole number of ${smallest}` }
  return { value }
}

function formatQuantity(value: number, units: Readonly<Record<string, number>>): string {
  let text = ''
  for (const [name, unit] of Object.entries(units)) {
    if (value % unit === 0 && (value > 0 || text === '')) text = `${value / unit}${name}`
  }
  return text
}

/** A whole number between both bounds. */
export function parseInteger(text: string, min: number, max: number): Parsed<number> {
  const value = /^-?\d{1,15}$/.test(text) ? Number(text) : undefined
  if (value === undefined || value < min || value > max) {
    return { fault: `"${shown(text)}" is not a whole number from ${min} to ${max}` }
  }
  return { value }
}

/** `a, b or c`. */
export function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}

/** A text from outside, short enough and without control characters for one line of an error message. */
export function shown(text: string): string {
  const clean = text.replaceAll(/\p{Cc}/gu, '?')
  return clean.length > 60 ? `${clean.slice(0, 57)}...` : clean
}
