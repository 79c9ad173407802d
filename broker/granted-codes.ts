/** Return code of a filter that is not granted. */
export const refusedFilter = 0x80

const subackHeader = 0x90

interface Expected {
  readonly packetId: number
  readonly codes: readonly number[]
}

/**
 * The return codes of SUBACKs, as the gate decided when the SUBSCRIBE came. aedes answers a filter that stands there several
 * times once, but each owes a code [MQTT-3.8.4-5], and asks so late what is granted that packets behind may have changed
 * it. There are as many as SUBSCRIBEs that aedes was given and has not answered.
 */
export class GrantedCodes {
  readonly #expected: Expected[] = []

  /** The SUBACK of this packet id has to have these codes. */
  expect(packetId: number, codes: readonly number[]): void {
    this.#expected.push({ packetId, codes })
  }

  /** The packets, whole ones, with the SUBACKs as they have to be. */
  complete(packets: Buffer): Buffer {
    if (this.#expected.length === 0) return packets
    const parts: Buffer[] = []
    let at = 0
    while (at < packets.length) {
      const { bodyStart, end } = frameAt(packets, at)
      const codes = packets[at] === subackHeader ? this.#take(packets.readUInt16BE(bodyStart)) : undefined
      parts.push(codes === undefined ? packets.subarray(at, end) : suback(packets.subarray(bodyStart, bodyStart + 2), codes))
      at = end
    }
    return Buffer.concat(parts)
  }

  #take(packetId: number): readonly number[] | undefined {
    const index = this.#expected.findIndex(expected => expected.packetId === packetId)
    return index < 0 ? undefined : this.#expected.splice(index, 1)[0]?.codes
  }
}

function suback(packetId: Buffer, codes: readonly number[]): Buffer {
  const length: number[] = []
  for (let rest = codes.length + 2; rest > 0; rest >>= 7) length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
  return Buffer.concat([Buffer.from([subackHeader, ...length]), packetId, Buffer.from(codes)])
}

function frameAt(packets: Buffer, at: number): { readonly bodyStart: number; readonly end: number } {
  let length = 0
  let bodyStart = at + 1
  for (let shift = 0, byte = 0x80; byte > 0x7f; shift += 7) {
    byte = packets[bodyStart++] ?? 0
    length += (byte & 0x7f) << shift
  }
  return { bodyStart, end: bodyStart + length }
}
