import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { endOnBug, openLog } from '../log.ts'
import type { RunningEdge } from '../main.ts'

/** The first line of the log: who can use it, since that surprises people whose devices are refused, or are not. */
const served = {
  loopback: 'tidegate starts; without credentials only this machine is served (access.anonymous: loopback)',
  any: 'tidegate starts; anyone who can reach it is served without credentials (access.anonymous: any)',
  never: 'tidegate starts; nobody is served without credentials (access.anonymous: never)'
} as const

/**
 * Starts the edge with the log of this process, runs what the command does with it, and stops it. The last lines of the
 * log are written before it resolves or rejects.
 * @throws what startEdge throws
 */
export async function withEdge(config: Config, run: (edge: RunningEdge, log: Logger) => Promise<void>): Promise<void> {
  const { startEdge } = await import('../main.ts')
  const output = openLog(config.log.level, 'edge')
  endOnBug(output)
  const { data, access, journal, store } = config
  output.log.info({ data, anonymous: access.anonymous, sync: journal.sync, store: store.kind }, served[access.anonymous])
  try {
    await using edge = await startEdge(config, output.log)
    await run(edge, output.log)
  } finally {
    output.flush()
  }
}
