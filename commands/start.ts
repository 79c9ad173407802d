import type { Command } from 'commander'
import { loadConfig } from '../config/load.ts'
import { addConfigOptions, configSources } from './context.ts'
import type { CommandContext, ConfigOptions } from './context.ts'
import { withEdge } from './running-edge.ts'

/** Adds `start`: the edge and its service, until SIGTERM or SIGINT. */
export function addStart(program: Command, context: CommandContext): void {
  const command = program.command('start').description('run Tidegate: MQTT in, HTTP out; the log is JSON lines on standard output')
  addConfigOptions(command)
    .option('--json', 'a fault at the start as JSON too')
    .action(async (options: ConfigOptions) => {
      const config = loadConfig(configSources(options, context))
      await withEdge(config, async ({ edge: { mqttPort, httpPort }, log, stopRequested }) => {
        log.info({ mqttPort, httpPort, page: pageUrl(config.http.host, httpPort), data: config.data }, 'tidegate is ready')
        await stopRequested
      })
    })
}

/** The address of the page for somebody at this machine. */
export function pageUrl(host: string, port: number): string {
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}/`
}
