import type { Subscription } from './subscription.ts'

/** A message that a session is owed, as it is kept. */
export interface KeptDelivery {
  readonly ordinal: number
  /** QoS that it is delivered with. */
  readonly qos: 1 | 2
  /** True for what a new subscription got of the retained messages: a session may be owed the same ordinal as both. */
  readonly retained: boolean
}

/** The session of a change. */
export interface ChangedSession {
  readonly clientId: string
  /** Session expiry interval: 0 ends with the connection, 0xffffffff never. */
  readonly expirySeconds: number
}

/** The connection that a reply is for. */
export interface ReplyHost {
  readonly closed: boolean
}

/**
 * What becomes of sessions that outlive their connections, told in the call in which it happens, in order. Sessions that
 * end with their connection (expiry 0) are not told of.
 */
export interface SessionChanges {
  /** A session begins, or has another expiry from now on, or its connection began. */
  opened(session: ChangedSession): void
  /** Its connection is over: the expiry counts from now. */
  detached(session: ChangedSession): void
  /** It is gone with all that it had; also when its expiry became 0. */
  ended(clientId: string): void
  /** A subscription is new, or replaced another one of the same filter. */
  subscribed(clientId: string, subscription: Subscription): void
  unsubscribed(clientId: string, filter: string): void
  /** A message was sent under this packet id; not told again when it is sent again. */
  sent(clientId: string, delivery: KeptDelivery, packetId: number): void
  /** The subscriber has a QoS 2 message, PUBCOMP is outstanding. */
  releasing(clientId: string, delivery: KeptDelivery): void
  /** The session is not owed the message any more: acknowledged, expired or too large for the client. */
  settled(clientId: string, delivery: KeptDelivery): void
  /** A QoS 2 publish of the client is in the journal under this ordinal, its PUBREL has not come. */
  received(clientId: string, packetId: number, ordinal: number): void
  /** Its PUBREL came. */
  released(clientId: string, packetId: number): void
  /** Calls `reply` when all that was told is durable; replies keep their order. May call it at once, and not at all once `host` is closed. */
  whenDurable(reply: () => void, host?: ReplyHost): void
}
