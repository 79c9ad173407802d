/** Checks query parameters, path parameters and bodies against their TypeBox schemas; errors name the parameter. */
import { distance } from 'fastest-levenshtein'
import type { FastifySchemaCompiler } from 'fastify'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { TidegateError } from '../errors.ts'
import { parameterError } from './problems.ts'
import { quoted } from './times.ts'

/** The part of a property's schema that messages and conversion need. */
interface PropertySchema {
  readonly type?: string
  readonly description?: string
}

/** A map, so that a parameter named like a member of Object.prototype is as unknown as any other. */
type Properties = ReadonlyMap<string, PropertySchema>

/** The validator of a route's schemas, in the form that Fastify asks for. */
export const validatorCompiler: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const checker = Compile(schema)
  const properties = propertiesOf(schema)
  const names = [...properties.keys()]
  return (value: unknown) => {
    // other headers than a schema names are always there
    if (httpPart === 'headers') return { value }
    const fault =
      httpPart === 'body' ? bodyFault(value, checker) : parameterFault(convert(value, properties), { checker, names, properties })
    return fault instanceof Error ? { error: fault } : { value: fault.value }
  }
}

type Checker = ReturnType<typeof Compile<TSchema>>
type Checked = TidegateError | { readonly value: unknown }

function bodyFault(value: unknown, checker: Checker): Checked {
  if (checker.Check(value)) return { value }
  const [first] = checker.Errors(value)
  const parameter = first === undefined ? undefined : memberOf(first)
  const message = first?.keyword === 'boolean' ? 'no such member' : (first?.message ?? 'wrong')
  return new TidegateError('TG_BODY_INVALID', `${parameter ?? 'the body'}: ${message}`, {
    context: parameter === undefined ? {} : { parameter }
  })
}

/** The member of a body that a validation error is about. */
function memberOf(error: { readonly instancePath: string; readonly params: object }): string | undefined {
  const path = error.instancePath.slice(1)
  if (path !== '') return path
  for (const value of Object.values(error.params)) {
    if (Array.isArray(value) && typeof value[0] === 'string') return value[0]
  }
  return undefined
}

function parameterFault(
  value: Readonly<Record<string, unknown>>,
  known: { readonly checker: Checker; readonly names: readonly string[]; readonly properties: Properties }
): Checked {
  for (const name of Object.keys(value)) {
    if (known.properties.get(name) === undefined) return unknownParameter(name, known.names)
  }
  if (known.checker.Check(value)) return { value }
  for (const name of known.names) {
    const given = value[name]
    const repeated = Array.isArray(given) && known.properties.get(name)?.type !== 'array'
    if (repeated) return parameterError(name, 'given more than once')
  }
  for (const error of known.checker.Errors(value)) {
    const name = memberOf(error)?.split('/')[0]
    if (name === undefined || known.properties.get(name) === undefined) continue
    if (value[name] === undefined) return parameterError(name, 'missing')
    const description = known.properties.get(name)?.description
    return parameterError(name, `${quoted(String(value[name]))} is wrong${description === undefined ? '' : `; ${description}`}`)
  }
  return new TidegateError('TG_PARAMETER_INVALID', 'a parameter is wrong')
}

/** Parameters arrive as text, or as a list where one is repeated: numbers and lists of one are made what the schema says. */
function convert(value: unknown, properties: Properties): Readonly<Record<string, unknown>> {
  const given = typeof value === 'object' && value !== null ? Object.entries(value) : []
  return Object.fromEntries(given.map(([name, text]: [string, unknown]) => [name, convertOne(text, properties.get(name)?.type)]))
}

function convertOne(given: unknown, type: string | undefined): unknown {
  if (type === 'array') return Array.isArray(given) ? given : [given]
  return type === 'integer' && typeof given === 'string' && /^\d{1,15}$/.test(given) ? Number(given) : given
}

function unknownParameter(name: string, names: readonly string[]): TidegateError {
  const shown = name.length > 60 ? `${name.slice(0, 60)}…` : name
  const nearest = nearestOf(shown, names)
  const hint =
    nearest === undefined ? (names.length === 0 ? 'this route has none' : `known: ${names.join(', ')}`) : `did you mean ${nearest}?`
  return new TidegateError('TG_PARAMETER_INVALID', `${shown}: no such parameter; ${hint}`, { context: { parameter: shown } })
}

function nearestOf(name: string, names: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = 3
  for (const candidate of names) {
    const steps = distance(name.toLowerCase(), candidate)
    if (steps < bestDistance) [best, bestDistance] = [candidate, steps]
  }
  return best
}

function propertiesOf(schema: TSchema): Properties {
  const { properties = {} } = schema as { readonly properties?: Readonly<Record<string, PropertySchema>> }
  return new Map(Object.entries(properties))
}
