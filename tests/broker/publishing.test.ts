import net from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { FakeJournal } from './fake-journal.ts'
import { RawClient, connect, disconnect, fakeIntervals, pingreq, publish, pubrel, serveBroker, until } from './raw-client.ts'

const pause = async (): Promise<void> => {
  // Two turns of the loop and a round trip of the loopback device: what would be written has been.
  for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
}

describe('acknowledgements', () => {
  test('QoS 1 and 2 are acknowledged when durable and not before, in the order of the packets, in one write a commit', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal })
    using client = await RawClient.connect(served.port, 'meter-1')
    const writes: string[] = []
    const write = Reflect.get(net.Socket.prototype, '_write')
    // The kernel may join writes, so they are counted where they are made; copied, because the buffer is used again.
    using spy = vi.spyOn(net.Socket.prototype, '_write').mockImplementation(function (this: net.Socket, chunk, encoding, done) {
      if (Buffer.isBuffer(chunk) && this.localPort === served.port) writes.push(chunk.toString('hex'))
      write.call(this, chunk, encoding, done)
    })
    const qos = [1, 2, 1, 1, 2, 1]
    client.send(...qos.map((level, index) => publish(`devices/m/${index}`, `v${index}`, { qos: level, id: 100 + index })))
    await until(() => journal.records.length === 6, 'six records are appended')
    await pause()
    expect(client.packets).toEqual(['connack:0,0'])
    journal.sync(4)
    expect(await client.received(5)).toEqual(['connack:0,0', 'puback:100', 'pubrec:101', 'puback:102', 'puback:103'])
    await pause()
    expect(client.packets).toHaveLength(5)
    journal.sync()
    await client.received(7)
    expect(spy).toHaveBeenCalled()
    expect(writes).toEqual(['40020064500200654002006640020067', '5002006840020069'])
  })

  test('the record is what the packet said', async () => {
    await using served = await serveBroker({ journal: new FakeJournal({ first: 41 }) })
    using client = await RawClient.connect(served.port, 'küche', { user: 'anna' })
    client.send(
      publish('a/ö', 'zero'),
      publish('a/1', '', { qos: 1, id: 65_535, retain: true }),
      publish('a/2', 'two', { qos: 2, id: 7, dup: true })
    )
    await client.received(3)
    const common = { clientId: 'küche', user: 'anna', will: false, received: undefined }
    expect(served.journal.records).toEqual([
      { ...common, ordinal: 41, topic: 'a/ö', payload: 'zero', qos: 0, retain: false, dup: false, packetId: 0 },
      { ...common, ordinal: 42, topic: 'a/1', payload: '', qos: 1, retain: true, dup: false, packetId: 65_535 },
      { ...common, ordinal: 43, topic: 'a/2', payload: 'two', qos: 2, retain: false, dup: true, packetId: 7 }
    ])
  })

  test('five thousand publishes of twenty connections are each acknowledged once, in order', async () => {
    await using served = await serveBroker()
    const clients = await Promise.all(Array.from({ length: 20 }, (_, number) => RawClient.connect(served.port, `c${number}`)))
    const ids = Array.from({ length: 250 }, (_, index) => index + 1)
    for (const [number, client] of clients.entries())
      client.send(...ids.map(id => publish(`t/${number}`, `${number}-${id}`, { qos: 1, id })))
    for (const client of clients) {
      expect((await client.received(251)).slice(1)).toEqual(ids.map(id => `puback:${id}`))
      client.socket.destroy()
    }
    const payloads = served.journal.records.map(({ payload }) => payload)
    for (const number of clients.keys()) {
      expect(payloads.filter(payload => payload.startsWith(`${number}-`))).toEqual(ids.map(id => `${number}-${id}`))
    }
    expect(payloads).toHaveLength(5000)
  })

  test('a stream that arrives in any pieces is the same publishes', async () => {
    await using served = await serveBroker()
    const stream = Buffer.concat(
      [0, 1, 2, 1, 0, 2]
        .map((qos, index) => publish(`s/${index}`, `${index}`.repeat(index * 40), { qos, id: index + 1 }))
        .concat(pubrel(3), disconnect)
    )
    for (let step = 1; step < stream.length; step += 29) {
      using client = await RawClient.connect(served.port, `pieces-${step}`)
      for (let at = 0; at < stream.length; at += step) {
        client.send(stream.subarray(at, at + step))
        await new Promise(resolve => setImmediate(resolve))
      }
      await client.untilClosed()
      const records = served.journal.records.splice(0)
      expect(records.map(({ topic, payload, qos }) => `${topic} ${qos} ${payload}`)).toEqual(
        [0, 1, 2, 1, 0, 2].map((qos, index) => `s/${index} ${qos} ${`${index}`.repeat(index * 40)}`)
      )
    }
  })

  test('a publish that came with CONNECT, and DISCONNECT behind it, is taken', async () => {
    await using served = await serveBroker()
    using client = await RawClient.open(served.port)
    client.socket.end(
      Buffer.concat([connect('hurry'), publish('t', 'one', { qos: 0 }), publish('t', 'two', { qos: 1, id: 5 }), disconnect])
    )
    await until(() => served.journal.records.length === 2, 'both are appended')
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(['one', 'two'])
  })

  test('large publishes right behind CONNECT are taken: the bound for strangers ends with it', async () => {
    await using served = await serveBroker()
    using client = await RawClient.open(served.port)
    const payloads = ['a', 'b', 'c'].map(letter => letter.repeat(200_000))
    client.send(connect('large'), ...payloads.map((payload, index) => publish('t', payload, { qos: 1, id: index + 1 })))
    await client.received(4)
    expect(client.packets).toEqual(['connack:0,0', 'puback:1', 'puback:2', 'puback:3'])
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(payloads)
  })
})

