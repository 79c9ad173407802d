import { destination, pino, type DestinationStream, type Logger } from 'pino'

/** Bytes that may wait for a reader of the log that does not read; beyond them lines are dropped, so that the loop goes on. */
const waitingBytes = 4 * 1024 * 1024

/**
 * The log of a process: JSON lines on standard output, written asynchronously, because a terminal or pipe that stands
 * still must not stop the event loop. `flush` writes what waits, for the last lines before an exit.
 */
export function openLog(level: string, name: string): { readonly log: Logger; flush(): void } {
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
