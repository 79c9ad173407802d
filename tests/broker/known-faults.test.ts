import { describe, expect, test } from 'vitest'
import { FakeJournal } from './fake-journal.ts'
import {
  RawClient,
  connect,
  disconnect,
  fakeIntervals,
  packet,
  pingreq,
  publish,
  pubrel,
  serveBroker,
  subscribe,
  text,
  uint16,
  until
} from './raw-client.ts'

/** A CONNECT with will QoS and topic as they come, also such as no client may send. */
const connectWithWill = (flags: number, ...fields: readonly Buffer[]): Buffer =>
  packet(0x10, text('MQTT'), Buffer.from([4, flags]), uint16(0), text('will'), ...fields)

describe('what other brokers fell over', () => {
  test('a PUBLISH cut at any byte and followed by silence is nothing, and holds nothing when its keep alive is over', async () => {
    using clock = fakeIntervals()
    await using served = await serveBroker()
    const whole = publish('devices/cut/telemetry', 'x'.repeat(30), { qos: 1, id: 1 })
    const clients = await Promise.all(
      Array.from({ length: whole.length - 1 }, async (_, at) => {
        const client = await RawClient.connect(served.port, `cut-${at}`, { keepAlive: 2 })
        client.send(whole.subarray(0, at + 1))
        return client
      })
    )
    const received = clients.reduce((bytes, _, at) => bytes + connect(`cut-${at}`).length + at + 1, 0)
    await until(() => served.broker.stats.bytesReceived === received, 'all pieces have come')
    clock.advance(3000)
    expect(clients.filter(client => client.closed)).toEqual([])
    clock.advance(500)
    await Promise.all(clients.map(async client => await client.untilClosed()))
    expect(served.journal.records).toEqual([])
    await until(() => served.broker.stats.sockets === 0, 'no socket is left')
    expect(served.broker.stats.connections).toBe(0)
  })

  test('fifty thousand filters are answered one by one, also when they come again, and no neighbour waits for them', async () => {
    for (const clean of [true, false]) {
      await using served = await serveBroker({ limits: { subscriptions: 1000 } })
      using neighbour = await RawClient.connect(served.port, 'neighbour')
      using greedy = await RawClient.connect(served.port, 'greedy', { clean })
      const filters = Array.from({ length: 50_000 }, (_, number) => [number.toString(36), 1] as const)
      for (let packet = 0; packet < 5; packet++)
        greedy.send(subscribe(packet + 1, ...filters.slice(packet * 10_000, (packet + 1) * 10_000)))
      // Those that it has, ten times over: a broker that looks for each in a list goes through all for each of them.
      for (let packet = 5; packet < 15; packet++) greedy.send(subscribe(packet + 1, ...filters.slice(0, 1000)))
      neighbour.send(publish('n', 'fine', { qos: 1, id: 1 }), pingreq)
      await greedy.received(16, 30_000)
      const byId = new Map(greedy.raw.slice(1).map(raw => [raw.readUInt16BE(3), raw] as const))
      const codesOf = (id: number, count: number): readonly number[] => [...(byId.get(id)?.subarray(-count) ?? [])]
      expect(codesOf(1, 10_000)).toEqual(Array.from({ length: 10_000 }, (_, at) => (at < 1000 ? 1 : 128)))
      for (let id = 2; id <= 5; id++) expect(codesOf(id, 10_000)).toEqual(Array.from({ length: 10_000 }, () => 128))
      for (let id = 6; id <= 15; id++) expect(codesOf(id, 1000)).toEqual(Array.from({ length: 1000 }, () => 1))
      expect(served.broker.stats.subscriptions).toBe(1000)
      expect((await neighbour.received(3)).toSorted()).toEqual(['connack:0,0', 'pingresp', 'puback:1'])
    }
  })

  test('half-open sockets and liars about their keep alive are closed, and others are served meanwhile', async () => {
    using clock = fakeIntervals()
    await using served = await serveBroker()
    using honest = await RawClient.connect(served.port, 'honest', { keepAlive: 60 })
    const silent = await Promise.all(Array.from({ length: 100 }, async () => await RawClient.open(served.port)))
    const part = connect('x'.repeat(100)).subarray(0, 40)
    for (const [at, client] of silent.entries()) if (at % 2 === 0) client.send(part)
    const liars = await Promise.all(
      Array.from({ length: 50 }, async (_, at) => await RawClient.connect(served.port, `liar-${at}`, { keepAlive: 1 }))
    )
    honest.send(publish('a', 'x', { qos: 1, id: 1 }))
    expect((await honest.received(2)).at(-1)).toBe('puback:1')
    await until(() => served.broker.stats.sockets === 151, 'all are there')
    clock.advance(5500)
    await Promise.all([...silent, ...liars].map(async client => await client.untilClosed()))
    expect(await honest.received(2)).toHaveLength(2)
    expect(served.broker.stats.refusedByReason.get('no CONNECT within 5 s')).toBe(100)
    honest.send(pingreq)
    expect((await honest.received(3)).at(-1)).toBe('pingresp')
  })

  test.each([
    ['SUBSCRIBE', subscribe(1, ['a', 0])],
    ['a PUBLISH that has not come to its end', publish('t', 'x'.repeat(1000)).subarray(0, 20)],
    ['a byte of one', Buffer.from([0x30])],
    ['DISCONNECT', disconnect],
    ['a ClientHello of TLS', Buffer.from('16030100fa010000f60303', 'hex')],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n')],
    ['zeros', Buffer.alloc(65_000)]
  ])('a first packet that is not CONNECT ends its socket by its first byte: %s', async (_name, bytes) => {
    // No interval runs, so nothing here waits for the five seconds.
    using clock = fakeIntervals()
    await using served = await serveBroker()
    using client = await RawClient.open(served.port)
    client.send(bytes)
    await client.untilClosed()
    clock.advance(6000)
    expect(client.packets).toEqual([])
    expect([...served.broker.stats.refusedByReason]).toEqual([['first packet is not CONNECT', 1]])
    expect(served.broker.stats).toMatchObject({ heldBytes: 0, connections: 0 })
  })

  test('a CONNECT that declares more than 64 KiB is refused at once, whatever comes of it', async () => {
    using clock = fakeIntervals()
    await using served = await serveBroker()
    for (const declared of ['81800410', 'ffffff7f', '80808001']) {
      using client = await RawClient.open(served.port)
      client.send(Buffer.from(`10${declared}`, 'hex'))
      await client.untilClosed()
    }
    clock.advance(6000)
    expect([...served.broker.stats.refusedByReason]).toEqual([['packet is too large', 3]])
  })

  test.each([
    ['cut in its topic', connectWithWill(0x06, Buffer.from([0, 9, 0x61])), 'will is cut'],
    ['cut in its payload', connectWithWill(0x06, text('a'), Buffer.from([0xff, 0xff, 1])), 'will is cut'],
    ['without a payload', connectWithWill(0x06, text('a')), 'will is cut'],
    ['with an empty topic', connectWithWill(0x06, text(''), text('x')), 'will: topic is empty'],
    ['with a filter for a topic', connectWithWill(0x06, text('a/+'), text('x')), 'will: topic has a wildcard'],
    ['with a topic below $SYS', connectWithWill(0x06, text('$SYS/x'), text('x')), 'will: topic is reserved'],
    ['with a topic that is not UTF-8', connectWithWill(0x06, text(Buffer.from([0xff])), text('x')), 'will: topic is not UTF-8'],
    ['with a topic of 200 levels', connectWithWill(0x06, text('/'.repeat(199)), text('x')), 'will: topic has too many levels'],
    ['with QoS 3', connectWithWill(0x1e, text('a'), text('x')), 'will QoS is 3'],
    ['that only its flags know', connectWithWill(0x2a), 'will flags are set without a will'],
    ['that its flags do not know', connectWithWill(0x02, text('a'), text('x')), 'CONNECT has bytes behind its end']
  ])('a will %s is refused before anybody could be told of it', async (_name, bytes, reason) => {
    await using served = await serveBroker()
    using watcher = await RawClient.connect(served.port, 'watcher')
    watcher.send(subscribe(1, ['#', 0]))
    await watcher.received(2)
    using client = await RawClient.open(served.port)
    client.send(bytes)
    await client.untilClosed()
    expect(client.packets).toEqual([])
    expect(served.broker.refusals.at(-1)?.reason).toBe(reason)
    watcher.send(pingreq)
    expect((await watcher.received(3)).at(-1)).toBe('pingresp')
    expect(served.journal.records).toEqual([])
  })

  test.each([
    ['of thousands of levels', publish('/'.repeat(60_000), 'x', { qos: 1, id: 1 }), 'topic is too long'],
    ['one level too deep', publish('a/'.repeat(16), 'x', { qos: 1, id: 1 }), 'topic has too many levels'],
    ['of no length', publish('', 'x', { qos: 1, id: 1 }), 'topic is empty'],
    ['of no length, and no more', Buffer.from([0x30, 2, 0, 0]), 'topic is empty'],
    ['in a filter of thousands of levels', subscribe(1, ['+/'.repeat(30_000), 0]), 'topic filter is too long'],
    ['in a filter of no length', subscribe(1, ['', 0]), 'topic filter is empty']
  ])('a topic %s ends its connection, and leaves nothing', async (_name, bytes, reason) => {
    await using served = await serveBroker()
    using neighbour = await RawClient.connect(served.port, 'neighbour')
    using client = await RawClient.connect(served.port, 'deep')
    client.send(bytes)
    await client.untilClosed()
    expect(served.broker.refusals.at(-1)).toMatchObject({ clientId: 'deep', reason })
    neighbour.send(publish('n', 'fine', { qos: 1, id: 1 }))
    expect((await neighbour.received(2)).at(-1)).toBe('puback:1')
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(['fine'])
    expect(served.broker.stats).toMatchObject({ subscriptions: 0, heldBytes: 0 })
  })

  test('client ids and topics that are names of what every object has are ids and topics like any other', async () => {
    await using served = await serveBroker()
    const names = ['__proto__', 'constructor', 'prototype', 'hasOwnProperty', 'toString', '__defineGetter__']
    for (const name of names) {
      using first = await RawClient.connect(served.port, name, { clean: false })
      expect(first.packets).toEqual(['connack:0,0'])
      first.send(subscribe(1, [`${name}/${name}`, 1]))
      await first.received(2)
      first.send(disconnect)
      await first.untilClosed()
    }
    using source = await RawClient.connect(served.port, 'source')
    source.send(...names.map((name, at) => publish(`${name}/${name}`, name, { qos: 1, id: at + 1, retain: true })))
    await source.received(1 + names.length)
    for (const name of names) {
      using back = await RawClient.connect(served.port, name, { clean: false })
      expect(await back.received(2)).toEqual(['connack:1,0', `publish:1:${name}/${name}:${name}`])
      using late = await RawClient.connect(served.port, `late-${name}`)
      late.send(subscribe(1, [`${name}/+`, 0]))
      expect((await late.received(3)).slice(1).toSorted()).toEqual([`publish:0r:${name}/${name}:${name}`, 'suback:1:0'])
    }
    expect(served.broker.stats).toMatchObject({ persistentSessions: names.length, retained: names.length, violations: 0 })
    expect('polluted' in {}).toBe(false)
  })

  test('client ids of 65 KB and their like are refused, and none of them is kept', async () => {
    await using served = await serveBroker()
    for (const [length, packets, reason] of [
      [129, ['connack:0,2'], 'client id is longer than 128 bytes'],
      [60_000, ['connack:0,2'], 'client id is longer than 128 bytes'],
      [65_535, [], 'packet is too large']
    ] as const) {
      for (const clean of [true, false]) {
        using client = await RawClient.open(served.port)
        client.send(connect('i'.repeat(length), { clean }))
        await client.untilClosed()
        expect(client.packets).toEqual(packets)
        expect(served.broker.refusals.at(-1)?.reason).toBe(reason)
      }
    }
    expect(served.broker.stats).toMatchObject({ persistentSessions: 0, connections: 0, connectsRefused: 6, heldBytes: 0 })
  })

  test('a packet id that is used again before and after its acknowledgement is acknowledged each time, and each is stored', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal })
    using client = await RawClient.connect(served.port, 'same-id')
    for (let round = 0; round < 3; round++) client.send(publish('t', `open-${round}`, { qos: 1, id: 7 }))
    await until(() => journal.records.length === 3, 'all are taken')
    journal.sync()
    await client.received(4)
    client.send(publish('t', 'after', { qos: 1, id: 7 }))
    await until(() => journal.records.length === 4, 'the last one too')
    journal.sync()
    expect((await client.received(5)).slice(1)).toEqual(['puback:7', 'puback:7', 'puback:7', 'puback:7'])
    // With QoS 2 the id is the message until PUBREL [MQTT-4.3.3-2].
    client.send(publish('t', 'first', { qos: 2, id: 7 }), publish('t', 'other', { qos: 2, id: 7 }))
    await until(() => journal.records.length === 5, 'one of both')
    journal.sync()
    client.send(pubrel(7), publish('t', 'second', { qos: 2, id: 7 }))
    await until(() => journal.records.length === 6, 'the next one')
    journal.sync()
    expect((await client.received(9)).slice(5)).toEqual(['pubrec:7', 'pubrec:7', 'pubcomp:7', 'pubrec:7'])
    expect(journal.records.map(({ payload }) => payload)).toEqual(['open-0', 'open-1', 'open-2', 'after', 'first', 'second'])
  })

  test('a flood of QoS 2 without PUBREL is ended at its bound, also over many connections of a session', async () => {
    await using served = await serveBroker({ limits: { inFlight: 100 } })
    using neighbour = await RawClient.connect(served.port, 'neighbour')
    const bound = 4096
    let taken = 0
    for (const count of [3000, 3000]) {
      using client = await RawClient.connect(served.port, 'flood', { clean: false })
      client.send(...Array.from({ length: count }, (_, at) => publish('t', `${taken + at}`, { qos: 2, id: taken + at + 1 })))
      await client.received(1 + Math.min(count, bound - taken), 20_000)
      if (taken > 0) await client.untilClosed()
      taken += count
      client.socket.destroy()
      await until(() => served.broker.stats.connections === 1, 'it is gone')
    }
    expect(served.broker.refusals.map(({ clientId, reason }) => ({ clientId, reason }))).toEqual([
      { clientId: 'flood', reason: 'too many QoS 2 publishes without PUBREL' }
    ])
    expect(served.journal.records).toHaveLength(bound)
    // The session is there, and what is released makes room.
    using back = await RawClient.connect(served.port, 'flood', { clean: false })
    expect(back.packets).toEqual(['connack:1,0'])
    back.send(pubrel(1), publish('t', 'room', { qos: 2, id: 6000 }))
    expect((await back.received(3)).slice(1)).toEqual(['pubcomp:1', 'pubrec:6000'])
    neighbour.send(publish('n', 'fine', { qos: 1, id: 1 }))
    expect((await neighbour.received(2)).at(-1)).toBe('puback:1')
  })

  test('a flood of retained messages is acknowledged, kept up to its bounds, and counted beyond them', async () => {
    await using served = await serveBroker({ limits: { retained: 100 } })
    using flood = await RawClient.connect(served.port, 'flood')
    for (let wave = 0; wave < 10; wave++) {
      const ids = Array.from({ length: 500 }, (_, at) => wave * 500 + at + 1)
      flood.send(...ids.map(id => publish(`r/${id}`, `${id}`, { qos: 1, id, retain: true })))
      await flood.received(1 + ids.length * (wave + 1), 20_000)
    }
    await until(() => served.broker.stats.routeQueue === 0, 'all have reached the routing side')
    expect(served.broker.stats).toMatchObject({ retained: 100, retainedDropped: 4900, violations: 0 })
    expect(served.journal.records).toHaveLength(5000)
    using late = await RawClient.connect(served.port, 'late')
    late.send(subscribe(1, ['r/#', 0]))
    expect(new Set((await late.received(102)).slice(1))).toEqual(
      new Set(['suback:1:0', ...Array.from({ length: 100 }, (_, at) => `publish:0r:r/${at + 1}:${at + 1}`)])
    )
  })

  test('one client id over and over, each connection with a will, leaves one session, one connection and each will once', async () => {
    await using served = await serveBroker()
    const clients: RawClient[] = []
    for (let number = 0; number < 50; number++) {
      const will = { topic: 'gone', payload: `${number}`, qos: 1 }
      clients.push(await RawClient.connect(served.port, 'twice', { clean: false, keepAlive: 60, will }))
    }
    const last = clients.pop()
    for (const client of clients) await client.untilClosed()
    await until(() => served.journal.records.length === 49, 'the wills are there')
    expect(served.journal.records.map(({ payload }) => Number(payload))).toEqual(Array.from({ length: 49 }, (_, at) => at))
    await until(() => served.broker.stats.sockets === 1 && served.broker.stats.connections === 1, 'one is left')
    expect(served.broker.stats).toMatchObject({ persistentSessions: 1, violations: 0 })
    last?.send(publish('t', 'alive', { qos: 1, id: 1 }), disconnect)
    await last?.untilClosed()
    await until(() => served.broker.stats.sockets === 0, 'the last one is gone')
    expect(served.journal.records.at(-1)?.payload).toBe('alive')
  })

  test('a reader that is slow but reads gets everything, in order, and no publisher waits for it', async () => {
    await using served = await serveBroker()
    using slow = await RawClient.connect(served.port, 'slow')
    slow.send(subscribe(1, ['s', 1]))
    await slow.received(2)
    using source = await RawClient.connect(served.port, 'source')
    const filler = 'x'.repeat(1000)
    for (let wave = 0; wave < 10; wave++) {
      // Not read at all while it is published, then all of it.
      slow.socket.pause()
      const ids = Array.from({ length: 100 }, (_, at) => wave * 100 + at + 1)
      source.send(...ids.map(id => publish('s', `${id}:${filler}`, { qos: 1, id })))
      await source.received(1 + ids.length * (wave + 1), 20_000)
      slow.socket.resume()
      await slow.received(2 + ids.length * (wave + 1), 20_000)
    }
    expect(slow.packets.slice(2).map(name => Number(name.split(':')[3]))).toEqual(Array.from({ length: 1000 }, (_, at) => at + 1))
    expect(served.broker.stats).toMatchObject({ violations: 0, unreadBytes: 0 })
  })

  test('liars about their keep alive: one that sends bytes of a packet that never ends is as silent as one that sends none', async () => {
    using clock = fakeIntervals()
    await using served = await serveBroker()
    using liar = await RawClient.connect(served.port, 'liar', { keepAlive: 2 })
    using honest = await RawClient.connect(served.port, 'honest', { keepAlive: 2 })
    const endless = publish('t', 'x'.repeat(100_000))
    let sent = 0
    for (; !liar.closed && sent < 40; sent++) {
      const before = served.broker.stats.bytesReceived
      liar.send(endless.subarray(sent, sent + 1))
      honest.send(pingreq)
      await honest.received(2 + sent)
      await until(() => liar.closed || served.broker.stats.bytesReceived >= before + 3, 'its byte has come')
      clock.advance(250)
    }
    await liar.untilClosed()
    expect(sent).toBeLessThan(40)
    expect(honest.closed).toBe(false)
    expect(served.broker.stats.heldBytes).toBe(0)
  })
})
