import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { Broker } from '../../broker/broker.ts'
import { FakeJournal } from './fake-journal.ts'
import { connect, disconnect, fakeIntervals, limits, publish, pubrel, RawClient, serveBroker, subscribe, until } from './raw-client.ts'

const log = pino({ level: 'silent' })

type Served = Awaited<ReturnType<typeof serveBroker>>

const payloads = (journal: FakeJournal): readonly string[] => journal.records.map(({ payload }) => payload)

/** Sends packets and waits for one answer each. */
async function exchange(client: RawClient, ...packets: readonly Buffer[]): Promise<readonly string[]> {
  const before = client.packets.length
  client.send(...packets)
  return (await client.received(before + packets.length)).slice(before)
}

/** The connection breaks, as far as the broker can see. */
async function lose(client: RawClient, { broker }: Served): Promise<void> {
  const { connections } = broker.stats
  client.socket.resetAndDestroy()
  await until(() => broker.stats.connections < connections, 'the broker knows that it is gone')
}

async function leave(client: RawClient, { broker }: Served): Promise<void> {
  const { connections } = broker.stats
  client.send(disconnect)
  await until(() => broker.stats.connections < connections, 'the broker knows that it left')
}

const one = { qos: 1, id: 7 }
const again = { ...one, dup: true }

