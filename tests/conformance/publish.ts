import { expect, vi } from 'vitest'
import { RawClient, puback, publish, pubrel, subscribe, text, uint16, packet, disconnect } from '../broker/raw-client.ts'
import { FakeJournal } from '../broker/fake-journal.ts'
import { illFormed } from './format.ts'
import { serveBroker } from './served.ts'
import { ask, bytes, closesOn, gets, join, publishId, pubcomp, pubrec, rawConnect, refuses, say, subscriber, vanish } from './wire.ts'
import type { Check, Checks, Served } from './wire.ts'

/** A connection of the persistent session `kept`, which subscribes to all below k with QoS 2. */
export async function comeBack(served: Served): Promise<RawClient> {
  const client = await RawClient.connect(served.port, 'kept', { clean: false })
  if (client.packets[0] === 'connack:0,0') await ask(client, 1, subscribe(1, ['k/#', 2]))
  return client
}

/** The connection breaks, and is back when the server knows. */
export async function breakOff(served: Served, client: RawClient): Promise<void> {
  await vanish(served, client, 'kept')
}

/** The packets of a client that are PUBLISH or PUBREL, with their packet ids and the first byte. */
function sent(client: RawClient): readonly string[] {
  return client.raw
    .filter(raw => [3, 6].includes((raw[0] ?? 0) >> 4))
    .map(raw => `${raw.toString('hex', 0, 1)}:${(raw[0] ?? 0) >> 4 === 6 ? raw.readUInt16BE(2) : publishId(raw)}:${raw.at(-1)}`)
}

const numbered = (from: number, to: number, qos: (number: number) => number) =>
  Array.from({ length: to - from }, (_, at) => ['k/a', String(from + at), { qos: qos(from + at), id: from + at }] as const)

const emptyRetained: Check = async served => {
  using watcher = await subscriber(served, ['a', 1], ['last', 0])
  await say(served, ['a', 'old', { qos: 1, id: 1, retain: true }], ['a', '', { qos: 1, id: 2, retain: true }])
  expect(await gets(served, watcher, 'last')).toEqual(['publish:1:a:old', 'publish:1:a:'])
  using late = await subscriber(served, ['a', 1], ['#', 1], ['last', 0])
  await gets(served, late, 'last')
  expect(late.packets.filter(described => described.includes(':a:'))).toEqual([])
  expect(served.broker.stats.retained).toBe(0)
}