describe('QoS 2', () => {
  test('an id whose PUBREL has not come is the same message, also before it is durable', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal })
    using client = await RawClient.connect(served.port, 'twice')
    client.send(publish('t', 'a', { qos: 2, id: 9 }), publish('t', 'a', { qos: 2, id: 9, dup: true }))
    await until(() => journal.records.length === 1, 'one record')
    await pause()
    expect(client.packets).toHaveLength(1)
    journal.sync()
    expect((await client.received(3)).slice(1)).toEqual(['pubrec:9', 'pubrec:9'])
    // Within a session the id alone says it [MQTT-4.3.3-2].
    client.send(publish('t', 'other', { qos: 2, id: 9 }))
    await client.received(4)
    client.send(pubrel(9), pubrel(9))
    await client.received(6)
    client.send(publish('t', 'b', { qos: 2, id: 9 }))
    await until(() => journal.records.length === 2, 'the freed id is a new message')
    journal.sync()
    expect((await client.received(7)).slice(3)).toEqual(['pubrec:9', 'pubcomp:9', 'pubcomp:9', 'pubrec:9'])
    expect(journal.records.map(({ payload }) => payload)).toEqual(['a', 'b'])
    expect(served.broker.stats.resends).toBe(2)
  })

  test('a persistent session keeps its open ids across connections; without one DUP and the bytes decide', async () => {
    await using served = await serveBroker()
    for (const clean of [false, true]) {
      const id = clean ? 'clean' : 'kept'
      using first = await RawClient.connect(served.port, id, { clean })
      first.send(publish('t', `${id}-1`, { qos: 2, id: 3 }))
      await first.received(2)
      first.socket.destroy()
      await until(() => !served.broker.connectedClientIds().includes(id), 'it is gone')
      using second = await RawClient.connect(served.port, id, { clean })
      expect(second.packets).toEqual([clean ? 'connack:0,0' : 'connack:1,0'])
      second.send(publish('t', `${id}-2`, { qos: 2, id: 3, dup: true }), pubrel(3))
      expect((await second.received(3)).slice(1)).toEqual(['pubrec:3', 'pubcomp:3'])
    }
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(['kept-1', 'clean-1', 'clean-2'])
  })

  test('PUBCOMP does not overtake the acknowledgements before it', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal })
    using client = await RawClient.connect(served.port, 'hasty')
    client.send(publish('t', 'a', { qos: 2, id: 4 }), pubrel(4), publish('t', 'b', { qos: 1, id: 5 }))
    await until(() => journal.records.length === 2, 'both are appended')
    await pause()
    expect(client.packets).toHaveLength(1)
    journal.sync()
    expect((await client.received(4)).slice(1)).toEqual(['pubrec:4', 'pubcomp:4', 'puback:5'])
  })

  test('a client that never sends PUBREL is closed at the bound', async () => {
    await using served = await serveBroker({ limits: { inFlight: 10 } })
    using client = await RawClient.connect(served.port, 'endless')
    client.send(...Array.from({ length: 4097 }, (_, index) => publish('t', 'x', { qos: 2, id: index + 1 })))
    await client.untilClosed()
    expect(served.broker.refusals.at(-1)?.reason).toBe('too many QoS 2 publishes without PUBREL')
    expect(served.journal.records).toHaveLength(4096)
  })
})

