import { once } from 'node:events'
import { connect, connectAsync } from 'mqtt'
import type { IClientOptions, MqttClient } from 'mqtt'
import { describe, expect, test } from 'vitest'
import { FakeJournal } from './fake-journal.ts'
import { RawClient, packet, pingreq, puback, publish, serveBroker, subscribe, text, uint16, until } from './raw-client.ts'

interface Subscriber extends AsyncDisposable {
  readonly client: MqttClient
  /** topic:qos:payload, with `r` behind the QoS of a retained message. */
  readonly messages: string[]
}

async function subscriber(port: number, options: IClientOptions = {}): Promise<Subscriber> {
  const client = await connectAsync({ host: '127.0.0.1', port, reconnectPeriod: 0, ...options })
  const messages: string[] = []
  client.on('message', (topic, payload, { qos, retain }) => messages.push(`${topic}:${qos}${retain ? 'r' : ''}:${payload.toString()}`))
  return { client, messages, [Symbol.asyncDispose]: () => client.endAsync(true) }
}

describe('subscribers', () => {
  test('a SUBACK has a return code for each filter, also for one that comes several times [MQTT-3.8.4-5]', async () => {
    await using served = await serveBroker({ limits: { subscriptions: 2 } })
    using client = await RawClient.connect(served.port, 'twice')
    client.send(subscribe(7, ['a', 1], ['b', 2], ['a', 0], ['c', 1], ['b', 2], ['c', 0]))
    expect((await client.received(2))[1]).toBe('suback:7:1,2,0,128,2,128')
    client.send(subscribe(8, ...Array.from({ length: 200 }, (_, index) => ['a', index % 3] as const)))
    await client.received(3)
    expect(client.raw[2]?.toString('hex')).toBe(`90ca010008${'000102'.repeat(66)}0001`)
  })

  test('MQTT 3.1 clients may set DUP on SUBSCRIBE and UNSUBSCRIBE', async () => {
    await using served = await serveBroker()
    using client = await RawClient.connect(served.port, 'old', { level: 3 })
    client.send(packet(0x8a, uint16(1), text('a'), Buffer.from([1])), packet(0xaa, uint16(2), text('a')))
    expect((await client.received(3)).slice(1)).toEqual(['suback:1:1', 'unsuback:2'])
  })

  test('a SUBACK says what was granted when its SUBSCRIBE came, though packets right behind it change that', async () => {
    await using served = await serveBroker({ limits: { subscriptions: 2 } })
    using client = await RawClient.connect(served.port, 'changes its mind')
    const unsubscribe = packet(0xa2, uint16(2), text('a'))
    client.send(subscribe(1, ['a', 1]), unsubscribe, subscribe(3, ['b', 0], ['c', 0]), subscribe(4, ['a', 1]))
    await client.received(5)
    expect(client.packets.slice(1).toSorted()).toEqual(['suback:1:1', 'suback:3:0,0', 'suback:4:128', 'unsuback:2'])
  })

  test('get messages of each QoS at the lower of both, with wildcard filters too, in order', async () => {
    await using served = await serveBroker()
    for (const qos of [0, 1, 2] as const) {
      await using listener = await subscriber(served.port)
      await listener.client.subscribeAsync(`q${qos}/+/x`, { qos })
      await using source = await subscriber(served.port)
      const sent = Array.from({ length: 30 }, (_, index) => index % 3)
      await Promise.all(
        sent.map((level, index) => source.client.publishAsync(`q${qos}/d/x`, `${index}`, { qos: level === 2 ? 2 : level === 1 ? 1 : 0 }))
      )
      await until(() => listener.messages.length === 30, 'all have arrived')
      // At QoS 2 the mqtt package shows a message at its PUBREL, so the order holds within each QoS.
      for (const level of [0, 1, 2]) {
        const expected = sent.map((sentAt, index) => `q${qos}/d/x:${Math.min(sentAt, qos)}:${index}`)
        const ofLevel = (messages: readonly string[]): string[] => messages.filter(message => message.startsWith(`q${qos}/d/x:${level}:`))
        expect(ofLevel(listener.messages)).toEqual(ofLevel(expected))
      }
    }
  })

  test('get nothing before it is durable', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal })
    await using listener = await subscriber(served.port)
    await listener.client.subscribeAsync('#', { qos: 1 })
    using source = await RawClient.connect(served.port, 'source')
    source.send(publish('t', '0'), publish('t', '1', { qos: 1, id: 1 }), publish('t', '2'))
    await until(() => journal.records.length === 3, 'three are appended')
    expect(served.broker.stats.routeQueue).toBe(3)
    journal.sync(2)
    await until(() => listener.messages.length === 2, 'two have arrived')
    journal.sync()
    await until(() => listener.messages.length === 3, 'three have arrived')
    expect(listener.messages).toEqual(['t:0:0', 't:1:1', 't:0:2'])
  })

  test('of overlapping filters get a message once', async () => {
    await using served = await serveBroker()
    await using listener = await subscriber(served.port)
    await listener.client.subscribeAsync(['a/#', 'a/+', 'a/b'], { qos: 1 })
    using source = await RawClient.connect(served.port, 'source')
    source.send(publish('a/b', '1'), publish('a/b', '2', { qos: 1, id: 1 }), publish('end', ''), publish('a/c', '3'))
    await until(() => listener.messages.includes('a/c:0:3'), 'the last has arrived')
    expect(listener.messages).toEqual(['a/b:0:1', 'a/b:1:2', 'a/c:0:3'])
  })

  test('of overlapping filters get a message at the highest QoS granted, also after coming back', async () => {
    await using served = await serveBroker()
    using source = await RawClient.connect(served.port, 'source')
    using first = await RawClient.connect(served.port, 'both', { clean: false })
    first.send(subscribe(1, ['a/#', 0], ['a/b', 1], ['a/+', 0]))
    await first.received(2)
    source.send(publish('a/b', 'x', { qos: 2, id: 1 }))
    expect((await first.received(3)).at(-1)).toBe('publish:1:a/b:x')
    first.send(puback(first.raw[2]?.readUInt16BE(7) ?? 0), Buffer.from([0xc0, 0]))
    await first.received(4)
    first.socket.destroy()
    await until(() => served.broker.stats.connections === 1, 'it is gone')
    using back = await RawClient.connect(served.port, 'both', { clean: false })
    source.send(publish('a/b', 'y', { qos: 1, id: 2 }))
    expect(await back.received(2)).toEqual(['connack:1,0', 'publish:1:a/b:y'])
  })

  test('get everything from a journal that does not wait for the disk', async () => {
    await using served = await serveBroker({ journal: new FakeJournal({ immediate: true }) })
    using listener = await RawClient.connect(served.port, 'listener')
    listener.send(subscribe(1, ['t', 1]))
    await listener.received(2)
    using source = await RawClient.connect(served.port, 'source')
    source.send(publish('t', '1', { qos: 1, id: 1 }), publish('t', '2', { qos: 2, id: 2 }), publish('t', '3'))
    expect(await source.received(3)).toEqual(['connack:0,0', 'puback:1', 'pubrec:2'])
    expect((await listener.received(5)).slice(2)).toEqual(['publish:1:t:1', 'publish:1:t:2', 'publish:0:t:3'])
    expect(await served.broker.accept({ clientId: 'http', topic: 't', payload: Buffer.from('4') })).toBe(3)
    expect((await listener.received(6)).at(-1)).toBe('publish:1:t:4')
  })

  test('what nobody wants never reaches the routing side', async () => {
    await using served = await serveBroker()
    await using listener = await subscriber(served.port)
    await listener.client.subscribeAsync('wanted/+')
    using source = await RawClient.connect(served.port, 'source')
    const wanted = [publish('wanted/1', 'a'), publish('wanted/2', 'b', { qos: 1, id: 1 })]
    source.send(...Array.from({ length: 200 }, (_, index) => publish(`unwanted/${index}`, 'x', { qos: 1, id: 100 + index })), ...wanted)
    await source.received(202)
    await until(() => listener.messages.length === 2, 'both have arrived')
    expect(served.broker.stats.routed).toBe(2)
    await listener.client.unsubscribeAsync('wanted/+')
    source.send(publish('wanted/3', 'c', { qos: 1, id: 3 }))
    await source.received(203)
    expect([served.broker.stats.routed, served.broker.stats.subscriptions]).toEqual([2, 0])
  })

  test('do not see what the server tells itself below $SYS', async () => {
    await using served = await serveBroker()
    await using listener = await subscriber(served.port)
    await listener.client.subscribeAsync(['$SYS/#', '#'])
    await using other = await subscriber(served.port)
    await other.client.publishAsync('t', 'only this', { qos: 1 })
    await until(() => listener.messages.length > 0, 'something has arrived')
    expect(listener.messages).toEqual(['t:0:only this'])
  })

  test('beyond the limit of subscriptions a filter is refused beside allowed ones, and the session does not keep it', async () => {
    await using served = await serveBroker({ limits: { subscriptions: 3 } })
    using client = await RawClient.connect(served.port, 'greedy', { clean: false })
    client.send(
      subscribe(1, ['a', 1], ['b', 1]),
      subscribe(2, ['c', 1], ['d', 1], ['a', 0]),
      packet(0xa2, uint16(3), text('b')),
      subscribe(4, ['e', 1])
    )
    expect((await client.received(5)).slice(1)).toEqual(['suback:1:1,1', 'suback:2:1,128,0', 'unsuback:3', 'suback:4:1'])
    client.socket.destroy()
    await until(() => served.broker.stats.connections === 0, 'it is gone')
    using source = await RawClient.connect(served.port, 'source')
    source.send(...['a', 'b', 'c', 'd', 'e'].map((topic, index) => publish(topic, topic, { qos: 1, id: index + 1 })))
    await source.received(6)
    using back = await RawClient.connect(served.port, 'greedy', { clean: false })
    expect((await back.received(3)).slice(1)).toEqual(['publish:1:c:c', 'publish:1:e:e'])
  })
})

