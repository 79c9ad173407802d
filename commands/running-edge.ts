import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { endOnBug, openLog } from '../log.ts'
import type { RunningEdge } from '../main.ts'

/**
 * Starts the edge with the log of this process, runs what the command does with it, and stops it. The last lines of the
 * log are written before it resolves or rejects.
 * @throws what startEdge throws
 */
export async function withEdge(config: Config, run: (edge: RunningEdge, log: Logger) => Promise<void>): Promise<void> {
  const { startEdge } = await import('../main.ts')
  const output = openLog(config.log.level, 'edge')
  endOnBug(output)
  try {
    await using edge = await startEdge(config, output.log)
    await run(edge, output.log)
  } finally {
    output.flush()
  }
}
