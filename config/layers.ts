import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { RouteConfig } from '../config.ts'
import { givenFromText, givenFromYaml } from './given.ts'
import type { ConfigFault, Given } from './given.ts'
import { configKey, configPaths, variableOf } from './keys.ts'
import { nearest } from './suggest.ts'
import { listed, shown } from './values.ts'

/** A value from the command line: `--mqtt-port 1884`, or `--set mqtt.port=1884`. */
export interface FlagValue {
  readonly flag: string
  readonly path: string
  readonly text: string
}

/** A fault of one route of the list; ingest says what is wrong with a pattern. */
export interface RouteFault {
  readonly index: number
  readonly message: string
}

/** Where the configuration comes from; whatever is left out is as if nobody had set anything. */
export interface ConfigSources {
  /** The file named by --config, which must be there. Without one ./tidegate.yaml is read if it is there. */
  readonly configFile?: string | undefined
  readonly argvFlags?: readonly FlagValue[]
  readonly environment?: Readonly<Record<string, string | undefined>>
  /** Folder that relative paths start from. Default: the working directory. */
  readonly folder?: string
  /** Reads a file; undefined when there is none. Default: the file system. */
  readonly readFile?: (file: string) => string | undefined
  /** Checks the routes of the configuration. */
  readonly routeFaults?: (routes: readonly RouteConfig[]) => readonly RouteFault[]
  /** RAM that the process may use. Default: that of the machine or of the container. */
  readonly memoryBytes?: number
}

/** One key that somebody set. */
export interface Setting {
  readonly key: string
  readonly given: Given
}

/** What the file sets. */
export function fileLayer(sources: ConfigSources, folder: string, faults: ConfigFault[]): Setting[] {
  const file = sources.configFile ?? 'tidegate.yaml'
  const content = contentOf(path.resolve(folder, file), file, sources)
  if (!('text' in content)) {
    if (sources.configFile !== undefined || !content.missing) faults.push({ where: '--config', key: '', message: content.fault })
    return []
  }
  const { given, faults: syntax } = givenFromYaml(content.text, file)
  faults.push(...syntax)
  const settings: Setting[] = []
  if (given !== undefined) flatten('', given, settings, faults)
  return settings
}

/** Turns nested sections into settings with a whole path; keys that the table does not have are faults. */
function flatten(prefix: string, given: Given, settings: Setting[], faults: ConfigFault[]): void {
  if (given.is.type === 'nothing') return // a section whose keys are all commented out
  if (given.is.type !== 'map') {
    const what = prefix === '' ? 'the file takes sections such as "mqtt:"' : `is a section with the keys ${listed(childrenOf(prefix))}`
    faults.push({ where: given.where, key: prefix, message: what })
    return
  }
  for (const entry of given.is.entries) {
    const key = prefix === '' ? entry.key : `${prefix}.${entry.key}`
    if (configKey(key) !== undefined) settings.push({ key, given: entry.given })
    else if (isSection(key)) flatten(key, entry.given, settings, faults)
    else faults.push({ where: entry.where, key: shown(key), message: `is not a key: ${suggestion(prefix, entry.key)}` })
  }
}

/** What the environment sets; only variables that begin with TIDEGATE__ are looked at. */
export function variableLayer(sources: ConfigSources, folder: string, faults: ConfigFault[]): Setting[] {
  const settings: Setting[] = []
  const environment = sources.environment ?? {}
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith('TIDEGATE__') || text === undefined) continue
    const fromFile = variable.endsWith('__FILE')
    const name = fromFile ? variable.slice(0, -'__FILE'.length) : variable
    const key = configPaths.find(known => variableOf(known) === name)
    if (key === undefined) faults.push({ where: variable, key: '', message: unknownVariable(variable, name) })
    else if (!fromFile) addText(settings, { where: variable, key, text }, faults)
    else if (environment[name] !== undefined) faults.push({ where: variable, key, message: `${name} is set too: keep one of both` })
    else {
      const content = contentOf(path.resolve(folder, text), text, sources)
      if ('text' in content) addText(settings, { where: variable, key, text: content.text.replace(/\r?\n$/, '') }, faults)
      else faults.push({ where: variable, key, message: content.fault })
    }
  }
  return settings
}

function unknownVariable(variable: string, name: string): string {
  const section = configPaths.find(known => variableOf(known).startsWith(`${name}__`))
  if (section !== undefined) return `${variable} is a section: name one of its keys, such as ${variableOf(section)}`
  const meant = nearest(
    name.slice('TIDEGATE'.length),
    configPaths.map(known => variableOf(known).slice('TIDEGATE'.length))
  )
  return `${shown(variable)} is not a variable of Tidegate: ${meant === undefined ? 'see docs/configuration.md' : `did you mean TIDEGATE${meant}?`}`
}

/** What the command line sets. */
export function flagLayer(sources: ConfigSources, faults: ConfigFault[]): Setting[] {
  const settings: Setting[] = []
  for (const { flag, path: key, text } of sources.argvFlags ?? []) {
    if (configKey(key) !== undefined) addText(settings, { where: flag, key, text }, faults)
    else {
      const message = isSection(key) ? `is a section with the keys ${listed(childrenOf(key))}` : `is not a key: ${suggestion('', key)}`
      faults.push({ where: flag, key: shown(key), message })
    }
  }
  return settings
}

function addText(
  settings: Setting[],
  from: { readonly where: string; readonly key: string; readonly text: string },
  faults: ConfigFault[]
): void {
  const kind = configKey(from.key)?.kind
  const read = givenFromText(from.text, from.where, kind === 'hosts' || kind === 'routes')
  if ('given' in read) settings.push({ key: from.key, given: read.given })
  else faults.push({ where: from.where, key: from.key, message: read.fault })
}

type Content = { readonly text: string } | { readonly fault: string; readonly missing: boolean }

function contentOf(file: string, name: string, sources: ConfigSources): Content {
  try {
    const text = (sources.readFile ?? readIfThere)(file)
    return text === undefined ? { fault: `there is no file ${shown(name)}`, missing: true } : { text }
  } catch (error) {
    return { fault: `${shown(name)} cannot be read: ${error instanceof Error ? error.message : String(error)}`, missing: false }
  }
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

function isSection(key: string): boolean {
  return configPaths.some(known => known.startsWith(`${key}.`))
}

/** The names directly within a section; the top-level ones for ''. */
export function childrenOf(section: string): readonly string[] {
  const prefix = section === '' ? '' : `${section}.`
  const children = configPaths.filter(known => known.startsWith(prefix)).map(known => known.slice(prefix.length).split('.')[0] ?? '')
  return [...new Set(children)]
}

/** A sibling that is near, else the same name in another section, else what the section has. */
function suggestion(section: string, name: string): string {
  const children = childrenOf(section)
  const prefix = section === '' ? '' : `${section}.`
  const sibling = nearest(name, children)
  if (sibling !== undefined) return `did you mean ${prefix}${sibling}?`
  const last = name.split('.').at(-1) ?? name
  const elsewhere = nearest(`${prefix}${name}`, configPaths) ?? configPaths.find(known => known.endsWith(`.${last}`))
  return elsewhere === undefined ? `known here: ${children.join(', ')}` : `did you mean ${elsewhere}?`
}
