import { readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import { loadConfig } from '../config/load.ts'
import { TidegateError } from '../errors.ts'
import { nodeFiles } from '../journal/files.ts'
import { FolderLock } from '../journal/lock.ts'
import { demoHome, runSimulation } from '../simulators/simulations.ts'
import { addConfigOptions, configSources } from './context.ts'
import type { CommandContext, ConfigOptions } from './context.ts'
import { withEdge } from './running-edge.ts'
import { pageUrl } from './start.ts'

/** A folder with this file in it is a demo's and may be emptied. */
const marker = '.tidegate-demo'

/** Adds `demo`: Tidegate with a folder of its own that starts empty, and a simulated home that publishes to it. */
export function addDemo(program: Command, context: CommandContext): void {
  const command = program
    .command('demo')
    .description('run Tidegate with a simulated home, in a folder of its own that is emptied at each start')
  addConfigOptions(command)
    .option('--json', 'the addresses as one line of JSON')
    .action(async (options: ConfigOptions) => await runDemo(options, context))
}

async function runDemo(options: ConfigOptions, context: CommandContext): Promise<void> {
  const sources = configSources(options, context)
  const config = loadConfig({
    ...sources,
    argvFlags: [
      { flag: 'demo', path: 'data', text: './data/demo' },
      { flag: 'demo', path: 'log.level', text: 'warn' },
      ...(sources.argvFlags ?? [])
    ],
    // Only a file that is named: the demo must look the same beside anybody's tidegate.yaml.
    ...(sources.configFile === undefined ? { readFile: () => undefined } : {})
  })
  await emptyDemoFolder(config.data)
  await withEdge(config, async ({ edge, stopRequested }) => {
    const mqtt = `mqtt://127.0.0.1:${edge.mqttPort}`
    const page = pageUrl(config.http.host, edge.httpPort)
    context.print(
      options['json'] === true
        ? JSON.stringify({ page, api: `${page}docs`, mqtt, data: config.data, devices: demoHome.devices })
        : greeting({ page, mqtt, folder: config.data })
    )
    const stop = new AbortController()
    const simulation = runSimulation({ ...demoHome, url: mqtt, signal: stop.signal }).catch((error: unknown) => {
      context.complain(`tidegate: the simulated home stopped: ${error instanceof Error ? error.message : String(error)}`)
    })
    await stopRequested
    stop.abort()
    await simulation
  })
}

function greeting(at: { readonly page: string; readonly mqtt: string; readonly folder: string }): string {
  return [
    `Tidegate runs, with a simulated home of ${demoHome.devices} devices.`,
    '',
    `  page   ${at.page}`,
    `  API    ${at.page}docs`,
    `  MQTT   ${at.mqtt}`,
    `  data   ${at.folder} (emptied at each start of the demo)`,
    '',
    'Ctrl-C stops it.'
  ].join('\n')
}

/**
 * Empties a demo's folder, creating it when it is missing. A folder that holds anything else than a demo's is left alone.
 * @throws TidegateError TG_DATA_UNWRITABLE, TG_DATA_IN_USE
 */
export async function emptyDemoFolder(folder: string): Promise<void> {
  try {
    await nodeFiles.makeFolder(folder)
    const entries = await readdir(folder)
    if (entries.length > 0 && !entries.includes(marker)) {
      throw new TidegateError(
        'TG_DATA_UNWRITABLE',
        `data: ${folder} is not empty and not a demo's folder, so the demo does not empty it: name another by --data`
      )
    }
    await using _ = await FolderLock.acquire(folder)
    for (const entry of entries) if (entry !== marker) await rm(path.join(folder, entry), { recursive: true, force: true })
    await writeFile(path.join(folder, marker), 'The demo empties this folder at each start.\n')
  } catch (error) {
    if (error instanceof TidegateError) throw error
    throw new TidegateError(
      'TG_DATA_UNWRITABLE',
      `data: ${folder} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error
      }
    )
  }
}