describe('retained messages', () => {
  test('are given to new subscribers until they are deleted', async () => {
    await using served = await serveBroker()
    await using source = await subscriber(served.port)
    await source.client.publishAsync('state/a', 'old', { qos: 1, retain: true })
    await source.client.publishAsync('state/a', 'new', { qos: 1, retain: true })
    await source.client.publishAsync('state/b', 'b', { qos: 0, retain: true })
    await source.client.publishAsync('state/c', 'c', { qos: 2, retain: true })
    await until(() => served.broker.stats.retained === 3, 'three are retained')
    await using first = await subscriber(served.port)
    await first.client.subscribeAsync('state/+', { qos: 1 })
    await until(() => first.messages.length === 3, 'three have arrived')
    expect(first.messages.toSorted()).toEqual(['state/a:1r:new', 'state/b:0r:b', 'state/c:1r:c'])
    await source.client.publishAsync('state/a', '', { qos: 1, retain: true })
    await until(() => first.messages.length === 4, 'the deletion has arrived')
    expect(first.messages.at(-1)).toBe('state/a:1:')
    await using second = await subscriber(served.port)
    await second.client.subscribeAsync('#', { qos: 0 })
    await until(() => second.messages.length === 2, 'two have arrived')
    expect(second.messages.toSorted()).toEqual(['state/b:0r:b', 'state/c:0r:c'])
  })

  test('are bounded, and what is not kept is counted', async () => {
    await using served = await serveBroker({ limits: { retained: 5 } })
    using source = await RawClient.connect(served.port, 'source')
    source.send(...Array.from({ length: 8 }, (_, index) => publish(`r/${index}`, 'x', { qos: 1, id: index + 1, retain: true })))
    await source.received(9)
    await until(() => served.broker.stats.routed === 8, 'all are routed')
    expect([served.broker.stats.retained, served.broker.stats.retainedDropped]).toEqual([5, 3])
  })
})

