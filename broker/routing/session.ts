import { Deliveries } from './deliveries.ts'
import type { DeliveriesShared } from './delivery.ts'
import { RetainedScans } from './retained-scans.ts'
import type { RetainedMessages } from './retained-messages.ts'
import type { Subscription } from './subscription.ts'

/** The connection that a session has. */
export interface SessionConnection {
  /** Another one takes the session: this one is over when it returns [MQTT-3.1.4-2]. */
  takeOver(): void
}

/** A subscription with the session that it is of: what the index finds. */
export interface SessionSubscription {
  readonly session: Session
  readonly subscription: Subscription
}

/** What the message that is being routed is delivered with; one object for each session, used again for every message. */
interface Match {
  /** Of the message, so that what stands here of another one counts for nothing. */
  ordinal: number
  qos: 0 | 1 | 2
  retainAsPublished: boolean
  identifiers: readonly number[]
}

/** What the broker keeps of a client beyond a connection (MQTT 3.1.1 §3.1.2.4, MQTT 5 §4.1). */
export class Session {
  readonly clientId: string
  readonly subscriptions = new Map<string, SessionSubscription>()
  readonly retainedScans: RetainedScans
  readonly deliveries: Deliveries
  readonly match: Match = { ordinal: -1, qos: 0, retainAsPublished: false, identifiers: [] }
  connection: SessionConnection | undefined
  /** 0 ends the session with its connection (clean session). Only `Sessions` changes it. */
  expirySeconds: number
  /** Monotonic time at which it is over; undefined while it has a connection, and when it never is. */
  expiresAtMs: number | undefined
  /** True when the client's next session will be another one. */
  ended = false
  readonly #shared: DeliveriesShared
  readonly #receivedIds = new Map<number, number>()

  constructor(options: {
    readonly clientId: string
    readonly expirySeconds: number
    readonly shared: DeliveriesShared
    readonly retained: RetainedMessages
  }) {
    this.clientId = options.clientId
    this.expirySeconds = options.expirySeconds
    this.#shared = options.shared
    this.retainedScans = new RetainedScans(options.clientId, options.retained)
    this.deliveries = new Deliveries(options.shared, this)
  }

  get persistent(): boolean {
    return this.expirySeconds > 0
  }

  /** Packet ids of received QoS 2 publishes whose PUBREL has not come, with the ordinal of the record [MQTT-4.3.3-2]. */
  get receivedIds(): ReadonlyMap<number, number> {
    return this.#receivedIds
  }

  /** True when nothing is lost with it. */
  get empty(): boolean {
    return this.subscriptions.size === 0 && this.#receivedIds.size === 0 && this.deliveries.size === 0
  }

  /** A QoS 2 publish is in the journal under this ordinal. */
  receive(packetId: number, ordinal: number): void {
    this.#receivedIds.set(packetId, ordinal)
    if (this.persistent) this.#shared.changes?.received(this.clientId, packetId, ordinal)
  }

  /** Puts back the id of a publish from before a restart. */
  restoreReceived(packetId: number, ordinal: number): void {
    this.#receivedIds.set(packetId, ordinal)
  }

  /** Its PUBREL came: the id is free. */
  release(packetId: number): void {
    if (this.#receivedIds.delete(packetId) && this.persistent) this.#shared.changes?.released(this.clientId, packetId)
  }
}
