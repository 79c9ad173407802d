/**
 * The properties of MQTT 5.0 (§2.2.2.2): a length and then, in any order, identifiers each with a value whose type the
 * identifier says. One table holds all of them; what reads and what writes goes by it.
 */
import { encodeBytes, encodeVarint } from './encoding.ts'
import { malformed, protocolError, reasonCodes } from './reason-codes.ts'
import type { Fault } from './reason-codes.ts'
import { isMqttString } from './topics.ts'

/** Where properties can stand, as bits: a will has its own inside CONNECT. */
export const carriers = {
  connect: 1,
  connack: 2,
  publish: 4,
  will: 8,
  /** PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK have the same. */
  acknowledgement: 16,
  subscribe: 32,
  unsubscribe: 64,
  /** From a client; the server's may hold a server reference as well. */
  disconnect: 128,
  auth: 256
} as const

const types = { byte: 1, uint16: 2, uint32: 3, varint: 4, binary: 5, string: 6, pair: 7 } as const
type Type = keyof typeof types
type Carrier = keyof typeof carriers

const everywhere = Object.keys(carriers).filter((carrier): carrier is Carrier => carrier in carriers)

/** Name → identifier, type, carriers. */
const table = {
  payloadFormatIndicator: [0x01, 'byte', ['publish', 'will']],
  messageExpiryInterval: [0x02, 'uint32', ['publish', 'will']],
  contentType: [0x03, 'string', ['publish', 'will']],
  responseTopic: [0x08, 'string', ['publish', 'will']],
  correlationData: [0x09, 'binary', ['publish', 'will']],
  subscriptionIdentifier: [0x0b, 'varint', ['publish', 'subscribe']],
  sessionExpiryInterval: [0x11, 'uint32', ['connect', 'connack', 'disconnect']],
  assignedClientIdentifier: [0x12, 'string', ['connack']],
  serverKeepAlive: [0x13, 'uint16', ['connack']],
  authenticationMethod: [0x15, 'string', ['connect', 'connack', 'auth']],
  authenticationData: [0x16, 'binary', ['connect', 'connack', 'auth']],
  requestProblemInformation: [0x17, 'byte', ['connect']],
  willDelayInterval: [0x18, 'uint32', ['will']],
  requestResponseInformation: [0x19, 'byte', ['connect']],
  responseInformation: [0x1a, 'string', ['connack']],
  serverReference: [0x1c, 'string', ['connack']],
  reasonString: [0x1f, 'string', ['connack', 'acknowledgement', 'disconnect', 'auth']],
  receiveMaximum: [0x21, 'uint16', ['connect', 'connack']],
  topicAliasMaximum: [0x22, 'uint16', ['connect', 'connack']],
  topicAlias: [0x23, 'uint16', ['publish']],
  maximumQoS: [0x24, 'byte', ['connack']],
  retainAvailable: [0x25, 'byte', ['connack']],
  userProperty: [0x26, 'pair', everywhere],
  maximumPacketSize: [0x27, 'uint32', ['connect', 'connack']],
  wildcardSubscriptionAvailable: [0x28, 'byte', ['connack']],
  subscriptionIdentifierAvailable: [0x29, 'byte', ['connack']],
  sharedSubscriptionAvailable: [0x2a, 'byte', ['connack']]
} as const satisfies Readonly<Record<string, readonly [number, Type, readonly Carrier[]]>>

export type PropertyName = keyof typeof table

const identifiers = 0x2b
const typeOf = new Uint8Array(identifiers)
const carriersOf = new Uint16Array(identifiers)
for (const [identifier, type, where] of Object.values(table)) {
  typeOf[identifier] = types[type]
  for (const carrier of where) carriersOf[identifier] = (carriersOf[identifier] ?? 0) | carriers[carrier]
}

/** Identifier of a property. */
export function idOf(name: PropertyName): number {
  return table[name][0]
}

const id = {
  payloadFormatIndicator: idOf('payloadFormatIndicator'),
  subscriptionIdentifier: idOf('subscriptionIdentifier'),
  requestProblemInformation: idOf('requestProblemInformation'),
  requestResponseInformation: idOf('requestResponseInformation'),
  receiveMaximum: idOf('receiveMaximum'),
  topicAlias: idOf('topicAlias'),
  userProperty: idOf('userProperty'),
  maximumPacketSize: idOf('maximumPacketSize')
} as const

const faults = {
  cut: malformed('properties are cut'),
  varint: malformed('variable byte integer is not in its shortest form, or too long'),
  unknown: malformed('property is unknown or does not belong into its packet'),
  text: malformed('property is not UTF-8'),
  twice: protocolError('property comes twice'),
  value: protocolError('property has a value that it must not have'),
  alias: { fault: 'topic alias is 0', code: reasonCodes.topicAliasInvalid }
} as const

/**
 * Walks the properties of a packet from a client, checks each and leaves where it lies; one reader is used again for all
 * packets, so that walking allocates nothing. After `open`, `next` goes from one to the next until it answers false; then
 * `fault` says whether that was the end.
 */
export class PropertyReader {
  /** Identifier of the property that `next` came to, and where it begins and ends. */
  id = 0
  start = 0
  end = 0
  /** Its value: of a number, or where the bytes of a string or of binary data begin; they end where the property does. */
  number = 0
  valueStart = 0
  fault: Fault | undefined
  /** Where the properties begin behind their length, and where the packet goes on behind them. */
  bodyStart = 0
  bodyEnd = 0
  #buffer: Buffer = Buffer.alloc(0)
  #carrier = 0
  #seenLow = 0
  #seenHigh = 0

