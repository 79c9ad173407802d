import { encodeSuback } from './packets/subscribe-packet.ts'

/** A SUBACK that aedes sends with fewer return codes than the SUBSCRIBE had filters. */
interface OwedSuback {
  readonly packetId: number
  /** Return codes that aedes sends. */
  readonly granted: number
  /** Those of all filters, in the order in which they came. */
  readonly returnCodes: Uint8Array
}

const suback = 0x90

/** The SUBACKs that one connection is owed and that aedes does not send as a whole. */
export class SubscribeAcknowledgements {
  readonly #owed: OwedSuback[] = []

  /** The next SUBACK with this packet id and as many return codes as were granted gets all of them. */
  owe(owed: OwedSuback): void {
    this.#owed.push(owed)
  }

  /** Whole packets from aedes, with SUBACKs as they are owed [MQTT-3.9.3-1]. */
  complete(packets: Buffer): Buffer {
    if (this.#owed.length === 0) return packets
    const completed: Buffer[] = []
    for (let at = 0; at < packets.length;) {
      const { bodyStart, end } = extentOf(packets, at)
      const isSuback = packets[at] === suback
      completed.push((isSuback ? this.#take(packets.readUInt16BE(bodyStart), end - bodyStart - 2) : undefined) ?? packets.subarray(at, end))
      at = end
    }
    return Buffer.concat(completed)
  }

  #take(packetId: number, granted: number): Buffer | undefined {
    const index = this.#owed.findIndex(owed => owed.packetId === packetId && owed.granted === granted)
    const [owed] = index < 0 ? [] : this.#owed.splice(index, 1)
    return owed === undefined ? undefined : encodeSuback(packetId, owed.returnCodes)
  }
}

function extentOf(packets: Buffer, at: number): { readonly bodyStart: number; readonly end: number } {
  let length = 0
  let position = at + 1
  for (let shift = 0, byte = 0x80; byte > 0x7f; shift += 7) {
    byte = packets[position] ?? 0
    length += (byte & 0x7f) << shift
    position += 1
  }
  return { bodyStart: position, end: position + length }
}
