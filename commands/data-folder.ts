import path from 'node:path'
import { loadConfig } from '../config/load.ts'
import { TidegateError } from '../errors.ts'
import { nodeFiles } from '../journal/files.ts'
import { configSources } from './context.ts'
import type { CommandContext, ConfigOptions } from './context.ts'

/**
 * The data folder of the configuration.
 * @throws TidegateError TG_CONFIG_INVALID
 */
export function dataFolder(options: ConfigOptions, context: CommandContext): string {
  return loadConfig(configSources(options, context)).data
}

/**
 * The folder of the journal in a data folder.
 * @throws TidegateError TG_OPTION_INVALID when there is none
 */
export async function journalFolder(data: string): Promise<string> {
  const folder = path.join(data, 'journal')
  if ((await nodeFiles.stat(folder)) !== undefined) return folder
  throw new TidegateError('TG_OPTION_INVALID', `there is no journal in ${data}; name the data folder with --data (setting: data)`)
}
