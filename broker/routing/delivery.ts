import type { BrokerStatistics } from '../statistics.ts'
import type { Message } from './message.ts'
import type { RetainedScans } from './retained-scans.ts'
import type { KeptDelivery, SessionChanges } from './session-changes.ts'

/** A message as one subscriber gets it; subscribers that get the same share one. */
export interface Delivery {
  readonly message: Message
  readonly qos: 0 | 1 | 2
  /** The RETAIN flag. */
  readonly retain: boolean
  /** True for a retained message that a new subscription gets. */
  readonly retained: boolean
  /** Of the subscriptions that match; MQTT 5. */
  readonly identifiers: readonly number[]
}

/** The connection of a session. */
export interface Subscriber {
  /** Publishes above QoS 0 that it takes before it has acknowledged any. */
  readonly receiveMaximum: number
  /** True while so much waits for the client to read it that it gets no more; `resume` follows. */
  readonly full: boolean
  /** Sends a PUBLISH; false when it is larger than the client takes [MQTT-3.1.2-24]. */
  publish(delivery: Delivery, packetId: number, dup: boolean): boolean
  pubrel(packetId: number): void
  /** Writes what was sent since the last time. */
  flush(): void
  /** Told once when the client is further behind than it may be. */
  onTooSlow(): void
}

/** What the deliveries of all sessions share. */
export interface DeliveriesShared {
  /** Messages that wait for one session at most. */
  readonly queuedMessages: number
  /** Messages that are sent to one session and not settled at most; no more than there are packet ids. */
  readonly sendWindow: number
  /** Bytes that wait for, or are not acknowledged by, all sessions. */
  readonly queuedBytes: number
  /** Bytes that wait for one connected session, beyond what its socket holds. */
  readonly connectedBytes: number
  readonly statistics: BrokerStatistics
  readonly changes: SessionChanges | undefined
  /** Clock that is never set, in ms. */
  readonly now: () => number
  /** What is kept for all sessions now: what waits, and what was sent and is not settled. */
  readonly kept: { messages: number; bytes: number }
  /** The part of it that was sent and of which only the id is kept. */
  readonly sentOnly: { bytes: number }
}

/** The session that they are of. */
export interface DeliveriesOwner {
  readonly clientId: string
  /** False when it ends with its connection. */
  readonly persistent: boolean
  readonly retainedScans: RetainedScans
}

/** A message of a session as it is listed and restored; packet id 0 when it was not sent. */
export interface ListedDelivery {
  readonly packetId: number
  /** PUBREC has come: only PUBREL is left. */
  readonly released: boolean
  readonly kept: KeptDelivery
  /** Undefined when it is released. */
  readonly delivery: Delivery | undefined
}

/** What is told of a delivery. */
export function keptOf({ message, retained }: Delivery, qos: 1 | 2): KeptDelivery {
  return { ordinal: message.ordinal, qos, retained }
}