test('a subscriber that reads and never acknowledges gets limits.sendWindow messages, and is disconnected when its queue is full', async () => {
  await using served = await serveBroker({ limits: { sendWindow: 20, queuedMessages: 30 } })
  using silent = await RawClient.connect(served.port, 'silent')
  silent.send(subscribe(1, ['t', 1]))
  await silent.received(2)
  using source = await RawClient.connect(served.port, 'source')
  const ids = Array.from({ length: 50 }, (_, index) => index + 1)
  const expected = ids.map(id => `publish:1:t:${id}`)
  source.send(...ids.map(id => publish('t', `${id}`, { qos: 1, id })))
  await source.received(51)
  await until(() => served.broker.stats.queued === 50, 'all are kept')
  silent.send(pingreq)
  expect((await silent.received(23)).slice(2)).toEqual([...expected.slice(0, 20), 'pingresp'])
  expect(served.broker.stats.queuedBytes).toBeGreaterThan(50 * 256)
  silent.send(...ids.slice(0, 20).map(puback))
  expect((await silent.received(43)).slice(23)).toEqual(expected.slice(20, 40))
  silent.send(...ids.slice(20, 40).map(puback))
  expect((await silent.received(53)).slice(43)).toEqual(expected.slice(40))
  source.send(...ids.map(id => publish('t', `${id}`, { qos: 1, id: 100 + id })))
  await until(() => served.broker.stats.connections === 1, 'it is disconnected')
  await until(() => served.broker.stats.queued === 0, 'nothing is kept of it')
})

