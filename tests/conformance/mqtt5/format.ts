import { expect } from 'vitest'
import { illFormed, withNul } from '../format.ts'
import { bytes } from '../wire.ts'
import {
  connect,
  disconnect,
  packet,
  pingreq,
  puback,
  pubcomp,
  publish,
  pubrec,
  pubrel,
  subscribe,
  text,
  uint16,
  unsubscribe,
  varint
} from './packets.ts'
import { encodeProperties } from './properties.ts'
import type { Property } from './properties.ts'
import type { Checks, World } from './world.ts'

/** Each packet that holds a string, with this as the string, sent after CONNECT. */
const carriers = (value: Buffer): readonly Buffer[] => [
  publish(value, 'x', { qos: 1 }),
  publish(value, 'x'),
  publish('fine', 'x', { properties: [['contentType', value]] }),
  publish('fine', 'x', { properties: [['responseTopic', value]] }),
  subscribe(1, [[value, 0]]),
  unsubscribe(1, ['fine', value]),
  disconnect(0, [['reasonString', value]])
]

const connectCarriers = (value: Buffer): readonly Buffer[] => [
  connect({ clientId: value }),
  connect({ will: { topic: value, payload: 'x' } }),
  connect({ will: { topic: 'fine', payload: 'x', properties: [['contentType', value]] } }),
  connect({ user: value })
]

/** Each packet with user properties, sent after CONNECT, with this pair. */
const pairCarriers = (pair: Property): readonly Buffer[] => [
  publish('fine', 'x', { properties: [pair] }),
  subscribe(1, [['fine', 0]], [pair]),
  unsubscribe(1, ['fine'], [pair]),
  puback(1, 0, [pair]),
  pubrec(1, 0, [pair]),
  pubrel(1, 0, [pair]),
  pubcomp(1, 0, [pair]),
  disconnect(0, [pair])
]

/** Table 2-2: the flags that each packet type has. */
const rightFlags = new Map([
  [4, 0],
  [5, 0],
  [6, 2],
  [7, 0],
  [8, 2],
  [10, 2],
  [12, 0],
  [14, 0]
])

/** A packet of each type with flags that it does not have. */
export function invalidFlags(types: readonly number[] = [...rightFlags.keys()]): readonly Buffer[] {
  const bodies = new Map([
    [8, Buffer.concat([uint16(1), bytes('00'), text('a'), bytes('00')])],
    [10, Buffer.concat([uint16(1), bytes('00'), text('a')])],
    [12, Buffer.alloc(0)],
    [14, Buffer.alloc(0)]
  ])
  return types.flatMap(type =>
    Array.from({ length: 16 }, (_, flags) => flags)
      .filter(flags => flags !== rightFlags.get(type))
      .map(flags => packet((type << 4) | flags, bodies.get(type) ?? uint16(1)))
  )
}

/** A message with QoS 2 goes to a client that acknowledges nothing by itself; answers its packet id. */
async function sentTo(world: World): Promise<{ client: Awaited<ReturnType<World['join']>>; id: number }> {
  const client = await world.join()
  await client.ask(1, subscribe(1, [['a', 2]]))
  await world.say(['a', 'x', { qos: 2 }])
  return { client, id: (await client.sees('publish:2:a:x')).id }
}

const twoBytes = (first: number, second: number): Buffer => Buffer.from([first, second])

