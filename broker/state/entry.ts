import type { Message } from '../routing/message.ts'
import type { Subscription } from '../routing/subscription.ts'

/** Version of the entries; what follows a snapshot of a later one is not understood. */
export const stateVersion = 1

/** A message that a session is owed, in a snapshot. */
export interface QueuedDelivery {
  /** Of a `message` entry before it in the same snapshot. */
  readonly ordinal: number
  readonly qos: 1 | 2
  /** 0 until it was sent. */
  readonly packetId: number
  /** QoS 2: the subscriber has it, so that PUBREL is what is sent again. */
  readonly released: boolean
  /** What a new subscription got of the retained messages. */
  readonly retained: boolean
  /** The RETAIN flag that it is sent with. */
  readonly retain: boolean
  /** MQTT 5 subscription identifiers. */
  readonly identifiers: readonly number[]
}

/** A message that was sent and not acknowledged. */
export type SentDelivery = Pick<QueuedDelivery, 'ordinal' | 'packetId' | 'released' | 'retained'>

/** How far a session's messages got: of those below `sentBelow` the ones that are not in `sent` are settled. */
export interface DeliveryProgress {
  readonly sentBelow: number
  /** In the order in which they were sent. */
  readonly sent: readonly SentDelivery[]
  /** The packet id that was given out last; 0 before the first. */
  readonly lastPacketId: number
}

/** What a session is without its subscriptions and messages, in a snapshot. */
export interface SessionEntry {
  readonly kind: 'session'
  readonly clientId: string
  /** Messages below are in the snapshot, or are not owed to it. */
  readonly routed: number
  /** The journal's head: QoS 2 ids of records below are in `receivedIds`, or were released. */
  readonly head: number
  /** Session expiry interval; 0xffffffff never expires. */
  readonly expirySeconds: number
  /** Since when it has no connection, by the journal's head and by the wall clock; undefined while it has one. */
  readonly offline: { readonly position: number; readonly sinceMs: number } | undefined
  readonly lastPacketId: number
  /** QoS 2 publishes of the client whose PUBREL has not come: packet id and ordinal. */
  readonly receivedIds: readonly (readonly [packetId: number, ordinal: number])[]
}

/** The first entry of a snapshot. */
export interface BeginEntry {
  readonly kind: 'begin'
  readonly version: number
  /** UUID of the journal that positions and ordinals count in. */
  readonly journal: string
  /** What records below did is in the snapshot; those from here on are applied to it, some of them for a second time. */
  readonly position: number
}

/** An entry of a snapshot, which lies between its `begin` and its `end`. */
export type SnapshotEntry =
  | BeginEntry
  | SessionEntry
  | { readonly kind: 'subscriptions'; readonly clientId: string; readonly subscriptions: readonly Subscription[] }
  | { readonly kind: 'message' | 'retained'; readonly message: Message }
  | { readonly kind: 'queued'; readonly clientId: string; readonly deliveries: readonly QueuedDelivery[] }
  | { readonly kind: 'end'; readonly begin: number }

/** A change of a session. */
export type ChangeEntry = {
  readonly clientId: string
  /** The journal's head as it was made: records below came before it. */
  readonly position: number
} & (
  | { readonly kind: 'opened' | 'detached'; readonly expirySeconds: number }
  | { readonly kind: 'ended' }
  | { readonly kind: 'subscribed'; readonly subscription: Subscription }
  | { readonly kind: 'unsubscribed'; readonly filter: string }
  | { readonly kind: 'released'; readonly packetId: number }
  | { readonly kind: 'progress'; readonly progress: DeliveryProgress }
)

/** An entry of the log of sessions and retained messages. */
export type StateEntry =
  | SnapshotEntry
  | ChangeEntry
  /**
   * A start found the journal so: what was said before of records from its head on is of some that are gone, and of others all
   * is when the UUID is another one.
   */
  | { readonly kind: 'resumed'; readonly journal: string; readonly position: number }
  /** Records from the snapshot's position up to this one have no part in it. */
  | { readonly kind: 'stands'; readonly position: number }
