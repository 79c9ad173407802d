import type { Outbound } from './outbound.ts'
import type { ConnectPacket } from './packets/connect-packet.ts'
import { encodePublish5 } from './packets/outgoing-publish5.ts'
import type { Delivery } from './routing/delivery.ts'
import { remainingSeconds } from './routing/message.ts'
import { OutgoingAliases } from './topic-aliases.ts'
import type { BrokerStatistics } from './statistics.ts'

/** A payload up to this is copied behind its head, so that a packet is one buffer. */
const copiedPayloadBytes = 4096

/** PUBLISHes to a client of MQTT 5: with properties, within the packet size that it takes, under topic aliases if it takes any. */
export class PublishesOut5 {
  readonly #out: Outbound
  readonly #maximumPacketBytes: number
  readonly #aliases: OutgoingAliases
  readonly #now: () => number

  constructor(options: {
    readonly out: Outbound
    readonly packet: ConnectPacket
    readonly statistics: BrokerStatistics
    /** The clock of message expiry, in ms. */
    readonly now: () => number
  }) {
    this.#out = options.out
    this.#maximumPacketBytes = options.packet.maximumPacketBytes
    this.#aliases = new OutgoingAliases(options.packet.topicAliasMaximum, options.statistics)
    this.#now = options.now
  }

  /** Sends a PUBLISH; false when it is larger than the client takes [MQTT-3.1.2-24]. */
  publish(delivery: Delivery, packetId: number, dup: boolean): boolean {
    const { message } = delivery
    const { topic, payload } = message
    const known = this.#aliases.get(topic)
    const topicAlias = known > 0 ? known : this.#aliases.next(topic)
    const expirySeconds = remainingSeconds(message, this.#now())
    const head = encodePublish5(delivery, { packetId, dup, expirySeconds, topicAlias, topicKnown: known > 0 })
    if (head.length + payload.length > this.#maximumPacketBytes) return false
    if (known === 0 && topicAlias > 0) this.#aliases.set(topic)
    if (payload.length > copiedPayloadBytes) {
      this.#out.reply(head)
      this.#out.reply(payload)
    } else this.#out.reply(payload.length === 0 ? head : Buffer.concat([head, payload]))
    return true
  }

  close(): void {
    this.#aliases.close()
  }
}