/** Chapters 1 and 2: strings, integers, flags, packet ids, properties. */
export const format = {
  'MQTT-1.5.4-1': async world => {
    await world.refuses('81 85 90 86', illFormed.flatMap(connectCarriers))
    await world.closesOn('81 90', illFormed.flatMap(carriers))
    const wellFormed = ['a', 'ä', '€', '\u{10fffd}', '\ud7ff', '\ue000', '\u{1d11e}'].map(value => Buffer.from(value))
    await world.accepts(wellFormed.flatMap(connectCarriers))
  },
  'MQTT-1.5.4-2': async world => {
    await world.refuses('81 85 90 86', withNul.flatMap(connectCarriers))
    await world.closesOn('81 90', withNul.flatMap(carriers))
  },
  'MQTT-1.5.4-3': async world => {
    const client = await world.subscriber([['\ufeffa', 0]])
    await world.say(['a', 'plain'], ['\ufeffa', 'marked', { properties: [['contentType', '\ufeffx']] }])
    expect(await world.gets(client)).toEqual(['publish:0:\ufeffa:marked'])
    expect(client.publishes[0]?.properties).toEqual([['contentType', '\ufeffx']])
    const one = await world.join({ clientId: '\ufeffsame' })
    const other = await world.join({ clientId: 'same' })
    expect([...(await one.ask(1, pingreq)), ...(await other.ask(1, pingreq))]).toEqual(['pingresp', 'pingresp'])
  },
  'MQTT-1.5.5-1': async world => {
    // Of the remaining length, the property length, a property of this type; each in more bytes than it needs.
    await world.closesOn('81', [
      bytes('c0 80 00'),
      bytes('30 84 00 00 01 61 00'),
      bytes('30 85 80 00 00 01 61 00 78'),
      publish('a', 'x', { properties: bytes('80 00') }),
      subscribe(1, [['a', 0]], bytes('82 00 0b 01')),
      subscribe(1, [['a', 0]], bytes('03 0b 81 00')),
      subscribe(1, [['a', 0]], bytes('05 0b 81 80 80 00'))
    ])
    // In more than four.
    await world.closesOn('81 95', [
      bytes('c0 80 80 80 80 00'),
      bytes('30 ff ff ff ff 01'),
      publish('a', 'x', { properties: bytes('80 80 80 80 00') }),
      subscribe(1, [['a', 0]], bytes('06 0b ff ff ff ff 01'))
    ])
    // What a server sends is held by the reader of these tests, at each number of bytes.
    const client = await world.subscriber([['b', 0]])
    for (const length of [0, 119, 120, 16_372, 16_373]) await world.say(['b', 'x'.repeat(length)])
    expect((await world.gets(client)).map(seen => seen.length - 'publish:0:b:'.length)).toEqual([0, 119, 120, 16_372, 16_373])
  },
  'MQTT-1.5.7-1': async world => {
    const wrong = [...illFormed.slice(0, 12), ...withNul]
    const pairs = wrong.flatMap(value => [['userProperty', [value, 'x']] as const, ['userProperty', ['x', value]] as const])
    await world.closesOn('81', pairs.flatMap(pairCarriers))
    await world.refuses(
      '81',
      pairs.flatMap(pair => [connect({ properties: [pair] }), connect({ will: { topic: 'a', payload: '', properties: [pair] } })])
    )
    // A pair that ends too early.
    await world.closesOn('81', [
      publish('a', 'x', { properties: bytes('04 26 00 01 61') }),
      publish('a', 'x', { properties: bytes('03 26 00 00') })
    ])
  },
  'MQTT-2.1.3-1': async world => {
    await world.closesOn('81', invalidFlags())
    // Types that no client sends, and the reserved type 0.
    const ofServer = [bytes('20 03 00 00 00'), bytes('90 04 00 01 00 00'), bytes('b0 04 00 01 00 00'), bytes('d0 00')]
    const reserved = Array.from({ length: 16 }, (_, flags) => twoBytes(flags, 0))
    await world.closesOn('81 82', [...ofServer, ...reserved])
    await world.refuses(
      '- 81 82',
      Array.from({ length: 15 }, (_, flags) => Buffer.concat([Buffer.from([0x11 + flags]), connect({ clientId: 'a' }).subarray(1)]))
    )
  },
  'MQTT-2.2.1-2': async world => {
    const client = await world.subscriber([['a', 2]])
    await world.say(['a', Buffer.from([0, 7])])
    expect(await world.gets(client)).toEqual(['publish:0:a:\0\u0007'])
    expect(client.publishes[0]?.bytes.toString('hex')).toBe('3006000161000007')
  },
  'MQTT-2.2.1-4': async world => {
    const client = await world.join()
    await client.ask(1, subscribe(1, [['a', 2]]))
    await world.say(...Array.from({ length: 10 }, (_, at) => ['a', String(at), { qos: 1 + (at % 2), id: at + 1 }] as const))
    await client.received(12)
    const ids = client.publishes.map(({ id }) => id)
    expect(new Set(ids).size).toBe(10)
    expect(ids).not.toContain(0)
    // Those that are acknowledged are free, the others are not.
    const begun = client.publishes.find(({ qos }) => qos === 2)?.id ?? 0
    expect(await client.ask(1, pubrec(begun))).toEqual([`pubrel:${begun}`])
    const done = client.publishes.find(({ qos }) => qos === 1)?.id ?? 0
    client.send(puback(done))
    await world.say(...Array.from({ length: 8 }, (_, at) => ['a', `more ${at}`, { qos: 1, id: at + 1 }] as const))
    await client.sees('publish:1:a:more 7')
    const held = [...ids.filter(id => id !== done), ...client.publishes.slice(10).map(({ id }) => id)]
    expect(new Set(held).size).toBe(17)
  },
  'MQTT-2.2.1-5': async world => {
    const client = await world.join()
    for (const id of [1, 0x1234, 65_535]) {
      expect(await client.ask(1, publish('b', 'x', { qos: 1, id }))).toEqual([`puback:${id}`])
      expect(await client.ask(1, publish('b', 'y', { qos: 2, id }))).toEqual([`pubrec:${id}`])
      expect(await client.ask(1, pubrel(id))).toEqual([`pubcomp:${id}`])
    }
    const receiver = await sentTo(world)
    expect(await receiver.client.ask(1, pubrec(receiver.id))).toEqual([`pubrel:${receiver.id}`])
    await world.closesOn('81 82', [
      ...[puback, pubrec, pubrel, pubcomp].map(acknowledge => acknowledge(0)),
      ...[0x40, 0x50, 0x62, 0x70].flatMap(header => [packet(header), packet(header, Buffer.from([1]))]),
      publish('a', 'x', { qos: 1, id: 0 }),
      publish('a', 'x', { qos: 2, id: 0 }),
      packet(0x32, text('a')),
      packet(0x34, text('a'), Buffer.from([1]))
    ])
  },
  'MQTT-2.2.1-6': async world => {
    const client = await world.join()
    for (const id of [1, 0x1234, 65_535]) {
      expect(await client.ask(1, subscribe(id, [['a', 0]]))).toEqual([`suback:${id}:00`])
      expect(await client.ask(1, unsubscribe(id, ['a']))).toEqual([`unsuback:${id}:00`])
    }
    await world.closesOn('81 82', [subscribe(0, [['a', 0]]), unsubscribe(0, ['a']), packet(0x82, bytes('01')), packet(0xa2)])
  },
  'MQTT-2.2.2-1': async world => {
    // Without the length a packet is malformed, but for those that may leave out reason code and properties.
    await world.closesOn('81', [
      packet(0x30, text('')),
      packet(0x30, text('a')),
      packet(0x32, text('a'), uint16(1)),
      packet(0x82, uint16(1))
    ])
    await world.refuses('81', [packet(0x10, text('MQTT'), bytes('05 02 00 00'))])
    const client = await world.subscriber([['a', 0]])
    await world.say(['a', ''])
    await world.gets(client)
    expect(client.publishes[0]?.bytes.toString('hex')).toBe('300400016100')
    // One byte less, one more, and far more than there is.
    const inside = encodeProperties([['contentType', 'text']])
    const lengths = [inside.length - 2, inside.length, inside.length + 1, 127, 16_383, 268_435_455]
    const vectors = lengths.map(length => Buffer.concat([varint(length), inside.subarray(1)]))
    await world.closesOn('81', [
      ...vectors.map(properties => publish('a', '', { properties })),
      ...vectors.map(properties => unsubscribe(1, ['a'], properties)),
      ...vectors.map(properties => puback(1, 0, properties)),
      ...vectors.map(properties => disconnect(0, properties))
    ])
  }
} satisfies Checks
