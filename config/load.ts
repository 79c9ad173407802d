import { totalmem } from 'node:os'
import type { Config } from '../config.ts'
import { defaultValue, readValue } from './check.ts'
import type { ConfigValue } from './check.ts'
import type { ConfigFault, Given } from './given.ts'
import { configKey, configPaths } from './keys.ts'
import { childrenOf, fileLayer, flagLayer, variableLayer } from './layers.ts'
import type { ConfigSources } from './layers.ts'
import { TidegateError } from '../errors.ts'

/** What loading found: the configuration where there is no fault, and where each value that is not a default stands. */
export interface LoadedConfig {
  readonly config: Config | undefined
  readonly faults: readonly ConfigFault[]
  readonly origins: ReadonlyMap<string, string>
}

/**
 * The configuration: flags over variables over the file over the defaults.
 * @throws TidegateError TG_CONFIG_INVALID whose message lists every fault, one a line, each with its place
 */
export function loadConfig(sources: ConfigSources): Config {
  const { config, faults } = resolveConfig(sources)
  if (config === undefined) throw new TidegateError('TG_CONFIG_INVALID', describeFaults(faults), { context: { faults } })
  return config
}

/** The defaults and nothing else, with a data folder that is resolved against the working directory. */
export function defaultConfig(data = './data'): Config {
  return loadConfig({ argvFlags: [{ flag: '--data', path: 'data', text: data }], readFile: () => undefined })
}

/** One line a fault. */
export function describeFaults(faults: readonly ConfigFault[]): string {
  const lines = faults.map(({ where, key, message }) => `${key === '' ? '' : `${key}: `}${message} (${where})`)
  return lines.length === 1
    ? lines.join('')
    : [`${lines.length} faults in the configuration:`, ...lines.map(line => `  ${line}`)].join('\n')
}

/** The same as loadConfig, but faults are returned and nothing is thrown. */
export function resolveConfig(sources: ConfigSources): LoadedConfig {
  const folder = sources.folder ?? process.cwd()
  const faults: ConfigFault[] = []
  const values = new Map<string, ConfigValue>(configPaths.map(key => [key, defaultOf(key, folder, sources.memoryBytes)]))
  const origins = new Map<string, string>()
  for (const { key, given } of [
    ...fileLayer(sources, folder, faults),
    ...variableLayer(sources, folder, faults),
    ...flagLayer(sources, faults)
  ]) {
    const entry = configKey(key)
    const value = entry === undefined ? undefined : readValue(entry, { path: key, folder }, given, faults)
    if (value === undefined) continue
    if (entry?.kind === 'routes') faults.push(...routesOf(value, given, sources.routeFaults))
    values.set(key, value)
    origins.set(key, given.where)
  }
  const config = nest(values)
  if (faults.length === 0 && isConfig(config)) faults.push(...crossFaults(config, origins))
  return { config: faults.length === 0 && isConfig(config) ? config : undefined, faults, origins }
}

function routesOf(value: ConfigValue, given: Given, check: ConfigSources['routeFaults']): ConfigFault[] {
  if (check === undefined || !Array.isArray(value)) return []
  const items = given.is.type === 'list' ? given.is.items : []
  return check(value).map(({ index, message }) => ({
    where: items[index]?.where ?? given.where,
    key: `routes[${index}]`,
    message
  }))
}

function defaultOf(key: string, folder: string, memoryBytes = availableMemory()): ConfigValue {
  const entry = configKey(key)
  const value = entry === undefined ? '' : defaultValue(entry, folder)
  if (key !== 'store.embedded.memory' || typeof value !== 'number') return value
  const quarter = Math.floor(memoryBytes / 4 / 1024 ** 2) * 1024 ** 2
  return Math.max(64 * 1024 ** 2, Math.min(value, quarter))
}

/** RAM of the machine, or of the container where that is less. */
function availableMemory(): number {
  const constrained = process.constrainedMemory()
  return constrained > 0 && constrained < totalmem() ? constrained : totalmem()
}

/** The values as nested sections. */
function nest(values: ReadonlyMap<string, ConfigValue>, section = ''): Readonly<Record<string, unknown>> {
  const entries = childrenOf(section).map(name => {
    const key = section === '' ? name : `${section}.${name}`
    return [name, values.get(key) ?? nest(values, key)] as const
  })
  return Object.fromEntries(entries)
}

/** True always: that the table has exactly the paths of Config is checked by the compiler where the table is declared. */
function isConfig(_nested: unknown): _nested is Config {
  return true
}

/** What only shows when two keys are seen together. */
function crossFaults(config: Config, origins: ReadonlyMap<string, string>): ConfigFault[] {
  const faults: ConfigFault[] = []
  const unless = (fine: boolean, keys: readonly [string, string], message: string): void => {
    if (!fine)
      faults.push({
        where: keys.map(key => origins.get(key)).find(origin => origin !== undefined) ?? 'the defaults',
        key: keys[0],
        message
      })
  }
  const { mqtt, http, limits, journal } = config
  const samePort = mqtt.port !== 0 && mqtt.port === http.port && mqtt.host === http.host
  unless(!samePort, ['mqtt.port', 'http.port'], `is ${mqtt.port} like http.port: choose another for one of both`)
  unless(limits.heldBytes <= limits.heldBytesTotal, ['limits.heldBytes', 'limits.heldBytesTotal'], 'is more than limits.heldBytesTotal')
  unless(journal.segmentBytes <= journal.maxBytes, ['journal.segmentBytes', 'journal.maxBytes'], 'is more than journal.maxBytes')
  unless(mqtt.maxPacketBytes <= journal.segmentBytes, ['mqtt.maxPacketBytes', 'journal.segmentBytes'], 'is more than journal.segmentBytes')
  return faults
}
