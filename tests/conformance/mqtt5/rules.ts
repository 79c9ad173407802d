import { allOf, numberOf, property } from './received.ts'
import type { Received } from './received.ts'
import type { Property } from './properties.ts'

/**
 * What a server must keep to in every connection, whatever a test is about: the order of packets, and what the client asked
 * for in CONNECT.
 */
export class Rules {
  readonly #receiveMaximum: number
  readonly #maximumPacketSize: number
  readonly #topicAliasMaximum: number
  readonly #problemInformation: boolean
  readonly #unacknowledged = new Set<number>()
  #connected = false
  #ended = false

  /** `asked`: the properties of CONNECT. */
  constructor(asked: readonly Property[] = []) {
    const connect = { properties: asked }
    this.#receiveMaximum = numberOf(connect, 'receiveMaximum', 65_535)
    this.#maximumPacketSize = numberOf(connect, 'maximumPacketSize', Infinity)
    this.#topicAliasMaximum = numberOf(connect, 'topicAliasMaximum', 0)
    this.#problemInformation = numberOf(connect, 'requestProblemInformation', 1) === 1
  }

  /** Takes note of a packet of the client: an acknowledgement makes room for another message. */
  sent(packet: Buffer): void {
    const type = (packet[0] ?? 0) >> 4
    const refused = type === 5 && (packet[4] ?? 0) >= 0x80
    if (packet.length >= 4 && (type === 4 || type === 7 || refused)) this.#unacknowledged.delete(packet.readUInt16BE(2))
  }

  /** An error says what the server must not have sent. */
  received(packet: Received): void {
    const { type, bytes } = packet
    if (this.#ended) throw new Error(`${type} behind the end [MQTT-3.14.4-1]`)
    if (!this.#connected && type !== 'connack' && type !== 'auth') throw new Error(`${type} before CONNACK [MQTT-3.2.0-1]`)
    if (this.#connected && type === 'connack') throw new Error('a second CONNACK [MQTT-3.2.0-2]')
    if (bytes.length > this.#maximumPacketSize) throw new Error(`${type} of ${bytes.length} bytes [MQTT-3.1.2-24]`)
    const explained = property(packet, 'reasonString') !== undefined || allOf(packet, 'userProperty').length > 0
    if (!this.#problemInformation && explained && !['connack', 'publish', 'disconnect'].includes(type))
      throw new Error(`a reason in ${type} [MQTT-3.1.2-29]`)
    if (type === 'publish') this.#onPublish(packet)
    if (type === 'connack') this.#onConnack(packet)
    if (type === 'disconnect') this.#onDisconnect(packet)
  }

  #onConnack({ codes, sessionPresent, properties }: Received): void {
    this.#connected = true
    if (codes[0] !== 0) this.#ended = true
    if (codes[0] !== 0 && sessionPresent) throw new Error('a refusal with session present 1 [MQTT-3.2.2-6]')
    for (const name of ['receiveMaximum', 'maximumPacketSize'] as const)
      if (numberOf({ properties }, name, 1) === 0) throw new Error(`${name} 0 in CONNACK`)
    for (const [name, value] of properties)
      if (/Available$|^maximumQos$/.test(name) && value !== 0 && value !== 1) throw new Error(`${name} ${String(value)} in CONNACK`)
  }

  #onPublish({ qos, id, properties }: Received): void {
    const alias = property({ properties }, 'topicAlias')
    if (alias !== undefined && (typeof alias !== 'number' || alias === 0 || alias > this.#topicAliasMaximum))
      throw new Error(`topic alias ${String(alias)} [MQTT-3.1.2-26]`)
    if (qos > 0) this.#unacknowledged.add(id)
    if (this.#unacknowledged.size > this.#receiveMaximum) throw new Error('more than the receive maximum [MQTT-3.3.4-9]')
  }

  #onDisconnect(packet: Received): void {
    this.#ended = true
    if (property(packet, 'sessionExpiry') !== undefined) throw new Error('session expiry in DISCONNECT [MQTT-3.14.2-2]')
  }
}
