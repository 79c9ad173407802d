import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FrameParser, frameStatus } from '../../broker/packets/frame-parser.ts'
import { connect, packet, pingreq, publish, pubrel } from './raw-client.ts'

const bound = 262_144

/** What the parser makes of chunks, each consumed as far as it goes. */
function parse(chunks: readonly Buffer[]): string[] {
  const parser = new FrameParser()
  const frames: string[] = []
  for (const chunk of chunks) {
    parser.push(chunk)
    while (parser.next(bound) === frameStatus.complete) {
      frames.push(`${parser.header}:${parser.buffer.toString('hex', parser.bodyStart, parser.bodyEnd)}`)
      parser.consume()
    }
  }
  return frames
}

function cut(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const edges = [0, ...cuts.map(at => at % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length]
  return edges.slice(1).map((edge, index) => Buffer.from(bytes.subarray(edges[index], edge)))
}

const packets = fc.oneof(
  fc
    .record({
      topic: fc.stringMatching(/^[a-z/]{1,40}$/),
      size: fc.integer({ min: 0, max: 5000 }),
      id: fc.integer({ min: 1, max: 65_535 })
    })
    .map(({ topic, size, id }) => publish(topic, Buffer.alloc(size, id & 0xff), { qos: id % 3, id })),
  fc.constant(pingreq),
  fc.integer({ min: 1, max: 65_535 }).map(pubrel),
  fc.stringMatching(/^[a-z]{0,100}$/).map(id => connect(id))
)

describe('FrameParser', () => {
  test('a stream of packets is the same packets however it is cut', () => {
    fc.assert(
      fc.property(fc.array(packets, { minLength: 1, maxLength: 12 }), fc.array(fc.nat(), { maxLength: 40 }), (stream, cuts) => {
        expect(parse(cut(Buffer.concat(stream), cuts))).toEqual(stream.flatMap(bytes => parse([bytes])))
      }),
      { numRuns: 300 }
    )
  })

  test('keeping between the pieces changes nothing, and a short rest does not keep the chunk that it came in', () => {
    fc.assert(
      fc.property(fc.array(packets, { minLength: 1, maxLength: 8 }), fc.array(fc.nat(), { maxLength: 20 }), (stream, cuts) => {
        const parser = new FrameParser()
        const frames: string[] = []
        for (const chunk of cut(Buffer.concat(stream), cuts)) {
          parser.push(chunk)
          while (parser.next(bound) === frameStatus.complete) {
            frames.push(parser.buffer.toString('latin1', parser.start, parser.bodyEnd))
            parser.consume()
          }
          parser.keep()
          expect(parser.buffer.length).toBeLessThanOrEqual(Math.max(256, parser.pendingBytes * 4))
        }
        expect(frames).toEqual(stream.map(bytes => bytes.toString('latin1')))
      })
    )
    const parser = new FrameParser()
    const first = publish('t', Buffer.alloc(60_000, 1))
    parser.push(Buffer.concat([first, pingreq.subarray(0, 1)]))
    expect(parser.next(bound)).toBe(frameStatus.complete)
    parser.consume()
    parser.keep()
    expect([parser.pendingBytes, parser.buffer.length]).toEqual([1, 256])
  })

  test('chunks that all come in one buffer, with room in front of them, give the same packets when the rest is kept between them', () => {
    const front = 64
    const shared = Buffer.alloc(16_384)
    fc.assert(
      fc.property(fc.array(packets, { minLength: 1, maxLength: 8 }), fc.array(fc.nat(), { maxLength: 30 }), (stream, cuts) => {
        const parsers = [new FrameParser(), new FrameParser()]
        const frames: string[][] = [[], []]
        for (const chunk of cut(Buffer.concat(stream), cuts)) {
          for (let at = 0; at < chunk.length; at += shared.length - front) {
            const piece = chunk.subarray(at, at + shared.length - front)
            for (const [index, parser] of parsers.entries()) {
              shared.fill(index)
              piece.copy(shared, front)
              parser.push(shared, front, front + piece.length)
              while (parser.next(bound) === frameStatus.complete) {
                frames[index]?.push(parser.buffer.toString('latin1', parser.start, parser.bodyEnd))
                parser.consume()
              }
              parser.keep()
            }
          }
        }
        const whole = stream.map(bytes => bytes.toString('latin1'))
        expect(frames).toEqual([whole, whole])
      }),
      { numRuns: 300 }
    )
  })

  test('every single cut of two packets gives the two packets', () => {
    const stream = Buffer.concat([
      publish('devices/a/telemetry', '{"t":1}', { qos: 1, id: 258 }),
      publish('b', Buffer.alloc(200, 7), { qos: 2, id: 3 })
    ])
    const whole = parse([stream])
    expect(whole).toHaveLength(2)
    for (let at = 0; at <= stream.length; at++) expect(parse(cut(stream, [at]))).toEqual(whole)
  })

  test('a large packet that comes byte by byte costs about as much as its bytes', () => {
    const bytes = publish('slow', Buffer.alloc(250_000, 1))
    const started = performance.now()
    const frames = parse(Array.from({ length: bytes.length }, (_, at) => bytes.subarray(at, at + 1)))
    expect(frames).toHaveLength(1)
    expect(performance.now() - started).toBeLessThan(2000)
  })

  test('a declared length over the bound is refused before its bytes come', () => {
    const parser = new FrameParser()
    parser.push(Buffer.from([0x30, 0xff, 0xff, 0x7f]))
    expect(parser.next(bound)).toBe(frameStatus.tooLarge)
  })

  test('a packet of exactly the bound is taken, one byte more is not', () => {
    const parser = new FrameParser()
    const bytes = publish('t', Buffer.alloc(1000, 1))
    parser.push(bytes)
    expect(parser.next(bytes.length)).toBe(frameStatus.complete)
    expect(parser.next(bytes.length - 1)).toBe(frameStatus.tooLarge)
  })

  test('a length of more than four bytes is malformed', () => {
    const parser = new FrameParser()
    parser.push(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 0x01]))
    expect(parser.next(bound)).toBe(frameStatus.malformed)
  })

  test('exactly the headers that a client may send are accepted', () => {
    const accepted = Array.from({ length: 256 }, (_, header) => header).filter(header => {
      const parser = new FrameParser()
      parser.push(Buffer.from([header, 0]))
      return parser.next(bound) === frameStatus.complete
    })
    const publishes = Array.from({ length: 16 }, (_, flags) => 0x30 | flags).filter(header => (header & 6) !== 6)
    expect(accepted).toEqual([0x10, ...publishes, 0x40, 0x50, 0x62, 0x70, 0x82, 0xa2, 0xc0, 0xe0])
  })

  test('PINGREQs behind a packet that waits are counted once each, however the bytes arrive', () => {
    fc.assert(
      fc.property(fc.array(packets, { maxLength: 10 }), fc.array(fc.nat(), { maxLength: 20 }), (behind, cuts) => {
        const parser = new FrameParser()
        parser.push(publish('first', 'waits'))
        parser.next(bound)
        let pings = parser.countPings(bound)
        const front = cuts.length % 2 === 0 ? 0 : 100
        for (const chunk of cut(Buffer.concat(behind), cuts)) {
          parser.push(Buffer.concat([Buffer.alloc(front), chunk]), front)
          pings += parser.countPings(bound)
        }
        expect(pings).toBe(behind.filter(bytes => bytes === pingreq).length)
        const scanned: boolean[] = []
        while (parser.next(bound) === frameStatus.complete) {
          scanned.push(parser.scanned)
          parser.consume()
        }
        expect(scanned).toEqual(Array.from({ length: behind.length + 1 }, () => true))
      })
    )
  })

  test('an empty parser holds no buffer', () => {
    const parser = new FrameParser()
    const bytes = packet(0x30, Buffer.alloc(100_000, 65))
    parser.push(bytes.subarray(0, 50_000))
    parser.push(bytes.subarray(50_000))
    expect(parser.next(bound)).toBe(frameStatus.complete)
    parser.consume()
    expect([parser.pendingBytes, parser.buffer.length]).toEqual([0, 0])
  })
})