describe('persistent sessions', () => {
  test('a thousand QoS 1 messages of an offline time arrive, all and in order, and before live ones', async () => {
    await using served = await serveBroker({ limits: { queuedMessages: 2000 } })
    await using before = await subscriber(served.port, { clean: false, clientId: 'sleeper' })
    await before.client.subscribeAsync('night/+', { qos: 1 })
    await before.client.endAsync()
    await until(() => served.broker.stats.connections === 0, 'it sleeps')
    using source = await RawClient.connect(served.port, 'source')
    const ids = Array.from({ length: 1000 }, (_, index) => index + 1)
    source.send(...ids.map(id => publish(`night/${id % 7}`, `${id}`, { qos: 1, id })))
    await source.received(1001)
    source.send(publish('night/0', 'not queued at QoS 0'))
    await until(() => served.broker.stats.publishes[0] === 1, 'it was taken')
    await until(() => served.broker.stats.routeQueue === 0, 'all are routed')
    const back = connect({ host: '127.0.0.1', port: served.port, clean: false, clientId: 'sleeper', reconnectPeriod: 0 })
    const messages: string[] = []
    back.on('message', (_topic, payload) => messages.push(payload.toString()))
    source.send(...ids.map(id => publish('night/live', `live ${id}`, { qos: 1, id })))
    await until(() => messages.length >= 2000, 'all have arrived', 10_000)
    expect(messages).toEqual([...ids.map(String), ...ids.map(id => `live ${id}`)])
    await back.endAsync(true)
  })

  test('beyond the limit messages for a sleeping session are not queued and are counted', async () => {
    await using served = await serveBroker({ limits: { queuedMessages: 10 } })
    using client = await RawClient.connect(served.port, 'sleeper', { clean: false })
    client.send(subscribe(1, ['t', 1]))
    await client.received(2)
    client.socket.destroy()
    await until(() => served.broker.stats.connections === 0, 'it sleeps')
    using source = await RawClient.connect(served.port, 'source')
    source.send(...Array.from({ length: 25 }, (_, index) => publish('t', `${index}`, { qos: 1, id: index + 1 })))
    await source.received(26)
    await until(() => served.broker.stats.offlineDropped === 15, 'fifteen are counted')
    using back = await RawClient.connect(served.port, 'sleeper', { clean: false })
    expect(await back.received(11)).toEqual(['connack:1,0', ...Array.from({ length: 10 }, (_, index) => `publish:1:t:${index}`)])
  })

  test('the bytes queued for all sleeping sessions are bounded, and free again when they are acknowledged or the session ends', async () => {
    // Room for three messages of 1,000 bytes with what surrounds them.
    await using served = await serveBroker({ limits: { queuedBytes: 4000 } })
    for (const name of ['one', 'two']) {
      using client = await RawClient.connect(served.port, name, { clean: false })
      client.send(subscribe(1, [name, 1]))
      await client.received(2)
    }
    await until(() => served.broker.stats.connections === 0, 'both sleep')
    using source = await RawClient.connect(served.port, 'source')
    const send = async (topic: string, letter: string): Promise<void> => {
      const routed = served.broker.stats.routed + 1
      source.send(publish(topic, letter.repeat(1000), { qos: 1, id: 1 }))
      await until(() => served.broker.stats.routed === routed && served.broker.stats.routeQueue === 0, `${letter} is routed`)
    }
    for (const [topic, letter] of [
      ['one', 'a'],
      ['two', 'b'],
      ['two', 'c'],
      ['one', 'd']
    ] as const)
      await send(topic, letter)
    expect(served.broker.stats.offlineDropped).toBe(1)
    const wake = async (name: string, letters: readonly string[]): Promise<void> => {
      using client = await RawClient.connect(served.port, name, { clean: false })
      const all = await client.received(1 + letters.length)
      expect(all.slice(1).map(described => described.slice(-1))).toEqual(letters)
      client.send(...letters.map((_, index) => puback(client.raw[index + 1]?.readUInt16BE(2 + 1 + 2 + name.length) ?? 0)))
      client.send(pingreq)
      await client.received(2 + letters.length)
    }
    await wake('two', ['b', 'c'])
    await until(() => served.broker.stats.connections === 1, 'it sleeps again')
    for (const letter of ['e', 'f', 'g']) await send('two', letter)
    expect(served.broker.stats.offlineDropped).toBe(2)
    {
      using ends = await RawClient.connect(served.port, 'one', { clean: true })
      expect(ends.packets).toEqual(['connack:0,0'])
    }
    await send('two', 'h')
    expect(served.broker.stats.offlineDropped).toBe(2)
    await wake('two', ['e', 'f', 'h'])
  })

  test('what was sent and not acknowledged comes again with DUP, what was acknowledged does not', async () => {
    await using served = await serveBroker()
    using client = await RawClient.connect(served.port, 'forgetful', { clean: false })
    client.send(subscribe(1, ['t', 1]))
    await client.received(2)
    using source = await RawClient.connect(served.port, 'source')
    source.send(publish('t', 'a', { qos: 1, id: 1 }), publish('t', 'b', { qos: 1, id: 2 }))
    await client.received(4)
    const [, , a] = client.raw
    client.send(puback(a?.readUInt16BE(5) ?? 0))
    client.send(subscribe(2, ['u', 0]))
    await client.received(5)
    client.socket.destroy()
    await until(() => served.broker.stats.connections === 1, 'it is gone')
    using back = await RawClient.connect(served.port, 'forgetful', { clean: false })
    expect(await back.received(2)).toEqual(['connack:1,0', 'publish:1d:t:b'])
  })

  test('a clean session ends what was kept', async () => {
    await using served = await serveBroker()
    using first = await RawClient.connect(served.port, 'x', { clean: false })
    first.send(subscribe(1, ['t', 1]))
    await first.received(2)
    using clean = await RawClient.connect(served.port, 'x', { clean: true })
    expect(clean.packets).toEqual(['connack:0,0'])
    expect(served.broker.stats.persistentSessions).toBe(0)
    clean.socket.destroy()
    await until(() => served.broker.stats.connections === 0, 'it is gone')
    using source = await RawClient.connect(served.port, 'source')
    source.send(publish('t', 'nobody', { qos: 1, id: 1 }))
    await source.received(2)
    expect(served.broker.stats.routed).toBe(0)
    using again = await RawClient.connect(served.port, 'x', { clean: false })
    expect(again.packets).toEqual(['connack:0,0'])
  })

  test('at the limit an empty offline session makes room, and without one the newcomer is refused', async () => {
    await using served = await serveBroker({ limits: { sessions: 2 } })
    using empty = await RawClient.connect(served.port, 'empty', { clean: false })
    using full = await RawClient.connect(served.port, 'full', { clean: false })
    full.send(subscribe(1, ['t', 1]))
    await full.received(2)
    using refused = await RawClient.connect(served.port, 'third', { clean: false })
    await refused.untilClosed()
    expect([refused.packets, served.broker.refusals.at(-1)?.reason]).toEqual([['connack:0,3'], 'too many persistent sessions'])
    empty.socket.destroy()
    full.socket.destroy()
    await until(() => served.broker.stats.connections === 0, 'both are gone')
    using third = await RawClient.connect(served.port, 'third', { clean: false })
    expect(third.packets).toEqual(['connack:0,0'])
    using back = await RawClient.connect(served.port, 'full', { clean: false })
    expect(back.packets).toEqual(['connack:1,0'])
  })
})

