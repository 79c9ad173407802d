import type { IPublishPacket, Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { Client5, hex, packet5, publish5 } from './client5.ts'
import { FakeJournal } from './fake-journal.ts'
import { puback, RawClient, serveBroker, subscribe, until } from './raw-client.ts'

interface Request {
  readonly topic: string
  readonly qos: 0 | 1 | 2
  readonly nl?: boolean
  readonly rap?: boolean
  readonly rh?: number
}

const subscribe5 = (messageId: number, subscriptions: Request[], properties = {}): Buffer =>
  packet5({ cmd: 'subscribe', messageId, subscriptions, properties })
const puback5 = (messageId: number): Buffer => packet5({ cmd: 'puback', messageId, reasonCode: 0 })

/** The PUBLISHes among packets. */
function publishes(packets: readonly Packet[]): IPublishPacket[] {
  return packets.filter((packet): packet is IPublishPacket => packet.cmd === 'publish')
}

/** As `topic payload qos` with flags. */
function described(packets: readonly Packet[]): string[] {
  return publishes(packets).map(
    ({ topic, payload, qos, retain, dup }) => `${topic} ${payload.toString()} ${qos}${retain ? 'r' : ''}${dup ? 'd' : ''}`
  )
}

/** Waits until so many PUBLISHes have come. */
async function delivered(client: Client5, count: number): Promise<string[]> {
  await until(
    () => publishes(client.packets).length >= count || client.closed,
    `${count} messages came: ${described(client.packets).join(', ')}`
  )
  return described(client.packets)
}

/** A client past its SUBACK. */
async function subscriber(
  port: number,
  clientId: string,
  requests: Request[],
  options: Parameters<typeof Client5.connect>[2] = {}
): Promise<Client5> {
  const client = await Client5.connect(port, clientId, options)
  client.send(subscribe5(1, requests))
  await client.received(2)
  return client
}

const session = (properties: object = {}) => ({ clean: false, properties: { sessionExpiryInterval: 100, ...properties } })

describe('SUBSCRIBE and UNSUBSCRIBE of MQTT 5', () => {
  test('are answered with a reason code for each filter', async () => {
    await using served = await serveBroker({ limits: { subscriptions: 3 } })
    using client = await Client5.connect(served.port, 'c')
    client.send(
      subscribe5(7, [
        { topic: 'a', qos: 0 },
        { topic: '$share/group/a', qos: 1 },
        { topic: 'b/#', qos: 2 },
        { topic: 'x'.repeat(257), qos: 1 },
        { topic: 'a', qos: 1 },
        { topic: 'c', qos: 1 },
        { topic: 'd', qos: 1 }
      ]),
      packet5({ cmd: 'unsubscribe', messageId: 8, unsubscriptions: ['a', 'never', 'a', '$share/group/a', 'b/#'] })
    )
    expect((await client.received(3)).slice(1)).toMatchObject([
      { cmd: 'suback', messageId: 7, granted: [0, 0x9e, 2, 0x8f, 1, 1, 0x97] },
      { cmd: 'unsuback', messageId: 8, granted: [0, 0x11, 0x11, 0x11, 0] }
    ])
  })

  test('no local keeps from a client what it publishes itself', async () => {
    await using served = await serveBroker()
    using client = await subscriber(served.port, 'c', [
      { topic: 'a/#', qos: 1, nl: true },
      { topic: 'b', qos: 1 }
    ])
    using other = await Client5.connect(served.port, 'other')
    client.send(publish5('a/own', 'x'), publish5('b', 'own'))
    await delivered(client, 1)
    other.send(publish5('a/1', 'other'), publish5('b', 'other'))
    expect(await delivered(client, 3)).toEqual(['b own 0', 'a/1 other 0', 'b other 0'])
  })

  test('retain as published keeps the flag of the publisher', async () => {
    await using served = await serveBroker()
    using client = await subscriber(served.port, 'c', [
      { topic: 'kept/#', qos: 0, rap: true },
      { topic: 'plain/#', qos: 0 }
    ])
    using publisher = await Client5.connect(served.port, 'p')
    publisher.send(publish5('kept/1', 'a', { retain: true }), publish5('kept/1', 'b'), publish5('plain/1', 'c', { retain: true }))
    expect(await delivered(client, 3)).toEqual(['kept/1 a 0r', 'kept/1 b 0', 'plain/1 c 0'])
  })

  test('retain handling says whether retained messages are sent', async () => {
    await using served = await serveBroker()
    using client = await Client5.connect(served.port, 'c')
    client.send(publish5('r', 'kept', { qos: 1, id: 1, retain: true }))
    await client.received(2)
    const of = (topic: string, rh: number): Request => ({ topic, qos: 1, rh })
    const afterEach: number[] = []
    for (const [index, request] of [of('r', 2), of('r', 1), of('r', 0), of('+', 1), of('+', 1), of('#', 2), of('#', 0)].entries()) {
      client.send(subscribe5(10 + index, [request]), hex('c000'))
      await until(() => client.packets.filter(({ cmd }) => cmd === 'pingresp').length === index + 1, 'it is answered')
      // A second round trip: what is sent because of a SUBSCRIBE may come behind its SUBACK.
      await new Promise(resolve => setImmediate(resolve))
      afterEach.push(publishes(client.packets).length)
    }
    client.send(publish5('end', 'x', { qos: 1, id: 2 }))
    await delivered(client, 4)
    expect(described(client.packets)).toEqual(['r kept 1r', 'r kept 1r', 'r kept 1r', 'end x 1'])
    expect(afterEach.slice(0, 2)).toEqual([0, 0])
  })

  test('subscription identifiers of all that match are told, of live and of retained messages', async () => {
    await using served = await serveBroker()
    using client = await Client5.connect(served.port, 'c')
    client.send(
      subscribe5(1, [{ topic: 'a/+', qos: 0 }], { subscriptionIdentifier: 1 }),
      subscribe5(2, [{ topic: 'a/#', qos: 1 }], { subscriptionIdentifier: 268_435_455 }),
      subscribe5(3, [{ topic: '#', qos: 0 }])
    )
    await client.received(4)
    using publisher = await Client5.connect(served.port, 'p')
    publisher.send(
      publish5('a/1', 'both', { qos: 1, id: 1, retain: true }),
      publish5('a/1/2', 'one', { qos: 1, id: 2 }),
      publish5('b', 'none')
    )
    await delivered(client, 3)
    client.send(subscribe5(4, [{ topic: 'a/1', qos: 0 }], { subscriptionIdentifier: 9 }))
    await delivered(client, 4)
    const identifiers = publishes(client.packets).map(({ payload, properties }) => [
      payload.toString(),
      [properties?.subscriptionIdentifier ?? []].flat().toSorted((a, b) => a - b)
    ])
    expect(identifiers).toEqual([
      ['both', [1, 268_435_455]],
      ['one', [268_435_455]],
      ['none', []],
      ['both', [9]]
    ])
  })
})

describe('a message to a subscriber of MQTT 5', () => {
  const properties = {
    payloadFormatIndicator: true,
    contentType: 'text/plain',
    responseTopic: 'answer',
    correlationData: Buffer.from([1, 0, 2]),
    userProperties: { a: ['1', '2'], b: '3' }
  }

  test('has the properties of its publisher but for the topic alias, live, retained and to a session that comes back', async () => {
    await using served = await serveBroker()
    using client = await subscriber(served.port, 'live', [{ topic: 'a', qos: 1 }])
    using offline = await subscriber(served.port, 'offline', [{ topic: 'a', qos: 1 }], session())
    offline.socket.destroy()
    await until(() => served.broker.connectedClientIds().length === 1, 'it is offline')
    using publisher = await Client5.connect(served.port, 'p')
    publisher.send(publish5('a', 'x', { qos: 1, id: 1, retain: true, properties: { ...properties, topicAlias: 5 } }))
    await delivered(client, 1)
    using late = await subscriber(served.port, 'late', [{ topic: 'a', qos: 1 }])
    await delivered(late, 1)
    using back = await Client5.connect(served.port, 'offline', session())
    await delivered(back, 1)
    for (const { packets } of [client, late, back]) {
      const [first] = publishes(packets)
      expect({ ...first?.properties, userProperties: { ...first?.properties?.userProperties } }).toEqual(properties)
    }
    expect([client, late, back].flatMap(({ packets }) => described(packets))).toEqual(['a x 1', 'a x 1r', 'a x 1'])
  })

  test('of MQTT 5 reaches a subscriber of 3.1.1 without properties, and the other way round', async () => {
    await using served = await serveBroker()
    using old = await RawClient.connect(served.port, 'old')
    old.send(subscribe(1, ['a', 1]))
    await old.received(2)
    using client = await subscriber(served.port, 'new', [{ topic: 'a', qos: 2 }])
    client.send(publish5('a', 'five', { qos: 2, id: 1, properties }), packet5({ cmd: 'pubrel', messageId: 1 }))
    await old.received(3)
    old.send(puback(1), hex('3004 0001 61 34'))
    await old.received(4)
    expect(old.packets.slice(2)).toEqual(['publish:1:a:five', 'publish:0:a:4'])
    expect(await delivered(client, 2)).toEqual(['a five 2', 'a 4 0'])
  })

  test('has what is left of its expiry, and is not sent when nothing is', async () => {
    let now = 0
    await using served = await serveBroker({ monotonic: () => now })
    using client = await subscriber(served.port, 'c', [{ topic: '#', qos: 1 }], session())
    client.socket.destroy()
    await until(() => served.broker.connectedClientIds().length === 0, 'it is offline')
    using publisher = await Client5.connect(served.port, 'p')
    const expiring = (topic: string, id: number, messageExpiryInterval: number, retain = false): Buffer =>
      publish5(topic, 'x', { qos: 1, id, retain, properties: { messageExpiryInterval, contentType: topic } })
    publisher.send(
      expiring('short', 1, 5),
      expiring('long', 2, 60),
      publish5('ever', 'x', { qos: 1, id: 3 }),
      expiring('kept', 4, 60, true),
      expiring('gone', 5, 5, true)
    )
    await publisher.received(6)
    now = 7900
    using back = await Client5.connect(served.port, 'c', session())
    await delivered(back, 3)
    expect(
      publishes(back.packets).map(({ topic, properties }) => [topic, properties?.messageExpiryInterval, properties?.contentType])
    ).toEqual([
      ['long', 53, 'long'],
      ['ever', undefined, undefined],
      ['kept', 53, 'kept']
    ])
    using late = await subscriber(served.port, 'late', [{ topic: '#', qos: 0 }])
    await delivered(late, 1)
    expect(publishes(late.packets).map(({ topic, properties }) => [topic, properties?.messageExpiryInterval])).toEqual([['kept', 53]])
    expect(served.broker.stats.expiredDropped).toBeGreaterThan(0)
  })

  test('is sent under topic aliases as far as the client takes any, set anew on each connection', async () => {
    await using served = await serveBroker()
    const options = session({ topicAliasMaximum: 2 })
    using client = await subscriber(served.port, 'c', [{ topic: '#', qos: 1 }], options)
    using publisher = await Client5.connect(served.port, 'p')
    for (const [index, topic] of ['first', 'second', 'first', 'third', 'second', 'abc', 'third'].entries())
      publisher.send(publish5(topic, `${index}`))
    await delivered(client, 7)
    const aliased = (packets: readonly Packet[]) => publishes(packets).map(({ topic, properties }) => [topic, properties?.topicAlias])
    expect(aliased(client.packets)).toEqual([
      ['first', 1],
      ['second', 2],
      ['', 1],
      ['third', undefined],
      ['', 2],
      ['abc', undefined],
      ['third', undefined]
    ])
    expect(served.broker.stats.topicAliasBytes).toBe('first'.length + 'second'.length + 256)
    client.socket.destroy()
    await until(() => served.broker.stats.topicAliasBytes === 0, 'the aliases are forgotten')
    using back = await Client5.connect(served.port, 'c', options)
    publisher.send(publish5('third', 'x'), publish5('third', 'y'))
    await delivered(back, 2)
    expect(aliased(back.packets)).toEqual([
      ['third', 1],
      ['', 1]
    ])
  })

  test('is not sent when its packet is larger than the client takes, and the next one is', async () => {
    await using served = await serveBroker()
    using client = await subscriber(served.port, 'c', [{ topic: 'a', qos: 1 }], session({ maximumPacketSize: 40, topicAliasMaximum: 1 }))
    using publisher = await Client5.connect(served.port, 'p')
    // 7 bytes of fixed and variable header at QoS 1, and 1 of the length of no properties.
    publisher.send(
      publish5('a', 'x'.repeat(33), { qos: 1, id: 1 }),
      publish5('a', 'y'.repeat(32), { qos: 1, id: 2 }),
      publish5('a', 'z', { qos: 1, id: 3, properties: { contentType: 'z'.repeat(40) } }),
      publish5('a', 'end', { qos: 1, id: 4 })
    )
    expect(await delivered(client, 2)).toEqual([`a ${'y'.repeat(32)} 1`, 'a end 1'])
    expect(served.broker.stats.oversizedDropped).toBe(2)
    // What was not sent is not owed either.
    client.socket.destroy()
    await until(() => served.broker.connectedClientIds().length === 1, 'it is offline')
    using back = await Client5.connect(served.port, 'c', session())
    expect(await delivered(back, 2)).toEqual([`a ${'y'.repeat(32)} 1d`, 'a end 1d'])
  })

  test('waits while as many are not acknowledged as the client takes at once', async () => {
    await using served = await serveBroker()
    using client = await subscriber(served.port, 'c', [{ topic: '#', qos: 2 }], session({ receiveMaximum: 2 }))
    using publisher = await Client5.connect(served.port, 'p')
    for (let id = 1; id <= 6; id++) publisher.send(publish5('a', `${id}`, { qos: id % 2 === 0 ? 2 : 1, id }))
    await publisher.received(7)
    expect(await delivered(client, 2)).toEqual(['a 1 1', 'a 2 2'])
    client.send(hex('c000'))
    await client.received(5)
    expect(described(client.packets)).toHaveLength(2)
    const [first, second] = publishes(client.packets).map(({ messageId = 0 }) => messageId)
    client.send(puback5(first ?? 0))
    expect(await delivered(client, 3)).toHaveLength(3)
    // PUBREC alone makes no room, one that says no does.
    client.send(packet5({ cmd: 'pubrec', messageId: second ?? 0, reasonCode: 0 }))
    await until(() => client.packets.some(({ cmd }) => cmd === 'pubrel'), 'PUBREL comes')
    expect(described(client.packets)).toHaveLength(3)
    client.send(packet5({ cmd: 'pubcomp', messageId: second ?? 0, reasonCode: 0 }))
    await delivered(client, 4)
    const refused = publishes(client.packets)[3]?.messageId ?? 0
    client.send(packet5({ cmd: 'pubrec', messageId: refused, reasonCode: 0x97 }))
    expect(await delivered(client, 5)).toEqual(['a 1 1', 'a 2 2', 'a 3 1', 'a 4 2', 'a 5 1'])
    client.send(hex('c000'))
    await until(() => client.packets.at(-1)?.cmd === 'pingresp', 'PINGRESP comes')
    expect(client.packets.filter(({ cmd }) => cmd === 'pubrel')).toHaveLength(1)
  })

  test('PUBREC of a packet id that is not known is answered so', async () => {
    await using served = await serveBroker()
    using client = await Client5.connect(served.port, 'c')
    client.send(packet5({ cmd: 'pubrec', messageId: 77, reasonCode: 0 }))
    expect((await client.received(2)).slice(1)).toMatchObject([{ cmd: 'pubrel', messageId: 77, reasonCode: 0x92 }])
  })
})

describe('the session of an MQTT 5 client', () => {
  test('lasts as long as its expiry, which DISCONNECT may change', async () => {
    let now = 0
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal, monotonic: () => now })
    const come = async (): Promise<{ client: Client5; present: boolean }> => {
      const client = await Client5.connect(served.port, 'c', session())
      return { client, present: (client.packets[0] as { sessionPresent: boolean }).sessionPresent }
    }
    const leave = async (client: Client5, bytes: string): Promise<void> => {
      client.send(hex(bytes))
      await client.ended()
    }
    const first = await come()
    expect(first.present).toBe(false)
    await leave(first.client, 'e0 00')
    now += 99_000
    const second = await come()
    expect(second.present).toBe(true)
    await leave(second.client, 'e0 00')
    now += 101_000
    const third = await come()
    expect(third.present).toBe(false)
    await leave(third.client, 'e0 07 00 05 11 00000bb8')
    now += 2_999_000
    const fourth = await come()
    expect(fourth.present).toBe(true)
    await leave(fourth.client, 'e0 07 00 05 11 00000000')
    const fifth = await come()
    expect(fifth.present).toBe(false)
    await leave(fifth.client, 'e0 00')
  })

  test('keeps what is published for it, whichever version its client speaks next', async () => {
    await using served = await serveBroker()
    using client = await subscriber(served.port, 'c', [{ topic: 'a', qos: 1 }], session())
    client.send(hex('e0 00'))
    await client.ended()
    using publisher = await Client5.connect(served.port, 'p')
    publisher.send(publish5('a', 'kept', { qos: 1, id: 1, properties: { contentType: 'x' } }))
    await publisher.received(2)
    using old = await RawClient.connect(served.port, 'c', { clean: false })
    await old.received(2)
    expect(old.packets).toEqual(['connack:1,0', 'publish:1:a:kept'])
  })
})