/** §3.3 and §3.6: PUBLISH and PUBREL. */
export const publishing = {
  'MQTT-3.3.1-1': async served => {
    using first = await comeBack(served)
    await say(served, ['k/1', 'one', { qos: 1, id: 1 }], ['k/2', 'two', { qos: 2, id: 2 }])
    expect((await first.received(4)).slice(2)).toEqual(['publish:1:k/1:one', 'publish:2:k/2:two'])
    await breakOff(served, first)
    await say(served, ['k/3', 'three', { qos: 1, id: 3 }])
    using second = await comeBack(served)
    expect((await second.received(4)).slice(1)).toEqual(['publish:1d:k/1:one', 'publish:2d:k/2:two', 'publish:1:k/3:three'])
  },
  'MQTT-3.3.1-2': async served => {
    await closesOn(served, [publish('a', 'x', { dup: true }), publish('a', 'x', { dup: true, retain: true })])
    using client = await subscriber(served, ['a', 2], ['b', 0], ['last', 0])
    await say(served, ['a', 'x'], ['b', 'y', { qos: 2, id: 1, dup: true }], ['b', 'z', { qos: 1, id: 2, dup: true }])
    expect(await gets(served, client, 'last')).toEqual(['publish:0:a:x', 'publish:0:b:y', 'publish:0:b:z'])
  },
  'MQTT-3.3.1-3': async served => {
    using client = await subscriber(served, ['a', 2], ['last', 0])
    await say(served, ['a', 'x', { qos: 1, id: 1, dup: true }], ['a', 'y', { qos: 2, id: 2, dup: true }])
    expect(await gets(served, client, 'last')).toEqual(['publish:1:a:x', 'publish:2:a:y'])
  },
  'MQTT-3.3.1-4': async served => {
    await closesOn(
      served,
      [0x36, 0x37, 0x3e, 0x3f].map(header => packet(header, text('a'), uint16(1), Buffer.from('x')))
    )
  },
  'MQTT-3.3.1-5': async served => {
    await say(
      served,
      ['a/0', 'zero', { retain: true }],
      ['a/1', 'one', { qos: 1, id: 1, retain: true }],
      ['a/2', 'two', { qos: 2, id: 2, retain: true }]
    )
    using late = await join(served)
    const packets = await ask(late, 4, subscribe(1, ['a/+', 2]))
    expect(packets[0]).toBe('suback:1:2')
    expect(packets.slice(1).toSorted()).toEqual(['publish:0r:a/0:zero', 'publish:1r:a/1:one', 'publish:2r:a/2:two'])
    // The deviation: beyond the limit.
    await using bounded = await serveBroker({ limits: { retained: 1 } })
    await say(bounded, ['a', 'kept', { qos: 1, id: 1, retain: true }], ['b', 'not kept', { qos: 1, id: 2, retain: true }])
    using client = await subscriber(bounded, ['+', 1])
    expect(await client.received(3)).toContain('publish:1r:a:kept')
    expect(bounded.broker.stats.retainedDropped).toBe(1)
  },
  'MQTT-3.3.1-6': async served => {
    await say(served, ['a/1', 'old', { qos: 1, id: 1, retain: true }], ['a/1', 'new', { qos: 1, id: 2, retain: true }])
    await say(served, ['a/2', 'other', { qos: 1, id: 3, retain: true }], ['b', 'no', { qos: 1, id: 4, retain: true }])
    for (const filter of ['a/#', 'a/+', '+/+']) {
      using late = await subscriber(served, ['last', 0])
      await ask(late, 3, subscribe(2, [filter, 1]))
      expect((await gets(served, late, 'last')).toSorted()).toEqual(['publish:1r:a/1:new', 'publish:1r:a/2:other'])
    }
    using exact = await subscriber(served, ['last', 0])
    await ask(exact, 2, subscribe(2, ['a/1', 0]))
    expect(await gets(served, exact, 'last')).toEqual(['publish:0r:a/1:new'])
  },
  'MQTT-3.3.1-7': async served => {
    await say(served, ['a', 'one', { qos: 1, id: 1, retain: true }], ['a', 'zero', { retain: true }])
    using late = await join(served)
    expect(await ask(late, 2, subscribe(1, ['a', 2]))).toEqual(['suback:1:2', 'publish:0r:a:zero'])
  },
  'MQTT-3.3.1-8': async served => {
    await say(served, ['a', 'x', { qos: 2, id: 1, retain: true }])
    using late = await join(served)
    for (const qos of [0, 1, 2]) expect((await ask(late, 2, subscribe(1, ['a', qos]))).at(-1)).toBe(`publish:${qos}r:a:x`)
  },
  'MQTT-3.3.1-9': async served => {
    using sleeping = await comeBack(served)
    await breakOff(served, sleeping)
    using client = await subscriber(served, ['k/a', 2], ['last', 0])
    await say(
      served,
      ['k/a', 'x', { retain: true }],
      ['k/a', 'y', { qos: 1, id: 1, retain: true }],
      ['k/a', 'z', { qos: 2, id: 2, retain: true }]
    )
    expect(await gets(served, client, 'last')).toEqual(['publish:0:k/a:x', 'publish:1:k/a:y', 'publish:2:k/a:z'])
    using back = await comeBack(served)
    expect((await back.received(3)).slice(1)).toEqual(['publish:1:k/a:y', 'publish:2:k/a:z'])
  },
  'MQTT-3.3.1-10': emptyRetained,
  'MQTT-3.3.1-11': emptyRetained,
  'MQTT-3.3.1-12': async served => {
    await say(served, ['a', 'kept', { qos: 1, id: 1, retain: true }], ['a', 'passing', { qos: 1, id: 2 }], ['a', '', { qos: 1, id: 3 }])
    await say(served, ['b', 'passing', { qos: 2, id: 4 }])
    using late = await subscriber(served, ['a', 1], ['b', 1], ['last', 0])
    expect(await gets(served, late, 'last')).toEqual(['publish:1r:a:kept'])
  },
  'MQTT-3.3.2-1': async served => {
    await closesOn(served, [
      ...illFormed.map(topic => publish(topic, 'x', { qos: 2, id: 1 })),
      packet(0x30),
      packet(0x30, Buffer.from([0])),
      packet(0x30, bytes('00 02 61')),
      packet(0x32, bytes('ff ff 61 62'))
    ])
    using client = await join(served)
    expect(await ask(client, 1, publish('a'.repeat(256), Buffer.alloc(200_000), { qos: 1, id: 1 }))).toEqual(['puback:1'])
  },
  'MQTT-3.3.2-2': async served => {
    const topics = ['#', '+', 'a/#', 'a/+', '+/a', 'a/+/b', 'a#', '#a', 'a+b', '/#']
    await closesOn(
      served,
      topics.flatMap(topic => [publish(topic, 'x'), publish(topic, 'x', { qos: 1, id: 1 })])
    )
    await refuses(
      served,
      topics.map(topic => rawConnect(0x06, ['a', topic, 'x']))
    )
  },
  'MQTT-3.3.2-3': async served => {
    using client = await subscriber(served, ['a/+', 0], ['last', 0])
    await say(served, ['a', '1'], ['a/b', '2'], ['a/b/c', '3'], ['A/b', '4'], ['/a/b', '5'], ['a/', '6'], ['b/a', '7'])
    expect(await gets(served, client, 'last')).toEqual(['publish:0:a/b:2', 'publish:0:a/:6'])
  },
  'MQTT-3.3.4-1': async served => {
    using client = await join(served)
    expect(await ask(client, 2, publish('a', '0'), publish('a', '1', { qos: 1, id: 1 }), publish('a', '2', { qos: 2, id: 2 }))).toEqual([
      'puback:1',
      'pubrec:2'
    ])
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(['0', '1', '2'])
  },
  'MQTT-3.3.5-1': async served => {
    const filters = [
      ['a/b', 0],
      ['a/+', 2],
      ['a/#', 1],
      ['#', 0]
    ] as const
    for (const rotation of [0, 1, 2, 3]) {
      using client = await subscriber(served, ...filters.slice(rotation), ...filters.slice(0, rotation))
      await say(served, ['a/b', 'x', { qos: 2, id: 1 }], ['a/b', 'y', { qos: 1, id: 2 }])
      const got = (await gets(served, client, 'a/last')).filter(described => described.includes('a/b'))
      expect(got).toEqual(['publish:2:a/b:x', 'publish:1:a/b:y'])
    }
    // Also for what is kept while there is no connection.
    using sleeping = await RawClient.connect(served.port, 'kept', { clean: false })
    await ask(sleeping, 1, subscribe(1, ['a/b', 2], ['a/+', 1], ['c/#', 2], ['c/d', 1]))
    await breakOff(served, sleeping)
    await say(served, ['a/b', 'x', { qos: 2, id: 1 }], ['c/d', 'y', { qos: 2, id: 2 }])
    using back = await RawClient.connect(served.port, 'kept', { clean: false })
    expect((await back.received(3)).slice(1)).toEqual(['publish:2:a/b:x', 'publish:2:c/d:y'])
  },
  'MQTT-3.3.5-2': async served => {
    // The server's own topics are nobody else's.
    const topics = ['$SYS/a', '$SYS', '$', '$share/group/a', '$other']
    await closesOn(
      served,
      topics.flatMap(topic => [0, 1, 2].map(qos => publish(topic, 'x', { qos, id: 1 })))
    )
    expect(served.journal.records).toEqual([])
  },
  'MQTT-3.6.1-1': async served => {
    await closesOn(
      served,
      Array.from({ length: 16 }, (_, flags) => 0x60 | flags)
        .filter(header => header !== 0x62)
        .map(header => packet(header, uint16(1)))
    )
    using client = await join(served)
    expect(await ask(client, 1, bytes('62 02 00 01'))).toEqual(['pubcomp:1'])
  }
} satisfies Checks

