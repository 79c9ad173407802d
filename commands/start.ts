import type { Command } from 'commander'
import { loadConfig } from '../config/load.ts'
import { openLog } from '../log.ts'
import { addConfigOptions, configSources } from './context.ts'
import type { CommandContext, ConfigOptions } from './context.ts'
import { untilStopped } from './until-stopped.ts'

/** The first line of the log: who can use it, since that surprises people whose devices are refused, or are not. */
const served = {
  loopback: 'tidegate starts; without credentials only this machine is served (access.anonymous: loopback)',
  any: 'tidegate starts; anyone who can reach it is served without credentials (access.anonymous: any)',
  never: 'tidegate starts; nobody is served without credentials (access.anonymous: never)'
} as const

/** Adds `start`: the edge and its service, until SIGTERM or SIGINT. */
export function addStart(program: Command, context: CommandContext): void {
  const command = program.command('start').description('run Tidegate: MQTT in, HTTP out; the log is JSON lines on standard output')
  addConfigOptions(command)
    .option('--json', 'a fault at the start as JSON too')
    .action(async (options: ConfigOptions) => {
      const config = loadConfig(configSources(options, context))
      const { startEdge } = await import('../main.ts')
      const output = openLog(config.log.level, 'edge')
      const { log } = output
      const { access, journal, store } = config
      log.info({ data: config.data, anonymous: access.anonymous, sync: journal.sync, store: store.kind }, served[access.anonymous])
      try {
        await using edge = await startEdge(config, log)
        const { mqttPort, httpPort } = edge
        log.info({ mqttPort, httpPort, page: pageUrl(config.http.host, httpPort), data: config.data }, 'tidegate is ready')
        await untilStopped(log)
      } finally {
        output.flush()
      }
    })
}

/** The address of the page for somebody at this machine. */
export function pageUrl(host: string, port: number): string {
  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}/`
}
