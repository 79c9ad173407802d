import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { configFlags, configKey } from '../config/keys.ts'
import type { ConfigSources, FlagValue } from '../config/layers.ts'
import { TidegateError } from '../errors.ts'
import { routeFaults } from '../ingest/routes.ts'

/** What a command gets from the process that it runs in, so that tests can stand in for it. */
export interface CommandContext {
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Folder that relative paths start from. */
  readonly folder: string
  /** Writes a text and a line feed to standard output or standard error. */
  readonly print: (text: string) => void
  readonly complain: (text: string) => void
  /** Writes a text of any length to standard output as it is; resolves when it was taken, rejects (EPIPE) when the reader is gone. */
  readonly write: (text: string) => Promise<void>
  /** Exit code of the process when the command has ended; 0 says that what the command promises is true. */
  readonly exitWith: (code: number) => void
}

/** Options of every command that reads the configuration. */
export type ConfigOptions = Readonly<Record<string, string | readonly string[] | boolean | undefined>>

/** Adds --config, --set and the flags of configFlags to a command. */
export function addConfigOptions(command: Command): Command {
  command.option('--config <file>', 'configuration file (default: ./tidegate.yaml if it is there)')
  for (const { flag, path } of configFlags) command.option(`${flag} <value>`, `${path}: ${configKey(path)?.about ?? ''}`)
  return command.option('--set <key=value>', 'any key, for example journal.syncDelay=5ms; may be repeated', collect)
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value]
}

/**
 * Where the configuration of a command comes from.
 * @throws TidegateError TG_OPTION_INVALID for a --set without a key
 */
export function configSources(options: ConfigOptions, context: CommandContext): ConfigSources {
  return {
    configFile: typeof options['config'] === 'string' ? options['config'] : undefined,
    argvFlags: flagsOf(options),
    environment: context.environment,
    folder: context.folder,
    routeFaults: routes =>
      routes.flatMap((route, index) => routeFaults([route]).map(fault => ({ index, message: fault.replace(/^routes\[0\] /, '') })))
  }
}

function flagsOf(options: ConfigOptions): FlagValue[] {
  const named = configFlags.flatMap(({ flag, path }) => {
    const text = options[flag.slice(2).replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())]
    return typeof text === 'string' ? [{ flag, path, text }] : []
  })
  const set = Array.isArray(options['set']) ? options['set'].map(String) : []
  return [...named, ...set.map(parseSet)]
}

function parseSet(pair: string): FlagValue {
  const equals = pair.indexOf('=')
  if (equals < 1)
    throw new TidegateError('TG_OPTION_INVALID', `--set ${pair}: write --set key=value, for example --set journal.syncDelay=5ms`)
  return { flag: '--set', path: pair.slice(0, equals), text: pair.slice(equals + 1) }
}

/** The version of this package. */
export function packageVersion(): string {
  // Beside the sources it is one folder up, from dist/commands/ two.
  for (const place of ['../package.json', '../../package.json']) {
    try {
      const parsed: unknown = JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8'))
      if (typeof parsed === 'object' && parsed !== null && 'version' in parsed) return String(parsed.version)
    } catch {
      continue
    }
  }
  return 'unknown'
}