/** §4.1 to §4.6: sessions, the flows of each QoS, sending again, order. */
export const flows = {
  'MQTT-2.3.1-4': async served => {
    // Each connection that begins to count by chance begins at the same id.
    using random = vi.spyOn(Math, 'random').mockReturnValue(0.5)
    expect(random).toBeDefined()
    using first = await comeBack(served)
    await say(served, ...numbered(1, 6, number => 1 + (number % 2)))
    await first.received(7)
    const ids = first.raw.slice(2).map(publishId)
    expect(new Set(ids).size).toBe(5)
    await breakOff(served, first)
    // Wherever a new connection begins to count: what is unacknowledged keeps its id, and no other message gets it.
    for (let round = 0; round < 4; round++) {
      using client = await comeBack(served)
      await client.received(6)
      expect(client.raw.slice(1, 6).map(publishId)).toEqual(ids)
      await say(served, ['k/new', 'x', { qos: 1, id: 1 }], ['k/new', 'y', { qos: 2, id: 2 }])
      await client.received(8)
      const fresh = client.raw.slice(6).map(publishId)
      expect(new Set([...ids, ...fresh]).size).toBe(7)
      client.send(puback(fresh[0] ?? 0), pubrec(fresh[1] ?? 0), pubcomp(fresh[1] ?? 0))
      await client.received(9)
      await breakOff(served, client)
    }
  },
  'MQTT-4.1.0-1': async served => {
    using first = await comeBack(served)
    await breakOff(served, first)
    await say(served, ['k/a', 'x', { qos: 1, id: 1 }])
    using second = await comeBack(served)
    expect(await second.received(2)).toEqual(['connack:1,0', 'publish:1:k/a:x'])
    // The deviation: another server process knows nothing of it.
    await using restarted = await serveBroker({ journal: served.journal })
    using third = await RawClient.connect(restarted.port, 'kept', { clean: false })
    expect(third.packets).toEqual(['connack:0,0'])
  },
  'MQTT-4.1.0-2': async served => {
    using client = await subscriber(served, ['a', 1], ['last', 0])
    for (const number of [1, 2, 3]) await say(served, ['a', String(number), { qos: 1, id: number }])
    expect(await gets(served, client, 'last')).toEqual(['publish:1:a:1', 'publish:1:a:2', 'publish:1:a:3'])
  },
  'MQTT-4.3.1-1': async served => {
    using client = await subscriber(served, ['a', 0], ['last', 0])
    await say(served, ['a', 'x'], ['a', 'y', { qos: 1, id: 1, dup: true }])
    await gets(served, client, 'last')
    expect(client.raw.slice(2, 4).map(raw => raw[0])).toEqual([0x30, 0x30])
  },
  'MQTT-4.3.2-1': async served => {
    using client = await comeBack(served)
    await say(served, ['k/a', 'x', { qos: 1, id: 1 }], ['k/a', 'y', { qos: 1, id: 2 }])
    await client.received(4)
    expect(client.raw.slice(2).map(raw => raw[0])).toEqual([0x32, 0x32])
    client.send(puback(publishId(client.raw[2])))
    await ask(client, 1, bytes('c0 00'))
    await say(served, ['other', '', { qos: 1, id: 1 }])
    await breakOff(served, client)
    using second = await comeBack(served)
    expect(await second.received(2)).toEqual(['connack:1,0', 'publish:1d:k/a:y'])
  },
  'MQTT-4.3.2-2': async served => {
    using client = await join(served)
    for (const payload of ['first', 'second', 'third']) {
      expect(await ask(client, 1, publish('a', payload, { qos: 1, id: 5 }))).toEqual(['puback:5'])
    }
    // The same bytes without DUP are another message.
    expect(await ask(client, 1, publish('a', 'third', { qos: 1, id: 5 }))).toEqual(['puback:5'])
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(['first', 'second', 'third', 'third'])
    // With DUP other bytes are. The deviation: with DUP the same bytes are not.
    expect(await ask(client, 1, publish('a', 'fourth', { qos: 1, id: 5, dup: true }))).toEqual(['puback:5'])
    expect(await ask(client, 1, publish('a', 'fourth', { qos: 1, id: 5, dup: true }))).toEqual(['puback:5'])
    expect(served.journal.records.slice(4).map(({ payload }) => payload)).toEqual(['fourth'])
    // Ownership is durability: before it there is no PUBACK.
    await using slow = await serveBroker({ journal: new FakeJournal({ auto: false }) })
    using waiting = await join(slow)
    expect(await ask(waiting, 1, publish('a', 'x', { qos: 1, id: 6 }), bytes('c0 00'))).toEqual(['pingresp'])
    slow.journal.sync()
    expect((await waiting.received(3)).at(-1)).toBe('puback:6')
  },
  'MQTT-4.3.3-1': async served => {
    using first = await comeBack(served)
    await say(served, ['k/a', 'x', { qos: 2, id: 1 }])
    await first.received(3)
    const id = publishId(first.raw[2])
    expect(first.raw[2]?.[0]).toBe(0x34)
    expect(await ask(first, 1, pubrec(id))).toEqual([`pubrel:${id}`])
    await breakOff(served, first)
    using second = await comeBack(served)
    expect(await second.received(2)).toEqual(['connack:1,0', `pubrel:${id}`])
    // A PUBREC that comes again is answered again.
    expect(await ask(second, 1, pubrec(id))).toEqual([`pubrel:${id}`])
    await ask(second, 1, pubcomp(id), subscribe(2, ['last', 0]))
    await breakOff(served, second)
    using third = await comeBack(served)
    expect(await gets(served, third, 'last')).toEqual([])
    expect(third.packets.some(described => described.startsWith('pubrel'))).toBe(false)
  },
  'MQTT-4.3.3-2': async served => {
    using watcher = await subscriber(served, ['a', 2], ['last', 0])
    using client = await RawClient.connect(served.port, 'publisher', { clean: false })
    expect(await ask(client, 1, publish('a', 'once', { qos: 2, id: 7 }))).toEqual(['pubrec:7'])
    expect(await ask(client, 1, publish('a', 'once', { qos: 2, id: 7, dup: true }))).toEqual(['pubrec:7'])
    client.send(disconnect)
    await client.untilClosed()
    using again = await RawClient.connect(served.port, 'publisher', { clean: false })
    expect(await ask(again, 1, publish('a', 'once', { qos: 2, id: 7, dup: true }))).toEqual(['pubrec:7'])
    expect(await ask(again, 2, pubrel(7), pubrel(7))).toEqual(['pubcomp:7', 'pubcomp:7'])
    expect(await ask(again, 1, publish('a', 'twice', { qos: 2, id: 7 }))).toEqual(['pubrec:7'])
    expect(await gets(served, watcher, 'last')).toEqual(['publish:2:a:once', 'publish:2:a:twice'])
    expect(served.journal.records.filter(({ topic }) => topic === 'a').map(({ payload }) => payload)).toEqual(['once', 'twice'])
  },
  'MQTT-4.4.0-1': async served => {
    await say(served, ['k/r', '0', { qos: 1, id: 1, retain: true }], ['k/s', '1', { qos: 2, id: 2, retain: true }])
    using first = await comeBack(served)
    await first.received(4)
    await say(served, ...numbered(2, 6, number => 1 + (number % 2)))
    await first.received(8)
    // Message 3 gets its PUBREC, message 2 its PUBACK.
    const ids = first.raw.slice(2).map(publishId)
    await ask(first, 1, puback(ids[2] ?? 0), pubrec(ids[3] ?? 0))
    const before = sent(first).slice(0, 6)
    await breakOff(served, first)
    const expected = before.map((described, at) =>
      at === 3 ? `62:${ids[3]}:${(ids[3] ?? 0) & 0xff}` : `3${(Number(described[1]) | 8).toString(16)}${described.slice(2)}`
    )
    expected.splice(2, 1)
    for (let round = 0; round < 2; round++) {
      using again = await comeBack(served)
      await again.received(6)
      expect(sent(again).toSorted()).toEqual(expected.toSorted())
      await breakOff(served, again)
    }
    // Acknowledged, none comes again.
    using last = await comeBack(served)
    await last.received(6)
    for (const id of ids) last.send(puback(id), pubcomp(id))
    await ask(last, 1, subscribe(2, ['last', 0]))
    await breakOff(served, last)
    using empty = await comeBack(served)
    expect(await gets(served, empty, 'last')).toEqual([])
  },
  'MQTT-4.5.0-1': async served => {
    using sleeping = await comeBack(served)
    await breakOff(served, sleeping)
    using awake = await subscriber(served, ['k/+', 1], ['last', 0])
    using other = await subscriber(served, ['j/+', 1], ['last', 0])
    await say(served, ['k/1', 'x', { qos: 1, id: 1 }], ['k/2', 'y', { qos: 2, id: 2 }])
    expect(await gets(served, awake, 'last')).toEqual(['publish:1:k/1:x', 'publish:1:k/2:y'])
    expect(await gets(served, other, 'last')).toEqual([])
    using back = await comeBack(served)
    expect((await back.received(3)).slice(1)).toEqual(['publish:1:k/1:x', 'publish:2:k/2:y'])
    // The deviation: beyond the limit.
    await using bounded = await serveBroker({ limits: { queuedMessages: 1 } })
    using gone = await comeBack(bounded)
    await breakOff(bounded, gone)
    await say(bounded, ['k/1', 'kept', { qos: 1, id: 1 }], ['k/1', 'dropped', { qos: 1, id: 2 }])
    using returned = await comeBack(bounded)
    await ask(returned, 1, subscribe(2, ['last', 0]))
    expect(await gets(bounded, returned, 'last')).toEqual(['publish:1:k/1:kept'])
    expect(bounded.broker.stats.offlineDropped).toBe(1)
  },
  'MQTT-4.6.0-1': async served => {
    using first = await comeBack(served)
    await say(served, ...numbered(1, 51, number => 1 + (number % 2)))
    await first.received(52)
    const order = first.raw.slice(2).map(publishId)
    expect(order).toHaveLength(50)
    await breakOff(served, first)
    for (let round = 0; round < 2; round++) {
      using again = await comeBack(served)
      await again.received(51)
      expect(again.raw.slice(1).map(publishId)).toEqual(order)
      expect(again.packets.slice(1)).toEqual(Array.from({ length: 50 }, (_, at) => `publish:${1 + ((at + 1) % 2)}d:k/a:${at + 1}`))
      await breakOff(served, again)
    }
  },
  'MQTT-4.6.0-2': async served => {
    using client = await join(served)
    const ids = [9, 3, 65_535, 1, 4, 2]
    expect(await ask(client, 6, ...ids.map(id => publish('a', String(id), { qos: 1, id })))).toEqual(ids.map(id => `puback:${id}`))
  },
  'MQTT-4.6.0-3': async served => {
    using client = await join(served)
    const ids = [9, 3, 65_535, 1, 4, 2]
    const packets = ids.flatMap(id => [publish('a', String(id), { qos: 2, id }), publish('a', String(id), { qos: 2, id, dup: true })])
    expect(await ask(client, 12, ...packets)).toEqual(ids.flatMap(id => [`pubrec:${id}`, `pubrec:${id}`]))
  },
  'MQTT-4.6.0-4': async served => {
    using client = await comeBack(served)
    await say(served, ...numbered(1, 21, () => 2))
    await client.received(22)
    const ids = client.raw.slice(2).map(publishId).toReversed()
    expect(await ask(client, 20, ...ids.map(pubrec))).toEqual(ids.map(id => `pubrel:${id}`))
  },
  'MQTT-4.6.0-5': async served => await inOrder(served, ['a', 'b/c', 'd/e/f']),
  'MQTT-4.6.0-6': async served => await inOrder(served, ['a'])
} satisfies Checks

/** Messages of all QoS to these topics, mixed, reach subscribers of every QoS in the order in which they came. */
async function inOrder(served: Served, topics: readonly string[]): Promise<void> {
  using zero = await subscriber(served, ['#', 0])
  using two = await subscriber(served, ['#', 2])
  const messages = Array.from(
    { length: 150 },
    (_, at) => [topics[at % topics.length] ?? '', String(at), { qos: at % 3, id: at + 1 }] as const
  )
  await say(served, ...messages)
  for (const [client, granted] of [
    [zero, 0],
    [two, 2]
  ] as const) {
    const got = (await gets(served, client, 'last')).filter(described => !described.includes(':said:'))
    expect(got).toEqual(messages.map(([topic, payload, { qos }]) => `publish:${Math.min(granted, qos)}:${topic}:${payload}`))
  }
}
