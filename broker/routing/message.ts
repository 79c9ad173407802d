/** A message on its way to subscribers. */
export interface Message {
  /** Its record's; subscribers get it when that is durable. */
  readonly ordinal: number
  readonly topic: string
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  /** Of the publisher, for No Local. */
  readonly clientId: string
  /**
   * MQTT 5 properties that subscribers get, encoded as in a PUBLISH but without the leading length and without topic alias,
   * message expiry and subscription identifiers.
   */
  readonly properties: Buffer | undefined
  /** MQTT 5 message expiry: the seconds given, and the monotonic time at which it was taken. Without it a message never expires. */
  readonly expiry: { readonly seconds: number; readonly takenMs: number } | undefined
}

const messageOverheadBytes = 256

/** What a kept message costs: its payload, which several sessions may share, its topic, and the object around them. */
export function messageBytes({ topic, payload, properties }: Message): number {
  return payload.length + topic.length + (properties?.length ?? 0) + messageOverheadBytes
}

/** Seconds that a message has left [MQTT-3.3.2-6], 0 when it has expired [MQTT-3.3.2-5]; undefined when it never does. */
export function remainingSeconds({ expiry }: Message, nowMs: number): number | undefined {
  if (expiry === undefined) return undefined
  return Math.max(0, expiry.seconds - Math.floor((nowMs - expiry.takenMs) / 1000))
}
