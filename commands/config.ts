import type { Command } from 'commander'
import { Document, isScalar } from 'yaml'
import type { Config } from '../config.ts'
import { configKey, configPaths } from '../config/keys.ts'
import { resolveConfig, describeFaults } from '../config/load.ts'
import { configSchema } from '../config/schema.ts'
import { formatDuration, formatSize } from '../config/values.ts'
import { TidegateError } from '../errors.ts'
import { addConfigOptions, configSources } from './context.ts'
import type { CommandContext, ConfigOptions } from './context.ts'

/** Adds `config check`, `config print` and `config schema`. */
export function addConfig(program: Command, context: CommandContext): void {
  const config = program.command('config').helpCommand(false).description('look at the configuration')
  addConfigOptions(config.command('check').description('exit code 0 if start would accept the configuration, else every fault'))
    .option('--json', 'faults as JSON')
    .action((options: ConfigOptions) => {
      const { faults } = resolveConfig(configSources(options, context))
      if (options['json'] === true) context.print(JSON.stringify({ ok: faults.length === 0, faults }, undefined, 2))
      else if (faults.length === 0) context.print('the configuration is right')
      else context.complain(`tidegate: ${describeFaults(faults)}`)
      if (faults.length > 0) context.exitWith(1)
    })
  addConfigOptions(config.command('print').description('the whole configuration as it is in effect, without secrets'))
    .option('--json', 'as JSON, in milliseconds and bytes')
    .action((options: ConfigOptions) => {
      const { config: loaded, faults, origins } = resolveConfig(configSources(options, context))
      if (loaded === undefined) throw new TidegateError('TG_CONFIG_INVALID', describeFaults(faults), { context: { faults } })
      const shown =
        options['json'] === true
          ? JSON.stringify(
              nested(loaded, value => value),
              undefined,
              2
            )
          : yamlText(loaded, origins)
      context.print(shown)
    })
  config
    .command('schema')
    .description('JSON Schema of tidegate.yaml, for editors')
    .option('--json', 'as JSON, which it always is')
    .action(() => context.print(JSON.stringify(configSchema(), undefined, 2)))
}

type Convert = (value: unknown, path: string) => unknown

/** The configuration again, each value converted; secrets that are set become `***`. */
function nested(config: Config, convert: Convert): unknown {
  const walk = (value: unknown, path: string): unknown => {
    const key = configKey(path)
    if (key !== undefined) return key.secret === true && value !== '' ? '***' : convert(value, path)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, walk(inner, path === '' ? name : `${path}.${name}`)]))
  }
  return walk(config, '')
}

/** A value as tidegate.yaml has it: durations and sizes with their unit. */
const asWritten: Convert = (value, path) => {
  const kind = configKey(path)?.kind
  if (typeof value !== 'number') return value
  return kind === 'duration' ? formatDuration(value) : kind === 'size' ? formatSize(value) : value
}

/** YAML that start would read the same but for secrets, with the origin of what is not a default as a comment. */
function yamlText(config: Config, origins: ReadonlyMap<string, string>): string {
  const document = new Document(nested(config, asWritten))
  for (const path of configPaths) {
    const node = document.getIn(path.split('.'), true)
    const origin = origins.get(path)
    if (origin !== undefined && isScalar(node)) node.comment = ` from ${origin}`
  }
  return document.toString().trimEnd()
}
