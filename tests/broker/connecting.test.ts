import { networkInterfaces } from 'node:os'
import { describe, expect, test } from 'vitest'
import { FakeJournal } from './fake-journal.ts'
import {
  RawClient,
  connect,
  disconnect,
  fakeIntervals,
  packet,
  pingreq,
  puback,
  publish,
  serveBroker,
  subscribe,
  text,
  uint16,
  until
} from './raw-client.ts'

/** Sends bytes as a new client, waits for the end, and answers the CONNACK and the reason that operators see. */
async function refused(
  options: Parameters<typeof serveBroker>[0],
  ...bytes: readonly Buffer[]
): Promise<{ readonly packets: readonly string[]; readonly reason: string | undefined; readonly records: number }> {
  await using served = await serveBroker(options)
  using client = await RawClient.open(served.port)
  client.send(...bytes)
  await client.untilClosed()
  return { packets: client.packets, reason: served.broker.refusals.at(-1)?.reason, records: served.journal.records.length }
}

describe('CONNECT', () => {
  test.each([
    ['MQTT 3.1.1', connect('a', { level: 4 }), 'connack:0,0'],
    ['MQTT 3.1', connect('b', { level: 3 }), 'connack:0,0'],
    ['no client id with a clean session', connect(''), 'connack:0,0'],
    ['a client id of 128 bytes', connect('x'.repeat(128)), 'connack:0,0'],
    ['the client id __proto__', connect('__proto__'), 'connack:0,0'],
    ['a will', connect('w', { will: { topic: 'a', payload: '', qos: 2, retain: true } }), 'connack:0,0']
  ])('%s is accepted', async (_name, bytes, connack) => {
    await using served = await serveBroker()
    using client = await RawClient.open(served.port)
    client.send(bytes)
    expect(await client.received(1)).toEqual([connack])
  })

  test.each([
    ['level 6', connect('a', { level: 6 }), ['connack:0,1'], 'protocol level 6 is not spoken, MQTT 3.1, 3.1.1 and 5.0 are'],
    ['another protocol', connect('a', { name: 'HTTP' }), [], 'protocol name is not MQTT'],
    ['no client id with a kept session', connect('', { clean: false }), ['connack:0,2'], 'client id is empty'],
    ['a client id of 129 bytes', connect('x'.repeat(129)), ['connack:0,2'], 'client id is longer than 128 bytes'],
    ['a client id that is not UTF-8', connect(Buffer.from([0xc0, 0x80])), [], 'client id is cut or not UTF-8'],
    ['a client id with NUL', connect('a\0b'), [], 'client id is cut or not UTF-8'],
    ['the reserved flag', connect('a', { flags: 3 }), [], 'reserved CONNECT flag is set'],
    ['will QoS 3', connect('a', { flags: 0x1e }), [], 'will QoS is 3'],
    ['will retain without a will', connect('a', { flags: 0x22 }), [], 'will flags are set without a will'],
    ['a password without a user', connect('a', { flags: 0x42 }), [], 'password without a user name'],
    ['a will topic with a wildcard', connect('a', { will: { topic: 'a/#', payload: '' } }), [], 'will: topic has a wildcard'],
    [
      'bytes behind its end',
      packet(0x10, text('MQTT'), Buffer.from([4, 2, 0, 0]), text('a'), Buffer.from([0])),
      [],
      'CONNECT has bytes behind its end'
    ],
    ['a cut user name', connect('a', { flags: 0x82 }), [], 'user name is cut or not UTF-8'],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\n\r\n'), [], 'packet header is malformed'],
    ['a PUBLISH first', publish('a', 'b'), [], 'first packet is not CONNECT'],
    ['a CONNECT over 64 KiB', Buffer.from([0x10, 0x81, 0x80, 0x04]), [], 'packet is too large']
  ])('%s is refused', async (_name, bytes, packets, reason) => {
    expect(await refused({}, bytes, publish('t', 'never', { qos: 0 }))).toEqual({ packets, reason, records: 0 })
  })

  test('without a CONNECT a socket is closed after five seconds', async () => {
    using clock = fakeIntervals()
    await using served = await serveBroker()
    using silent = await RawClient.open(served.port)
    silent.send(Buffer.from([0x10]))
    await until(() => served.broker.stats.bytesReceived === 1, 'a byte has come')
    clock.advance(5000)
    expect(served.broker.refusals).toEqual([])
    clock.advance(500)
    await silent.untilClosed()
    expect(served.broker.refusals.at(-1)?.reason).toBe('no CONNECT within 5 s')
  })

  test('assigned client ids differ', async () => {
    await using served = await serveBroker()
    using first = await RawClient.connect(served.port, '')
    using second = await RawClient.connect(served.port, '')
    first.send(publish('t', '1', { qos: 1, id: 1 }))
    second.send(publish('t', '2', { qos: 1, id: 1 }))
    await Promise.all([first.received(2), second.received(2)])
    const [a, b] = served.journal.records.map(({ clientId }) => clientId)
    expect(a).toMatch(/^tg-[0-9a-f-]{36}$/)
    expect(a).not.toBe(b)
  })
})

