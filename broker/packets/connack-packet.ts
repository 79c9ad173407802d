import { encodePacket } from './encoding.ts'
import type { ProtocolLevel } from './connect-packet.ts'
import { encodeProperties, encodeProperty } from './properties.ts'
import { returnCodeOf } from './reason-codes.ts'
import type { Fault } from './reason-codes.ts'

/** What an MQTT 5 client learns when it is accepted (§3.2.2.3). */
export interface Acceptance {
  readonly sessionPresent: boolean
  readonly receiveMaximum: number
  readonly maximumPacketBytes: number
  readonly topicAliasMaximum: number
  /** Only what differs from what the client asked for. */
  readonly sessionExpirySeconds?: number | undefined
  readonly assignedClientId?: string | undefined
  readonly serverKeepAliveSeconds?: number | undefined
}

/** CONNACK 0 of MQTT 3.x. */
export function encodeConnack(sessionPresent: boolean): Buffer {
  return Buffer.from([0x20, 2, sessionPresent ? 1 : 0, 0])
}

/**
 * CONNACK 0 of MQTT 5. What it does not mention is as the specification has it by default: QoS 2, retained messages,
 * wildcards and subscription identifiers are available; shared subscriptions are not, and it says so.
 */
export function encodeConnack5(acceptance: Acceptance): Buffer {
  const { sessionPresent, receiveMaximum, maximumPacketBytes, topicAliasMaximum } = acceptance
  const { sessionExpirySeconds, assignedClientId, serverKeepAliveSeconds } = acceptance
  const properties = encodeProperties(
    encodeProperty('receiveMaximum', receiveMaximum),
    encodeProperty('maximumPacketSize', maximumPacketBytes),
    encodeProperty('topicAliasMaximum', topicAliasMaximum),
    encodeProperty('sharedSubscriptionAvailable', 0),
    ...(sessionExpirySeconds === undefined ? [] : [encodeProperty('sessionExpiryInterval', sessionExpirySeconds)]),
    ...(assignedClientId === undefined ? [] : [encodeProperty('assignedClientIdentifier', assignedClientId)]),
    ...(serverKeepAliveSeconds === undefined ? [] : [encodeProperty('serverKeepAlive', serverKeepAliveSeconds)])
  )
  return encodePacket(0x20, Buffer.from([sessionPresent ? 1 : 0, 0]), properties)
}

/** The CONNACK that refuses a client, or undefined when its version has no word for that and the socket is only closed. */
export function encodeRefusal({ fault, code }: Fault, level: ProtocolLevel): Buffer | undefined {
  if (level === 5) return encodePacket(0x20, Buffer.from([0, code]), encodeProperties(encodeProperty('reasonString', fault)))
  const returnCode = returnCodeOf(code)
  return returnCode === undefined ? undefined : Buffer.from([0x20, 2, 0, returnCode])
}
