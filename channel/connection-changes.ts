import type { ToService } from './messages.ts'

export interface ConnectionsChange {
  readonly connected: readonly string[]
  readonly disconnected: readonly string[]
}

/**
 * Client ids that came and went since the service was told. Above a bound, as when it does not listen for long, they are
 * forgotten, and the next message is the whole list instead.
 */
export class ConnectionChanges {
  readonly #bound: number
  readonly #connected = new Set<string>()
  readonly #disconnected = new Set<string>()
  #tooMany = false

  constructor(bound: number) {
    this.#bound = bound
  }

  /** Client ids that are remembered. */
  get size(): number {
    return this.#connected.size + this.#disconnected.size
  }

  note(change: ConnectionsChange): void {
    if (this.#tooMany) return
    for (const clientId of change.disconnected) {
      this.#connected.delete(clientId)
      this.#disconnected.add(clientId)
    }
    for (const clientId of change.connected) {
      this.#disconnected.delete(clientId)
      this.#connected.add(clientId)
    }
    if (this.size <= this.#bound) return
    this.clear()
    this.#tooMany = true
  }

  /** What to tell, forgotten here; undefined when nothing changed. `all` answers the client ids that are connected now. */
  take(all: () => readonly string[]): ToService | undefined {
    const changed = this.size > 0
    const message: ToService = this.#tooMany
      ? { type: 'connections', all: true, connected: all(), disconnected: [] }
      : { type: 'connections', all: false, connected: [...this.#connected], disconnected: [...this.#disconnected] }
    const worth = changed || this.#tooMany
    this.clear()
    return worth ? message : undefined
  }

  clear(): void {
    this.#tooMany = false
    this.#connected.clear()
    this.#disconnected.clear()
  }
}