describe('hostile packets', () => {
  test.each([
    ['a topic below $SYS', publish('$SYS/broker', 'x', { qos: 1, id: 1 }), 'topic is reserved'],
    ['a wildcard in a topic', publish('a/+', 'x'), 'topic has a wildcard'],
    ['an empty topic', publish('', 'x'), 'topic is empty'],
    ['a topic with NUL', publish('a\0', 'x'), 'topic is not UTF-8'],
    ['a topic that is not UTF-8', publish(Buffer.from([0xed, 0xa0, 0x80]), 'x'), 'topic is not UTF-8'],
    ['a topic of 257 bytes', publish('x'.repeat(257), 'x'), 'topic is too long'],
    ['a topic of 17 levels', publish('/'.repeat(16), 'x'), 'topic has too many levels'],
    ['packet id 0', publish('a', 'x', { qos: 1, id: 0 }), 'packet id is 0'],
    ['QoS 3', Buffer.from([0x36, 5, 0, 1, 0x61, 0, 1]), 'packet header is malformed'],
    ['DUP with QoS 0', publish('a', 'x', { dup: true }), 'DUP is set on QoS 0'],
    ['a topic longer than its packet', Buffer.from([0x30, 3, 0, 9, 0x61]), 'PUBLISH is cut'],
    ['no room for the packet id', Buffer.from([0x32, 4, 0, 1, 0x61, 0]), 'PUBLISH is cut'],
    ['a packet over the bound', Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]), 'packet is too large'],
    ['a length of five bytes', Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 1]), 'packet header is malformed'],
    ['a second CONNECT', connect('again'), 'second CONNECT'],
    ['CONNACK from a client', Buffer.from([0x20, 2, 0, 0]), 'packet header is malformed'],
    ['PUBREL with other flags', Buffer.from([0x60, 2, 0, 1]), 'packet header is malformed'],
    ['PUBACK with id 0', puback(0), 'acknowledgement without a packet id'],
    ['a long PUBREC', Buffer.from([0x50, 3, 0, 1, 0]), 'acknowledgement without a packet id'],
    ['PINGREQ with a body', Buffer.from([0xc0, 1, 0]), 'PINGREQ has a body'],
    ['DISCONNECT with a body', Buffer.from([0xe0, 1, 0]), 'DISCONNECT has a body'],
    ['SUBSCRIBE without a filter', packet(0x82, uint16(1)), 'packet has no topic filter'],
    ['SUBSCRIBE with id 0', subscribe(0, ['a', 0]), 'packet id is 0'],
    ['SUBSCRIBE with QoS 3', subscribe(1, ['a', 3]), 'requested QoS is not 0, 1 or 2'],
    ['SUBSCRIBE to a#', subscribe(1, ['a#', 0]), 'topic filter has a misplaced wildcard'],
    ['SUBSCRIBE of 17 levels', subscribe(1, ['/'.repeat(16), 0]), 'topic filter has too many levels'],
    ['a cut SUBSCRIBE', packet(0x82, uint16(1), Buffer.from([0, 9, 0x61])), 'topic filter is cut'],
    ['UNSUBSCRIBE of nothing', packet(0xa2, uint16(1)), 'packet has no topic filter']
  ])('%s closes the connection with the reason; the neighbour goes on', async (_name, bytes, reason) => {
    await using served = await serveBroker()
    using neighbour = await RawClient.connect(served.port, 'neighbour')
    using client = await RawClient.connect(served.port, 'hostile')
    client.send(publish('good', 'before', { qos: 1, id: 1 }), bytes, publish('bad', 'behind', { qos: 1, id: 2 }))
    await client.untilClosed()
    expect(served.broker.refusals.at(-1)).toMatchObject({ clientId: 'hostile', address: '127.0.0.1', reason })
    neighbour.send(publish('n', 'fine', { qos: 1, id: 1 }))
    expect((await neighbour.received(2)).at(-1)).toBe('puback:1')
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(['before', 'fine'])
  })

  test('random bytes never harm anyone', async () => {
    await using served = await serveBroker()
    using neighbour = await RawClient.connect(served.port, 'neighbour')
    let seed = 12_345
    const random = (): number => (seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff) >> 8
    for (let round = 0; round < 60; round++) {
      const noise = Buffer.from(Array.from({ length: 1 + (random() % 300) }, () => random() & 0xff))
      using client = await RawClient.open(served.port)
      client.send(...(round % 2 === 0 ? [connect(`noise-${round}`)] : []), noise)
      client.socket.end()
      await client.untilClosed()
    }
    neighbour.send(publish('n', 'still', { qos: 1, id: 1 }), pingreq)
    expect((await neighbour.received(3)).toSorted()).toEqual(['connack:0,0', 'pingresp', 'puback:1'])
    await until(() => served.broker.stats.sockets === 1, 'only the neighbour is left')
  })
})

