import { isUtf8 } from 'node:buffer'
import { defaultConnectProperties, neverExpires, readConnectProperties, readWillProperties } from './connect-properties.ts'
import type { ConnectProperties } from './connect-properties.ts'
import { Fields } from './fields.ts'
import { malformed, reasonCodes } from './reason-codes.ts'
import type { Fault } from './reason-codes.ts'
import { topicNameFault } from './topics.ts'

/** A protocol level: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. */
export type ProtocolLevel = 3 | 4 | 5

/** A last will, in the bytes that its client sent. */
export interface Will {
  readonly topic: Buffer
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  /** Seconds between the end of the connection and the will. */
  readonly delaySeconds: number
  /** As a PUBLISH of MQTT 5 would have them, without their length. */
  readonly properties: Buffer | undefined
}

/** What a CONNECT asks for. The buffers are copies. */
export interface ConnectPacket extends ConnectProperties {
  readonly level: ProtocolLevel
  /** Begin a new session (clean start); that it ends with the connection is told by its expiry. */
  readonly clean: boolean
  readonly keepAliveSeconds: number
  /** Empty when the client leaves the choice to the server. */
  readonly clientId: Buffer
  readonly will: Will | undefined
  readonly user: Buffer | undefined
  readonly password: Buffer | undefined
}

/** Why a CONNECT is refused. */
export interface ConnectFault extends Fault {
  /** The level that the answer must be of, if the client got as far as to say one that is spoken. */
  readonly level: ProtocolLevel | undefined
}

const maxClientIdBytes = 128

/** Reads the body of a CONNECT (§3.1); every field is checked, nothing may follow the last one. */
export function decodeConnect(buffer: Buffer, start: number, end: number): ConnectPacket | ConnectFault {
  const fields = new Fields(buffer, start, end)
  const name = fields.bytes()?.toString('latin1')
  const level = fields.byte()
  if (name !== 'MQTT' && name !== 'MQIsdp') return { ...malformed('protocol name is not MQTT'), level: undefined }
  if (level === undefined) return { ...malformed('CONNECT is cut'), level: undefined }
  if (name === 'MQTT' ? level !== 4 && level !== 5 : level !== 3) {
    const fault = `protocol level ${level} is not spoken, MQTT 3.1, 3.1.1 and 5.0 are`
    // In the form of 3.x, which every client that asks for another level can be expected to know.
    return { fault, code: reasonCodes.unsupportedProtocolVersion, level: 4 }
  }
  const spoken = level === 5 ? 5 : level === 4 ? 4 : 3
  const packet = decodeFields(fields, spoken, { buffer, end })
  return 'fault' in packet ? { ...packet, level: spoken } : packet
}

/** The whole packet, where its properties can be read. */
interface Source {
  readonly buffer: Buffer
  readonly end: number
}

function decodeFields(fields: Fields, level: ProtocolLevel, source: Source): ConnectPacket | Fault {
  const flags = fields.byte()
  const keepAliveSeconds = fields.uint16()
  if (flags === undefined || keepAliveSeconds === undefined) return malformed('CONNECT is cut')
  const flagsFault = connectFlagsFault(flags, level)
  if (flagsFault !== undefined) return malformed(flagsFault)
  const clean = (flags & 0x02) !== 0
  const properties = level === 5 ? decodeProperties(fields, source) : propertiesOf3(clean)
  if ('fault' in properties) return properties
  const clientId = fields.string()
  if (clientId === undefined) return malformed('client id is cut or not UTF-8')
  const will = (flags & 0x04) === 0 ? undefined : decodeWill(fields, flags, level === 5 ? source : undefined)
  if (will !== undefined && 'fault' in will) return will
  // MQTT 3.1 §3.1: the remaining length takes precedence over these flags.
  const mayMiss = level === 3
  const hasUser = (flags & 0x80) !== 0 && !(mayMiss && fields.atEnd)
  const user = hasUser ? fields.string() : undefined
  const hasPassword = (flags & 0x40) !== 0 && !(mayMiss && fields.atEnd)
  const password = hasPassword ? fields.bytes() : undefined
  if (hasUser && user === undefined) return malformed('user name is cut or not UTF-8')
  if (hasPassword && password === undefined) return malformed('password is cut')
  if (!fields.atEnd) return malformed('CONNECT has bytes behind its end')
  const idFault = clientIdFault(clientId, clean, level)
  if (idFault !== undefined) return { fault: idFault, code: reasonCodes.clientIdentifierNotValid }
  return { ...properties, level, clean, keepAliveSeconds, clientId, will, user, password }
}

/** MQTT 3.1.1 §3.1.2.4: a clean session ends with its connection, another one never. */
function propertiesOf3(clean: boolean): ConnectProperties {
  return { ...defaultConnectProperties, sessionExpirySeconds: clean ? 0 : neverExpires }
}

function decodeProperties(fields: Fields, { buffer, end }: Source): ConnectProperties | Fault {
  const read = readConnectProperties(buffer, fields.at, end)
  if ('fault' in read) return read
  fields.at = read.end
  return read.value
}

function clientIdFault(clientId: Buffer, clean: boolean, level: ProtocolLevel): string | undefined {
  if (clientId.length > maxClientIdBytes) return `client id is longer than ${maxClientIdBytes} bytes`
  // [MQTT-3.1.3-8] of 3.1.1; MQTT 3.1 knows no empty id at all, 5.0 always allows it.
  return clientId.length === 0 && (level === 3 || (level === 4 && !clean)) ? 'client id is empty' : undefined
}

function connectFlagsFault(flags: number, level: ProtocolLevel): string | undefined {
  if ((flags & 0x01) !== 0) return 'reserved CONNECT flag is set'
  const willQos = (flags >> 3) & 3
  if (willQos === 3) return 'will QoS is 3'
  if ((flags & 0x04) === 0 && (flags & 0x38) !== 0) return 'will flags are set without a will'
  if (level < 5 && (flags & 0xc0) === 0x40) return 'password without a user name'
  return undefined
}

/** `source` is where the will's properties are, for MQTT 5. */
function decodeWill(fields: Fields, flags: number, source: Source | undefined): Will | Fault {
  const read = source === undefined ? undefined : readWillProperties(source.buffer, fields.at, source.end)
  if (read !== undefined) {
    if ('fault' in read) return read
    fields.at = read.end
  }
  const topic = fields.bytes()
  const payload = fields.bytes()
  if (topic === undefined || payload === undefined) return malformed('will is cut')
  const fault = topicNameFault(topic, 0, topic.length)
  if (fault !== undefined) return { ...fault, fault: `will: ${fault.fault}` }
  const { delaySeconds = 0, properties, payloadIsText = false } = read?.value ?? {}
  if (payloadIsText && !isUtf8(payload))
    return { fault: 'will: payload is not the UTF-8 that it says', code: reasonCodes.payloadFormatInvalid }
  const qos = (flags >> 3) & 3
  return { topic, payload, qos: qos === 2 ? 2 : qos === 1 ? 1 : 0, retain: (flags & 0x20) !== 0, delaySeconds, properties }
}
