import { text, varint } from '../../broker/raw-client.ts'
import type { Reader } from './reader.ts'

/** Table 2-4: identifier, data type, and the packets that may hold it. */
const table = {
  payloadFormat: [0x01, 'byte', 'publish will'],
  messageExpiry: [0x02, 'four', 'publish will'],
  contentType: [0x03, 'string', 'publish will'],
  responseTopic: [0x08, 'string', 'publish will'],
  correlationData: [0x09, 'binary', 'publish will'],
  subscriptionIdentifier: [0x0b, 'variable', 'publish subscribe'],
  sessionExpiry: [0x11, 'four', 'connect connack disconnect'],
  assignedClientId: [0x12, 'string', 'connack'],
  serverKeepAlive: [0x13, 'two', 'connack'],
  authenticationMethod: [0x15, 'string', 'connect connack auth'],
  authenticationData: [0x16, 'binary', 'connect connack auth'],
  requestProblemInformation: [0x17, 'byte', 'connect'],
  willDelay: [0x18, 'four', 'will'],
  requestResponseInformation: [0x19, 'byte', 'connect'],
  responseInformation: [0x1a, 'string', 'connack'],
  serverReference: [0x1c, 'string', 'connack disconnect'],
  reasonString: [0x1f, 'string', 'connack puback pubrec pubrel pubcomp suback unsuback disconnect auth'],
  receiveMaximum: [0x21, 'two', 'connect connack'],
  topicAliasMaximum: [0x22, 'two', 'connect connack'],
  topicAlias: [0x23, 'two', 'publish'],
  maximumQos: [0x24, 'byte', 'connack'],
  retainAvailable: [0x25, 'byte', 'connack'],
  userProperty: [
    0x26,
    'pair',
    'connect connack publish will puback pubrec pubrel pubcomp subscribe suback unsubscribe unsuback disconnect auth'
  ],
  maximumPacketSize: [0x27, 'four', 'connect connack'],
  wildcardSubscriptionAvailable: [0x28, 'byte', 'connack'],
  subscriptionIdentifierAvailable: [0x29, 'byte', 'connack'],
  sharedSubscriptionAvailable: [0x2a, 'byte', 'connack']
} as const satisfies Readonly<Record<string, readonly [number, string, string]>>

export type PropertyName = keyof typeof table
export type PropertyValue = number | string | Buffer | readonly [name: string | Buffer, value: string | Buffer]
export type Property = readonly [name: PropertyName, value: PropertyValue]

const isName = (name: string): name is PropertyName => name in table

export const propertyNames: readonly PropertyName[] = Object.keys(table).filter(isName)

const names = new Map<number, PropertyName>(propertyNames.map(name => [table[name][0], name]))

/** Whether a property may be in a packet of this type. */
export const belongsTo = (name: PropertyName, packetType: string): boolean => table[name][2].split(' ').includes(packetType)

export const typeOf = (name: PropertyName): string => table[name][1]

/** One property as bytes. */
export function encodeProperty([name, value]: Property): Buffer {
  const [identifier, type] = table[name]
  return Buffer.concat([Buffer.from([identifier]), encodeValue(type, value)])
}

function encodeValue(type: string, value: PropertyValue): Buffer {
  if (typeof value === 'number') {
    if (type === 'variable') return varint(value)
    const bytes = Buffer.alloc(type === 'byte' ? 1 : type === 'two' ? 2 : 4)
    bytes.writeUIntBE(value, 0, bytes.length)
    return bytes
  }
  if (typeof value === 'string' || Buffer.isBuffer(value)) return text(value)
  return Buffer.concat([text(value[0]), text(value[1])])
}

/** Properties with their length before them. */
export function encodeProperties(properties: readonly Property[]): Buffer {
  const bytes = Buffer.concat(properties.map(encodeProperty))
  return Buffer.concat([varint(bytes.length), bytes])
}

/** The properties of a packet from the server; an error says what is not as the specification asks. */
export function readProperties(reader: Reader, packetType: string): Property[] {
  const end = reader.variable() + reader.at
  if (end > reader.bytes.length) throw new Error('properties are longer than the packet')
  const properties: Property[] = []
  while (reader.at < end) {
    const identifier = reader.variable()
    const name = names.get(identifier)
    if (name === undefined || !belongsTo(name, packetType)) throw new Error(`property ${identifier} in ${packetType}`)
    const repeats = name === 'userProperty' || (name === 'subscriptionIdentifier' && packetType === 'publish')
    if (!repeats && properties.some(([other]) => other === name)) throw new Error(`${name} twice in ${packetType}`)
    properties.push([name, readValue(reader, typeOf(name))])
  }
  if (reader.at !== end) throw new Error('the last property is longer than the properties')
  return properties
}

function readValue(reader: Reader, type: string): PropertyValue {
  if (type === 'byte') return reader.unsigned(1)
  if (type === 'two') return reader.unsigned(2)
  if (type === 'four') return reader.unsigned(4)
  if (type === 'variable') return reader.variable()
  if (type === 'binary') return reader.binary()
  if (type === 'string') return reader.string()
  return [reader.string(), reader.string()]
}

/** Length and bytes of properties that are given as bytes. */
export const rawProperties = (...parts: readonly Buffer[]): Buffer => {
  const bytes = Buffer.concat(parts)
  return Buffer.concat([varint(bytes.length), bytes])
}
