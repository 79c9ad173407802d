import type { Refusals } from '../refusals.ts'
import { quote } from '../refusals.ts'

/** Parses JSON text. Answers undefined and adds a refusal when it is not JSON. Numbers beyond a double come as ±Infinity. */
export function decodeJson(text: string, refusals: Refusals): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) as unknown }
  } catch (error) {
    refusals.add('broken-json', `${error instanceof Error ? error.message : 'not JSON'} in ${quote(text)}`)
    return undefined
  }
}

/** Is it a JSON object, not an array and not null? */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
