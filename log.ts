import { destination, pino, type DestinationStream, type Logger } from 'pino'
import { TidegateError } from './errors.ts'

/** Bytes that may wait for a reader of the log that does not read; beyond them lines are dropped, so that the loop goes on. */
const waitingBytes = 4 * 1024 * 1024

/** A process's log, and what writes its last lines before an exit. */
export interface ProcessLog {
  readonly log: Logger
  flush(): void
}

/**
 * The log of a process: JSON lines on standard output, written asynchronously, because a terminal or pipe that stands
 * still must not stop the event loop. `flush` writes what waits, for the last lines before an exit.
 */
export function openLog(level: string, name: 'edge' | 'service'): ProcessLog {
  const stream = destination({ dest: 1, sync: false, maxLength: waitingBytes })
  const out: DestinationStream = stream
  const log = pino({ level, base: { process: name, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, out)
  const flush = (): void => {
    try {
      stream.flushSync()
    } catch {
      // Not open yet, or the reader is gone: there is nobody to write for.
    }
  }
  return { log, flush }
}

/**
 * From now on what nobody caught ends the process with a line in its log and exit code 1: its state cannot be trusted
 * any more, whoever runs it starts it again, and nothing acknowledged depends on a clean end.
 * Returns what does that, for an error that somebody did catch.
 */
export function endOnBug(output: ProcessLog): (error: unknown) => void {
  const end = (error: unknown): void => {
    output.log.fatal({ code: error instanceof TidegateError ? error.code : 'TG_BUG', err: error }, 'this process ends')
    output.flush()
    process.exit(1)
  }
  process.on('uncaughtException', end)
  process.on('unhandledRejection', end)
  return end
}
