import type { DeliveriesShared } from './delivery.ts'
import type { RetainedMessages } from './retained-messages.ts'
import { neverExpires } from '../packets/connect-properties.ts'
import { Session } from './session.ts'
import type { SessionConnection } from './session.ts'
import type { SubscriptionIndex } from './subscription-index.ts'
import { Sweep } from './sweep.ts'

export interface SessionsOptions {
  /** Persistent sessions at most. */
  readonly limit: number
  readonly index: SubscriptionIndex
  readonly retained: RetainedMessages
  readonly shared: DeliveriesShared
}

/** What a CONNECT asks of a session. */
export interface SessionRequest {
  readonly clientId: string
  /** An earlier session is discarded [MQTT-3.1.2-6]. */
  readonly clean: boolean
  /** Session expiry interval: 0 ends it with its connection, 0xffffffff never. */
  readonly expirySeconds: number
}

/**
 * The sessions of all clients. Persistent ones are bounded: at the limit the offline one that has been empty longest makes
 * room, and when there is none the new one is refused. Their expiry counts on a clock that is never set.
 */
export class Sessions {
  readonly #options: SessionsOptions
  readonly #byClient = new Map<string, Session>()
  readonly #emptyOffline = new Set<Session>()
  readonly #expiring = new Sweep<Session>()
  #persistent = 0

  constructor(options: SessionsOptions) {
    this.#options = options
  }

  get persistent(): number {
    return this.#persistent
  }

  get(clientId: string): Session | undefined {
    return this.#byClient.get(clientId)
  }

  /** All sessions, connected or not. */
  [Symbol.iterator](): IterableIterator<Session> {
    return this.#byClient.values()
  }

  /**
   * The session that a CONNECT leads to (MQTT 3.1.1 §3.1.2.4), or undefined when there is no room for another persistent
   * one. A connection that the session has is over first [MQTT-3.1.4-2].
   */
  open(request: SessionRequest, connection: SessionConnection): { readonly session: Session; readonly present: boolean } | undefined {
    const { clientId, clean, expirySeconds } = request
    this.#byClient.get(clientId)?.connection?.takeOver()
    // What ended with that connection is not there any more.
    const known = this.#byClient.get(clientId)
    const present = known !== undefined && !clean && !this.#isOver(known)
    if (known !== undefined && !present) this.#end(known)
    const opened = present ? known : this.#create(clientId, expirySeconds)
    if (opened === undefined) return undefined
    this.#emptyOffline.delete(opened)
    this.#expiring.delete(opened)
    opened.expiresAtMs = undefined
    this.#options.index.move(opened, () => {
      opened.connection = connection
    })
    this.setExpiry(opened, expirySeconds)
    return { session: opened, present }
  }

  /** Gives a connected session another expiry interval. */
  setExpiry(session: Session, expirySeconds: number): void {
    const { changes } = this.#options.shared
    const wasPersistent = session.persistent
    session.expirySeconds = expirySeconds
    this.#persistent += Number(session.persistent) - Number(wasPersistent)
    if (session.persistent) changes?.opened(session)
    else if (wasPersistent) changes?.ended(session.clientId)
  }

  /** The connection is gone: the session ends with it, or waits. */
  detach(session: Session): void {
    this.#options.index.move(session, () => {
      session.connection = undefined
    })
    session.deliveries.detach()
    if (!session.persistent) {
      this.#end(session)
      return
    }
    this.#options.shared.changes?.detached(session)
    this.#wait(session, session.expirySeconds * 1000)
  }

  /**
   * Puts back a session as it was before a restart, without a connection, with what `fill` gives it. False when there is no
   * room for it.
   */
  restore(
    left: { readonly clientId: string; readonly expirySeconds: number; readonly leftMs: number },
    fill: (session: Session) => void
  ): boolean {
    const session = this.#create(left.clientId, left.expirySeconds)
    if (session === undefined) return false
    fill(session)
    this.#wait(session, left.leftMs)
    return true
  }

  /** Looks at so many sessions whose expiry may have passed. */
  expire(count: number): void {
    this.#expiring.visit(count, session => {
      if (this.#isOver(session)) this.#end(session)
    })
  }

  #create(clientId: string, expirySeconds: number): Session | undefined {
    const { limit, shared, retained } = this.#options
    if (expirySeconds > 0 && this.#persistent >= limit && !this.#evict()) return undefined
    const session = new Session({ clientId, expirySeconds, shared, retained })
    this.#byClient.set(clientId, session)
    if (session.persistent) this.#persistent += 1
    return session
  }

  #wait(session: Session, leftMs: number): void {
    if (session.expirySeconds !== neverExpires) {
      session.expiresAtMs = this.#options.shared.now() + leftMs
      this.#expiring.add(session)
    }
    if (session.empty) this.#emptyOffline.add(session)
  }

  #isOver({ expiresAtMs }: Session): boolean {
    return expiresAtMs !== undefined && expiresAtMs <= this.#options.shared.now()
  }

  #evict(): boolean {
    const [oldest] = this.#emptyOffline
    if (oldest !== undefined) this.#end(oldest)
    return oldest !== undefined
  }

  #end(session: Session): void {
    if (session.ended) return
    session.ended = true
    this.#byClient.delete(session.clientId)
    this.#emptyOffline.delete(session)
    this.#expiring.delete(session)
    for (const filter of session.subscriptions.keys()) this.#options.index.remove(session, filter)
    session.deliveries.end()
    if (!session.persistent) return
    this.#persistent -= 1
    this.#options.shared.changes?.ended(session.clientId)
  }
}
