import { describe, expect, test } from 'vitest'
import type { Packet } from 'mqtt-packet'
import { Client5, hex, packet5, publish5 } from './client5.ts'
import { FakeJournal } from './fake-journal.ts'
import { serveBroker, until } from './raw-client.ts'
import { buildStatistics } from '../../broker/statistics.ts'
import { IncomingAliases } from '../../broker/topic-aliases.ts'

/** Acknowledgements as `type:id:code`. */
function acknowledgements(packets: readonly Packet[]): string[] {
  return packets
    .filter(({ cmd }) => /^pub(?:ack|rec|comp)$/.test(cmd))
    .map(packet => {
      const { cmd, messageId = 0, reasonCode = 0 } = packet as { cmd: string; messageId?: number; reasonCode?: number }
      return `${cmd}:${messageId}:${reasonCode}`
    })
}

const pubrel5 = (id: number): Buffer => packet5({ cmd: 'pubrel', messageId: id })

describe('a PUBLISH of MQTT 5', () => {
  test('is journaled with its properties as they came', async () => {
    await using served = await serveBroker()
    using client = await Client5.connect(served.port, 'c')
    const properties = {
      payloadFormatIndicator: true,
      messageExpiryInterval: 60,
      contentType: 'application/json',
      responseTopic: 'answers/ß',
      correlationData: Buffer.from([0, 255]),
      userProperties: { unit: ['°C', 'K'], empty: '' }
    }
    client.send(
      publish5('a', '21.5', { properties }),
      publish5('a', 'plain', { qos: 1, id: 1 }),
      publish5('a', 'kept', { qos: 2, id: 2, properties })
    )
    await client.received(3)
    const [first, second, third] = served.journal.tail
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(['21.5', 'plain', 'kept'])
    expect(first?.properties).toEqual(
      hex(
        `01 01 02 0000003c 03 0010 ${Buffer.from('application/json').toString('hex')} 08 000a ${Buffer.from('answers/ß').toString('hex')}
        09 0002 00ff 26 0004 756e6974 0003 c2b043 26 0004 756e6974 0001 4b 26 0005 656d707479 0000`.replaceAll(/\s/g, '')
      )
    )
    expect(second?.properties).toBeUndefined()
    expect(third?.properties).toEqual(first?.properties)
  })

  test('is acknowledged when it is durable, and in order with what a reason code refuses', async () => {
    await using served = await serveBroker({ journal: new FakeJournal({ auto: false }) })
    using client = await Client5.connect(served.port, 'c')
    client.send(
      publish5('a', 'one', { qos: 1, id: 1 }),
      publish5('$a', 'not taken', { qos: 1, id: 2 }),
      publish5('a', 'two', { qos: 2, id: 3 }),
      publish5('a', Buffer.from([0xff]), { qos: 1, id: 4, properties: { payloadFormatIndicator: true } }),
      publish5('x'.repeat(257), 'too long', { qos: 2, id: 5 }),
      publish5('a', 'three', { qos: 1, id: 6 })
    )
    await until(() => served.journal.records.length === 3, 'what is taken is journaled')
    expect(client.packets).toHaveLength(1)
    served.journal.sync(1)
    await client.received(2)
    served.journal.sync()
    await client.received(7)
    expect(acknowledgements(client.packets)).toEqual([
      'puback:1:0',
      'puback:2:144',
      'pubrec:3:0',
      'puback:4:153',
      'pubrec:5:144',
      'puback:6:0'
    ])
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(['one', 'two', 'three'])
    expect(served.broker.stats.publishesRefused).toBe(3)
    expect(client.closed).toBe(false)
  })

  test('PUBREC that says no frees its id: PUBREL of it finds none', async () => {
    await using served = await serveBroker()
    using client = await Client5.connect(served.port, 'c')
    client.send(publish5('$a', 'no', { qos: 2, id: 7 }), publish5('a', 'yes', { qos: 2, id: 7 }), pubrel5(7), pubrel5(7), pubrel5(8))
    await client.received(6)
    expect(acknowledgements(client.packets)).toEqual(['pubrec:7:144', 'pubrec:7:0', 'pubcomp:7:0', 'pubcomp:7:146', 'pubcomp:8:146'])
  })

  test('a PUBREL that comes again after a lost PUBCOMP is no error', async () => {
    await using served = await serveBroker()
    const options = { clean: false, properties: { sessionExpiryInterval: 60 } }
    using first = await Client5.connect(served.port, 'c', options)
    first.send(publish5('a', 'x', { qos: 2, id: 7 }), pubrel5(7))
    await first.received(3)
    first.socket.destroy()
    using second = await Client5.connect(served.port, 'c', options)
    second.send(pubrel5(7))
    await second.received(2)
    expect(acknowledgements(second.packets)).toEqual(['pubcomp:7:0'])
  })

  test('resends are recognised by their properties too', async () => {
    await using served = await serveBroker()
    const options = { clean: false, properties: { sessionExpiryInterval: 60 } }
    using first = await Client5.connect(served.port, 'c', options)
    first.send(publish5('a', 'x', { qos: 1, id: 1, properties: { topicAlias: 3, contentType: 'one' } }))
    await first.received(2)
    first.socket.destroy()
    using second = await Client5.connect(served.port, 'c', options)
    second.send(
      publish5('a', 'x', { qos: 1, id: 1, dup: true, properties: { contentType: 'one' } }),
      publish5('a', 'x', { qos: 1, id: 1, dup: true, properties: { contentType: 'two' } })
    )
    await second.received(3)
    expect(served.journal.tail.map(({ properties }) => Buffer.from(properties ?? []).toString())).toEqual([
      '\u0003\0\u0003one',
      '\u0003\0\u0003two'
    ])
    expect(served.broker.stats.resends).toBe(1)
  })
})