describe('back-pressure', () => {
  test('acknowledgements that wait for the disk are bounded, those of PUBREL and of resent publishes too', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal, limits: { inFlight: 10 } })
    using client = await RawClient.connect(served.port, 'flood')
    client.send(publish('t', 'a', { qos: 1, id: 1 }), publish('t', 'b', { qos: 2, id: 2 }))
    const resends = Array.from({ length: 500 }, () => publish('t', 'b', { qos: 2, id: 2, dup: true }))
    const releases = Array.from({ length: 3000 }, (_, index) => pubrel(100 + index))
    client.send(...resends, ...releases)
    await until(() => served.broker.stats.heldBytes > 0, 'the rest is held')
    await pause()
    expect(served.broker.stats.unacknowledged).toBeLessThanOrEqual(10)
    journal.sync()
    const all = await client.received(1 + 2 + 500 + 3000)
    expect(all.slice(1)).toEqual([
      'puback:1',
      'pubrec:2',
      ...resends.map(() => 'pubrec:2'),
      ...releases.map((_, index) => `pubcomp:${100 + index}`)
    ])
    expect(served.broker.stats).toMatchObject({ resends: 500, unacknowledged: 0, heldBytes: 0 })
    expect(journal.records).toHaveLength(2)
  })

  test('a client that does not read its replies is closed when its keep alive is over', async () => {
    using clock = fakeIntervals()
    await using served = await serveBroker({ limits: { heldBytes: 1024 } })
    using client = await RawClient.connect(served.port, 'deaf', { keepAlive: 1 })
    client.socket.pause()
    client.socket.write(Buffer.alloc(8_000_000, pingreq))
    let received = 0
    let rounds = 0
    await until(() => {
      const { bytesReceived, pausedSockets } = served.broker.stats
      rounds = bytesReceived === received && pausedSockets === 1 ? rounds + 1 : 0
      received = bytesReceived
      return rounds > 50
    }, 'it is not read any more')
    clock.advance(60_000)
    await until(() => served.broker.stats.connections === 0, 'it is closed')
    expect(served.broker.stats.pausedSockets).toBe(0)
  })

  test('unfinished packets of all connections are bounded: the one that is unfinished longest is closed', async () => {
    await using served = await serveBroker({ maxPacketBytes: 50_000, limits: { heldBytesTotal: 200_000 } })
    const whole = publish('big', Buffer.alloc(40_000, 65), { qos: 1, id: 1 })
    const slow = await Promise.all(Array.from({ length: 12 }, (_, number) => RawClient.connect(served.port, `slow-${number}`)))
    const closed: number[] = []
    for (const [number, client] of slow.entries()) client.socket.on('close', () => closed.push(number))
    for (const client of slow) {
      const before = served.broker.stats.bytesReceived
      client.send(whole.subarray(0, -1))
      await until(() => served.broker.stats.bytesReceived === before + whole.length - 1, 'its bytes have come')
      expect(served.broker.stats.heldBytes).toBeLessThanOrEqual(200_000)
    }
    await until(() => closed.length === 8, 'those above the bound are closed')
    expect(closed.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    expect(served.broker.refusals.at(-1)?.reason).toMatch(/unfinished longest/)
    for (const client of slow.slice(8)) {
      client.send(whole.subarray(-1))
      expect(await client.received(2)).toEqual(['connack:0,0', 'puback:1'])
    }
    expect(served.broker.stats.heldBytes).toBe(0)
    for (const client of slow) client.socket.destroy()
  })

  test('while the journal is full QoS 1 and 2 wait and QoS 0 is shed; then all go on in order', async () => {
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal })
    using waiting = await RawClient.connect(served.port, 'waiting')
    using shedding = await RawClient.connect(served.port, 'shedding')
    journal.become('full')
    waiting.send(
      publish('w', '1', { qos: 1, id: 1 }),
      publish('w', '2', { qos: 0 }),
      publish('w', '3', { qos: 2, id: 3 }),
      publish('w', '4', { qos: 1, id: 4 })
    )
    shedding.send(publish('s', 'lost'), pingreq)
    await shedding.received(2)
    expect(served.broker.stats.shed).toBe(1)
    expect(journal.records).toEqual([])
    journal.become('accepting')
    expect((await waiting.received(4)).slice(1)).toEqual(['puback:1', 'pubrec:3', 'puback:4'])
    expect(journal.records.map(({ payload }) => payload)).toEqual(['1', '2', '3', '4'])
  })

  test('while the disk of the journal is behind publishes of any QoS wait, none is shed; then all go on in order', async () => {
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal })
    using fast = await RawClient.connect(served.port, 'fast')
    using other = await RawClient.connect(served.port, 'other')
    journal.become('behind')
    fast.send(publish('f', '1'), publish('f', '2', { qos: 1, id: 2 }), publish('f', '3'), pingreq)
    other.send(publish('o', '4', { qos: 1, id: 4 }), pingreq)
    await fast.received(2)
    await other.received(2)
    expect(journal.records).toEqual([])
    journal.become('accepting')
    expect([(await fast.received(3)).at(-1), (await other.received(3)).at(-1)]).toEqual(['puback:2', 'puback:4'])
    await until(() => journal.records.length === 4, 'all are appended')
    expect(journal.records.map(({ payload }) => payload).toSorted()).toEqual(['1', '2', '3', '4'])
    expect(served.broker.stats.shed).toBe(0)
  })

  test('a journal that fills up again in the middle lets the rest wait', async () => {
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal })
    const clients = await Promise.all(Array.from({ length: 5 }, (_, number) => RawClient.connect(served.port, `f${number}`)))
    journal.become('full')
    for (const [number, client] of clients.entries()) {
      client.send(...[1, 2, 3, 4].map(id => publish(`f/${number}`, `${number}:${id}`, { qos: 1, id })))
    }
    for (let round = 1; journal.records.length < 20; round++) {
      journal.room = 3
      journal.become('accepting')
      await until(() => journal.records.length >= Math.min(20, round * 3), `round ${round}`)
    }
    journal.room = Number.POSITIVE_INFINITY
    journal.become('accepting')
    for (const [number, client] of clients.entries()) {
      expect((await client.received(5)).slice(1)).toEqual([1, 2, 3, 4].map(id => `puback:${id}`))
      expect(journal.records.filter(({ topic }) => topic === `f/${number}`).map(({ payload }) => payload)).toEqual(
        [1, 2, 3, 4].map(id => `${number}:${id}`)
      )
      client.socket.destroy()
    }
  })

  test('a PINGREQ behind waiting publishes is answered, once', async () => {
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal })
    using client = await RawClient.connect(served.port, 'alive')
    journal.become('failing')
    client.send(publish('t', '1', { qos: 1, id: 1 }), publish('t', '2', { qos: 1, id: 2 }), pingreq)
    expect(await client.received(2)).toEqual(['connack:0,0', 'pingresp'])
    client.send(publish('t', '3', { qos: 1, id: 3 }), pingreq, pingreq)
    await client.received(4)
    journal.become('accepting')
    expect((await client.received(7)).slice(1)).toEqual(['pingresp', 'pingresp', 'pingresp', 'puback:1', 'puback:2', 'puback:3'])
    client.send(pingreq)
    expect((await client.received(8)).at(-1)).toBe('pingresp')
  })

  test('beyond the held bytes the socket is not read, its keep alive stands still, and nothing is lost', async () => {
    using clock = fakeIntervals()
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal, limits: { heldBytes: 20_000 } })
    using client = await RawClient.connect(served.port, 'bulk', { keepAlive: 1 })
    journal.become('full')
    const payloads = Array.from({ length: 400 }, (_, index) => `${index}`.padStart(1000, '.'))
    client.send(...payloads.map((payload, index) => publish('bulk', payload, { qos: 1, id: index + 1 })))
    await until(() => served.broker.stats.pausedSockets === 1, 'the socket is paused')
    expect(served.broker.stats.heldBytes).toBeLessThan(20_000 + 65_536)
    // Far longer than one and a half keep alives without a byte read.
    clock.advance(60_000)
    expect(served.broker.connectedClientIds()).toEqual(['bulk'])
    journal.become('accepting')
    expect((await client.received(401)).slice(1)).toEqual(payloads.map((_, index) => `puback:${index + 1}`))
    expect(journal.records.map(({ payload }) => payload)).toEqual(payloads)
    expect([served.broker.stats.pausedSockets, served.broker.stats.heldBytes]).toEqual([0, 0])
  })

  test('the bytes held for all connections are bounded', async () => {
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal, limits: { heldBytes: 1_000_000, heldBytesTotal: 100_000 } })
    journal.become('full')
    const clients = await Promise.all(Array.from({ length: 8 }, (_, number) => RawClient.connect(served.port, `h${number}`)))
    for (const client of clients)
      client.send(...Array.from({ length: 300 }, (_, index) => publish('h', Buffer.alloc(1000), { qos: 1, id: index + 1 })))
    await until(() => served.broker.stats.pausedSockets === 8, 'all are paused')
    expect(served.broker.stats.heldBytes).toBeLessThan(100_000 + 8 * 65_536)
    journal.become('accepting')
    for (const client of clients) {
      await client.received(301)
      client.socket.destroy()
    }
    expect(journal.records).toHaveLength(2400)
  })

  test('over the in-flight window nothing is appended until acknowledgements leave, and nobody is disconnected', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal, limits: { inFlight: 10 } })
    using client = await RawClient.connect(served.port, 'fast')
    const ids = Array.from({ length: 35 }, (_, index) => index + 1)
    client.send(...ids.map(id => publish('t', `${id}`, { qos: 1, id })))
    await until(() => journal.records.length === 10, 'the window is full')
    await pause()
    expect(journal.records).toHaveLength(10)
    while (client.packets.length < 36) {
      journal.sync()
      await pause()
    }
    expect(client.packets.slice(1)).toEqual(ids.map(id => `puback:${id}`))
    expect(journal.records.map(({ payload }) => payload)).toEqual(ids.map(String))
  })

  test('a connection that leaves while its publishes wait frees what was held', async () => {
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal })
    using client = await RawClient.connect(served.port, 'gone')
    journal.become('full')
    client.send(publish('t', 'x'.repeat(500), { qos: 1, id: 1 }))
    await until(() => served.broker.stats.heldBytes > 500, 'it is held')
    client.socket.resetAndDestroy()
    await until(() => served.broker.stats.connections === 0, 'it is gone')
    expect(served.broker.stats.heldBytes).toBe(0)
    journal.become('accepting')
    expect(journal.records).toEqual([])
  })
})