describe('a QoS 1 publish that is sent again', () => {
  test('over the next connection of its client is acknowledged, counted, and neither journaled nor routed again', async () => {
    await using served = await serveBroker()
    using subscriber = await RawClient.connect(served.port, 'subscriber')
    await exchange(subscriber, subscribe(1, ['t', 1]))
    using first = await RawClient.connect(served.port, 'meter')
    await exchange(first, publish('t', '21.5', one))
    await subscriber.received(3)
    await lose(first, served)
    using second = await RawClient.connect(served.port, 'meter')
    expect(await exchange(second, publish('t', '21.5', again))).toEqual(['puback:7'])
    expect(await exchange(second, publish('t', 'end', { qos: 1, id: 8 }))).toEqual(['puback:8'])
    await subscriber.received(4)
    expect(subscriber.packets.slice(2)).toEqual(['publish:1:t:21.5', 'publish:1:t:end'])
    expect(payloads(served.journal)).toEqual(['21.5', 'end'])
    expect(served.broker.stats).toMatchObject({ resends: 1, publishes: [0, 2, 0] })
  })

  test('over the same connection is the same, as often as it comes', async () => {
    await using served = await serveBroker()
    using client = await RawClient.connect(served.port, 'meter')
    await exchange(client, publish('t', 'a', one))
    expect(await exchange(client, publish('t', 'a', again), publish('t', 'a', again))).toEqual(['puback:7', 'puback:7'])
    expect(payloads(served.journal)).toEqual(['a'])
    expect(served.broker.stats.resends).toBe(2)
  })

  test.each([
    ['without DUP', publish('t', 'a', one)],
    ['with another payload', publish('t', 'b', again)],
    ['with a longer payload', publish('t', 'a\0', again)],
    ['with another topic', publish('u', 'a', again)],
    ['with bytes that moved from the payload to the topic', publish('ta', '', again)],
    ['with another QoS', publish('t', 'a', { ...again, qos: 2 })],
    ['to be retained', publish('t', 'a', { ...again, retain: true })],
    ['under another packet id', publish('t', 'a', { ...again, id: 8 })]
  ])('%s is a new one', async (_, packet) => {
    await using served = await serveBroker()
    using first = await RawClient.connect(served.port, 'meter')
    await exchange(first, publish('t', 'a', one))
    await lose(first, served)
    using second = await RawClient.connect(served.port, 'meter')
    await exchange(second, packet)
    expect(served.journal.records).toHaveLength(2)
    expect(served.broker.stats.resends).toBe(0)
  })

  test('by another client, or by one of that name with another user, is a new one', async () => {
    await using served = await serveBroker()
    using first = await RawClient.connect(served.port, 'meter', { user: 'anna' })
    await exchange(first, publish('t', 'a', one))
    await lose(first, served)
    for (const [clientId, options] of [
      ['other', { user: 'anna' }] as const,
      ['meter', { user: 'bert' }] as const,
      ['meter', {}] as const
    ]) {
      using client = await RawClient.connect(served.port, clientId, options)
      await exchange(client, publish('t', 'a', again))
      await lose(client, served)
    }
    expect(served.journal.records.map(({ clientId, user }) => [clientId, user])).toEqual([
      ['meter', 'anna'],
      ['other', 'anna'],
      ['meter', 'bert'],
      ['meter', undefined]
    ])
  })

  test('after DISCONNECT is a new one; what an earlier connection left open is not', async () => {
    await using served = await serveBroker()
    using first = await RawClient.connect(served.port, 'meter')
    await exchange(first, publish('t', 'open', { qos: 1, id: 1 }))
    await lose(first, served)
    using second = await RawClient.connect(served.port, 'meter')
    await exchange(second, publish('t', 'closed', { qos: 1, id: 2 }))
    await leave(second, served)
    using third = await RawClient.connect(served.port, 'meter')
    await exchange(third, publish('t', 'open', { qos: 1, id: 1, dup: true }), publish('t', 'closed', { qos: 1, id: 2, dup: true }))
    expect(payloads(served.journal)).toEqual(['open', 'closed', 'closed'])
  })

  test('over a connection that takes the session over is recognised', async () => {
    await using served = await serveBroker()
    using first = await RawClient.connect(served.port, 'meter', { clean: false })
    await exchange(first, publish('t', 'a', one))
    using second = await RawClient.connect(served.port, 'meter', { clean: false })
    expect(await exchange(second, publish('t', 'a', again))).toEqual(['puback:7'])
    expect(payloads(served.journal)).toEqual(['a'])
  })

  test('after another publish under its packet id is a new one, even with the bytes of the one before', async () => {
    await using served = await serveBroker()
    using first = await RawClient.connect(served.port, 'meter')
    await exchange(first, publish('t', 'a', one), publish('t', 'b', one))
    await lose(first, served)
    using second = await RawClient.connect(served.port, 'meter')
    await exchange(second, publish('t', 'b', again), publish('t', 'a', again))
    expect(payloads(served.journal)).toEqual(['a', 'b', 'a'])
  })

  test('is recognised for ten minutes of a clock that nobody sets', async () => {
    let nowMs = 0
    await using served = await serveBroker({ monotonic: () => nowMs })
    using client = await RawClient.connect(served.port, 'meter')
    await exchange(client, publish('t', 'a', one))
    nowMs = 599_800
    await exchange(client, publish('t', 'a', again))
    expect(payloads(served.journal)).toEqual(['a'])
    nowMs = 600_000
    await exchange(client, publish('t', 'a', again))
    expect(payloads(served.journal)).toEqual(['a', 'a'])
  })

  test('waits for the disk when the original does, in the order of the packets', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal })
    using first = await RawClient.connect(served.port, 'meter')
    first.send(publish('t', 'a', one))
    await until(() => journal.records.length === 1, 'it is appended')
    await lose(first, served)
    using second = await RawClient.connect(served.port, 'meter')
    second.send(publish('t', 'a', again), publish('t', 'b', { qos: 1, id: 8 }), publish('t', 'a', again))
    await until(() => journal.records.length === 2, 'the other one is appended')
    expect(second.packets).toEqual(['connack:0,0'])
    journal.sync(1)
    journal.sync(2)
    expect((await second.received(4)).slice(1)).toEqual(['puback:7', 'puback:8', 'puback:7'])
    expect(payloads(journal)).toEqual(['a', 'b'])
  })

  test.each(['full', 'failing'] as const)('needs no room in a journal that is %s', async state => {
    await using served = await serveBroker()
    using first = await RawClient.connect(served.port, 'meter')
    await exchange(first, publish('t', 'a', one))
    await lose(first, served)
    served.journal.become(state)
    using second = await RawClient.connect(served.port, 'meter')
    expect(await exchange(second, publish('t', 'a', again))).toEqual(['puback:7'])
    expect(payloads(served.journal)).toEqual(['a'])
  })

  test('is appended when its original was not taken, also where an older publish looks the same', async () => {
    for (const waiting of [0, 3]) {
      await using served = await serveBroker()
      using first = await RawClient.connect(served.port, 'meter')
      await exchange(first, publish('t', 'same', one))
      served.journal.become('full')
      // The one under test is the first that waits, or lies behind those that do.
      const before = Array.from({ length: waiting }, (_, index) => publish('t', `${index}`, { qos: 1, id: 100 + index }))
      first.send(...before, publish('t', 'same', one))
      await until(() => served.broker.stats.heldBytes > 0, 'it waits')
      await lose(first, served)
      served.journal.become('accepting')
      using second = await RawClient.connect(served.port, 'meter')
      expect(await exchange(second, publish('t', 'same', again))).toEqual(['puback:7'])
      expect(payloads(served.journal)).toEqual(['same', 'same'])
    }
  })

  test('that was waiting to be recognised when its connection broke is still recognised', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal, limits: { inFlight: 1 } })
    using first = await RawClient.connect(served.port, 'meter')
    first.send(publish('t', 'a', one), publish('t', 'a', again), publish('t', 'a', again))
    await until(() => served.broker.stats.heldBytes > 0, 'the window is closed')
    await lose(first, served)
    journal.sync()
    using second = await RawClient.connect(served.port, 'meter')
    expect(await exchange(second, publish('t', 'a', again))).toEqual(['puback:7'])
    expect(payloads(journal)).toEqual(['a'])
  })

  test('is not looked for among wills, QoS 0 and publishes by HTTP', async () => {
    await using served = await serveBroker()
    using first = await RawClient.connect(served.port, 'http', { will: { topic: 't', payload: 'a', qos: 1 } })
    first.send(publish('t', 'a'))
    await served.broker.accept({ clientId: 'http', topic: 't', payload: Buffer.from('a') })
    await lose(first, served)
    await until(() => served.journal.records.length === 3, 'the will is journaled')
    expect(served.broker.stats.remembered).toBe(0)
  })
})

