import { expect } from 'vitest'
import { RawClient, connect, disconnect, packet, pingreq, puback, publish, pubrel, subscribe, text, uint16 } from '../broker/raw-client.ts'
import {
  accepts,
  ask,
  bytes,
  closesOn,
  gets,
  join,
  publishId,
  pubcomp,
  pubrec,
  rawConnect,
  refuses,
  say,
  subscriber,
  unsubscribe
} from './wire.ts'
import type { Checks } from './wire.ts'

/** Ill-formed: stray and missing continuation bytes, overlong forms, surrogates, above U+10FFFF, bytes that UTF-8 has not. */
export const illFormed: readonly Buffer[] = [
  '80',
  'bf',
  'c2',
  'e2 82',
  'f0 9f 92',
  'c0 80',
  'c1 bf',
  'e0 80 80',
  'e0 9f bf',
  'f0 80 80 80',
  'f0 8f bf bf',
  'ed a0 80',
  'ed ad bf',
  'ed ae 80',
  'ed af bf',
  'ed b0 80',
  'ed bf bf',
  'ed a0 80 ed b0 80',
  'f4 90 80 80',
  'f5 80 80 80',
  'f8 88 80 80 80',
  'fc 84 80 80 80 80',
  'fe',
  'ff',
  '61 c3 28',
  '61 e2 28 a1',
  'c3 28 61'
].map(hex => bytes(hex))

/** U+0000 alone, first, in the middle and last. */
export const withNul: readonly Buffer[] = ['\0', '\0a', 'a\0b', 'a\0', 'ä\0'].map(value => Buffer.from(value))

/** Each packet that holds a string, with this as the string, sent after CONNECT. */
const carriers = (value: Buffer): readonly Buffer[] => [
  publish(value, 'x', { qos: 1, id: 1 }),
  publish(value, 'x'),
  subscribe(1, [value, 0]),
  subscribe(1, ['fine', 0], [value, 0]),
  unsubscribe(1, value),
  unsubscribe(1, 'fine', value)
]

/** The same for the strings of CONNECT: client id, will topic, user name. */
const connectCarriers = (value: Buffer): readonly Buffer[] => [
  rawConnect(0x02, [value]),
  rawConnect(0x06, ['id', value, 'message']),
  rawConnect(0x82, ['id', value])
]

/** First bytes with flags that their packet type does not have (table 2.2), as whole packets. */
const invalidFlags = (): readonly Buffer[] => {
  const fixed = new Map([
    [4, 0],
    [5, 0],
    [6, 2],
    [7, 0],
    [8, 2],
    [10, 2],
    [12, 0],
    [14, 0]
  ])
  const bodies = new Map([
    [8, Buffer.concat([uint16(1), text('a'), Buffer.from([0])])],
    [10, Buffer.concat([uint16(1), text('a')])]
  ])
  return [...fixed].flatMap(([type, right]) =>
    Array.from({ length: 16 }, (_, flags) => flags)
      .filter(flags => flags !== right)
      .map(flags => packet((type << 4) | flags, type >= 12 ? Buffer.alloc(0) : (bodies.get(type) ?? uint16(1))))
  )
}

