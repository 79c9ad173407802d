import { connect, disconnect, packet, pingreq, pubrel, publish, subscribe, text, uint16 } from '../broker/raw-client.ts'
import type { Random } from './random.ts'

const topics = [
  'a',
  'a/b',
  'devices/kitchen/temperature',
  'plant/1/ü/€/𝄞',
  '/',
  'a//b',
  ' ',
  '\uFEFFx',
  'x'.repeat(256),
  'l/'.repeat(15)
] as const
const filters = ['a', 'a/+', '+/b', '#', 'devices/#', '+', '/', '$SYS/#', 'plant/+/ü/#', '$share/g/a', 'y'.repeat(256), '+/+/+'] as const
const users = ['anna', 'müller', 'u'.repeat(300)] as const

/** Valid and near-valid packets, and whole sessions of them; small spaces of ids and topics, so that they meet again. */
export class Corpus {
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  /** CONNECT first, then what devices and subscribers send; the second field says how the client would go on. */
  session(): Buffer[] {
    const random = this.#random
    const packets = [this.connect()]
    const count = random.oneIn(40) ? random.between(300, 1500) : random.between(1, 150)
    const kind = random.below(4)
    while (packets.length < count) packets.push(this.#next(kind, packets))
    if (random.oneIn(4)) packets.push(disconnect)
    return packets
  }

  connect(): Buffer {
    const random = this.#random
    const level = random.oneIn(5) ? 3 : 4
    return connect(this.#clientId(), {
      level,
      clean: !random.oneIn(3),
      keepAlive: random.pick([0, 1, 60, 65_535]),
      ...(random.oneIn(4)
        ? {
            will: { topic: random.pick(topics), payload: this.#payload().toString('latin1'), qos: random.below(3), retain: random.oneIn(2) }
          }
        : {}),
      ...(random.oneIn(4) ? { user: random.pick(users) } : {})
    })
  }

  /** A packet of any type but CONNECT. */
  any(): Buffer {
    return this.#next(this.#random.below(4), [])
  }

  /** A SUBSCRIBE or UNSUBSCRIBE with so many short filters. */
  manyFilters(count: number): Buffer {
    const qos = this.#random.oneIn(2)
    const first = this.#random.below(1000)
    const list = Array.from({ length: count }, (_, index) => [text(`f/${first + index}`), Buffer.alloc(qos ? 1 : 0)]).flat()
    return packet(qos ? 0x82 : 0xa2, uint16(7), ...list)
  }

  #next(kind: number, before: readonly Buffer[]): Buffer {
    const random = this.#random
    const publishes = kind < 3 ? 17 : 8
    const choice = random.below(24)
    if (choice < publishes) return this.#publish(before)
    switch (choice - publishes) {
      case 0:
      case 1:
      case 2:
        return pubrel(this.#packetId())
      case 3:
        return pingreq
      case 4:
        return random.oneIn(3) ? this.#subscribe() : pingreq
      case 5:
        return random.oneIn(3) ? packet(0xa2, uint16(this.#packetId()), text(random.pick(filters))) : pingreq
      case 6:
        return random.oneIn(8) ? packet(random.pick([0x40, 0x50, 0x70]), uint16(this.#packetId())) : pingreq
      default:
        return random.oneIn(3) ? this.#subscribe() : pubrel(this.#packetId())
    }
  }

  #publish(before: readonly Buffer[]): Buffer {
    const random = this.#random
    const again = random.oneIn(6) ? before[random.below(before.length)] : undefined
    if (again !== undefined && (again[0] ?? 0) >> 4 === 3) {
      const copy = Buffer.from(again)
      if (((copy[0] ?? 0) & 6) !== 0) copy[0] = (copy[0] ?? 0) | 8
      return copy
    }
    const qos = random.below(3)
    return publish(random.pick(topics), this.#payload(), {
      qos,
      id: this.#packetId(),
      retain: random.oneIn(20),
      dup: qos > 0 && random.oneIn(10)
    })
  }

  #subscribe(): Buffer {
    const random = this.#random
    const list = Array.from({ length: random.between(1, 4) }, () => [random.pick(filters), random.below(3)] as const)
    return subscribe(this.#packetId(), ...list)
  }

  #clientId(): string {
    const random = this.#random
    if (random.oneIn(12)) return random.pick(['', '__proto__', 'ü€𝄞', 'i'.repeat(128), 'i'.repeat(129), '#', 'constructor'])
    return `c-${random.below(40)}`
  }

  /** Few, so that ids are used again; and both ends. */
  #packetId(): number {
    const random = this.#random
    return random.oneIn(50) ? 65_535 : random.between(1, 12)
  }

  #payload(): Buffer {
    const random = this.#random
    if (random.oneIn(200)) return random.bytes(random.between(1_000, 40_000))
    if (random.oneIn(10)) return Buffer.alloc(random.below(200), random.pick(['0', 'é', '{"t":21.5}']))
    return random.bytes(random.below(30))
  }
}
