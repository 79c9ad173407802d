/** Runs a job once at a time; asked for while it runs, it runs once more behind. The job must not throw. */
export class Repeating {
  readonly #job: () => Promise<void>
  #running: Promise<void> | undefined
  #busy = false
  #again = false
  #stopped = false

  constructor(job: () => Promise<void>) {
    this.#job = job
  }

  run(): void {
    this.#again = true
    if (this.#busy || this.#stopped) return
    this.#busy = true
    this.#running = this.#runAll()
  }

  /** Resolves when no run is under way, nor asked for. */
  async idle(): Promise<void> {
    await this.#running
  }

  /** Runs no more; resolves when a running job has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  async #runAll(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false
      await this.#job()
    }
    this.#busy = false
  }
}
