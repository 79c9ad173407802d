import { expect } from 'vitest'
import { connect, disconnect, packet, pingreq, puback, publish, subscribe, text, uint16, until, RawClient } from '../broker/raw-client.ts'
import { FakeJournal } from '../broker/fake-journal.ts'
import { illFormed, withNul } from './format.ts'
import { breakOff, comeBack } from './publish.ts'
import { serveBroker } from './served.ts'
import { ask, bytes, closesOn, gets, join, publishId, pubcomp, pubrec, rawConnect, refuses, say, subscriber, unsubscribe } from './wire.ts'
import type { Check, Checks, Served } from './wire.ts'

/** Which of the topics reach a subscriber of the filter. */
async function matched(served: Served, filter: string, topics: readonly string[]): Promise<readonly string[]> {
  using client = await subscriber(served, [filter, 0], ['the/last', 0])
  await say(served, ...topics.map(topic => [topic, 'x'] as const))
  return (await gets(served, client, 'the/last'))
    .filter(described => described.endsWith(':x'))
    .map(described => described.split(':')[2] ?? '')
}

const wrongFlags = (type: number, ...body: readonly Buffer[]): readonly Buffer[] =>
  Array.from({ length: 16 }, (_, flags) => flags)
    .filter(flags => flags !== 2)
    .map(flags => packet((type << 4) | flags, ...body))

const misplaced = ['a#', 'a/#/b', '#/a', '##', 'a/##', '/#/', 'a/b#', '+#', '#+']
const partial = ['a+', '+a', 'a+/b', 'a/+b', '++', 'a/b+', '/+a', '+/a+/c']

const topics = ['a', 'a/b', 'a/b/c', 'a/', '/', '/a', '/a/b', 'a//b', 'b', 'ab', 'A/b', ' ', 'a /c']