/** Chapters 1 and 2: strings, flags, packet ids. */
export const format = {
  'MQTT-1.5.3-1': async served => {
    await refuses(served, illFormed.flatMap(connectCarriers))
    await closesOn(served, illFormed.flatMap(carriers))
    const wellFormed = ['a', 'ä', '€', '\u{10ffff}', '\ud7ff', '\ue000', '\u0001', '\u007f', '\u0080', '\ufffe', '\u{1d11e}']
    await accepts(
      served,
      wellFormed.flatMap(value => connectCarriers(Buffer.from(value)))
    )
    await say(served, ...wellFormed.map(topic => [topic, 'x', { qos: 0 }] as const))
    expect(served.journal.records.filter(({ payload }) => payload === 'x').map(({ topic }) => topic)).toEqual(wellFormed)
  },
  'MQTT-1.5.3-2': async served => {
    await refuses(served, withNul.flatMap(connectCarriers))
    await closesOn(served, withNul.flatMap(carriers))
  },
  'MQTT-1.5.3-3': async served => {
    using marked = await subscriber(served, ['\ufeffa', 0], ['\ufeff', 0], ['last', 0])
    using plain = await subscriber(served, ['a', 0], ['last', 0])
    await say(served, ['\ufeffa', 'marked'], ['a', 'plain'], ['\ufeff', 'alone'])
    expect(await gets(served, marked, 'last')).toEqual(['publish:0:\ufeffa:marked', 'publish:0:\ufeff:alone'])
    expect(await gets(served, plain, 'last')).toEqual(['publish:0:a:plain'])
    using one = await RawClient.connect(served.port, '\ufeffsame')
    using other = await RawClient.connect(served.port, 'same')
    expect(await ask(other, 1, pingreq)).toEqual(['pingresp'])
    expect(await ask(one, 1, pingreq)).toEqual(['pingresp'])
  },
  'MQTT-2.2.2-1': async served => {
    using client = await join(served)
    await ask(client, 1, subscribe(1, ['a', 2]))
    await ask(client, 1, pingreq)
    await ask(client, 3, publish('a', 'x', { qos: 2, id: 2 }), pubrel(2))
    const id = publishId(client.raw.find(raw => (raw[0] ?? 0) >> 4 === 3))
    await ask(client, 1, pubrec(id))
    await ask(client, 1, pubcomp(id), publish('b', 'x', { qos: 1, id: 3 }))
    await ask(client, 1, unsubscribe(4, 'a'))
    const firsts = client.raw.map(raw => raw[0] ?? 0)
    expect(firsts.toSorted((a, b) => a - b)).toEqual([0x20, 0x34, 0x40, 0x50, 0x62, 0x70, 0x90, 0xb0, 0xd0])
  },
  'MQTT-2.2.2-2': async served => {
    const reserved = Array.from({ length: 16 }, (_, flags) =>
      [bytes('00 00'), bytes('f0 00')].map(raw => Buffer.from([(raw[0] ?? 0) | flags, 0]))
    )
    // Types of the server only: CONNACK, SUBACK, UNSUBACK, PINGRESP.
    const ofServer = [bytes('20 02 00 00'), bytes('90 03 00 01 00'), bytes('b0 02 00 01'), bytes('d0 00')]
    await closesOn(served, [...invalidFlags(), ...reserved.flat(), ...ofServer])
    await refuses(
      served,
      Array.from({ length: 15 }, (_, flags) => Buffer.concat([Buffer.from([0x11 + flags]), connect('a').subarray(1)]))
    )
    // A remaining length of five bytes, and one whose packet is larger than any may be.
    await closesOn(served, [bytes('c0 80 80 80 80 00'), bytes('30 ff ff ff ff 01'), bytes('30 ff ff ff 7f')])
    using client = await join(served)
    // More bytes than the length needs are not forbidden before MQTT 5.
    expect(await ask(client, 1, bytes('c0 80 00'))).toEqual(['pingresp'])
    expect(await ask(client, 1, bytes('82 86 80 00 00 01 00 01 61 01'))).toEqual(['suback:1:1'])
  },
  'MQTT-2.3.1-1': async served => {
    await closesOn(served, [
      subscribe(0, ['a', 0]),
      unsubscribe(0, 'a'),
      publish('a', 'x', { qos: 1, id: 0 }),
      publish('a', 'x', { qos: 2, id: 0 }),
      publish('a', 'x', { qos: 2, id: 0, dup: true }),
      ...[0x40, 0x50, 0x62, 0x70].map(header => packet(header, uint16(0))),
      // Without room for an id.
      ...[0x40, 0x50, 0x62, 0x70, 0x82, 0xa2].flatMap(header => [packet(header), packet(header, Buffer.from([1]))]),
      packet(0x32, text('a')),
      packet(0x34, text('a'), Buffer.from([1])),
      // Bytes behind the id.
      ...[0x40, 0x50, 0x62, 0x70].map(header => packet(header, uint16(1), Buffer.from([0])))
    ])
    using client = await subscriber(served, ['a', 2])
    await say(served, ['a', 'one', { qos: 1, id: 1 }], ['a', 'two', { qos: 2, id: 2 }])
    await client.received(4)
    for (const raw of client.raw.slice(2)) expect(publishId(raw)).toBeGreaterThan(0)
    using other = await join(served)
    expect(await ask(other, 1, publish('a', 'x', { qos: 1, id: 65_535 }))).toEqual(['puback:65535'])
  },
  'MQTT-2.3.1-5': async served => {
    using client = await subscriber(served, ['a', 2])
    await say(served, ['a', Buffer.from([0, 7])])
    await client.received(3)
    expect(client.raw[2]?.toString('hex')).toBe('30050001610007')
    expect(served.journal.records[0]?.payload).toBe('\0\u0007')
  },
  'MQTT-2.3.1-6': async served => {
    using client = await join(served)
    for (const id of [1, 0x1234, 65_535]) {
      expect(await ask(client, 1, publish('a', 'x', { qos: 1, id }))).toEqual([`puback:${id}`])
      expect(await ask(client, 1, publish('a', 'y', { qos: 2, id }))).toEqual([`pubrec:${id}`])
      expect(await ask(client, 1, pubrel(id))).toEqual([`pubcomp:${id}`])
    }
    using receiver = await subscriber(served, ['b', 2])
    await say(served, ['b', 'x', { qos: 2, id: 1 }])
    await receiver.received(3)
    const id = publishId(receiver.raw[2])
    expect(await ask(receiver, 1, pubrec(id))).toEqual([`pubrel:${id}`])
    // Of an id that was never sent: nothing is forbidden, and the connection stays.
    expect(await ask(receiver, 1, puback(77), pubcomp(78), pingreq)).toEqual(['pingresp'])
    expect(await ask(receiver, 1, pubrec(79))).toEqual(['pubrel:79'])
    expect(await ask(receiver, 1, pubrel(80))).toEqual(['pubcomp:80'])
  },
  'MQTT-2.3.1-7': async served => {
    using client = await join(served)
    for (const id of [1, 0x1234, 65_535]) {
      expect(await ask(client, 1, subscribe(id, ['a', 0]))).toEqual([`suback:${id}:0`])
      expect(await ask(client, 1, unsubscribe(id, 'a'))).toEqual([`unsuback:${id}`])
    }
    client.send(disconnect)
    await client.untilClosed()
  }
} satisfies Checks