describe('access without credentials', () => {
  const outside = Object.values(networkInterfaces())
    .flat()
    .find(address => address !== undefined && !address.internal && address.family === 'IPv4')?.address

  test('never refuses this machine too, user name or not', async () => {
    const off = { packets: ['connack:0,5'], reason: 'anonymous access is off', records: 0 }
    expect(await refused({ anonymous: 'never' }, connect('a'))).toEqual(off)
    expect(await refused({ anonymous: 'never' }, connect('a', { user: 'anna' }))).toEqual(off)
  })

  test.skipIf(outside === undefined)('loopback refuses another address, any serves it', async () => {
    for (const [anonymous, connack] of [
      ['loopback', 'connack:0,5'],
      ['any', 'connack:0,0']
    ] as const) {
      await using served = await serveBroker({ anonymous, host: '0.0.0.0' })
      using client = await RawClient.open(served.port, outside)
      client.send(connect('visitor', { user: 'anna' }))
      expect(await client.received(1)).toEqual([connack])
      const reasons = served.broker.refusals.map(({ address, clientId, reason }) => ({ address, clientId, reason }))
      const refusal = { address: outside, clientId: 'visitor', reason: 'anonymous access is for this machine only' }
      expect(reasons).toEqual(anonymous === 'any' ? [] : [refusal])
    }
  })

  test('an IPv4 client of a dual-stack listener counts as what it is', async () => {
    await using served = await serveBroker({ host: '::' })
    using client = await RawClient.connect(served.port, 'mapped')
    expect(client.packets).toEqual(['connack:0,0'])
  })
})

describe('caps', () => {
  test('sockets over the total or the address cap are closed with a reason, and room comes back', async () => {
    for (const [limits, reason] of [
      [{ connections: 2 }, 'too many connections'],
      [{ connectionsPerAddress: 2 }, 'too many connections from this address']
    ] as const) {
      await using served = await serveBroker({ limits })
      using first = await RawClient.connect(served.port, 'first')
      using second = await RawClient.connect(served.port, 'second')
      using third = await RawClient.open(served.port)
      await third.untilClosed()
      expect(served.broker.refusals.map(refusal => refusal.reason)).toEqual([reason])
      expect(served.broker.stats.refusedByReason.get(reason)).toBe(1)
      second.socket.destroy()
      await until(() => served.broker.stats.sockets === 1, 'a place is free')
      using fourth = await RawClient.connect(served.port, 'fourth')
      expect([first.closed, fourth.closed]).toEqual([false, false])
    }
  })

  test('over the accept rate sockets wait for their turn, and all are served', async () => {
    await using served = await serveBroker({ limits: { acceptsPerSecond: 100 } })
    const started = performance.now()
    const clients = await Promise.all(Array.from({ length: 40 }, (_, number) => RawClient.connect(served.port, `r${number}`)))
    const elapsed = performance.now() - started
    for (const client of clients) client.socket.destroy()
    expect(elapsed).toBeGreaterThan(250)
    expect(served.broker.refusals).toEqual([])
  })
})

