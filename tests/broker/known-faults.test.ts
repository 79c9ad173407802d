import { describe, expect, test } from 'vitest'
import { RawClient, connect, fakeIntervals, pingreq, publish, serveBroker, subscribe, until } from './raw-client.ts'

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
      // Those that it has, ten times over: aedes would go through all for each of them.
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
})
