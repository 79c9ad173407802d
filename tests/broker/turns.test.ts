import { describe, expect, test } from 'vitest'
import { FakeJournal } from './fake-journal.ts'
import { RawClient, connect, pingreq, publish, serveBroker, until } from './raw-client.ts'

/** What one connection handles in one turn, and all together before each gets the least. */
const slice = { packets: 1024, bytes: 65_536 }
const all = { packets: 4096 }
const least = { packets: 16 }

/** The senders of the journal's records, in their order. */
const senders = (journal: FakeJournal): readonly string[] => journal.records.map(({ clientId }) => clientId)

describe('a turn of the event loop', () => {
  test('an honest client is served after a slice of packets of the one that floods', async () => {
    await using served = await serveBroker({ limits: { heldBytes: 1_048_576 } })
    using flooding = await RawClient.connect(served.port, 'flooding')
    using honest = await RawClient.connect(served.port, 'honest')
    // Both are in the kernel before the server's turn comes: the two ends share one thread.
    flooding.send(...Array.from({ length: 20_000 }, (_, at) => publish('t', `${at}`)))
    honest.send(publish('t', 'honest', { qos: 1, id: 1 }))
    await until(() => served.journal.records.length === 20_001, 'all are handled', 30_000)
    expect(senders(served.journal).indexOf('honest')).toBeLessThanOrEqual(2 * slice.packets)
  })

  test('and after a slice of bytes, when the packets are large', async () => {
    await using served = await serveBroker({ limits: { heldBytes: 1_048_576 } })
    using flooding = await RawClient.connect(served.port, 'flooding')
    using honest = await RawClient.connect(served.port, 'honest')
    const large = 'x'.repeat(16_000)
    flooding.send(...Array.from({ length: 60 }, () => publish('t', large)))
    honest.send(publish('t', 'honest', { qos: 1, id: 1 }))
    await until(() => served.journal.records.length === 61, 'all are handled', 30_000)
    expect(senders(served.journal).indexOf('honest')).toBeLessThanOrEqual(2 * Math.ceil(slice.bytes / large.length))
  })

  test('forty floods delay one publish by what a turn holds, and each other by a slice', async () => {
    await using served = await serveBroker()
    const floods = await Promise.all(Array.from({ length: 40 }, (_, at) => RawClient.connect(served.port, `flood-${at}`)))
    using honest = await RawClient.connect(served.port, 'honest')
    for (const flood of floods) flood.send(...Array.from({ length: 1500 }, (_, at) => publish('t', `${at}`)))
    honest.send(publish('t', 'honest', { qos: 1, id: 1 }))
    await until(() => served.journal.records.length === 60_001, 'all are handled', 30_000)
    for (const flood of floods) flood.socket.destroy()
    const order = senders(served.journal)
    expect(order.indexOf('honest')).toBeLessThanOrEqual(all.packets + slice.packets + 41 * least.packets)
    const handled = new Map(floods.map((_, at) => [`flood-${at}`, 0]))
    // Until the first one is through, nobody is a round ahead of another.
    for (const sender of order) {
      const count = (handled.get(sender) ?? 0) + 1
      if (sender === 'honest') continue
      if (count === 1500) break
      handled.set(sender, count)
    }
    expect(Math.max(...handled.values()) - Math.min(...handled.values())).toBeLessThanOrEqual(2 * slice.packets + least.packets)
  })

  test('a flood is handled to its end, in order, also when its client is gone by then', async () => {
    await using served = await serveBroker()
    using flooding = await RawClient.connect(served.port, 'flooding')
    flooding.send(...Array.from({ length: 5000 }, (_, at) => publish('t', `${at}`)))
    flooding.socket.end()
    await flooding.untilClosed()
    expect(served.journal.records.map(({ payload }) => Number(payload))).toEqual(Array.from({ length: 5000 }, (_, at) => at))
    expect(served.broker.stats).toMatchObject({ heldBytes: 0, pausedSockets: 0 })
  })

  test('connections whose window opens with one commit go on in slices as well', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal, limits: { inFlight: 2 } })
    const clients = await Promise.all(Array.from({ length: 50 }, (_, at) => RawClient.connect(served.port, `c-${at}`)))
    for (const client of clients) client.send(...[1, 2, 3, 4].map(id => publish('t', `${id}`, { qos: 1, id })))
    await until(() => journal.records.length === 100, 'every window is full')
    expect(served.broker.waitingByReason().get('inFlight')).toBe(50)
    journal.sync()
    await until(() => journal.records.length === 200, 'every window was full again')
    journal.sync()
    for (const client of clients) expect(await client.received(5)).toHaveLength(5)
    for (const client of clients) client.socket.destroy()
  })
})

describe('a storm of new connections', () => {
  test('is served in full, and those that are connected go on meanwhile', async () => {
    await using served = await serveBroker()
    using steady = await RawClient.connect(served.port, 'steady')
    const storm: RawClient[] = []
    const arrive = async (at: number): Promise<void> => {
      const client = await RawClient.open(served.port)
      storm.push(client)
      client.send(connect(`device-${at}`))
      await client.received(1, 30_000)
    }
    const arrivals = Promise.all(Array.from({ length: 600 }, async (_, at) => await arrive(at)))
    let rounds = 0
    const connected = (): number => served.broker.stats.connections
    while (connected() < 601) {
      rounds += 1
      const before = connected()
      steady.send(pingreq, publish('t', `${rounds}`, { qos: 1, id: rounds }))
      await steady.received(1 + 2 * rounds, 30_000)
      // The storm does not have to be over before anybody else is served.
      if (before < 600) expect(connected() - before).toBeLessThan(600)
    }
    await arrivals
    expect(storm.filter(({ packets }) => packets[0] !== 'connack:0,0')).toEqual([])
    expect(served.broker.stats).toMatchObject({ connectsRefused: 0, connections: 601 })
    expect(rounds).toBeGreaterThan(1)
    for (const client of storm) client.socket.destroy()
  })
})
