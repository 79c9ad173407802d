import { expect } from 'vitest'
import {
  RawClient,
  connect,
  disconnect,
  fakeIntervals,
  packet,
  pingreq,
  publish,
  serveBroker,
  subscribe,
  text,
  uint16,
  until
} from '../broker/raw-client.ts'
import { FakeJournal } from '../broker/fake-journal.ts'
import { accepts, ask, bytes, closesOn, gets, join, rawConnect, refuses, say, subscriber, unsubscribe } from './wire.ts'
import type { Check, Checks, Served } from './wire.ts'
import { eventually } from '../harness/tidegate.ts'

/** Goes without DISCONNECT, and is back when the server knows. */
async function vanish(served: Served, client: RawClient, clientId: string): Promise<void> {
  await until(() => served.broker.connectedClientIds().includes(clientId), `${clientId} is there`)
  client.socket.destroy()
  await until(() => !served.broker.connectedClientIds().includes(clientId), `${clientId} is gone`)
}

/** A client with a will goes in this way; answers what subscribers of the will's topic get. */
async function willAfter(
  served: Served,
  end: (client: RawClient) => void,
  will: { qos?: number; retain?: boolean } = {}
): Promise<readonly string[]> {
  using watcher = await subscriber(served, ['will', 2], ['last', 0])
  using client = await RawClient.connect(served.port, 'mortal', { will: { topic: 'will', payload: 'gone', ...will } })
  await until(() => served.broker.connectedClientIds().includes('mortal'), 'it is there')
  end(client)
  await client.untilClosed()
  await until(() => !served.broker.connectedClientIds().includes('mortal'), 'it is gone')
  return await gets(served, watcher, 'last')
}

/** Every combination of CONNECT flags that is wrong in itself, with all fields in the payload. */
const withoutWill = (flags: number): Buffer => rawConnect(flags, ['id'])

const takesOver: Check = async served => {
  using first = await RawClient.connect(served.port, 'one', { will: { topic: 'will', payload: 'first' } })
  using watcher = await subscriber(served, ['will', 0], ['last', 0])
  using second = await RawClient.connect(served.port, 'one')
  await first.untilClosed()
  expect(second.packets).toEqual(['connack:0,0'])
  expect(await ask(second, 1, pingreq)).toEqual(['pingresp'])
  expect(await gets(served, watcher, 'last')).toEqual(['publish:0:will:first'])
  expect(served.broker.connectedClientIds().filter(id => id === 'one')).toEqual(['one'])
}

const resumes: Check = async served => {
  using first = await RawClient.connect(served.port, 'kept', { clean: false })
  await ask(first, 1, subscribe(1, ['a', 1]))
  await vanish(served, first, 'kept')
  using second = await RawClient.connect(served.port, 'kept', { clean: false })
  expect(second.packets[0]).toBe('connack:1,0')
  await say(served, ['a', 'live', { qos: 1, id: 1 }])
  expect((await second.received(2))[1]).toBe('publish:1:a:live')
}

