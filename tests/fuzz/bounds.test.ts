import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test, vi } from 'vitest'
import { FakeJournal } from '../broker/fake-journal.ts'
import { RawClient, packet, pingreq, publish, serveBroker, text, uint16 } from '../broker/raw-client.ts'
import { playRound } from './round.ts'
import { World } from './world.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void
const leakedBytes = 4 * 1024 * 1024

function heldMemory(): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

test('a broker that was attacked for a while holds no more than after a moment', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  try {
    await using world = await World.open()
    const held: number[] = []
    // The same clients, sessions and topics over and over, so that nothing has a reason to grow.
    for (let round = 0; round < 9; round++) {
      await playRound(world, 1 + (round % 3))
      held.push(heldMemory())
    }
    const early = Math.max(...held.slice(3, 6))
    const late = Math.min(...held.slice(6))
    expect(late - early, `held after each round: ${held.join(' ')}`).toBeLessThan(leakedBytes)
  } finally {
    vi.useRealTimers()
  }
})

/** Processor time of this process, client and broker, for the bytes of one connection, in µs; the least of three. */
async function cost(pieces: readonly Buffer[], options: { readonly clean?: boolean; readonly replies: number }): Promise<number> {
  const { clean = true, replies } = options
  let least = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < 3; attempt++) {
    const limits = { subscriptions: 4000, heldBytes: 4_194_304, heldBytesTotal: 16_777_216 }
    await using served = await serveBroker({ maxPacketBytes: 4_194_304, limits, journal: new FakeJournal({ keep: false }) })
    using client = await RawClient.connect(served.port, 'costly', { clean })
    const before = process.cpuUsage()
    for (const piece of pieces) {
      client.socket.write(piece)
      await new Promise(resolve => setImmediate(resolve))
    }
    await client.received(1 + replies, 30_000)
    const { user, system } = process.cpuUsage(before)
    least = Math.min(least, user + system)
  }
  return least
}

function inPieces(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size))
}

const filters = (header: number, count: number, filterOf: (index: number) => string): Buffer => {
  const qos = Buffer.alloc(header === 0x82 ? 1 : 0, 1)
  return packet(header, uint16(1), ...Array.from({ length: count }, (_, index) => [text(filterOf(index)), qos]).flat())
}

describe('eight times the bytes cost about eight times the work', () => {
  // Sixty-four times is what work that grows with the square costs.
  const most = 24
  const cases: readonly (readonly [string, (scale: number) => { readonly pieces: readonly Buffer[]; clean?: boolean; replies: number }])[] =
    [
      [
        'a packet in pieces of 256 bytes',
        n => ({ pieces: inPieces(publish('t', Buffer.alloc(n * 131_072), { qos: 1, id: 1 }), 256), replies: 1 })
      ],
      [
        'PINGREQs, byte by byte',
        n => ({ pieces: inPieces(Buffer.concat(Array.from({ length: n * 400 }, () => pingreq)), 1), replies: n * 400 })
      ],
      [
        'publishes behind each other in one segment',
        n => ({
          pieces: [Buffer.concat(Array.from({ length: n * 1000 }, (_, i) => publish('t', 'x', { qos: 1, id: i + 1 })))],
          replies: n * 1000
        })
      ],
      ['filters of a clean session', n => ({ pieces: [filters(0x82, n * 400, i => `f/${i}`)], replies: 1 })],
      ['filters of a persistent session', n => ({ pieces: [filters(0x82, n * 400, i => `f/${i}`)], replies: 1, clean: false })],
      ['one filter again and again', n => ({ pieces: [filters(0x82, n * 1000, () => 'f')], replies: 1, clean: false })],
      ['filters that were never subscribed to', n => ({ pieces: [filters(0xa2, n * 400, i => `f/${i}`)], replies: 1, clean: false })]
    ]
  test.each(cases)('%s', async (_name, build) => {
    const one = build(1)
    const eight = build(8)
    // The first run compiles.
    await cost(one.pieces, one)
    const ratio = (await cost(eight.pieces, eight)) / (await cost(one.pieces, one))
    expect(ratio).toBeLessThan(most)
  })
})
