import type { Packet } from 'mqtt-packet'
import { connect5, packet5 } from '../broker/client5.ts'
import type { Random } from './random.ts'

const topics = ['a', 'a/b', 'a/b/c', 'küche/🌡', 'x'.repeat(256)] as const
const refusedTopics = ['', '$SYS/x', 'x'.repeat(257), 'a/#'] as const
const filters = ['a', 'a/+', '#', '+/b/#', '$share/g/a', '$SYS/#', 'x'.repeat(257)] as const
const words = ['', 'a', 'text/plain', 'ß', 'x'.repeat(300)] as const

/** Packets of MQTT 5 as clients send them, with every property that there is, some of them wrong in their place. */
export class Corpus5 {
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  /** The packets of one connection. */
  session(): readonly Buffer[] {
    const packets = [this.connect()]
    for (let count = this.#random.between(1, 60); count > 0; count--) packets.push(this.any())
    return packets
  }

  manyFilters(count: number): Buffer {
    const subscriptions = Array.from({ length: count }, (_, at) => ({ topic: `many/${at}`, qos: 1 as const }))
    return this.#of({ cmd: 'subscribe', messageId: 1, subscriptions })
  }

  any(): Buffer {
    const random = this.#random
    const messageId = random.oneIn(8) ? random.between(1, 65_535) : random.between(1, 8)
    switch (random.below(12)) {
      case 0:
        return this.#of({
          cmd: 'subscribe',
          messageId,
          subscriptions: Array.from({ length: random.between(1, 4) }, () => ({
            topic: random.pick(filters),
            qos: random.pick([0, 1, 2] as const),
            nl: random.oneIn(3),
            rap: random.oneIn(3),
            rh: random.below(3)
          })),
          properties: random.oneIn(2) ? {} : { subscriptionIdentifier: random.between(1, 268_435_455) }
        })
      case 1:
        return this.#of({ cmd: 'unsubscribe', messageId, unsubscriptions: [random.pick(filters), random.pick(filters)] })
      case 2:
        return this.#of({ cmd: 'puback', messageId, reasonCode: random.pick([0, 0x10, 0x80, 0x97]) })
      case 3:
        return this.#of({ cmd: 'pubrec', messageId, reasonCode: random.pick([0, 0, 0x97]) })
      case 4:
        return this.#of({
          cmd: 'pubrel',
          messageId,
          reasonCode: random.pick([0, 0, 0x92]),
          properties: { reasonString: random.pick(words) }
        })
      case 5:
        return this.#of({ cmd: 'pubcomp', messageId, reasonCode: 0 })
      case 6:
        return random.oneIn(6)
          ? this.#of({
              cmd: 'disconnect',
              reasonCode: random.pick([0, 4, 0x80]),
              properties: random.oneIn(2) ? {} : { sessionExpiryInterval: random.below(3) }
            })
          : Buffer.from([0xc0, 0])
      default:
        return this.#publish(messageId)
    }
  }

  connect(): Buffer {
    const random = this.#random
    const will = { topic: 'will', payload: Buffer.from('gone'), qos: random.pick([0, 1, 2] as const), retain: random.oneIn(2) }
    return connect5(`five ${random.below(20)}`, {
      clean: random.oneIn(2),
      properties: {
        sessionExpiryInterval: random.pick([0, 1, 100]),
        receiveMaximum: random.between(1, 20),
        topicAliasMaximum: random.below(5),
        ...(random.oneIn(3) ? { maximumPacketSize: random.between(20, 400) } : {})
      },
      ...(random.oneIn(2) ? { will: { ...will, properties: { willDelayInterval: random.below(3), ...this.#messageProperties() } } } : {})
    })
  }

  #publish(messageId: number): Buffer {
    const random = this.#random
    const alias = random.oneIn(3) ? { topicAlias: random.oneIn(100) ? random.between(0, 40) : random.between(1, 3) } : {}
    const isAgain = 'topicAlias' in alias && random.oneIn(3)
    return this.#of({
      cmd: 'publish',
      topic: isAgain ? '' : random.oneIn(40) ? random.pick(refusedTopics) : random.pick(topics),
      payload: random.oneIn(20) ? random.bytes(random.between(100, 20_000)) : random.pick(words),
      qos: random.pick([0, 1, 2] as const),
      dup: false,
      retain: random.oneIn(6),
      messageId,
      properties: { ...alias, ...this.#messageProperties() }
    })
  }

  #messageProperties(): object {
    const random = this.#random
    return {
      ...(random.oneIn(4) ? { payloadFormatIndicator: random.oneIn(2) } : {}),
      ...(random.oneIn(4) ? { messageExpiryInterval: random.below(4) } : {}),
      ...(random.oneIn(4) ? { contentType: random.pick(words) } : {}),
      ...(random.oneIn(6) ? { responseTopic: random.pick(topics) } : {}),
      ...(random.oneIn(6) ? { correlationData: random.bytes(random.below(20)) } : {}),
      ...(random.oneIn(4) ? { userProperties: { [random.pick(words)]: [random.pick(words), random.pick(words)] } } : {})
    }
  }

  /** mqtt-packet refuses to write some of what clients send: a PINGREQ stands for that. */
  #of(packet: Packet): Buffer {
    try {
      return packet5(packet)
    } catch {
      return Buffer.from([0xc0, 0])
    }
  }
}