describe('after a restart', () => {
  test('the journal says what was there; what was lost with the crash, or is too old, is appended', async () => {
    let nowMs = 1_700_000_000_000
    const journal = new FakeJournal({ auto: false, clock: () => nowMs })
    {
      await using served = await serveBroker({ journal })
      using client = await RawClient.connect(served.port, 'meter', { user: 'anna' })
      client.send(publish('t', 'old', { qos: 1, id: 1 }))
      await until(() => journal.records.length === 1, 'it is appended')
      nowMs += 600_000
      client.send(publish('t', 'kept', { qos: 1, id: 2 }), publish('t', 'left', { qos: 1, id: 3 }), disconnect)
      await until(() => served.broker.stats.connections === 0, 'it left')
      journal.sync()
      using other = await RawClient.connect(served.port, 'meter', { user: 'anna' })
      other.send(publish('t', 'lost', { qos: 1, id: 4 }))
      await until(() => journal.records.length === 4, 'it is appended')
      journal.crash()
    }
    await using served = await serveBroker({ journal })
    expect(served.broker.stats.remembered).toBe(2)
    using client = await RawClient.connect(served.port, 'meter', { user: 'anna' })
    client.send(
      ...['old', 'kept', 'left', 'lost'].map((payload, index) => publish('t', payload, { qos: 1, id: index + 1, dup: true })),
      publish('t', 'end', { qos: 1, id: 9 })
    )
    await until(() => journal.records.length === 6, 'those that are not there are appended')
    journal.sync()
    await client.received(6)
    expect(payloads(journal)).toEqual(['old', 'kept', 'left', 'old', 'lost', 'end'])
    expect(served.broker.stats.resends).toBe(2)
  })

  test('the last publish under an id counts, also when the clock was set between', async () => {
    const journal = new FakeJournal({ clock: () => times.shift() ?? 0 })
    const nowMs = 1_700_000_000_000
    const times = [nowMs + 3_600_000, nowMs - 3_600_000, nowMs + 3_600_000]
    {
      await using served = await serveBroker({ journal })
      using client = await RawClient.connect(served.port, 'meter')
      await exchange(client, publish('t', 'a', one), publish('t', 'b', one), publish('t', 'c', { qos: 1, id: 8 }))
    }
    await using served = await serveBroker({ journal })
    using client = await RawClient.connect(served.port, 'meter')
    // A later one under the id ends the one before, however old it is.
    await exchange(client, publish('t', 'a', again), publish('t', 'c', { qos: 1, id: 8, dup: true }))
    expect(payloads(journal)).toEqual(['a', 'b', 'c', 'a'])
  })

  test.each([
    ['a day later', 86_400_000],
    ['by a clock an hour ahead', 3_600_000],
    ['by a clock an hour behind', -3_600_000],
    ['by a clock 50 years ahead', 50 * 365 * 86_400_000],
    ['by a clock 10 years behind', -10 * 365 * 86_400_000]
  ])('the newest publish is as good as just received when the start is %s, the others as much older as they are', async (_, stepMs) => {
    let wallMs = 1_700_000_000_000
    let nowMs = 4_000_000
    const journal = new FakeJournal({ clock: () => wallMs })
    const ids = [1, 2, 3, 4]
    const sayAgain = ids.map(id => publish('t', `${id}`, { qos: 1, id, dup: true }))
    for (let starts = 1; starts <= 3; starts++) {
      await using served = await serveBroker({ journal, monotonic: () => nowMs })
      using client = await RawClient.connect(served.port, 'meter')
      if (starts === 1) {
        for (const id of ids) {
          await exchange(client, publish('t', `${id}`, { qos: 1, id }))
          wallMs += 200_000
        }
      } else {
        // The first is ten minutes older than the last, and the others are younger.
        await exchange(client, ...sayAgain.slice(1))
        expect(served.broker.stats).toMatchObject({ remembered: 3, resends: 3 })
      }
      wallMs += stepMs
      nowMs = 5000
    }
    await using served = await serveBroker({ journal, monotonic: () => nowMs })
    using client = await RawClient.connect(served.port, 'meter')
    nowMs += 199_900
    await exchange(client, ...sayAgain.slice(2))
    nowMs += 400_000
    await exchange(client, ...sayAgain.slice(3))
    expect(payloads(journal)).toEqual(['1', '2', '3', '4'])
    nowMs += 100
    await exchange(client, ...sayAgain.slice(3))
    expect(payloads(journal)).toEqual(['1', '2', '3', '4', '4'])
  })

  test('a clock that is set back between two publishes makes neither younger than the later one', async () => {
    const times = [5_000_000, 1_000_000, 1_400_000]
    const journal = new FakeJournal({ clock: () => times.shift() ?? 0 })
    {
      await using served = await serveBroker({ journal })
      using client = await RawClient.connect(served.port, 'meter')
      await exchange(client, ...[1, 2, 3].map(id => publish('t', `${id}`, { qos: 1, id })))
    }
    let nowMs = 0
    await using served = await serveBroker({ journal, monotonic: () => nowMs })
    using client = await RawClient.connect(served.port, 'meter')
    nowMs = 199_900
    await exchange(client, ...[1, 2, 3].map(id => publish('t', `${id}`, { qos: 1, id, dup: true })))
    expect(journal.records).toHaveLength(3)
    nowMs = 200_000
    await exchange(client, ...[1, 2, 3].map(id => publish('t', `${id}`, { qos: 1, id, dup: true })))
    expect(payloads(journal)).toEqual(['1', '2', '3', '1', '2'])
  })

  test('a client whose publish was replaced is not taken for the next one', async () => {
    const journal = new FakeJournal()
    {
      await using served = await serveBroker({ journal })
      using client = await RawClient.connect(served.port, 'meter')
      await exchange(client, publish('t', 'a', one), publish('t', 'a', one))
    }
    await using served = await serveBroker({ journal })
    using other = await RawClient.connect(served.port, 'other')
    await exchange(other, publish('t', 'a', again))
    using client = await RawClient.connect(served.port, 'meter')
    await exchange(client, publish('t', 'a', again))
    expect(journal.records.map(({ clientId }) => clientId)).toEqual(['meter', 'meter', 'other'])
  })

  test('a QoS 2 publish whose PUBREC was lost is the same message, and its id is open until PUBREL', async () => {
    const journal = new FakeJournal()
    {
      await using served = await serveBroker({ journal })
      using client = await RawClient.connect(served.port, 'meter', { clean: false })
      await exchange(client, publish('t', 'a', { qos: 2, id: 5 }))
    }
    await using served = await serveBroker({ journal })
    using client = await RawClient.connect(served.port, 'meter', { clean: false })
    const answers = await exchange(
      client,
      publish('t', 'a', { qos: 2, id: 5, dup: true }),
      publish('t', 'a', { qos: 2, id: 5 }),
      pubrel(5),
      pubrel(5),
      publish('t', 'a', { qos: 2, id: 5, dup: true })
    )
    expect(answers).toEqual(['pubrec:5', 'pubrec:5', 'pubcomp:5', 'pubcomp:5', 'pubrec:5'])
    expect(payloads(journal)).toEqual(['a', 'a'])
    expect(served.broker.stats.resends).toBe(2)
  })

  test('nobody is answered before the journal is read, and one that cannot be read keeps nobody out', async () => {
    const journal = new FakeJournal()
    const door: { open?: () => void } = {}
    journal.readTail = async () => {
      await new Promise<void>(resolve => {
        door.open = resolve
      })
      throw new Error('EIO')
    }
    const broker = await Broker.bind({ host: '127.0.0.1', port: 0, maxPacketBytes: 1024, anonymous: 'loopback', log, limits })
    const serving = broker.serve(journal)
    using client = await RawClient.open(broker.port)
    client.send(connect('meter'), publish('t', 'a', again))
    await until(() => door.open !== undefined, 'the journal is read')
    for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
    expect(client.packets).toEqual([])
    door.open?.()
    await serving
    expect(await client.received(2)).toEqual(['connack:0,0', 'puback:7'])
    await broker.close(500)
  })
})

