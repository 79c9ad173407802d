import { describe, expect, test } from 'vitest'
import { RawClient, connect, fakeIntervals, publish, serveBroker, until } from './raw-client.ts'

const rssBound = 100 * 1024 * 1024

/** Opens so many sockets, a hundred at a time, and sends each the bytes. */
async function open(port: number, count: number, bytes: Buffer): Promise<RawClient[]> {
  const clients: RawClient[] = []
  while (clients.length < count) {
    const some = await Promise.all(Array.from({ length: Math.min(100, count - clients.length) }, () => RawClient.open(port)))
    for (const client of some) client.send(bytes)
    clients.push(...some)
  }
  return clients
}

describe('a thousand half-open sockets', () => {
  test('take no memory worth the name, delay nobody, and are closed after 5 s with a reason', async () => {
    using intervals = fakeIntervals()
    const limits = { connections: 2000, connectionsPerAddress: 2000, acceptsPerSecond: 1_000_000, heldBytesTotal: 64 * 1024 * 1024 }
    await using served = await serveBroker({ limits })
    const { broker, journal, port } = served
    const honest = await Promise.all(Array.from({ length: 20 }, (_, number) => RawClient.connect(port, `honest-${number}`)))
    let published = 0
    const publishAll = async (): Promise<void> => {
      published += 1
      for (const client of honest) client.send(publish('t', `${published}`, { qos: 1, id: published }))
      for (const client of honest) expect((await client.received(published + 1)).at(-1)).toBe(`puback:${published}`)
    }
    await publishAll()
    const before = process.memoryUsage.rss()

    // As large as a stranger's packet may be, and never whole; beyond that a declared length ends it at once.
    const trickled = Buffer.concat([Buffer.from('10e8fb03', 'hex'), Buffer.alloc(50_000)])
    const patient = [
      ...(await open(port, 400, Buffer.alloc(0))),
      ...(await open(port, 200, connect('half').subarray(0, 7))),
      ...(await open(port, 200, trickled))
    ]
    await publishAll()
    const greedy = await open(port, 200, Buffer.concat([Buffer.from('10ffffff7f', 'hex'), Buffer.alloc(10_000)]))
    for (const client of greedy) await client.untilClosed()
    await until(() => broker.stats.heldBytes === 200 * (50_004 + 7), 'the halves are read')
    for (let round = 0; round < 20; round++) {
      for (const client of patient.slice(600)) client.send(Buffer.alloc(1))
      await publishAll()
    }
    const grown = process.memoryUsage.rss() - before
    expect(broker.stats).toMatchObject({ sockets: 820, connections: 20 })
    expect(patient.every(({ closed }) => !closed)).toBe(true)

    intervals.advance(5_500)
    for (const client of patient) await client.untilClosed()
    await publishAll()
    await until(() => broker.stats.sockets === 20, 'their sockets are closed')
    expect([...broker.stats.refusedByReason]).toEqual([
      ['packet is too large', 200],
      ['no CONNECT within 5 s', 800]
    ])
    expect(broker.stats).toMatchObject({ connectsAccepted: 20, connectsRefused: 1000, violations: 0, heldBytes: 0, connections: 20 })
    expect(journal.records).toHaveLength(20 * published)
    // Both ends of every socket are in this process.
    expect(grown).toBeLessThan(rssBound)
    console.log(`a thousand half-open sockets: ${Math.round(grown / 1024 / 1024)} MiB`)
    for (const client of honest) client.socket.destroy()
  })
})
