import path from 'node:path'
import type { Command } from 'commander'
import { restoreBackup } from '../backup/restore.ts'
import { loadConfig } from '../config/load.ts'
import { nodeFiles } from '../journal/files.ts'
import { encodePosition } from '../telemetry.ts'
import { addConfigOptions, configSources } from './context.ts'
import type { CommandContext, ConfigOptions } from './context.ts'

/** Adds `restore`. */
export function addRestore(program: Command, context: CommandContext): void {
  addConfigOptions(
    program
      .command('restore')
      .argument('<backup>', 'folder of the backup')
      .description('restore a backup into an empty data folder, with Tidegate stopped. Exit code 0 only if all of it is in place')
  )
    .option('--json', 'what was restored as JSON')
    .action(async (backup: string, options: ConfigOptions) => {
      const { data } = loadConfig(configSources(options, context))
      const { timeline, manifest } = await restoreBackup(path.resolve(context.folder, backup), data, nodeFiles)
      const { created, store, checkpoint, head, files } = manifest
      const position = (ordinal: number | null): string | null => (ordinal === null ? null : encodePosition(timeline, ordinal))
      const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
      const report = { data, created, timeline, store, checkpoint: position(checkpoint), head: position(head), files: files.length, bytes }
      context.print(options['json'] === true ? JSON.stringify(report, undefined, 2) : reportText(report))
    })
}

function reportText(report: {
  readonly data: string
  readonly created: string
  readonly timeline: string
  readonly store: string
  readonly files: number
  readonly bytes: number
}): string {
  const lines = [
    `restored     ${report.data}`,
    `backup of    ${report.created}`,
    `files        ${report.files} (${report.bytes} bytes)`,
    `positions    begin with ${report.timeline} from now on; those of the original are refused as of another journal`
  ]
  if (report.store === 'influx') lines.push('points       are in InfluxDB, which was not part of this backup: restore it too')
  return lines.join('\n')
}
