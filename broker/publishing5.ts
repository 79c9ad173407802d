import type { AppendRecord } from '../journal/record.ts'
import { acknowledgement } from './acknowledgements.ts'
import { buildPublish5Packet, decodePublish5, keptProperties } from './packets/publish5-packet.ts'
import type { Publish5Packet } from './packets/publish5-packet.ts'
import { reasonCodes } from './packets/reason-codes.ts'
import type { Fault } from './packets/reason-codes.ts'
import type { BrokerStatistics } from './statistics.ts'
import { IncomingAliases } from './topic-aliases.ts'

/** One object for all connections, apart from that of MQTT 3.x, whose publishes so cost nothing more. */
const packet = buildPublish5Packet()

/**
 * What MQTT 5 adds to the publisher's side of a connection: properties, topic aliases, and the receive maximum.
 *
 * What a client may still publish is counted as it has to count it itself (§4.9): from the receive maximum of CONNACK, one
 * less with each PUBLISH, one more with each PUBACK, PUBCOMP, and PUBREC that says no. A client that keeps to it is never
 * found beyond, since it sees our acknowledgements after us.
 */
export class Publishing5 {
  readonly aliases: IncomingAliases
  /** What CONNACK says. */
  readonly receiveMaximum: number
  #left: number
  /** The topic of the current PUBLISH, when it is behind an alias. */
  #topic: Buffer | undefined

  constructor(receiveMaximum: number, statistics: BrokerStatistics) {
    this.aliases = new IncomingAliases(statistics)
    this.receiveMaximum = receiveMaximum
    this.#left = receiveMaximum
  }

  /** Reads a PUBLISH into `packet`; why it is refused, or undefined. */
  decode(buffer: Buffer, header: number, start: number, end: number): Fault | undefined {
    this.#topic = undefined
    const fault = decodePublish5(buffer, header, start, end, packet)
    if (fault !== undefined || packet.topicAlias === 0) return fault
    const { topicAlias, topicStart, topicEnd } = packet
    if (topicEnd > topicStart) return this.aliases.set(topicAlias, buffer, topicStart, topicEnd)
    const topic = this.aliases.topicOf(topicAlias)
    if ('fault' in topic) return topic
    this.#topic = topic
    return undefined
  }

  /** What was decoded last, of any connection. */
  get packet(): Publish5Packet {
    return packet
  }

  /** Puts into the record what MQTT 5 has more. */
  complete(record: AppendRecord, buffer: Buffer): void {
    record.properties = keptProperties(buffer, packet)
    if (this.#topic !== undefined) record.topic = this.#topic
  }

  /** True when there must be no further PUBLISH above QoS 0 [MQTT-3.3.4-9]. */
  get spent(): boolean {
    return this.#left === 0
  }

  /** A PUBLISH above QoS 0 was dealt with; its acknowledgement comes. */
  taken(): void {
    this.#left -= 1
  }

  /** It was not dealt with after all, and will be later. */
  untaken(): void {
    this.#left += 1
  }

  /** An acknowledgement leaves: packet type in the lower byte, reason code above it. */
  acknowledged(type: number): void {
    const refuses = type >> 8 >= reasonCodes.unspecifiedError
    if ((type & 0xff) === acknowledgement.pubrec && !refuses) return
    if (this.#left < this.receiveMaximum) this.#left += 1
  }

  /** True for a PUBLISH above QoS 0 that a reason code refuses, so that its connection can go on. */
  answers({ code }: Fault): boolean {
    return packet.qos > 0 && (code === reasonCodes.topicNameInvalid || code === reasonCodes.payloadFormatInvalid)
  }

  close(): void {
    this.aliases.close()
  }
}