describe('memory', () => {
  test('above the number the oldest publish is forgotten and counted; sent again, it is stored again', async () => {
    await using served = await serveBroker({ limits: { remembered: 3 } })
    using client = await RawClient.connect(served.port, 'meter')
    const ids = [1, 2, 3, 4]
    await exchange(client, ...ids.map(id => publish('t', `${id}`, { qos: 1, id })))
    expect(served.broker.stats).toMatchObject({ remembered: 3, rememberedEvicted: 1 })
    await exchange(client, ...[4, 3, 2, 1].map(id => publish('t', `${id}`, { qos: 1, id, dup: true })))
    expect(payloads(served.journal)).toEqual(['1', '2', '3', '4', '1'])
    expect(served.broker.stats).toMatchObject({ remembered: 3, rememberedEvicted: 2, resends: 3 })
  })

  test('the bytes are bounded too, clients included', async () => {
    await using served = await serveBroker({ limits: { rememberedBytes: 2000 } })
    for (let number = 0; number < 20; number++) {
      using client = await RawClient.connect(served.port, `client-${number}`)
      await exchange(client, publish('t', 'a', one))
      await lose(client, served)
      expect(served.broker.stats.rememberedBytes).toBeLessThanOrEqual(2000)
    }
    const { remembered, rememberedEvicted } = served.broker.stats
    expect(remembered).toBeGreaterThan(3)
    expect(remembered + rememberedEvicted).toBe(20)
  })

  test('what is too old goes by itself, and is not counted as forgotten', async () => {
    let nowMs = 0
    await using served = await serveBroker({ monotonic: () => nowMs })
    using client = await RawClient.connect(served.port, 'meter')
    await exchange(client, publish('t', 'a', one), publish('t', 'b', { qos: 1, id: 8 }))
    nowMs = 600_100
    await until(() => served.broker.stats.remembered === 0, 'they are gone')
    expect(served.broker.stats.rememberedBytes).toBeGreaterThan(0)
    await lose(client, served)
    expect(served.broker.stats).toMatchObject({ rememberedBytes: 0, rememberedEvicted: 0 })
  })

  test('what makes room and is too old anyway is not counted as forgotten', async () => {
    using _ = fakeIntervals()
    let nowMs = 0
    await using served = await serveBroker({ monotonic: () => nowMs, limits: { remembered: 1 } })
    using client = await RawClient.connect(served.port, 'meter')
    await exchange(client, publish('t', 'a', { qos: 1, id: 1 }))
    nowMs = 600_000
    await exchange(client, publish('t', 'b', { qos: 1, id: 2 }))
    expect(served.broker.stats).toMatchObject({ remembered: 1, rememberedEvicted: 0 })
    await exchange(client, publish('t', 'c', { qos: 1, id: 3 }))
    expect(served.broker.stats).toMatchObject({ remembered: 1, rememberedEvicted: 1 })
  })
})
