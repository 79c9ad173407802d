/** Client ids that came or went since the last call. */
export interface ConnectionsChange {
  readonly connected: readonly string[]
  readonly disconnected: readonly string[]
}

/** Who came and who went, told at most once a turn; of a client that did both, the last. */
export class Presence {
  readonly #tell: (change: ConnectionsChange) => void
  #changes = new Map<string, boolean>()

  constructor(tell: (change: ConnectionsChange) => void) {
    this.#tell = tell
  }

  note(clientId: string | undefined, connected: boolean): void {
    if (clientId === undefined) return
    if (this.#changes.size === 0) setImmediate(() => this.#tellAll())
    this.#changes.set(clientId, connected)
  }

  #tellAll(): void {
    const changes = this.#changes
    this.#changes = new Map()
    const connected: string[] = []
    const disconnected: string[] = []
    for (const [clientId, isConnected] of changes) (isConnected ? connected : disconnected).push(clientId)
    this.#tell({ connected, disconnected })
  }
}