/** §3.1: CONNECT. */
export const connecting = {
  'MQTT-3.1.0-1': async served => {
    const others = [
      publish('a', 'x'),
      publish('a', 'x', { qos: 1, id: 1 }),
      subscribe(1, ['a', 0]),
      unsubscribe(1, 'a'),
      pingreq,
      disconnect,
      ...[0x40, 0x50, 0x62, 0x70].map(header => packet(header, uint16(1))),
      bytes('20 02 00 00'),
      bytes('00 00'),
      bytes('f0 00')
    ]
    await refuses(served, others)
    await refuses(
      served,
      others.map(other => Buffer.concat([other, connect('late')]))
    )
    // With CONNECT, in one segment, they are served.
    using client = await RawClient.open(served.port)
    client.send(connect('early'), publish('a', 'x', { qos: 1, id: 1 }), subscribe(2, ['b', 0]), pingreq)
    const packets = await client.received(4)
    expect(packets[0]).toBe('connack:0,0')
    expect(packets.slice(1).toSorted()).toEqual(['pingresp', 'puback:1', 'suback:2:0'])
  },
  'MQTT-3.1.0-2': async served => {
    await closesOn(served, [connect('other'), connect('other', { level: 3 }), packet(0x10)])
    expect(served.broker.connectedClientIds()).not.toContain('other')
  },
  'MQTT-3.1.2-1': async served => {
    const names = ['', 'mqtt', 'MQT', 'MQTT ', 'MQTTX', 'MQIsd', 'mqisdp', 'MQIsdpX', 'HTTP', '\ufeffMQTT']
    await refuses(
      served,
      names.map(name => rawConnect(2, ['a'], { name }))
    )
  },
  'MQTT-3.1.2-2': async served => {
    const levels = [0, 1, 2, 3, 6, 127, 128, 132, 133, 255]
    await refuses(
      served,
      levels.map(level => rawConnect(2, ['a'], { level })),
      ['connack:0,1']
    )
    await accepts(served, [rawConnect(2, ['a'])])
  },
  'MQTT-3.1.2-3': async served => {
    await refuses(served, [
      rawConnect(0x01, ['a']),
      rawConnect(0x03, ['a']),
      rawConnect(0x07, ['a', 'will', 'x']),
      rawConnect(0xc3, ['a', 'b', 'c'])
    ])
  },
  'MQTT-3.1.2-4': async served => await resumes(served),
  'MQTT-3.1.2-5': async served => {
    using first = await RawClient.connect(served.port, 'kept', { clean: false })
    await ask(first, 1, subscribe(1, ['a/+', 2]))
    await vanish(served, first, 'kept')
    await say(served, ['a/1', 'one', { qos: 1, id: 1 }], ['a/2', 'two', { qos: 2, id: 2 }], ['b', 'other', { qos: 1, id: 3 }])
    using second = await RawClient.connect(served.port, 'kept', { clean: false })
    expect(await second.received(3)).toEqual(['connack:1,0', 'publish:1:a/1:one', 'publish:2:a/2:two'])
  },
  'MQTT-3.1.2-6': async served => {
    using first = await RawClient.connect(served.port, 'kept', { clean: false })
    await ask(first, 1, subscribe(1, ['a', 1]))
    await vanish(served, first, 'kept')
    await say(served, ['a', 'missed', { qos: 1, id: 1 }])
    using second = await RawClient.connect(served.port, 'kept', { clean: true })
    expect(second.packets[0]).toBe('connack:0,0')
    await ask(second, 1, subscribe(1, ['last', 0], ['c', 1]))
    await say(served, ['a', 'unwanted', { qos: 1, id: 1 }])
    expect(await gets(served, second, 'last')).toEqual([])
    await vanish(served, second, 'kept')
    using third = await RawClient.connect(served.port, 'kept', { clean: false })
    expect(third.packets[0]).toBe('connack:0,0')
    await ask(third, 1, subscribe(1, ['last', 0]))
    await say(served, ['c', 'unwanted', { qos: 1, id: 1 }])
    expect(await gets(served, third, 'last')).toEqual([])
  },
  'MQTT-3.1.2.7': async served => {
    using client = await RawClient.connect(served.port, 'gone')
    await ask(client, 1, publish('a', 'stays', { qos: 1, id: 1, retain: true }))
    await vanish(served, client, 'gone')
    using next = await RawClient.connect(served.port, 'gone')
    expect(await ask(next, 2, subscribe(1, ['a', 1]))).toEqual(['suback:1:1', 'publish:1r:a:stays'])
  },
  'MQTT-3.1.2-8': async served => {
    const ends: readonly ((client: RawClient) => void)[] = [
      client => client.socket.end(),
      client => client.socket.destroy(),
      client => client.socket.resetAndDestroy(),
      client => client.send(publish('#', 'violation')),
      client => client.send(connect('second')),
      client => client.send(bytes('c1 00'))
    ]
    for (const end of ends) expect(await willAfter(served, end)).toEqual(['publish:0:will:gone'])
    // The deviation: those that are connected when the server stops.
    using client = await RawClient.connect(served.port, 'mortal', { will: { topic: 'will', payload: 'never' } })
    await served.broker.close(500)
    await client.untilClosed()
    expect(served.journal.records.filter(({ payload }) => payload === 'never')).toEqual([])
  },
  'MQTT-3.1.2-9': async served => {
    expect(await willAfter(served, client => client.socket.end(), { qos: 1 })).toEqual(['publish:1:will:gone'])
    await refuses(served, [
      rawConnect(0x06, ['a']),
      rawConnect(0x06, ['a', 'will']),
      packet(0x10, text('MQTT'), bytes('04 06 00 00'), text('a'), text('w'), bytes('00 05 61'))
    ])
    // A will message of no bytes is one.
    await accepts(served, [rawConnect(0x06, ['a', 'will', ''])])
  },
  'MQTT-3.1.2-10': async served => {
    expect(await willAfter(served, client => client.socket.end())).toEqual(['publish:0:will:gone'])
    using watcher = await subscriber(served, ['will', 0], ['last', 0])
    using client = await RawClient.connect(served.port, 'mortal')
    await vanish(served, client, 'mortal')
    expect(await gets(served, watcher, 'last')).toEqual([])
  },
  'MQTT-3.1.2-11': async served => {
    await refuses(served, [...[0x0a, 0x12, 0x1a, 0x22, 0x2a, 0x32, 0x3a].map(withoutWill), rawConnect(0x02, ['a', 'will', 'message'])])
  },
  'MQTT-3.1.2-12': async served => {
    using client = await RawClient.connect(served.port, 'willless')
    await vanish(served, client, 'willless')
    await refuses(served, [rawConnect(0x02, ['id', 'will', 'gone'])])
    expect(served.journal.records).toEqual([])
  },
  'MQTT-3.1.2-13': async served => await refuses(served, [0x0a, 0x12, 0x1a].map(withoutWill)),
  'MQTT-3.1.2-14': async served => {
    await refuses(
      served,
      [0x1e, 0x3e].map(flags => rawConnect(flags, ['a', 'will', 'x']))
    )
    await accepts(
      served,
      [0x06, 0x0e, 0x16, 0x26, 0x2e, 0x36].map(flags => rawConnect(flags, ['a', 'will', 'x']))
    )
  },
  'MQTT-3.1.2-15': async served => await refuses(served, [0x22, 0x20].map(withoutWill)),
  'MQTT-3.1.2-16': async served => {
    for (const qos of [0, 1, 2])
      expect(await willAfter(served, client => client.socket.end(), { qos })).toEqual([`publish:${qos}:will:gone`])
    using late = await subscriber(served, ['will', 0], ['last', 0])
    expect(await gets(served, late, 'last')).toEqual([])
  },
  'MQTT-3.1.2-17': async served => {
    expect(await willAfter(served, client => client.socket.end(), { qos: 2, retain: true })).toEqual(['publish:2:will:gone'])
    using late = await join(served)
    expect(await ask(late, 2, subscribe(1, ['will', 2]))).toEqual(['suback:1:2', 'publish:2r:will:gone'])
  },
  'MQTT-3.1.2-18': async served => await refuses(served, [rawConnect(0x02, ['a', 'user'])]),
  'MQTT-3.1.2-19': async served => {
    await refuses(served, [rawConnect(0x82, ['a']), packet(0x10, text('MQTT'), bytes('04 82 00 00'), text('a'), bytes('00 05 61'))])
    await accepts(served, [rawConnect(0x82, ['a', 'user']), rawConnect(0x82, ['a', ''])])
  },
  'MQTT-3.1.2-20': async served => await refuses(served, [rawConnect(0x82, ['a', 'user', 'password'])]),
  'MQTT-3.1.2-21': async served => {
    await refuses(served, [
      rawConnect(0xc2, ['a', 'user']),
      packet(0x10, text('MQTT'), bytes('04 c2 00 00'), text('a'), text('u'), bytes('00 05 61'))
    ])
    await accepts(served, [
      rawConnect(0xc2, ['a', 'user', 'password']),
      rawConnect(0xc2, ['a', 'user', bytes('ff 00 c0')]),
      rawConnect(0xc2, ['a', 'u', ''])
    ])
  },
  'MQTT-3.1.2-22': async served => {
    await refuses(served, [rawConnect(0x42, ['a', 'password']), rawConnect(0x42, ['a']), rawConnect(0x46, ['a', 'will', 'x', 'password'])])
  },
  'MQTT-3.1.2-24': async () => {
    using clock = fakeIntervals()
    await using served = await serveBroker()
    using silent = await RawClient.connect(served.port, 'silent', { keepAlive: 2, will: { topic: 'will', payload: 'failed' } })
    using pinging = await RawClient.connect(served.port, 'pinging', { keepAlive: 2 })
    using publishing = await RawClient.connect(served.port, 'publishing', { keepAlive: 2 })
    using unlimited = await RawClient.connect(served.port, 'unlimited', { keepAlive: 0 })
    clock.advance(2750)
    await ask(pinging, 1, pingreq)
    await ask(publishing, 1, publish('a', 'x', { qos: 1, id: 1 }))
    // Bytes that are not a whole packet do not count.
    const received = served.broker.stats.bytesReceived
    silent.send(bytes('c0'))
    await until(() => served.broker.stats.bytesReceived === received + 1, 'a byte has come')
    expect(silent.closed).toBe(false)
    clock.advance(750)
    await silent.untilClosed()
    await until(() => served.journal.records.some(({ payload }) => payload === 'failed'), 'the will is there')
    expect([pinging.closed, publishing.closed, unlimited.closed]).toEqual([false, false, false])
    clock.advance(60_000)
    await pinging.untilClosed()
    await publishing.untilClosed()
    expect(await ask(unlimited, 1, pingreq)).toEqual(['pingresp'])
    // The deviation: while the socket is not read.
    const journal = new FakeJournal()
    await using full = await serveBroker({ journal, limits: { heldBytes: 4096 } })
    using unread = await RawClient.connect(full.port, 'unread', { keepAlive: 2 })
    journal.become('full')
    unread.send(...Array.from({ length: 200 }, (_, at) => publish('a', Buffer.alloc(1000), { qos: 1, id: at + 1 })))
    await until(() => full.broker.stats.pausedSockets === 1, 'the socket is not read')
    clock.advance(60_000)
    expect(full.broker.connectedClientIds()).toEqual(['unread'])
  },
  'MQTT-3.1.3-1': async served => {
    using watcher = await subscriber(served, ['topic', 0], ['last', 0])
    using client = await RawClient.open(served.port)
    client.send(rawConnect(0xc6, ['id', 'topic', 'message', 'user', 'password']))
    await client.received(1)
    await vanish(served, client, 'id')
    expect(await gets(served, watcher, 'last')).toEqual(['publish:0:topic:message'])
    expect(served.journal.records.find(({ will }) => will)).toMatchObject({
      clientId: 'id',
      user: 'user',
      topic: 'topic',
      payload: 'message'
    })
  },
  'MQTT-3.1.3-2': async served => {
    await resumes(served)
    using other = await RawClient.connect(served.port, 'Kept', { clean: false })
    expect(other.packets[0]).toBe('connack:0,0')
    // Names that objects inherit are client ids as any.
    for (const id of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      using first = await RawClient.connect(served.port, id, { clean: false })
      expect(first.packets).toEqual(['connack:0,0'])
      await ask(first, 1, subscribe(1, [id, 1]))
      await vanish(served, first, id)
      await say(served, [id, 'kept', { qos: 1, id: 1 }])
      using second = await RawClient.connect(served.port, id, { clean: false })
      expect(await second.received(2)).toEqual(['connack:1,0', `publish:1:${id}:kept`])
    }
  },
  'MQTT-3.1.3-3': async served => {
    await refuses(served, [
      rawConnect(0x02, []),
      packet(0x10, text('MQTT'), bytes('04 02 00 00 00')),
      packet(0x10, text('MQTT'), bytes('04 02 00 00 00 09 61'))
    ])
  },
  'MQTT-3.1.3-4': async served =>
    await refuses(
      served,
      ['c0 80', 'ed a0 80', 'ff', '00', '61 00'].map(hex => rawConnect(0x02, [bytes(hex)]))
    ),
  'MQTT-3.1.3-5': async served => {
    const alphabet = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
    const ids = [
      ...Array.from(alphabet),
      ...Array.from({ length: 23 }, (_, at) => alphabet.slice(at, at + at + 1)),
      alphabet.slice(0, 23),
      alphabet.slice(39)
    ]
    await accepts(
      served,
      ids.map(id => connect(id))
    )
  },
  'MQTT-3.1.3-6': async served => {
    using one = await RawClient.connect(served.port, '')
    using two = await RawClient.connect(served.port, '')
    expect([one.packets, two.packets]).toEqual([['connack:0,0'], ['connack:0,0']])
    // CONNACK is on its way a moment before the client counts as connected.
    await eventually('two ids', () => (new Set(served.broker.connectedClientIds()).size === 2 ? true : undefined))
    expect(await ask(one, 2, subscribe(1, ['a', 0]), pingreq)).toHaveLength(2)
    await say(served, ['a', 'hello'])
    expect((await one.received(4)).at(-1)).toBe('publish:0:a:hello')
    expect(await ask(two, 1, pingreq)).toEqual(['pingresp'])
  },
  'MQTT-3.1.3-8': async served => {
    await refuses(
      served,
      [rawConnect(0x00, ['']), rawConnect(0x04, ['', 'will', 'x']), rawConnect(0xc0, ['', 'user', 'password'])],
      ['connack:0,2']
    )
  },
  'MQTT-3.1.3-9': async served => {
    await refuses(served, [rawConnect(0x02, ['x'.repeat(129)]), rawConnect(0x00, ['x'.repeat(65_000)])], ['connack:0,2'])
    await accepts(served, [rawConnect(0x02, ['x'.repeat(128)])])
  },
  'MQTT-3.1.3-10': async served => {
    await refuses(
      served,
      ['c0 80', 'ed a0 80', 'ff', '00', ''].map(hex => rawConnect(0x06, ['a', bytes(hex), 'x']))
    )
  },
  'MQTT-3.1.3-11': async served =>
    await refuses(
      served,
      ['c0 80', 'ed a0 80', 'ff', '00'].map(hex => rawConnect(0x82, ['a', bytes(hex)]))
    ),
  'MQTT-3.1.4-1': async served => {
    const whole = rawConnect(0xc6, ['id', 'topic', 'message', 'user', 'password']).subarray(2)
    // Cut anywhere with a length that says so; the first six bytes are the name, then level, flags and keep alive.
    await refuses(
      served,
      Array.from({ length: whole.length }, (_, length) => packet(0x10, whole.subarray(0, length))).filter((_, length) => length !== 7)
    )
    await refuses(served, [packet(0x10, whole, Buffer.from([0])), packet(0x10, whole, text('more')), bytes('10 00')])
    expect(served.broker.refusals.every(({ reason }) => reason !== '')).toBe(true)
  },
  'MQTT-3.1.4-2': async served => await takesOver(served),
  'MQTT-3.1.4-3': async served => {
    const present = async (clean: boolean): Promise<string | undefined> => {
      using client = await RawClient.connect(served.port, 'same', { clean })
      await vanish(served, client, 'same')
      return client.packets[0]
    }
    const answers: (string | undefined)[] = []
    for (const clean of [false, false, true, true, false, false]) answers.push(await present(clean))
    expect(answers).toEqual(['connack:0,0', 'connack:1,0', 'connack:0,0', 'connack:0,0', 'connack:0,0', 'connack:1,0'])
  },
  'MQTT-3.1.4-4': async served => {
    using client = await join(served)
    expect(client.raw.map(raw => raw.toString('hex'))).toEqual(['20020000'])
  },
  'MQTT-3.1.4-5': async served => {
    const refused = [rawConnect(0x00, ['']), rawConnect(0x02, ['x'.repeat(129)]), rawConnect(2, ['a'], { level: 5 })]
    for (const vector of refused) {
      using client = await RawClient.open(served.port)
      client.send(vector, connect('again'), publish('a', 'x', { qos: 1, id: 1 }), subscribe(1, ['a', 0]), pingreq)
      await client.untilClosed()
      expect(client.packets).toHaveLength(1)
    }
    expect([served.journal.records, served.broker.connectedClientIds()]).toEqual([[], []])
  }
} satisfies Checks