  /** Reads the length of the properties at `at`; false with a fault when they do not end before the packet does. */
  open(buffer: Buffer, at: number, packetEnd: number, carrier: number): boolean {
    this.#begin(buffer, carrier, packetEnd)
    const start = this.#varint(at)
    if (start < 0) return false
    this.bodyStart = start
    this.end = start
    this.bodyEnd = start + this.number
    return this.bodyEnd <= packetEnd || this.#fail(faults.cut)
  }

  /** Goes through properties that stand without their length and fill the buffer. */
  openBare(buffer: Buffer, carrier: number): void {
    this.#begin(buffer, carrier, buffer.length)
    this.bodyStart = 0
    this.end = 0
  }

  /** Goes to the next property; false at the end and at a fault. */
  next(): boolean {
    const at = this.end
    if (at >= this.bodyEnd || this.fault !== undefined) return false
    const id = this.#buffer[at] ?? 0
    if (((carriersOf[id] ?? 0) & this.#carrier) === 0) return this.#fail(faults.unknown)
    this.id = id
    this.start = at
    const end = this.#value(at + 1, typeOf[id] ?? 0)
    if (end < 0) return false
    this.end = end
    return this.#isNew(id) && this.#isAllowed(id)
  }

  /** Goes through all that is left; true when nothing is wrong with it. */
  skip(): boolean {
    while (this.next());
    return this.fault === undefined
  }

  #begin(buffer: Buffer, carrier: number, end: number): void {
    this.#buffer = buffer
    this.#carrier = carrier
    this.#seenLow = 0
    this.#seenHigh = 0
    this.fault = undefined
    this.bodyEnd = end
  }

  /** Where the value at `at` ends, or −1 with a fault. */
  #value(at: number, type: number): number {
    switch (type) {
      case types.byte:
        return this.#fixed(at, 1)
      case types.uint16:
        return this.#fixed(at, 2)
      case types.uint32:
        return this.#fixed(at, 4)
      case types.varint:
        return this.#varint(at)
      case types.binary:
        return this.#text(at, false)
      case types.string:
        return this.#text(at, true)
      default: {
        const name = this.#text(at, true)
        return name < 0 ? name : this.#text(name, true)
      }
    }
  }

  #fixed(at: number, bytes: 1 | 2 | 4): number {
    if (at + bytes > this.bodyEnd) return this.#refuse(faults.cut)
    let number = 0
    for (let index = at; index < at + bytes; index++) number = number * 256 + (this.#buffer[index] ?? 0)
    this.number = number
    return at + bytes
  }

  /** [MQTT-1.5.5-1]. */
  #varint(at: number): number {
    let number = 0
    for (let index = 0; index < 4; index++) {
      if (at + index >= this.bodyEnd) return this.#refuse(faults.cut)
      const byte = this.#buffer[at + index] ?? 0
      number += (byte & 127) << (7 * index)
      if (byte > 127) continue
      if (byte === 0 && index > 0) break
      this.number = number
      return at + index + 1
    }
    return this.#refuse(faults.varint)
  }

  #text(at: number, isText: boolean): number {
    if (at + 2 > this.bodyEnd) return this.#refuse(faults.cut)
    const end = at + 2 + (((this.#buffer[at] ?? 0) << 8) | (this.#buffer[at + 1] ?? 0))
    if (end > this.bodyEnd) return this.#refuse(faults.cut)
    if (isText && !isMqttString(this.#buffer, at + 2, end)) return this.#refuse(faults.text)
    this.valueStart = at + 2
    return end
  }

  #isNew(identifier: number): boolean {
    if (identifier === id.userProperty) return true
    const bit = 1 << (identifier & 31)
    const seen = identifier < 32 ? this.#seenLow : this.#seenHigh
    if ((seen & bit) !== 0) return this.#fail(faults.twice)
    if (identifier < 32) this.#seenLow |= bit
    else this.#seenHigh |= bit
    return true
  }

  #isAllowed(identifier: number): boolean {
    switch (identifier) {
      case id.payloadFormatIndicator:
      case id.requestProblemInformation:
      case id.requestResponseInformation:
        return this.number < 2 || this.#fail(faults.value)
      case id.receiveMaximum:
      case id.maximumPacketSize:
        return this.number > 0 || this.#fail(faults.value)
      case id.subscriptionIdentifier:
        // [MQTT-3.3.4-6]: none in a PUBLISH to the server.
        return (this.number > 0 && this.#carrier !== carriers.publish) || this.#fail(faults.value)
      case id.topicAlias:
        return this.number > 0 || this.#fail(faults.alias)
      default:
        return true
    }
  }

  #fail(fault: Fault): false {
    this.fault = fault
    return false
  }

  #refuse(fault: Fault): -1 {
    this.fault = fault
    return -1
  }
}

/** One property; a user property's value is a pair. */
export function encodeProperty(name: PropertyName, value: number | string | Uint8Array | readonly [string, string]): Buffer {
  const [identifier, type] = table[name]
  const head = Buffer.from([identifier])
  if (typeof value !== 'number') {
    const parts = typeof value === 'string' || value instanceof Uint8Array ? [value] : value
    return Buffer.concat([head, ...parts.map(part => encodeBytes(part))])
  }
  if (type === 'varint') return Buffer.concat([head, encodeVarint(value)])
  const bytes = Buffer.alloc(type === 'byte' ? 1 : type === 'uint16' ? 2 : 4)
  bytes.writeUIntBE(value, 0, bytes.length)
  return Buffer.concat([head, bytes])
}

/** Properties behind their length. */
export function encodeProperties(...properties: readonly Uint8Array[]): Buffer {
  let length = 0
  for (const property of properties) length += property.length
  return Buffer.concat([encodeVarint(length), ...properties])
}
