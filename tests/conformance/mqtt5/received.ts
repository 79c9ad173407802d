import { readProperties } from './properties.ts'
import type { Property, PropertyName, PropertyValue } from './properties.ts'
import { Reader } from './reader.ts'

/** The packets that a server may send: first byte's type, flags (any for PUBLISH), and the reason codes that it may give. */
const types = new Map<number, { readonly name: string; readonly flags?: number; readonly codes?: string }>([
  [2, { name: 'connack', flags: 0, codes: '00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f' }],
  [3, { name: 'publish' }],
  [4, { name: 'puback', flags: 0, codes: '00 10 80 83 87 90 91 97 99' }],
  [5, { name: 'pubrec', flags: 0, codes: '00 10 80 83 87 90 91 97 99' }],
  [6, { name: 'pubrel', flags: 2, codes: '00 92' }],
  [7, { name: 'pubcomp', flags: 0, codes: '00 92' }],
  [9, { name: 'suback', flags: 0, codes: '00 01 02 80 83 87 8f 91 97 9e a1 a2' }],
  [11, { name: 'unsuback', flags: 0, codes: '00 11 80 83 87 8f 91' }],
  [13, { name: 'pingresp', flags: 0 }],
  [
    14,
    {
      name: 'disconnect',
      flags: 0,
      codes: '00 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2'
    }
  ],
  [15, { name: 'auth', flags: 0, codes: '00 18' }]
])

/** A packet from the server. */
export interface Received {
  readonly type: string
  readonly bytes: Buffer
  readonly id: number
  /** One for each filter in SUBACK and UNSUBACK; else one, also where the packet leaves it out. */
  readonly codes: readonly number[]
  readonly sessionPresent: boolean
  readonly topic: string
  readonly payload: string
  readonly qos: number
  readonly dup: boolean
  readonly retain: boolean
  readonly properties: readonly Property[]
}

const nothing = { id: 0, codes: [], sessionPresent: false, topic: '', payload: '', qos: 0, dup: false, retain: false, properties: [] }

/** One whole packet; an error says what is not as the specification asks of a server. */
export function decode(bytes: Buffer): Received {
  const header = bytes[0] ?? 0
  const type = types.get(header >> 4)
  if (type === undefined) throw new Error(`a server sends no packet of type ${header >> 4}`)
  if (type.flags !== undefined && (header & 15) !== type.flags) throw new Error(`${type.name} with flags ${header & 15}`)
  const reader = new Reader(bytes, 1)
  const length = reader.variable()
  if (length !== bytes.length - reader.at) throw new Error('not one packet')
  const packet = { ...nothing, type: type.name, bytes, ...readBody(type.name, header, reader) }
  if (!reader.done) throw new Error(`bytes behind the end of ${type.name}`)
  const allowed = type.codes?.split(' ') ?? []
  for (const code of packet.codes) if (!allowed.includes(hex(code))) throw new Error(`${type.name} with reason code ${hex(code)}`)
  return packet
}

function readBody(name: string, header: number, reader: Reader): Partial<Received> {
  switch (name) {
    case 'connack': {
      const flags = reader.unsigned(1)
      if (flags > 1) throw new Error(`connack with acknowledge flags ${flags}`)
      return { sessionPresent: flags === 1, codes: [reader.unsigned(1)], properties: readProperties(reader, name) }
    }
    case 'publish':
      return readPublish(header, reader)
    case 'suback':
    case 'unsuback': {
      const id = reader.unsigned(2)
      const properties = readProperties(reader, name)
      return { id, properties, codes: [...reader.rest()] }
    }
    case 'pingresp':
      return {}
    case 'disconnect':
    case 'auth':
      return readReason(name, reader)
    default: {
      const id = reader.unsigned(2)
      if (id === 0) throw new Error(`${name} with packet id 0`)
      return { id, ...readReason(name, reader) }
    }
  }
}

function readPublish(header: number, reader: Reader): Partial<Received> {
  const qos = (header >> 1) & 3
  if (qos === 3) throw new Error('publish with QoS 3')
  const dup = (header & 8) !== 0
  if (qos === 0 && dup) throw new Error('publish with QoS 0 and DUP')
  const topic = reader.string()
  if (/[#+]/.test(topic)) throw new Error('publish with wildcards in its topic name')
  const id = qos === 0 ? 0 : reader.unsigned(2)
  if (qos > 0 && id === 0) throw new Error('publish with packet id 0')
  const properties = readProperties(reader, 'publish')
  const alias = properties.some(([name]) => name === 'topicAlias')
  if (topic === '' && !alias) throw new Error('publish without a topic name and without an alias')
  return { qos, dup, retain: (header & 1) !== 0, topic, id, properties, payload: reader.rest().toString() }
}

/** A reason code and properties, each of which may be left out with what follows it. */
function readReason(name: string, reader: Reader): Partial<Received> {
  const code = reader.done ? 0 : reader.unsigned(1)
  return { codes: [code], properties: reader.done ? [] : readProperties(reader, name) }
}

const hex = (code: number): string => code.toString(16).padStart(2, '0')

/** A packet as text, for comparing sequences; reason codes in hexadecimal, those below 80 left out where 00 and 10 say the same. */
export function describePacket({ type, id, codes, sessionPresent, topic, payload, qos, dup, retain }: Received): string {
  const [code = 0] = codes
  switch (type) {
    case 'connack':
      return `connack:${sessionPresent ? 1 : 0},${hex(code)}`
    case 'publish':
      return `publish:${qos}${dup ? 'd' : ''}${retain ? 'r' : ''}:${topic}:${payload}`
    case 'suback':
    case 'unsuback':
      return `${type}:${id}:${codes.map(hex).join(',')}`
    case 'pingresp':
      return type
    case 'disconnect':
    case 'auth':
      return `${type}:${hex(code)}`
    default:
      return `${type}:${id}${code < 0x80 ? '' : `,${hex(code)}`}`
  }
}

type Holder = Pick<Received, 'properties'>

/** The value of a property, if the packet has it. */
export function property(packet: Holder | undefined, name: PropertyName): PropertyValue | undefined {
  return packet?.properties.find(([other]) => other === name)?.[1]
}

/** The number that a property has, or what it means when it is left out. */
export function numberOf(packet: Holder | undefined, name: PropertyName, absent: number): number {
  const value = property(packet, name)
  return typeof value === 'number' ? value : absent
}

/** All values of a property that may be there many times. */
export function allOf(packet: Holder | undefined, name: PropertyName): readonly PropertyValue[] {
  return (packet?.properties ?? []).filter(([other]) => other === name).map(([, value]) => value)
}
