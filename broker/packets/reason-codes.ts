/** The reason codes of MQTT 5.0 §2.4 under the names of the specification, but for those that only a client of AUTH needs. */
export const reasonCodes = {
  success: 0x00,
  disconnectWithWill: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  unspecifiedError: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationSpecificError: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdentifierNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  banned: 0x8a,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdentifierInUse: 0x91,
  packetIdentifierNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  messageRateTooHigh: 0x96,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  sharedSubscriptionsNotSupported: 0x9e
} as const
export type ReasonCode = (typeof reasonCodes)[keyof typeof reasonCodes]

/** Why something is refused: in words for operators, and as the code that an MQTT 5 client gets. */
export interface Fault {
  readonly fault: string
  readonly code: ReasonCode
}

/** A packet that cannot be read as the specification has it (§4.13). */
export function malformed(fault: string): Fault {
  return { fault, code: reasonCodes.malformedPacket }
}

/** A packet that can be read and must not be sent, or not then (§4.13). */
export function protocolError(fault: string): Fault {
  return { fault, code: reasonCodes.protocolError }
}

/** CONNACK's return codes of MQTT 3.1 and 3.1.1 (§3.2.2.3) for these reason codes. */
const returnCodes: ReadonlyMap<ReasonCode, number> = new Map([
  [reasonCodes.success, 0],
  [reasonCodes.unsupportedProtocolVersion, 1],
  [reasonCodes.clientIdentifierNotValid, 2],
  [reasonCodes.serverUnavailable, 3],
  [reasonCodes.serverBusy, 3],
  [reasonCodes.quotaExceeded, 3],
  [reasonCodes.badUserNameOrPassword, 4],
  [reasonCodes.notAuthorized, 5],
  [reasonCodes.banned, 5]
])

/** The return code of MQTT 3.x, or undefined when the socket is closed without a CONNACK [MQTT-3.2.2-6]. */
export function returnCodeOf(code: ReasonCode): number | undefined {
  return returnCodes.get(code)
}

/** What a client may say in its acknowledgements (§3.4.2.1, §3.5.2.1, §3.6.2.1, §3.7.2.1) and in DISCONNECT (§3.14.2.1). */
const published = new Set([0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
const released = new Set([0x00, 0x92])
const clientCodes: ReadonlyMap<number, ReadonlySet<number>> = new Map([
  [4, published],
  [5, published],
  [6, released],
  [7, released],
  [14, new Set([0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99])]
])

/** True when a client may send this reason code in a packet of this type. */
export function clientMaySend(packetType: number, code: number): boolean {
  return clientCodes.get(packetType)?.has(code) === true
}
