import { varint } from '../broker/raw-client.ts'
import type { Random } from './random.ts'

/** Bytes that break UTF-8, or only nearly do. */
const damagedText = ['00', 'c080', 'c3', 'eda080', 'edbfbf', 'f4908080', 'f8888080', '80', 'ff', 'efbfbf', 'f09f98', 'e28080'] as const

/** A packet cut into header, remaining length and body; a length of more than four bytes is taken for four. */
function cut(bytes: Buffer): { readonly header: number; readonly body: Buffer } {
  let at = 1
  while (at < 5 && (bytes[at] ?? 0) > 127) at += 1
  return { header: bytes[0] ?? 0, body: bytes.subarray(at + 1) }
}

function frame(header: number, body: Buffer, length = varint(body.length)): Buffer {
  return Buffer.concat([Buffer.from([header]), length, body])
}

/** Where another packet comes from. */
interface Packets {
  any(): Buffer
  connect(): Buffer
  /** A SUBSCRIBE. */
  manyFilters(count: number): Buffer
}

/** One way to damage a packet. */
type Mutation = (packet: Buffer, random: Random, corpus: Packets) => Buffer

/** Changes in the body alone; its length is made true again by `reframed`, or is not. */
const ofBytes: Readonly<Record<string, Mutation>> = {
  flipBits: (bytes, random) => {
    const copy = Buffer.from(bytes)
    for (let flips = random.between(1, 3); flips > 0 && copy.length > 0; flips--) {
      const at = random.below(copy.length)
      copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8))
    }
    return copy
  },
  insertBytes: (bytes, random) => {
    const at = random.below(bytes.length + 1)
    return Buffer.concat([bytes.subarray(0, at), random.bytes(random.between(1, 6)), bytes.subarray(at)])
  },
  deleteBytes: (bytes, random) => {
    const at = random.below(bytes.length)
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random.between(1, 6))])
  },
  repeatBlock: (bytes, random) => {
    const from = random.below(bytes.length)
    const block = bytes.subarray(from, from + random.between(1, 40))
    const times = random.oneIn(20) ? random.between(50, 500) : random.between(1, 4)
    return Buffer.concat([bytes.subarray(0, from), ...Array.from({ length: times }, () => block), bytes.subarray(from)])
  },
  truncate: (bytes, random) => bytes.subarray(0, random.below(bytes.length)),
  damageText: (bytes, random) => {
    const at = Math.min(bytes.length, random.oneIn(3) ? random.below(bytes.length) : random.between(2, 12))
    const damage = Buffer.from(random.pick(damagedText), 'hex')
    return Buffer.concat([bytes.subarray(0, at), damage, bytes.subarray(at + damage.length)])
  },
  lieAboutInnerLength: (bytes, random) => {
    if (bytes.length < 2) return bytes
    const copy = Buffer.from(bytes)
    const at = random.oneIn(2) ? 0 : random.below(copy.length - 1)
    copy.writeUInt16BE(
      random.oneIn(2) ? random.below(65_536) : Math.max(0, Math.min(65_535, copy.readUInt16BE(at) + random.between(-3, 3))),
      at
    )
    return copy
  },
  splice: (bytes, random, corpus) => {
    const other = cut(corpus.any()).body
    return Buffer.concat([bytes.subarray(0, random.below(bytes.length + 1)), other.subarray(random.below(other.length + 1))])
  }
}

const ofFrames: Readonly<Record<string, Mutation>> = {
  lieAboutLength: (packet, random) => {
    const { header, body } = cut(packet)
    return frame(header, body, varint(Math.max(0, body.length + random.between(-4, 4))))
  },
  declareMuch: (packet, random) => {
    const { header, body } = cut(packet)
    return frame(
      header,
      body,
      Buffer.from(random.pick(['ffffff7f', 'ffffffff7f', 'ffffffffff', '80808001', '80808000', 'ff7f', 'ffff01']), 'hex')
    )
  },
  /** Not the shortest way to write the length, and right; of five bytes, wrong. */
  lengthenLength: (packet, random) => {
    const { header, body } = cut(packet)
    const digits = Buffer.from(varint(body.length))
    const zeros = Buffer.alloc(Math.max(0, random.between(1, 5 - digits.length)), 0x80)
    if (zeros.length === 0) return packet
    digits[digits.length - 1] = (digits.at(-1) ?? 0) | 0x80
    zeros[zeros.length - 1] = 0
    return frame(header, body, Buffer.concat([digits, zeros]))
  },
  changeHeader: (packet, random) => {
    const copy = Buffer.from(packet)
    copy[0] = random.oneIn(2) ? random.below(256) : (copy[0] ?? 0) ^ (1 << random.below(4))
    return copy
  },
  zeroPacketId: packet => {
    const { header, body } = cut(packet)
    const copy = Buffer.from(body)
    const at = header >> 4 === 3 && copy.length > 1 ? 2 + copy.readUInt16BE(0) : 0
    return frame(header, copy.fill(0, Math.min(at, copy.length), Math.min(at + 2, copy.length)))
  },
  /** The header of one packet, the body of another. */
  swapHeader: (packet, _random, corpus) => frame(corpus.any()[0] ?? 0, cut(packet).body),
  /** Two packets, one cut off in the middle of it. */
  spliceFrames: (packet, random, corpus) => {
    const other = corpus.any()
    return Buffer.concat([packet.subarray(0, random.below(packet.length + 1)), other.subarray(random.below(other.length + 1))])
  },
  garbage: (packet, random) => Buffer.concat([packet, random.bytes(random.between(1, 64))]),
  secondConnect: (packet, _random, corpus) => Buffer.concat([packet, corpus.connect()]),
  manyFilters: (_packet, random, corpus) => corpus.manyFilters(random.pick([1, 30, 99, 101, 150, 201, 2000])),
  manyTimes: (packet, random) => Buffer.concat(Array.from({ length: random.between(2, 300) }, () => packet))
}

const bodyMutations = Object.values(ofBytes)
const frameMutations = Object.values(ofFrames)

/** The packet, damaged in one to three ways; more often than not its length is true, so that the damage gets further in. */
export function mutate(packet: Buffer, random: Random, corpus: Packets): Buffer {
  let mutated = packet
  for (let count = random.oneIn(4) ? random.between(2, 3) : 1; count > 0; count--) {
    const kind = random.below(8)
    const ofBody = bodyMutations[random.below(bodyMutations.length)]
    const ofFrame = frameMutations[random.below(frameMutations.length)]
    if (ofBody === undefined || ofFrame === undefined) continue
    if (kind < 5) {
      const { header, body } = cut(mutated)
      mutated = frame(header, ofBody(body, random, corpus))
    } else mutated = (kind < 6 ? ofBody : ofFrame)(mutated, random, corpus)
  }
  return mutated
}