describe('a frozen subscriber', () => {
  test('slows no publisher and no other subscriber, and is disconnected with a reason', async () => {
    await using served = await serveBroker()
    await using reader = await subscriber(served.port)
    await reader.client.subscribeAsync('flood', { qos: 0 })
    using frozen = await RawClient.connect(served.port, 'frozen')
    frozen.send(subscribe(1, ['flood', 0]))
    await frozen.received(2)
    frozen.socket.pause()
    using source = await RawClient.connect(served.port, 'source')
    const filler = 'x'.repeat(16_000)
    let sent = 0
    for (; served.broker.stats.violations === 0 && sent < 3000; sent += 10) {
      source.send(
        ...Array.from({ length: 10 }, (_, index) =>
          publish('flood', `${sent + index}:${filler}`, { qos: 1, id: ((sent + index) % 60_000) + 1 })
        )
      )
      await source.received(1 + sent + 10)
    }
    expect(served.broker.refusals.map(({ clientId, reason }) => ({ clientId, reason }))).toEqual([
      { clientId: 'frozen', reason: 'subscriber does not read or does not acknowledge' }
    ])
    await until(() => reader.messages.length === sent, 'the other has all')
    expect(reader.messages.map(message => message.slice(0, message.indexOf(':x')))).toEqual(
      Array.from({ length: sent }, (_, index) => `flood:0:${index}`)
    )
    frozen.socket.resume()
  })

  test('a subscriber of a burst that reads is not taken for frozen', async () => {
    await using served = await serveBroker()
    await using reader = await subscriber(served.port)
    await reader.client.subscribeAsync('burst/#', { qos: 1 })
    using source = await RawClient.connect(served.port, 'source')
    const ids = Array.from({ length: 9000 }, (_, index) => index + 1)
    source.send(...ids.map(id => publish('burst/1', `${id}`.padEnd(400, '.'), { qos: 1, id })))
    await until(() => reader.messages.length === ids.length, 'all have arrived', 15_000)
    expect(reader.messages.map(message => Number.parseInt(message.slice('burst/1:1:'.length), 10))).toEqual(ids)
    expect(served.broker.refusals).toEqual([])
  })

  test('one that sends and does not read its acknowledgements is not read either, and gets all later', async () => {
    await using served = await serveBroker({ limits: { inFlight: 60_000 } })
    using client = await RawClient.connect(served.port, 'mute')
    client.socket.pause()
    const pings = Buffer.alloc(2 * 500_000, Buffer.from([0xc0, 0]))
    client.socket.write(pings)
    client.socket.resume()
    await client.received(500_001, 15_000)
    expect(new Set(client.packets.slice(1))).toEqual(new Set(['pingresp']))
  })
})