/** §3.8 to §3.11: SUBSCRIBE and UNSUBSCRIBE. */
export const subscribing = {
  'MQTT-3.8.1-1': async served => {
    await closesOn(served, wrongFlags(8, uint16(1), text('a'), Buffer.from([0])))
    expect(served.broker.stats.subscriptions).toBe(0)
  },
  'MQTT-3.8.3-1': async served => {
    await closesOn(
      served,
      [...illFormed, ...withNul].map(filter => subscribe(1, ['fine', 0], [filter, 1]))
    )
    await closesOn(served, [
      packet(0x82, uint16(1), bytes('00 05 61 00')),
      packet(0x82, uint16(1), bytes('00')),
      packet(0x82, uint16(1), text('a'))
    ])
  },
  'MQTT-3.8.3-2': async served => {
    using client = await join(served)
    expect(await ask(client, 1, subscribe(1, ['#', 0], ['+', 1], ['a/+/b/#', 2], ['/+', 0], ['+/#', 1]))).toEqual(['suback:1:0,1,2,0,1'])
  },
  'MQTT-3.8.3-3': async served => await closesOn(served, [packet(0x82, uint16(1)), packet(0x82)]),
  'MQTT-3.8.3-4': async served => {
    const wrong = Array.from({ length: 253 }, (_, at) => at + 3).filter(byte => byte < 8 || (byte & (byte - 1)) === 0 || byte > 0xfc)
    await closesOn(
      served,
      wrong.map(byte => packet(0x82, uint16(1), text('a'), Buffer.from([byte])))
    )
    await closesOn(served, [packet(0x82, uint16(1), text('a'), Buffer.from([1]), text('b'), Buffer.from([3]))])
  },
  'MQTT-3.8.4-1': async served => {
    using client = await join(served)
    expect(await ask(client, 3, subscribe(1, ['a', 0]), subscribe(2, ['b', 1]), subscribe(3, ['a', 2]))).toEqual([
      'suback:1:0',
      'suback:2:1',
      'suback:3:2'
    ])
  },
  'MQTT-3.8.4-2': async served => {
    using client = await join(served)
    for (const id of [1, 256, 65_535, 1]) expect(await ask(client, 1, subscribe(id, ['a', 0]))).toEqual([`suback:${id}:0`])
  },
  'MQTT-3.8.4-3': async served => {
    await say(served, ['a', 'kept', { qos: 2, id: 1, retain: true }])
    using client = await subscriber(served, ['last', 0])
    for (const [round, qos] of [1, 1, 2, 0, 0].entries()) {
      expect(await ask(client, 2, subscribe(2, ['a', qos]))).toEqual([`suback:2:${qos}`, `publish:${qos}r:a:kept`])
      await say(served, ['a', `live at ${qos}`, { qos: 2, id: 1 }])
      await client.received(2 + 3 * (round + 1))
    }
    const live = (await gets(served, client, 'last')).filter(described => !described.includes('kept'))
    expect(live).toEqual([1, 1, 2, 0, 0].map(qos => `publish:${qos}:a:live at ${qos}`))
    // Replaced while messages flow: each comes, and once.
    using flowing = await subscriber(served, ['b', 1], ['last', 0])
    using publisher = await join(served)
    for (let number = 0; number < 60; number++) {
      publisher.send(publish('b', String(number), { qos: 1, id: number + 1 }))
      if (number % 3 === 0) flowing.send(subscribe(2, ['b', 1 + (number % 2)]))
      if (number % 10 === 0) await ask(publisher, 1, pingreq)
    }
    await until(() => publisher.packets.includes('puback:60'), 'all were acknowledged')
    expect(await gets(served, flowing, 'last')).toEqual(Array.from({ length: 60 }, (_, number) => `publish:1:b:${number}`))
  },
  'MQTT-3.8.4-4': async served => {
    await say(served, ['a', 'x', { qos: 1, id: 1, retain: true }], ['b', 'y', { qos: 1, id: 2, retain: true }])
    using client = await subscriber(served, ['last', 0])
    const packets = await ask(client, 3, subscribe(2, ['a', 1], ['b', 0], ['c', 2]))
    expect(packets[0]).toBe('suback:2:1,0,2')
    expect(packets.slice(1).toSorted()).toEqual(['publish:0r:b:y', 'publish:1r:a:x'])
    // The same filter again in one packet: the last one counts, and each has its return code.
    expect((await ask(client, 1, subscribe(3, ['d', 2], ['e', 1], ['d', 0])))[0]).toBe('suback:3:2,1,0')
    expect((await ask(client, 1, subscribe(4, ['f', 0], ['f', 1], ['f', 2], ['f', 2])))[0]).toBe('suback:4:0,1,2,2')
    await say(served, ['d', 'z', { qos: 2, id: 1 }], ['f', 'w', { qos: 2, id: 2 }])
    expect((await gets(served, client, 'last')).slice(-2)).toEqual(['publish:0:d:z', 'publish:2:f:w'])
  },
  'MQTT-3.8.4-5': async served => {
    await using bounded = await serveBroker({ limits: { subscriptions: 2 } })
    using client = await join(bounded)
    const repeated = subscribe(1, ['a', 2], ['b', 1], ['c', 0], ['a', 0], ['c', 1])
    expect(await ask(client, 1, repeated)).toEqual(['suback:1:2,1,128,0,128'])
    await say(bounded, ['c', 'x', { qos: 1, id: 1, retain: true }], ['a', 'y', { qos: 1, id: 2 }])
    expect(await gets(bounded, client, 'b')).toEqual(['publish:0:a:y'])
    // As many as one packet holds.
    await using wide = await serveBroker({ limits: { subscriptions: 60_000 } })
    using eager = await join(wide)
    const filters = Array.from({ length: 20_000 }, (_, number) => [`f/${number}`, number % 3] as const)
    await ask(eager, 1, subscribe(2, ...filters))
    expect([...(eager.raw[1]?.subarray(-20_000) ?? [])]).toEqual(filters.map(([, qos]) => qos))
    expect(served.broker.stats.subscriptions).toBe(0)
  },
  'MQTT-3.8.4-6': async served => {
    using sleeping = await RawClient.connect(served.port, 'sleeping', { clean: false })
    await ask(sleeping, 1, subscribe(1, ['a', 1]))
    sleeping.socket.destroy()
    await until(() => served.broker.connectedClientIds().length === 0, 'it is gone')
    for (const granted of [0, 1, 2]) {
      using client = await subscriber(served, ['a', granted], ['last', 0])
      await say(served, ...[0, 1, 2].map(qos => ['a', `q${qos}`, { qos, id: qos + 1 }] as const))
      expect(await gets(served, client, 'last')).toEqual([0, 1, 2].map(qos => `publish:${Math.min(granted, qos)}:a:q${qos}`))
    }
    using back = await RawClient.connect(served.port, 'sleeping', { clean: false })
    expect((await back.received(7)).slice(1)).toEqual(Array.from({ length: 3 }, () => ['publish:1:a:q1', 'publish:1:a:q2']).flat())
  },
  'MQTT-3.9.3-1': async served => {
    using client = await join(served)
    const filters = Array.from({ length: 40 }, (_, number) => [`f${number}`, (number * 7) % 3] as const)
    expect(await ask(client, 1, subscribe(1, ...filters))).toEqual([`suback:1:${filters.map(([, qos]) => qos).join(',')}`])
    expect(await ask(client, 1, subscribe(2, ...filters.toReversed()))).toEqual([
      `suback:2:${filters
        .map(([, qos]) => qos)
        .toReversed()
        .join(',')}`
    ])
  },
  'MQTT-3.9.3-2': async served => {
    using client = await join(served)
    for (let id = 1; id <= 4; id++) {
      const filters = Array.from({ length: 30 }, (_, number) => [`${id}/${number}`, number % 3] as const)
      client.send(subscribe(id, ...filters))
    }
    await client.received(5)
    const codes = client.raw.slice(1).flatMap(raw => [...raw.subarray(4)])
    expect([...new Set(codes)].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 128])
    expect(codes).toHaveLength(120)
  },
  'MQTT-3.10.1-1': async served => await closesOn(served, wrongFlags(10, uint16(1), text('a'))),
  'MQTT-3.10.3-1': async served => {
    await closesOn(
      served,
      [...illFormed, ...withNul].map(filter => unsubscribe(1, 'fine', filter))
    )
    await closesOn(served, [
      packet(0xa2, uint16(1), bytes('00 05 61')),
      packet(0xa2, uint16(1), bytes('00')),
      packet(0xa2, uint16(1), text('a'), Buffer.from([0]))
    ])
  },
  'MQTT-3.10.3-2': async served => await closesOn(served, [packet(0xa2, uint16(1)), packet(0xa2)]),
  'MQTT-3.10.4-1': async served => {
    using client = await subscriber(served, ['a/b', 0], ['a/+', 1], ['last', 0])
    expect(await ask(client, 1, unsubscribe(2, 'a/#', '#', 'A/b', 'a/b/', '+/b', 'a'))).toEqual(['unsuback:2'])
    await say(served, ['a/b', 'one', { qos: 1, id: 1 }], ['a/c', 'two', { qos: 1, id: 2 }])
    expect(await gets(served, client, 'last')).toEqual(['publish:1:a/b:one', 'publish:1:a/c:two'])
    await ask(client, 1, unsubscribe(3, 'a/+'))
    await say(served, ['a/b', 'three', { qos: 1, id: 1 }], ['a/c', 'four', { qos: 1, id: 2 }])
    await say(served, ['last', 'later'])
    await until(() => client.packets.includes('publish:0:last:later'), 'it came')
    expect(client.packets.slice(-2)).toEqual(['publish:0:a/b:three', 'publish:0:last:later'])
  },
  'MQTT-3.10.4-2': async served => {
    using client = await subscriber(served, ['a', 1], ['last', 0])
    await ask(client, 1, unsubscribe(2, 'a'))
    await say(served, ['a', 'x', { qos: 1, id: 1 }])
    expect(await gets(served, client, 'last')).toEqual([])
    // Nor for a session that has no connection.
    using sleeping = await comeBack(served)
    await ask(sleeping, 1, unsubscribe(2, 'k/#'))
    await breakOff(served, sleeping)
    await say(served, ['k/a', 'x', { qos: 1, id: 1 }])
    using back = await comeBack(served)
    await ask(back, 1, subscribe(3, ['last', 0]))
    expect(await gets(served, back, 'last')).toEqual([])
  },
  'MQTT-3.10.4-3': async served => {
    using client = await comeBack(served)
    await say(served, ['k/1', 'x', { qos: 1, id: 1 }], ['k/2', 'y', { qos: 2, id: 2 }])
    await client.received(4)
    const [one = 0, two = 0] = client.raw.slice(2).map(publishId)
    await ask(client, 1, unsubscribe(2, 'k/#'))
    expect(await ask(client, 1, pubrec(two))).toEqual([`pubrel:${two}`])
    await breakOff(served, client)
    using back = await RawClient.connect(served.port, 'kept', { clean: false })
    expect(await back.received(3)).toEqual(['connack:1,0', 'publish:1d:k/1:x', `pubrel:${two}`])
    back.send(puback(one), pubcomp(two))
    await ask(back, 1, subscribe(3, ['last', 0]))
    await breakOff(served, back)
    using empty = await RawClient.connect(served.port, 'kept', { clean: false })
    expect(await gets(served, empty, 'last')).toEqual([])
  },
  'MQTT-3.10.4-4': async served => {
    using client = await subscriber(served, ['a', 0])
    for (const id of [1, 256, 65_535]) {
      expect(await ask(client, 1, unsubscribe(id, 'a'))).toEqual([`unsuback:${id}`])
      expect(client.raw.at(-1)).toEqual(packet(0xb0, uint16(id)))
    }
  },
  'MQTT-3.10.4-5': async served => {
    using client = await join(served)
    expect(await ask(client, 2, unsubscribe(7, 'never'), unsubscribe(8, 'a/#', '+'))).toEqual(['unsuback:7', 'unsuback:8'])
  },
  'MQTT-3.10.4-6': async served => {
    using client = await subscriber(served, ['a', 1], ['b', 1], ['c/+', 1], ['d', 1], ['last', 0])
    expect(await ask(client, 1, unsubscribe(2, 'a', 'c/+', 'a', 'none', 'd'))).toEqual(['unsuback:2'])
    await say(served, ...['a', 'b', 'c/c', 'd'].map((topic, at) => [topic, 'x', { qos: 1, id: at + 1 }] as const))
    expect(await gets(served, client, 'last')).toEqual(['publish:1:b:x'])
  }
} satisfies Checks

