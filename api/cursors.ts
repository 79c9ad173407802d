/**
 * Where a page ended, as an opaque text for the client. A cursor is bound to the query that it came from: with other
 * parameters it is refused, since it would silently skip or repeat rows. It is no secret and grants nothing.
 */
import { createHash } from 'node:crypto'
import { parameterError } from './problems.ts'

/** What identifies a query for its cursors: a short hash of the parameters that decide rows and their order. */
export function bindingOf(route: string, parameters: Readonly<Record<string, unknown>>): string {
  const sorted = Object.entries(parameters)
    .filter(([, value]) => value !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256')
    .update(JSON.stringify([route, sorted]))
    .digest('base64url')
    .slice(0, 12)
}

/** The cursor text for the values. */
export function encodeCursor(binding: string, values: readonly string[]): string {
  return Buffer.from(JSON.stringify([binding, ...values])).toString('base64url')
}

/**
 * The values of a cursor of the same query.
 * @throws TidegateError TG_PARAMETER_INVALID when it is not one
 */
export function decodeCursor(binding: string, text: string, count: number): readonly string[] {
  const values = parseStrings(text)
  if (values === undefined || values.length !== count + 1) throw parameterError('cursor', 'not a cursor')
  if (values[0] !== binding) throw parameterError('cursor', 'the cursor belongs to a query with other parameters')
  return values.slice(1)
}

function parseStrings(text: string): readonly string[] | undefined {
  if (!/^[\w-]+$/.test(text)) return undefined
  try {
    const parsed: unknown = JSON.parse(Buffer.from(text, 'base64url').toString())
    return Array.isArray(parsed) && parsed.every(value => typeof value === 'string') ? parsed : undefined
  } catch {
    return undefined
  }
}