describe('the queue to subscribers', () => {
  test('when it is full publishers of wanted messages wait, others do not', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal, limits: { inFlight: 20_000, heldBytes: 1_000_000 } })
    await using listener = await subscriber(served.port)
    await listener.client.subscribeAsync('wanted', { qos: 0 })
    using wanted = await RawClient.connect(served.port, 'wanted')
    using other = await RawClient.connect(served.port, 'other')
    wanted.send(...Array.from({ length: 12_000 }, (_, index) => publish('wanted', `${index}`, { qos: 1, id: index + 1 })))
    await until(() => journal.records.length === 10_000, 'the queue is full')
    other.send(...Array.from({ length: 50 }, (_, index) => publish('other', `${index}`, { qos: 1, id: index + 1 })))
    await until(() => journal.records.length === 10_050, 'the other goes on')
    journal.sync()
    await other.received(51)
    await until(() => journal.records.length === 12_050, 'the rest is appended')
    journal.sync()
    await until(() => listener.messages.length === 12_000, 'all have arrived', 10_000)
    expect(listener.messages).toEqual(Array.from({ length: 12_000 }, (_, index) => `wanted:0:${index}`))
  })
})

test('a client that subscribes with QoS 2 and goes in the middle gets the message once', async () => {
  await using served = await serveBroker()
  using client = await RawClient.connect(served.port, 'exact', { clean: false })
  client.send(subscribe(1, ['t', 2]))
  await client.received(2)
  using source = await RawClient.connect(served.port, 'source')
  source.send(publish('t', 'once', { qos: 2, id: 1 }))
  await client.received(3)
  const id = client.raw[2]?.readUInt16BE(5) ?? 0
  client.send(packet(0x50, uint16(id)))
  expect((await client.received(4)).at(-1)).toBe(`pubrel:${id}`)
  client.socket.destroy()
  await until(() => served.broker.stats.connections === 1, 'it is gone')
  using back = await RawClient.connect(served.port, 'exact', { clean: false })
  expect(await back.received(2)).toEqual(['connack:1,0', `pubrel:${id}`])
  back.send(packet(0x70, uint16(id)), subscribe(2, ['end', 0]))
  await back.received(3)
  const closed = once(back.socket, 'close')
  back.socket.destroy()
  await closed
  await until(() => served.broker.stats.connections === 1, 'it is gone again')
  using last = await RawClient.connect(served.port, 'exact', { clean: false })
  last.send(Buffer.from([0xc0, 0]))
  expect(await last.received(2)).toEqual(['connack:1,0', 'pingresp'])
})