/** §3.2: CONNACK. */
export const connack = {
  'MQTT-3.2.0-1': async served => {
    // A session that comes back to queued messages, and asks for more in the segment of its CONNECT.
    using first = await RawClient.connect(served.port, 'kept', { clean: false })
    await ask(first, 1, subscribe(1, ['a', 1]))
    await vanish(served, first, 'kept')
    await say(served, ['a', 'queued', { qos: 1, id: 1 }])
    using second = await RawClient.open(served.port)
    second.send(connect('kept', { clean: false }), pingreq, subscribe(2, ['b', 0]), publish('a', 'x', { qos: 1, id: 1 }))
    expect((await second.received(5))[0]).toBe('connack:1,0')
  },
  'MQTT-3.2.2-1': async served => {
    using first = await RawClient.connect(served.port, 'kept', { clean: false })
    await vanish(served, first, 'kept')
    using second = await RawClient.connect(served.port, 'kept', { clean: true })
    expect(second.raw[0]?.toString('hex')).toBe('20020000')
  },
  'MQTT-3.2.2-2': async served => {
    using first = await RawClient.connect(served.port, 'kept', { clean: false })
    await vanish(served, first, 'kept')
    using second = await RawClient.connect(served.port, 'kept', { clean: false })
    expect(second.raw[0]?.toString('hex')).toBe('20020100')
  },
  'MQTT-3.2.2-3': async served => {
    using first = await RawClient.connect(served.port, 'new', { clean: false })
    expect(first.raw[0]?.toString('hex')).toBe('20020000')
  },
  'MQTT-3.2.2-4': async served => {
    using first = await RawClient.connect(served.port, 'a', { clean: false })
    await vanish(served, first, 'a')
    await refuses(served, [rawConnect(0x00, ['a'], { level: 6 })], ['connack:0,1'])
    await refuses(served, [rawConnect(0x00, [''])], ['connack:0,2'])
  },
  'MQTT-3.2.2-5': async served => {
    await refuses(served, [rawConnect(0x02, ['a'], { level: 9 })], ['connack:0,1'])
    await refuses(served, [rawConnect(0x02, ['x'.repeat(200)])], ['connack:0,2'])
    await using closed = await serveBroker({ anonymous: 'never' })
    await refuses(closed, [connect('a'), connect('a', { user: 'anna' })], ['connack:0,5'])
    await using full = await serveBroker({ limits: { sessions: 1 } })
    using first = await RawClient.connect(full.port, 'first', { clean: false })
    await refuses(full, [connect('second', { clean: false })], ['connack:0,3'])
    expect(await ask(first, 1, pingreq)).toEqual(['pingresp'])
  },
  'MQTT-3.2.2-6': async served =>
    await refuses(served, [rawConnect(0x03, ['a']), rawConnect(0x02, ['a', 'more']), rawConnect(0x1e, ['a', 'b', 'c'])])
} satisfies Checks

