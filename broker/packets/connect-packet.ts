import { isMqttString, topicNameFault } from './topics.ts'

/** A last will, in the bytes that its client sent. */
export interface Will {
  readonly topic: Buffer
  readonly payload: Buffer
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
}

/** What a CONNECT asks for. The buffers are copies. */
export interface ConnectPacket {
  /** Protocol level: 3 is MQTT 3.1, 4 is 3.1.1. */
  readonly level: 3 | 4
  readonly clean: boolean
  readonly keepAliveSeconds: number
  /** Empty when the client leaves the choice to the server. */
  readonly clientId: Buffer
  readonly will: Will | undefined
  readonly user: Buffer | undefined
  readonly password: Buffer | undefined
}

/** Why a CONNECT is refused; `returnCode` is what CONNACK says, undefined when the socket is closed without one. */
export interface ConnectFault {
  readonly fault: string
  readonly returnCode: number | undefined
}

export const returnCodes = {
  accepted: 0,
  unacceptableProtocol: 1,
  identifierRejected: 2,
  serverUnavailable: 3,
  badCredentials: 4,
  notAuthorized: 5
} as const

const maxClientIdBytes = 128

/** Reads the body of a CONNECT (MQTT 3.1.1 §3.1); every field is checked, nothing may follow the last one. */
export function decodeConnect(buffer: Buffer, start: number, end: number): ConnectPacket | ConnectFault {
  const fields = new Fields(buffer, start, end)
  const name = fields.bytes()?.toString('latin1')
  const level = fields.byte()
  if (name !== 'MQTT' && name !== 'MQIsdp') return malformed('protocol name is not MQTT')
  if (level === undefined) return malformed('CONNECT is cut')
  if (level !== (name === 'MQTT' ? 4 : 3)) {
    return { fault: `protocol level ${level} is not spoken, MQTT 3.1 and 3.1.1 are`, returnCode: returnCodes.unacceptableProtocol }
  }
  const flags = fields.byte()
  const keepAliveSeconds = fields.uint16()
  if (flags === undefined || keepAliveSeconds === undefined) return malformed('CONNECT is cut')
  const flagsFault = connectFlagsFault(flags)
  if (flagsFault !== undefined) return malformed(flagsFault)
  const clean = (flags & 0x02) !== 0
  const clientId = fields.string()
  if (clientId === undefined) return malformed('client id is cut or not UTF-8')
  const will = (flags & 0x04) === 0 ? undefined : decodeWill(fields, flags)
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
  if (clientId.length > maxClientIdBytes) {
    return { fault: `client id is longer than ${maxClientIdBytes} bytes`, returnCode: returnCodes.identifierRejected }
  }
  // [MQTT-3.1.3-8]; MQTT 3.1 knows no empty id at all.
  if (clientId.length === 0 && (!clean || level === 3)) {
    return { fault: 'client id is empty', returnCode: returnCodes.identifierRejected }
  }
  return { level: name === 'MQTT' ? 4 : 3, clean, keepAliveSeconds, clientId, will, user, password }
}

function connectFlagsFault(flags: number): string | undefined {
  if ((flags & 0x01) !== 0) return 'reserved CONNECT flag is set'
  const willQos = (flags >> 3) & 3
  if (willQos === 3) return 'will QoS is 3'
  if ((flags & 0x04) === 0 && (flags & 0x38) !== 0) return 'will flags are set without a will'
  if ((flags & 0xc0) === 0x40) return 'password without a user name'
  return undefined
}

function decodeWill(fields: Fields, flags: number): Will | ConnectFault {
  const topic = fields.bytes()
  const payload = fields.bytes()
  if (topic === undefined || payload === undefined) return malformed('will is cut')
  const fault = topicNameFault(topic, 0, topic.length)
  if (fault !== undefined) return malformed(`will: ${fault}`)
  const qos = (flags >> 3) & 3
  return { topic, payload, qos: qos === 2 ? 2 : qos === 1 ? 1 : 0, retain: (flags & 0x20) !== 0 }
}

function malformed(fault: string): ConnectFault {
  return { fault, returnCode: undefined }
}

/** Reads fields one after another; undefined says that the packet ends before the field does. */
class Fields {
  readonly #buffer: Buffer
  readonly #end: number
  #at: number

  constructor(buffer: Buffer, start: number, end: number) {
    this.#buffer = buffer
    this.#at = start
    this.#end = end
  }

  get atEnd(): boolean {
    return this.#at === this.#end
  }

  byte(): number | undefined {
    return this.#at < this.#end ? this.#buffer[this.#at++] : undefined
  }

  uint16(): number | undefined {
    if (this.#end - this.#at < 2) return undefined
    this.#at += 2
    return this.#buffer.readUInt16BE(this.#at - 2)
  }

  bytes(): Buffer | undefined {
    const length = this.uint16()
    if (length === undefined || this.#end - this.#at < length) return undefined
    this.#at += length
    return Buffer.from(this.#buffer.subarray(this.#at - length, this.#at))
  }

  string(): Buffer | undefined {
    const bytes = this.bytes()
    return bytes !== undefined && isMqttString(bytes, 0, bytes.length) ? bytes : undefined
  }
}