describe('topic aliases', () => {
  test('stand for the topic that they were set to last, on their connection only', async () => {
    await using served = await serveBroker()
    using client = await Client5.connect(served.port, 'c')
    const aliased = (topic: string, alias: number, more: object = {}): Buffer =>
      publish5(topic, topic === '' ? 'again' : topic, { properties: { topicAlias: alias, ...more } })
    client.send(
      aliased('first', 1),
      aliased('second', 32, { contentType: 'a' }),
      aliased('', 1, { contentType: 'b' }),
      aliased('', 32),
      aliased('third', 1),
      aliased('', 1),
      publish5('a', 'end', { qos: 1, id: 1 })
    )
    await client.received(2)
    expect(served.journal.records.map(({ topic }) => topic)).toEqual(['first', 'second', 'first', 'second', 'third', 'third', 'a'])
    expect(served.journal.tail.map(({ properties }) => properties?.toString())).toEqual([
      undefined,
      '\u0003\0\u0001a',
      '\u0003\0\u0001b',
      undefined,
      undefined,
      undefined,
      undefined
    ])
    expect(served.broker.stats.topicAliasBytes).toBe('third'.length + 'second'.length + 2 * 128)
    using other = await Client5.connect(served.port, 'd')
    other.send(aliased('', 1))
    expect((await other.ended()).slice(1)).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x82 }])
    client.socket.destroy()
    await until(() => served.broker.stats.topicAliasBytes === 0, 'the aliases are forgotten')
  })

  test('are set once, however often their PUBLISH waits', async () => {
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal })
    using client = await Client5.connect(served.port, 'c')
    journal.become('full')
    client.send(
      publish5('a', 'one', { qos: 1, id: 1, properties: { topicAlias: 1 } }),
      publish5('', 'two', { qos: 1, id: 2, properties: { topicAlias: 1 } }),
      publish5('b', 'three', { qos: 1, id: 3, properties: { topicAlias: 1 } }),
      publish5('', 'four', { qos: 1, id: 4, properties: { topicAlias: 1 } })
    )
    await until(() => served.broker.stats.bytesReceived > 50, 'it is read')
    journal.become('accepting')
    await client.received(5)
    expect(journal.records.map(({ topic, payload }) => `${topic} ${payload}`)).toEqual(['a one', 'a two', 'b three', 'b four'])
  })

  test('are granted to nobody while too many bytes are held, and who has some gets no more', () => {
    const statistics = buildStatistics()
    const topic = Buffer.from('a/b')
    const early = new IncomingAliases(statistics)
    expect(early.maximum).toBe(32)
    expect(early.set(1, topic, 0, 3)).toBeUndefined()
    // What the aliases of many others would hold.
    statistics.topicAliasBytes += 16 * 1024 * 1024
    const late = new IncomingAliases(statistics)
    expect(late.maximum).toBe(0)
    expect(late.set(1, topic, 0, 3)).toMatchObject({ code: 0x94 })
    expect(early.set(2, topic, 0, 3)).toMatchObject({ code: 0x97 })
    expect(early.set(1, topic, 0, 1)).toBeUndefined()
    expect(early.topicOf(1)).toEqual(Buffer.from('a'))
    early.close()
    late.close()
    expect(statistics.topicAliasBytes).toBe(16 * 1024 * 1024)
  })
})

describe('the receive maximum of the server', () => {
  test('is never exceeded by a client that keeps to it, at QoS 1 and 2', async () => {
    await using served = await serveBroker({ limits: { inFlight: 3 } })
    using client = await Client5.connect(served.port, 'c')
    for (let round = 0; round < 20; round++) {
      const seen = client.packets.length
      client.send(...[1, 2, 3].map(id => publish5('a', `${round} ${id}`, { qos: id === 2 ? 1 : 2, id })))
      await client.received(seen + 3)
      client.send(pubrel5(1), pubrel5(3))
      await client.received(seen + 5)
    }
    expect(served.journal.records).toHaveLength(60)
    expect(client.closed).toBe(false)
  })

  test.each([
    ['QoS 1 that is not durable', 1, 1],
    ['QoS 2 that is not released', 2, 2],
    ['both', 1, 2]
  ] as const)('is the end of a client that has more open: %s', async (_name, one, other) => {
    await using served = await serveBroker({ limits: { inFlight: 2 }, journal: new FakeJournal({ auto: one === 2 }) })
    using client = await Client5.connect(served.port, 'c')
    client.send(
      publish5('a', 'one', { qos: one, id: 1 }),
      publish5('a', 'two', { qos: other, id: 2 }),
      publish5('a', 'QoS 0 does not count', {}),
      publish5('a', 'three', { qos: 1, id: 3 })
    )
    const packets = await client.ended()
    expect(packets.at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x93 })
    expect(served.journal.records.map(({ payload }) => payload)).toEqual(['one', 'two', 'QoS 0 does not count'])
  })

  test('counts what is refused and what comes again, and gives back what was acknowledged', async () => {
    await using served = await serveBroker({ limits: { inFlight: 2 } })
    using client = await Client5.connect(served.port, 'c')
    for (let id = 1; id <= 10; id++) {
      client.send(publish5('$no', 'x', { qos: id % 2 === 0 ? 1 : 2, id }))
      await client.received(1 + id)
    }
    expect(acknowledgements(client.packets)).toHaveLength(10)
    client.send(publish5('a', 'one', { qos: 2, id: 1 }), publish5('a', 'two', { qos: 2, id: 2 }))
    await client.received(13)
    client.send(publish5('$no', 'three', { qos: 1, id: 3 }))
    expect((await client.ended()).at(-1)).toMatchObject({ cmd: 'disconnect', reasonCode: 0x93 })
  })
})
