import type { Logger } from 'pino'

/** npm passes a Ctrl-C on that the terminal has sent already; a second one within this time is the same. */
const samePressMs = 1000

/**
 * Resolves at the first SIGTERM or SIGINT. A later one, when stopping takes too long for the person who waits, ends the
 * process at once with exit code 1; that loses no acknowledged message.
 */
export async function untilStopped(log: Logger): Promise<void> {
  const signal = await new Promise<NodeJS.Signals>(resolve => {
    let firstMs: number | undefined
    const listen = (signal: NodeJS.Signals): void => {
      if (firstMs !== undefined && performance.now() - firstMs > samePressMs) process.exit(1)
      firstMs ??= performance.now()
      resolve(signal)
    }
    process.on('SIGTERM', listen)
    process.on('SIGINT', listen)
  })
  log.info({ signal }, 'stopping')
}
