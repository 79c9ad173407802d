import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { endOnBug, openLog } from '../log.ts'
import type { RunningEdge } from '../main.ts'
import { StopRequest } from './stop-request.ts'

/** The first line of the log: who can use it, since that surprises people whose devices are refused, or are not. */
const served = {
  loopback: 'tidegate starts; without credentials only this machine is served (access.anonymous: loopback)',
  any: 'tidegate starts; anyone who can reach it is served without credentials (access.anonymous: any)',
  never: 'tidegate starts; nobody is served without credentials (access.anonymous: never)'
} as const

/** What a command has of the edge that it runs. */
export interface EdgeContext {
  readonly edge: RunningEdge
  readonly log: Logger
  /** Resolves when the process is told to stop, at once when that was while it started. */
  readonly stopRequested: Promise<unknown>
}

/**
 * Starts the edge with the log of this process, runs what the command does with it, and stops it. The last lines of the
 * log are written before it resolves or rejects.
 * @throws what startEdge throws
 */
export async function withEdge(config: Config, run: (context: EdgeContext) => Promise<void>): Promise<void> {
  using stop = new StopRequest()
  const { startEdge } = await import('../main.ts')
  const output = openLog(config.log.level, 'edge')
  endOnBug(output)
  const { access, data, journal, store } = config
  output.log.info({ data, anonymous: access.anonymous, sync: journal.sync, store: store.kind }, served[access.anonymous])
  const stopRequested = stop.made.then(signal => output.log.info({ signal }, 'stopping'))
  try {
    await using edge = await startEdge(config, output.log)
    await run({ edge, log: output.log, stopRequested })
  } finally {
    output.flush()
  }
}