describe('keep alive, wills and takeover', () => {
  test('a silent client is closed after one and a half keep alives with its will, one that pings is not', async () => {
    using clock = fakeIntervals()
    await using served = await serveBroker()
    using silent = await RawClient.connect(served.port, 'silent', {
      keepAlive: 10,
      will: { topic: 'lwt/silent', payload: 'offline', qos: 1 }
    })
    using pinging = await RawClient.connect(served.port, 'pinging', { keepAlive: 10 })
    using forever = await RawClient.connect(served.port, 'forever', { keepAlive: 0 })
    clock.advance(14_000)
    pinging.send(pingreq)
    await pinging.received(2)
    clock.advance(1000)
    expect(served.broker.connectedClientIds()).toHaveLength(3)
    clock.advance(500)
    await silent.untilClosed()
    await until(() => served.journal.records.length === 1, 'the will is there')
    expect([pinging.closed, forever.closed]).toEqual([false, false])
    expect(served.journal.records).toMatchObject([
      { clientId: 'silent', topic: 'lwt/silent', payload: 'offline', qos: 1, will: true, packetId: 0 }
    ])
  })

  test('DISCONNECT drops the will, anything else publishes it to subscribers', async () => {
    await using served = await serveBroker()
    using watcher = await RawClient.connect(served.port, 'watcher')
    watcher.send(subscribe(1, ['lwt/#', 1]))
    await watcher.received(2)
    for (const [id, end] of [
      ['polite', (client: RawClient) => client.send(disconnect)],
      ['ended', (client: RawClient) => client.socket.end()],
      ['reset', (client: RawClient) => client.socket.resetAndDestroy()],
      ['hostile', (client: RawClient) => client.send(publish('#', ''))]
    ] as const) {
      using client = await RawClient.connect(served.port, id, { will: { topic: `lwt/${id}`, payload: `${id} gone` } })
      end(client)
      await client.untilClosed()
      await until(() => !served.broker.connectedClientIds().includes(id), `${id} is gone`)
    }
    expect((await watcher.received(5)).slice(2)).toEqual(['ended', 'reset', 'hostile'].map(id => `publish:0:lwt/${id}:${id} gone`))
    expect(served.journal.records.map(({ topic }) => topic)).toEqual(['lwt/ended', 'lwt/reset', 'lwt/hostile'])
  })

  test('a client that is gone as soon as it has its CONNACK leaves its will', async () => {
    await using served = await serveBroker()
    const ids = Array.from({ length: 50 }, (_, number) => `brief-${number}`)
    for (const id of ids) {
      using client = await RawClient.open(served.port)
      client.socket.once('data', () => client.socket.resetAndDestroy())
      client.send(connect(id, { will: { topic: `lwt/${id}`, payload: id } }))
      await client.untilClosed()
    }
    await until(() => served.journal.records.length === ids.length, 'all wills are there')
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(ids)
  })

  test('a will that falls due while the journal is full is published when it is not', async () => {
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal })
    using client = await RawClient.connect(served.port, 'unlucky', { will: { topic: 'lwt', payload: 'late' } })
    journal.become('full')
    client.socket.destroy()
    await until(() => served.broker.stats.connections === 0, 'it is gone')
    expect(journal.records).toEqual([])
    journal.become('accepting')
    await until(() => journal.records.length === 1, 'the will is there')
    expect(journal.records[0]).toMatchObject({ topic: 'lwt', payload: 'late', will: true })
  })

  test('a second connection with the client id closes the first, whose will comes before what the second sends', async () => {
    await using served = await serveBroker()
    const changes: string[] = []
    served.broker.onConnections(({ connected, disconnected }) => {
      changes.push(...disconnected.map(id => `-${id}`), ...connected.map(id => `+${id}`))
    })
    using first = await RawClient.connect(served.port, 'same', { will: { topic: 'lwt', payload: 'first' } })
    using second = await RawClient.open(served.port)
    second.send(connect('same'), publish('t', 'second', { qos: 1, id: 1 }))
    expect(await second.received(2)).toEqual(['connack:0,0', 'puback:1'])
    await first.untilClosed()
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(['first', 'second'])
    expect(served.broker.connectedClientIds()).toEqual(['same'])
    second.send(subscribe(2, ['x', 1]))
    expect((await second.received(3)).at(-1)).toBe('suback:2:1')
    second.send(disconnect)
    await second.untilClosed()
    await until(() => changes.at(-1) === '-same', 'the end is told')
    expect(served.broker.connectedClientIds()).toEqual([])
  })

  test.each([
    ['a header that no client may send', Buffer.from([0xf0, 0])],
    ['a length of five bytes', Buffer.from('30ffffffff01', 'hex')],
    ['a packet that is too large', Buffer.from('30ffffff7f', 'hex')]
  ])('a good CONNECT gets its CONNACK, and its will is published, also when %s comes with it', async (_name, bytes) => {
    await using served = await serveBroker()
    using client = await RawClient.open(served.port)
    client.send(connect('hasty', { will: { topic: 'gone', payload: 'hasty' } }), bytes)
    await client.untilClosed()
    expect(client.packets).toEqual(['connack:0,0'])
    expect(served.journal.records.map(({ topic, will }) => [topic, will])).toEqual([['gone', true]])
    expect(served.broker.stats).toMatchObject({ violations: 1, connectsRefused: 0 })
  })

  test('a hundred takeovers in a row leave one connection, and it works', async () => {
    await using served = await serveBroker()
    const clients = await Promise.all(Array.from({ length: 100 }, () => RawClient.open(served.port)))
    for (const [number, client] of clients.entries()) client.send(connect('busy', { clean: number % 2 === 0 }), subscribe(1, ['busy/#', 1]))
    await until(() => clients.filter(client => !client.closed).length === 1, 'one is left')
    const survivor = clients.find(client => !client.closed)
    await survivor?.received(2)
    survivor?.send(publish('busy/1', 'hello', { qos: 1, id: 1 }))
    expect([...((await survivor?.received(4)) ?? [])].slice(2).toSorted()).toEqual(['puback:1', 'publish:1:busy/1:hello'])
    survivor?.socket.destroy()
  })
})
