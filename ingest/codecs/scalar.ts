import type { FieldValue } from '../../telemetry.ts'
import type { Refusals } from '../refusals.ts'
import { quote } from '../refusals.ts'

const decimal = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/
const nonFinite = /^[+-]?(?:nan|inf(?:inity)?)$/i
const truths: ReadonlyMap<string, boolean> = new Map([
  ['true', true],
  ['false', false],
  ['on', true],
  ['off', false]
])

/**
 * The value of a plain payload: a decimal number is a float; true, false, ON and OFF in any case are booleans; a JSON
 * string is its content; anything else is a string as it stands. Answers undefined and adds a refusal for nothing, null
 * and numbers that are not finite.
 */
export function decodeScalar(text: string, refusals: Refusals): FieldValue | undefined {
  const trimmed = text.trim()
  if (trimmed.length === 0) {
    refusals.add('empty-payload', 'nothing but white space')
    return undefined
  }
  if (trimmed.length <= 400 && decimal.test(trimmed)) {
    const value = Number(trimmed)
    if (Number.isFinite(value)) return value
    refusals.add('non-finite-number', `${quote(trimmed)} is no finite number`)
    return undefined
  }
  if (trimmed.length <= 9) {
    const truth = truths.get(trimmed.toLowerCase())
    if (truth !== undefined) return truth
    if (nonFinite.test(trimmed)) {
      refusals.add('non-finite-number', `${quote(trimmed)} is no finite number`)
      return undefined
    }
    if (trimmed.toLowerCase() === 'null') {
      refusals.add('null-value', 'the payload is null')
      return undefined
    }
  }
  return trimmed.startsWith('"') && trimmed.endsWith('"') ? unquote(trimmed) : text
}

function unquote(text: string): string {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'string' ? value : text
  } catch {
    return text
  }
}