const atLeastOne: Check = async served => {
  await closesOn(served, [
    publish('', 'x'),
    publish('', 'x', { qos: 1, id: 1 }),
    subscribe(1, ['', 0]),
    subscribe(1, ['a', 0], ['', 0]),
    unsubscribe(1, '')
  ])
  await refuses(served, [rawConnect(0x06, ['a', '', 'x'])])
  expect(await matched(served, ' ', [' ', '/'])).toEqual([' '])
  expect(await matched(served, '/', [' ', '/'])).toEqual(['/'])
}

/** §4.7, §4.8 and §7: topics, errors, conformance. */
export const topicsAndErrors = {
  'MQTT-4.7.1-1': async served => {
    await closesOn(
      served,
      ['a/+', '#', 'a/#', 'a+'].map(topic => publish(topic, 'x', { qos: 1, id: 1 }))
    )
    using client = await join(served)
    expect(await ask(client, 1, subscribe(1, ['a/+', 0], ['#', 0]))).toEqual(['suback:1:0,0'])
  },
  'MQTT-4.7.1-2': async served => {
    await closesOn(
      served,
      misplaced.flatMap(filter => [subscribe(1, [filter, 0]), unsubscribe(1, filter)])
    )
    expect(await matched(served, '#', topics)).toEqual(topics)
    expect(await matched(served, 'a/#', topics)).toEqual(['a', 'a/b', 'a/b/c', 'a/', 'a//b'])
    expect(await matched(served, '/#', topics)).toEqual(['/', '/a', '/a/b'])
    expect(await matched(served, 'a/b/#', topics)).toEqual(['a/b', 'a/b/c'])
  },
  'MQTT-4.7.1-3': async served => {
    await closesOn(
      served,
      partial.flatMap(filter => [subscribe(1, [filter, 0]), unsubscribe(1, filter)])
    )
    expect(await matched(served, '+', topics)).toEqual(['a', 'b', 'ab', ' '])
    expect(await matched(served, '+/+', topics)).toEqual(['a/b', 'a/', '/', '/a', 'A/b', 'a /c'])
    expect(await matched(served, '/+', topics)).toEqual(['/', '/a'])
    expect(await matched(served, 'a/+', topics)).toEqual(['a/b', 'a/'])
    expect(await matched(served, 'a/+/b', topics)).toEqual(['a//b'])
    expect(await matched(served, '+/b/#', topics)).toEqual(['a/b', 'a/b/c', 'A/b'])
    expect(await matched(served, 'a/+/#', topics)).toEqual(['a/b', 'a/b/c', 'a/', 'a//b'])
  },
  'MQTT-4.7.2-1': async served => {
    // Subscriptions come and go, of which other brokers tell below $SYS.
    using everything = await subscriber(served, ['#', 0], ['+/#', 0], ['+', 0], ['+/new/subscribes', 0])
    using system = await subscriber(served, ['$SYS/#', 0], ['$SYS/+/new/subscribes', 1], ['last', 0])
    using other = await subscriber(served, ['a', 0])
    await ask(other, 1, unsubscribe(2, 'a'))
    const got = await gets(served, everything, 'last')
    expect(got.filter(described => described.includes('$'))).toEqual([])
    // Nobody may publish there, and Tidegate itself does not.
    expect(await gets(served, system, 'last')).toEqual([])
    await closesOn(served, [publish('$SYS/a', 'x'), publish('$a', 'x', { qos: 1, id: 1, retain: true })])
  },
  'MQTT-4.7.3-1': atLeastOne,
  'MQTT-4.7.3-2': async served => {
    await closesOn(
      served,
      withNul.flatMap(value => [publish(value, 'x'), subscribe(1, [value, 0]), unsubscribe(1, value)])
    )
    await refuses(
      served,
      withNul.map(value => rawConnect(0x06, ['a', value, 'x']))
    )
  },
  'MQTT-4.7.3-3': async served => {
    const long = 'x'.repeat(256)
    const deep = Array.from({ length: 16 }, () => 'l').join('/')
    expect(await matched(served, '#', [long, deep])).toEqual([long, deep])
    expect(await matched(served, long, [long])).toEqual([long])
    const over = [`${long}x`, 'x'.repeat(65_535), `${deep}/l`, '/'.repeat(65_535), 'ä'.repeat(129)]
    await closesOn(
      served,
      over.flatMap(value => [publish(value, 'x', { qos: 1, id: 1 }), subscribe(1, [value, 0]), unsubscribe(1, value)])
    )
    await refuses(
      served,
      over.slice(0, 1).map(value => rawConnect(0x06, ['a', value, 'x']))
    )
  },
  'MQTT-4.7.3-4': async served => {
    // Composed and decomposed, upper and lower case, blanks, empty levels, and characters of which nobody knows what they are.
    const alike = [
      '\u00c5',
      'A\u030a',
      '\u00e5',
      'a',
      'A',
      'a ',
      ' a',
      'a/',
      '/a',
      'a//',
      '\u{10fffd}',
      '\ufffd',
      '__proto__',
      'constructor',
      '.',
      '..',
      'a/../a'
    ]
    for (const filter of alike) expect(await matched(served, filter, alike)).toEqual([filter])
  },
  'MQTT-4.8.0-1': async served => {
    using watcher = await subscriber(served, ['a', 0], ['last', 0])
    using neighbour = await join(served)
    await closesOn(served, [bytes('c0 01 00'), bytes('82 02 00 01'), publish('#', 'x'), connect('a'), bytes('00 00'), bytes('62 00')])
    expect(await ask(neighbour, 1, pingreq)).toEqual(['pingresp'])
    await say(served, ['a', 'fine'])
    expect(await gets(served, watcher, 'last')).toEqual(['publish:0:a:fine'])
  },
  'MQTT-4.8.0-2': async () => {
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal })
    using client = await join(served)
    journal.become('full')
    expect(await ask(client, 1, publish('a', 'x', { qos: 1, id: 1 }), pingreq)).toEqual(['pingresp'])
    journal.become('accepting')
    expect((await client.received(3)).at(-1)).toBe('puback:1')
  },
  'MQTT-7.0.0-2': async served => {
    using client = await RawClient.open(served.port)
    client.send(connect('plain'), subscribe(1, ['a', 0]))
    expect(await client.received(2)).toEqual(['connack:0,0', 'suback:1:0'])
    client.send(publish('a', 'x'))
    expect((await client.received(3)).at(-1)).toBe('publish:0:a:x')
    client.send(disconnect)
    await client.untilClosed()
  },
  'MQTT-7.1.1-1': async served => {
    using client = await subscriber(served, ['a', 0])
    // Over TCP, in the smallest pieces.
    for (const byte of publish('a', 'piecemeal', { qos: 1, id: 1 })) client.socket.write(Buffer.from([byte]))
    expect((await client.received(4)).slice(2).toSorted()).toEqual(['puback:1', 'publish:0:a:piecemeal'])
  }
} satisfies Checks