/** §3.12 and §3.14: PINGREQ and DISCONNECT. */
export const pingAndDisconnect = {
  'MQTT-3.12.4-1': async served => {
    using client = await join(served)
    expect(await ask(client, 3, pingreq, pingreq, pingreq)).toEqual(['pingresp', 'pingresp', 'pingresp'])
    expect(client.raw.slice(1).map(raw => raw.toString('hex'))).toEqual(['d000', 'd000', 'd000'])
    await closesOn(served, [bytes('c0 01 00'), bytes('c0 02 00 01')])
  },
  'MQTT-3.14.1-1': async served => {
    await closesOn(served, [
      ...Array.from({ length: 15 }, (_, flags) => Buffer.from([0xe1 + flags, 0])),
      bytes('e0 01 00'),
      bytes('e0 02 00 00')
    ])
    expect(await willAfter(served, client => client.send(bytes('e1 00')))).toEqual(['publish:0:will:gone'])
    expect(await willAfter(served, client => client.send(bytes('e0 01 00')))).toEqual(['publish:0:will:gone'])
  },
  'MQTT-3.14.4-3': async served => {
    expect(await willAfter(served, client => client.send(disconnect))).toEqual([])
    expect(await willAfter(served, client => client.send(disconnect, publish('will', 'behind'), bytes('ff ff')))).toEqual([])
    expect(await willAfter(served, client => client.send(disconnect), { qos: 2, retain: true })).toEqual([])
  }
} satisfies Checks
