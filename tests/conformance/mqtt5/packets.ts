import { packet, text, uint16, varint } from '../../broker/raw-client.ts'
import { encodeProperties } from './properties.ts'
import type { Property } from './properties.ts'

/** Properties, or in their place bytes of any kind, the length included. */
type Properties = readonly Property[] | Buffer

const encoded = (properties: Properties = []): Buffer => (Buffer.isBuffer(properties) ? properties : encodeProperties(properties))

export interface Will {
  readonly topic: string | Buffer
  readonly payload: string | Buffer
  readonly qos?: number
  readonly retain?: boolean
  readonly properties?: Properties
}

export interface ConnectOptions {
  readonly clientId?: string | Buffer
  readonly clean?: boolean
  readonly keepAlive?: number
  readonly properties?: Properties
  readonly will?: Will
  readonly user?: string | Buffer
  readonly password?: string | Buffer
  /** In place of the flags that follow from the others. */
  readonly flags?: number
  readonly name?: string
  readonly level?: number
}

export function connect(options: ConnectOptions = {}): Buffer {
  const { clientId = '', clean = true, keepAlive = 0, will, user, password, name = 'MQTT', level = 5 } = options
  const willFlags = will === undefined ? 0 : 4 | ((will.qos ?? 0) << 3) | (will.retain === true ? 0x20 : 0)
  const flags = (clean ? 2 : 0) | willFlags | (user === undefined ? 0 : 0x80) | (password === undefined ? 0 : 0x40)
  return packet(
    0x10,
    text(name),
    Buffer.from([level, options.flags ?? flags]),
    uint16(keepAlive),
    encoded(options.properties),
    text(clientId),
    ...(will === undefined ? [] : [encoded(will.properties), text(will.topic), text(will.payload)]),
    ...[user, password].filter(field => field !== undefined).map(field => text(field))
  )
}

export interface PublishOptions {
  readonly qos?: number
  readonly id?: number
  readonly dup?: boolean
  readonly retain?: boolean
  readonly properties?: Properties
}

export function publish(topic: string | Buffer, payload: string | Buffer, options: PublishOptions = {}): Buffer {
  const { qos = 0, id = 1, dup = false, retain = false, properties } = options
  const header = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0)
  return packet(header, text(topic), ...(qos > 0 ? [uint16(id)] : []), encoded(properties), Buffer.from(payload))
}

/** The byte of subscription options: QoS in bits 0 and 1. */
export const options = { noLocal: 4, retainAsPublished: 8, retainIfNew: 0x10, retainNever: 0x20 } as const

export type Filter = readonly [filter: string | Buffer, options: number]

export const subscribe = (id: number, filters: readonly Filter[], properties?: Properties): Buffer =>
  packet(0x82, uint16(id), encoded(properties), ...filters.flatMap(([filter, bits]) => [text(filter), Buffer.from([bits])]))

export const unsubscribe = (id: number, filters: readonly (string | Buffer)[], properties?: Properties): Buffer =>
  packet(0xa2, uint16(id), encoded(properties), ...filters.map(filter => text(filter)))

/** PUBACK, PUBREC, PUBREL or PUBCOMP: without a reason code in two bytes, without properties in three. */
const acknowledgement =
  (header: number) =>
  (id: number, code?: number, properties?: Properties): Buffer =>
    packet(
      header,
      uint16(id),
      ...(code === undefined ? [] : [Buffer.from([code])]),
      ...(properties === undefined ? [] : [encoded(properties)])
    )

export const puback = acknowledgement(0x40)
export const pubrec = acknowledgement(0x50)
export const pubrel = acknowledgement(0x62)
export const pubcomp = acknowledgement(0x70)

const withReason =
  (header: number) =>
  (code?: number, properties?: Properties): Buffer =>
    packet(header, ...(code === undefined ? [] : [Buffer.from([code])]), ...(properties === undefined ? [] : [encoded(properties)]))

export const disconnect = withReason(0xe0)
export const auth = withReason(0xf0)
export const pingreq = Buffer.from([0xc0, 0])

export { packet, text, uint16, varint }
