/**
 * Sends on one direction of the channel, one message under way at a time, so that a peer that does not read costs a
 * bounded amount of memory: values that a newer one replaces are kept under a key (the newest stays), all others wait in
 * a list whose length their sender bounds.
 */
export class Outbox<Message> {
  readonly #send: (message: Message, done: (error: Error | null) => void) => void
  readonly #waiting: Message[] = []
  readonly #newest = new Map<string, () => Message | undefined>()
  #sending = false
  #closed = false

  constructor(send: (message: Message, done: (error: Error | null) => void) => void) {
    this.#send = send
  }

  /** Messages that wait for their turn. */
  get waiting(): number {
    return this.#waiting.length + this.#newest.size
  }

  /** Sends after everything posted before. */
  post(message: Message): void {
    if (this.#closed) return
    this.#waiting.push(message)
    this.#next()
  }

  /**
   * Sends what `make` answers when its turn comes; posting again under the same key before that replaces it.
   * An answer of undefined sends nothing.
   */
  postNewest(key: string, make: () => Message | undefined): void {
    if (this.#closed) return
    this.#newest.set(key, make)
    this.#next()
  }

  /** Forgets what waits and sends nothing more. */
  close(): void {
    this.#closed = true
    this.#waiting.length = 0
    this.#newest.clear()
  }

  #next(): void {
    while (!this.#sending && !this.#closed) {
      const message = this.#take()
      if (message === undefined) return
      this.#sending = true
      this.#send(message, error => {
        this.#sending = false
        if (error === null) this.#next()
        else this.close()
      })
    }
  }

  #take(): Message | undefined {
    const first = this.#waiting.shift()
    if (first !== undefined) return first
    for (const [key, make] of this.#newest) {
      this.#newest.delete(key)
      const message = make()
      if (message !== undefined) return message
    }
    return undefined
  }
}
