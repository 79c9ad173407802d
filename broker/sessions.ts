import type { Connection } from './connection.ts'

/** What the gate keeps of a client beyond a connection: QoS 2 ids and topic filters. */
export interface Session {
  readonly clientId: string
  /** False ends the session with its connection (clean session). */
  readonly persistent: boolean
  connection: Connection | undefined
  /** Packet ids of received QoS 2 publishes whose PUBREL has not come, with the ordinal of the record [MQTT-4.3.3-2]. */
  readonly receivedIds: Map<number, number>
  readonly filters: Set<string>
}

/** What a CONNECT asks for. */
export interface AskedSession {
  /** Begin a new session. */
  readonly clean: boolean
  /** Keep it after the connection. */
  readonly persistent: boolean
}

/**
 * The sessions of all clients. Persistent ones are bounded: at the limit the offline one that has been empty longest
 * (no filter, no open id) makes room, and when there is none the new one is refused.
 */
export class Sessions {
  readonly #byClient = new Map<string, Session>()
  readonly #emptyOffline = new Set<Session>()
  readonly #limit: number
  readonly #forget: (clientId: string) => void
  #persistent = 0

  constructor(options: { readonly limit: number; readonly forget: (clientId: string) => void }) {
    this.#limit = options.limit
    this.#forget = options.forget
  }

  get persistent(): number {
    return this.#persistent
  }

  get(clientId: string): Session | undefined {
    return this.#byClient.get(clientId)
  }

  /**
   * The session that a CONNECT leads to (MQTT 3.1.1 §3.1.2.4), or undefined when there is no room for another persistent
   * one. The caller has closed the connection that the session had before.
   */
  open(clientId: string, { clean, persistent }: AskedSession): { readonly session: Session; readonly present: boolean } | undefined {
    const known = this.#byClient.get(clientId)
    if (known !== undefined && known.persistent && !clean) {
      this.#emptyOffline.delete(known)
      return { session: known, present: true }
    }
    if (known !== undefined) this.#remove(known)
    if (persistent && this.#persistent >= this.#limit && !this.#evict()) return undefined
    const session: Session = { clientId, persistent, connection: undefined, receivedIds: new Map(), filters: new Set() }
    this.#byClient.set(clientId, session)
    if (session.persistent) this.#persistent += 1
    return { session, present: false }
  }

  /** The connection is gone: a clean session ends, a persistent one waits. */
  detach(session: Session): void {
    session.connection = undefined
    if (!session.persistent) this.#remove(session)
    else if (session.filters.size === 0 && session.receivedIds.size === 0) this.#emptyOffline.add(session)
  }

  #evict(): boolean {
    const [oldest] = this.#emptyOffline
    if (oldest !== undefined) this.#remove(oldest)
    return oldest !== undefined
  }

  #remove(session: Session): void {
    if (this.#byClient.get(session.clientId) !== session) return
    this.#byClient.delete(session.clientId)
    this.#emptyOffline.delete(session)
    if (session.persistent) this.#persistent -= 1
    this.#forget(session.clientId)
  }
}
