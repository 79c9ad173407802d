import { carriers, idOf, PropertyReader } from './properties.ts'
import { protocolError } from './reason-codes.ts'
import type { Fault } from './reason-codes.ts'
import { isTopicName } from './topics.ts'

/** What a client of MQTT 5 asks for in CONNECT's properties (§3.1.2.11); for others what the older versions mean. */
export interface ConnectProperties {
  /** Seconds that the session lasts after its connection; `neverExpires` is for ever. */
  readonly sessionExpirySeconds: number
  /** Publishes of QoS 1 and 2 that the client takes before it acknowledges one. */
  readonly receiveMaximum: number
  /** Largest packet that the client takes, its fixed header included. */
  readonly maximumPacketBytes: number
  /** Topic aliases that the client takes: 1 up to this. */
  readonly topicAliasMaximum: number
  /** Whether the client wants reason strings on other packets than CONNACK and DISCONNECT. */
  readonly problemInformation: boolean
  /** Whether the client wants to authenticate with AUTH packets. */
  readonly authenticates: boolean
}

/** Session expiry of a session that never ends (§3.1.2.11.2). */
export const neverExpires = 0xffff_ffff
/** What the remaining length allows. */
const unlimitedPacketBytes = 268_435_460

/** What holds when a client says nothing, and for MQTT 3.x. */
export const defaultConnectProperties: ConnectProperties = {
  sessionExpirySeconds: 0,
  receiveMaximum: 65_535,
  maximumPacketBytes: unlimitedPacketBytes,
  topicAliasMaximum: 0,
  problemInformation: true,
  authenticates: false
}

/** What a will of MQTT 5 has besides its message (§3.1.3.2). */
export interface WillProperties {
  readonly delaySeconds: number
  /** As a PUBLISH would have them, without their length; undefined when there are none. */
  readonly properties: Buffer | undefined
  readonly payloadIsText: boolean
}

const id = {
  sessionExpiryInterval: idOf('sessionExpiryInterval'),
  authenticationMethod: idOf('authenticationMethod'),
  authenticationData: idOf('authenticationData'),
  requestProblemInformation: idOf('requestProblemInformation'),
  receiveMaximum: idOf('receiveMaximum'),
  topicAliasMaximum: idOf('topicAliasMaximum'),
  maximumPacketSize: idOf('maximumPacketSize'),
  willDelayInterval: idOf('willDelayInterval'),
  responseTopic: idOf('responseTopic'),
  payloadFormatIndicator: idOf('payloadFormatIndicator')
} as const

/** Something that was read, and where the packet goes on. */
interface Read<Value> {
  readonly value: Value
  readonly end: number
}

const reader = new PropertyReader()

/** Reads the properties of a CONNECT. */
export function readConnectProperties(buffer: Buffer, at: number, packetEnd: number): Read<ConnectProperties> | Fault {
  const value: { -readonly [Name in keyof ConnectProperties]: ConnectProperties[Name] } = { ...defaultConnectProperties }
  let hasData = false
  if (reader.open(buffer, at, packetEnd, carriers.connect)) {
    while (reader.next()) {
      const { number } = reader
      if (reader.id === id.sessionExpiryInterval) value.sessionExpirySeconds = number
      else if (reader.id === id.receiveMaximum) value.receiveMaximum = number
      else if (reader.id === id.maximumPacketSize) value.maximumPacketBytes = Math.min(number, unlimitedPacketBytes)
      else if (reader.id === id.topicAliasMaximum) value.topicAliasMaximum = number
      else if (reader.id === id.requestProblemInformation) value.problemInformation = number === 1
      else if (reader.id === id.authenticationMethod) value.authenticates = true
      else if (reader.id === id.authenticationData) hasData = true
    }
  }
  if (reader.fault !== undefined) return reader.fault
  // §3.1.2.11.10.
  if (hasData && !value.authenticates) return protocolError('authentication data without a method')
  return { value, end: reader.bodyEnd }
}

/** Reads the properties of a will. */
export function readWillProperties(buffer: Buffer, at: number, packetEnd: number): Read<WillProperties> | Fault {
  let delaySeconds = 0
  let payloadIsText = false
  /** Where the delay stands: it is not a part of the message. */
  let delayStart = -1
  if (reader.open(buffer, at, packetEnd, carriers.will)) {
    while (reader.next()) {
      if (reader.id === id.willDelayInterval) {
        delaySeconds = reader.number
        delayStart = reader.start
      } else if (reader.id === id.payloadFormatIndicator) payloadIsText = reader.number === 1
      else if (reader.id === id.responseTopic && !isTopicName(buffer, reader.valueStart, reader.end)) {
        return protocolError('response topic is empty or has a wildcard')
      }
    }
  }
  if (reader.fault !== undefined) return reader.fault
  const { bodyStart, bodyEnd } = reader
  const properties = withoutProperty(buffer, bodyStart, bodyEnd, { start: delayStart, bytes: 5 })
  return { value: { delaySeconds, properties, payloadIsText }, end: bodyEnd }
}

/** A copy of properties without one of them (which may begin at −1: there is none), or undefined when nothing is left. */
export function withoutProperty(
  buffer: Buffer,
  start: number,
  end: number,
  property: { readonly start: number; readonly bytes: number }
): Buffer | undefined {
  if (property.start < 0) return end > start ? Buffer.from(buffer.subarray(start, end)) : undefined
  if (end - start <= property.bytes) return undefined
  return Buffer.concat([buffer.subarray(start, property.start), buffer.subarray(property.start + property.bytes, end)])
}
