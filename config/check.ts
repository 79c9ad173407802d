import path from 'node:path'
import type { RouteConfig } from '../config.ts'
import type { ConfigFault, Given } from './given.ts'
import type { ConfigKey } from './keys.ts'
import { nearest } from './suggest.ts'
import { formatDuration, formatSize, listed, parseDuration, parseInteger, parseSize, shown } from './values.ts'
import type { Parsed } from './values.ts'

export type ConfigValue = string | number | readonly string[] | readonly RouteConfig[]

/** Reads one value by its entry of the table. Adds what is wrong to `faults` and then returns undefined. */
export function readValue(
  key: ConfigKey,
  at: { readonly path: string; readonly folder: string },
  given: Given,
  faults: ConfigFault[]
): ConfigValue | undefined {
  if (key.kind === 'routes') return readRoutes(at.path, given, faults)
  if (key.kind === 'hosts') return readList(at.path, given, faults, readHost)
  const text = readText(at.path, given, faults)
  if (text === undefined) return undefined
  const parsed = parseScalar(key, text, at.folder)
  if ('value' in parsed) return parsed.value
  faults.push({ where: given.where, key: at.path, message: parsed.fault })
  return undefined
}

/** The default of a key, as Config has it. */
export function defaultValue(key: ConfigKey, folder: string): ConfigValue {
  if (typeof key.default !== 'string') return key.default
  const parsed = parseScalar(key, key.default, folder)
  if ('fault' in parsed) throw new Error(`a default of the configuration table is wrong: ${parsed.fault}`)
  return parsed.value
}

function parseScalar(
  key: Exclude<ConfigKey, { kind: 'hosts' | 'routes' }> | ConfigKey,
  text: string,
  folder: string
): Parsed<string | number> {
  switch (key.kind) {
    case 'duration':
      return within(parseDuration(text), { min: quantity(parseDuration(key.min)), max: quantity(parseDuration(key.max)) }, formatDuration)
    case 'size':
      return within(parseSize(text), { min: quantity(parseSize(key.min)), max: quantity(parseSize(key.max)) }, formatSize)
    case 'integer':
      return parseInteger(text, key.min, key.max)
    case 'choice':
      return parseChoice(text, key.of)
    case 'folder':
      if (text === '') return { fault: 'is empty: name a folder' }
      return /\p{Cc}/u.test(text) ? { fault: `"${shown(text)}" has a control character: remove it` } : { value: path.resolve(folder, text) }
    case 'url':
      return parseUrl(text)
    case 'text':
      if (text === '' && key.empty !== true) return { fault: 'is empty: give it a value or leave the key out' }
      // Secrets are checked too, and must not be shown.
      return /\p{Cc}/u.test(text) ? { fault: 'has a control character (a line break?): remove it' } : { value: text }
    default:
      return { fault: 'is a list' }
  }
}

function within(
  parsed: Parsed<number>,
  bounds: { readonly min: number; readonly max: number },
  format: (value: number) => string
): Parsed<number> {
  if ('fault' in parsed || (parsed.value >= bounds.min && parsed.value <= bounds.max)) return parsed
  return { fault: `${format(parsed.value)} is not from ${format(bounds.min)} to ${format(bounds.max)}` }
}

function quantity(parsed: Parsed<number>): number {
  if ('fault' in parsed) throw new Error(`a bound of the configuration table is wrong: ${parsed.fault}`)
  return parsed.value
}

function parseChoice(text: string, of: readonly string[]): Parsed<string> {
  if (of.includes(text)) return { value: text }
  const meant = nearest(text, of)
  return { fault: `"${shown(text)}" is not one of ${listed(of)}${meant === undefined ? '' : `: did you mean ${meant}?`}` }
}

function parseUrl(text: string): Parsed<string> {
  const protocol = URL.canParse(text) ? new URL(text).protocol : ''
  return protocol === 'http:' || protocol === 'https:'
    ? { value: text }
    : { fault: `"${shown(text)}" is not an address such as http://127.0.0.1:8086` }
}

function readText(key: string, given: Given, faults: ConfigFault[]): string | undefined {
  if (given.is.type === 'scalar') return given.is.text
  const message = given.is.type === 'nothing' ? 'has no value: give it one or remove the key' : `takes one value, not a ${given.is.type}`
  faults.push({ where: given.where, key, message })
  return undefined
}

function readList<T>(
  key: string,
  given: Given,
  faults: ConfigFault[],
  readItem: (key: string, item: Given, faults: ConfigFault[]) => T | undefined
): readonly T[] | undefined {
  if (given.is.type !== 'list') {
    faults.push({ where: given.where, key, message: 'takes a list' })
    return undefined
  }
  const items = given.is.items.map((item, index) => readItem(`${key}[${index}]`, item, faults))
  const good = items.filter(item => item !== undefined)
  return good.length === items.length ? good : undefined
}

function readHost(key: string, given: Given, faults: ConfigFault[]): string | undefined {
  const text = readText(key, given, faults)
  if (text === undefined || /^(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/.test(text)) return text
  faults.push({ where: given.where, key, message: `"${shown(text)}" is not a host name: write it without http:// and path` })
  return undefined
}

const routeKeys = ['topic', 'measurement', 'payload', 'ignore', 'integers'] as const
const payloads = ['auto', 'json', 'scalar', 'line'] as const

function readRoutes(key: string, given: Given, faults: ConfigFault[]): readonly RouteConfig[] | undefined {
  return readList(key, given, faults, readRoute)
}

function readRoute(key: string, given: Given, faults: ConfigFault[]): RouteConfig | undefined {
  if (given.is.type !== 'map') {
    faults.push({ where: given.where, key, message: `takes a map with the keys ${listed(routeKeys)}` })
    return undefined
  }
  const before = faults.length
  const route: { -readonly [K in keyof RouteConfig]: RouteConfig[K] } = { topic: '' }
  for (const { key: name, where, given: inner } of given.is.entries) {
    const at = `${key}.${shown(name)}`
    if (name === 'topic' || name === 'measurement') route[name] = readNonEmpty(at, inner, faults) ?? ''
    else if (name === 'payload') route.payload = readOneOf(at, inner, faults, payloads) ?? 'auto'
    else if (name === 'ignore') route.ignore = readOneOf(at, inner, faults, ['true', 'false']) === 'true'
    else if (name === 'integers') route.integers = readList(at, inner, faults, readNonEmpty) ?? []
    else {
      const meant = nearest(name, routeKeys)
      faults.push({
        where,
        key: at,
        message: `is not a key of a route: ${meant === undefined ? listed(routeKeys) : `did you mean ${meant}?`}`
      })
    }
  }
  if (route.topic === '' && faults.length === before) faults.push({ where: given.where, key, message: 'has no topic: add one' })
  return faults.length === before ? route : undefined
}

function readNonEmpty(key: string, given: Given, faults: ConfigFault[]): string | undefined {
  const text = readText(key, given, faults)
  if (text !== '') return text
  faults.push({ where: given.where, key, message: 'is empty: give it a value' })
  return undefined
}

function readOneOf<T extends string>(key: string, given: Given, faults: ConfigFault[], of: readonly T[]): T | undefined {
  const text = readText(key, given, faults)
  const found = of.find(word => word === text)
  if (found === undefined && text !== undefined) {
    faults.push({ where: given.where, key, message: `"${shown(text)}" is not one of ${listed(of)}` })
  }
  return found
}
