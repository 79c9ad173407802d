/** npm passes a Ctrl-C on that the terminal has sent already; a second one within this time is the same. */
const samePressMs = 1000

/**
 * Listens for SIGTERM and SIGINT from its construction until it is disposed, so that a process that is told to stop while
 * it still starts does so in order. `made` resolves at the first one. A later one, when stopping takes too long for the
 * person who waits, ends the process at once with exit code 1; that loses no acknowledged message.
 */
export class StopRequest implements Disposable {
  readonly made: Promise<NodeJS.Signals>
  #resolve: ((signal: NodeJS.Signals) => void) | undefined
  #firstMs: number | undefined

  constructor() {
    this.made = new Promise(resolve => {
      this.#resolve = resolve
    })
    process.on('SIGTERM', this.#listen)
    process.on('SIGINT', this.#listen)
  }

  [Symbol.dispose](): void {
    process.off('SIGTERM', this.#listen)
    process.off('SIGINT', this.#listen)
  }

  readonly #listen = (signal: NodeJS.Signals): void => {
    if (this.#firstMs !== undefined && performance.now() - this.#firstMs > samePressMs) process.exit(1)
    this.#firstMs ??= performance.now()
    this.#resolve?.(signal)
  }
}
