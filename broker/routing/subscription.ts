/** One subscription of a session. A SUBSCRIBE of MQTT 3.1.1 has only filter and QoS. */
export interface Subscription {
  readonly filter: string
  /** The maximum QoS granted. */
  readonly qos: 0 | 1 | 2
  /** Messages of the session's own client are not delivered [MQTT-3.8.3-3]. */
  readonly noLocal: boolean
  /** The RETAIN flag is forwarded as it was published [MQTT-3.3.1-13]. */
  readonly retainAsPublished: boolean
  /** Retained messages are sent always (0), when the subscription is new (1), never (2). */
  readonly retainHandling: 0 | 1 | 2
  /** MQTT 5 subscription identifier, told with each message that the subscription matches. */
  readonly identifier: number | undefined
}

/** A subscription as MQTT 3.1 and 3.1.1 know it. */
export function plainSubscription(filter: string, qos: 0 | 1 | 2): Subscription {
  return { filter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0, identifier: undefined }
}

/** True when one in place of the other changes nothing. */
export function isSame(one: Subscription, other: Subscription): boolean {
  return (
    one.filter === other.filter &&
    one.qos === other.qos &&
    one.noLocal === other.noLocal &&
    one.retainAsPublished === other.retainAsPublished &&
    one.retainHandling === other.retainHandling &&
    one.identifier === other.identifier
  )
}
