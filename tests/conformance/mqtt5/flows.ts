import { expect } from 'vitest'
import { FakeJournal } from '../../broker/fake-journal.ts'
import { serveBroker } from '../served.ts'
import { kept } from './connect.ts'
import { invalidFlags } from './format.ts'
import { disconnect, pingreq, puback, pubcomp, publish, pubrec, pubrel, subscribe } from './packets.ts'
import { numberOf } from './received.ts'
import { expectAfter } from './timing.ts'
import { World } from './world.ts'
import type { Check, Checks, Client } from './world.ts'

/** A connection of the session `kept`, which subscribes to all below k with QoS 2. */
async function comeBack(world: World): Promise<Client> {
  const client = await world.join(kept)
  if (client.seen[0] === 'connack:0,00') await client.ask(1, subscribe(1, [['k/#', 2]]))
  return client
}

/** A client that got one message under QoS 1 or 2 and did not answer. */
async function unanswered(world: World, qos: 1 | 2): Promise<{ readonly client: Client; readonly id: number }> {
  const client = await comeBack(world)
  await world.say(['k/a', 'x', { qos }])
  return { client, id: (await client.sees(`publish:${qos}:k/a:x`)).id }
}

const numbered = (count: number, qos: number) => Array.from({ length: count }, (_, at) => ['k/a', String(at), { qos }] as const)

const unusedIds =
  (qos: 1 | 2): Check =>
  async world => {
    const client = await comeBack(world)
    await world.say(...numbered(9, qos))
    await client.received(11)
    expect(new Set(client.publishes.map(({ id }) => id)).size).toBe(9)
    // Those that are not acknowledged stay used in the next connection.
    await world.vanish(client)
    const back = await comeBack(world)
    await world.say(['k/a', 'new', { qos: 1 }])
    await back.sees('publish:1:k/a:new')
    expect(new Set(back.publishes.map(({ id }) => id)).size).toBe(10)
  }

/** Messages of all QoS to these topics reach subscribers of every QoS in the order in which they came, for each QoS. */
async function inOrder(world: World, topics: readonly string[]): Promise<void> {
  const zero = await world.subscriber([['o/#', 0]])
  const two = await world.subscriber([['o/#', 2]])
  const messages = Array.from({ length: 90 }, (_, at) => [topics[at % topics.length] ?? '', String(at), { qos: at % 3 }] as const)
  await world.say(...messages)
  for (const [client, granted] of [
    [zero, 0],
    [two, 2]
  ] as const) {
    const got = await world.gets(client)
    const expected = messages.map(([topic, payload, { qos }]) => ({
      topic,
      described: `publish:${Math.min(granted, qos)}:${topic}:${payload}`,
      qos
    }))
    for (const topic of topics)
      for (const qos of [0, 1, 2]) {
        const those = expected.filter(message => message.topic === topic && message.qos === qos).map(({ described }) => described)
        expect(got.filter(described => those.includes(described))).toEqual(those)
      }
    expect(got).toHaveLength(messages.length)
    // Ours keeps one order over all of them.
    if (world.ours) expect(got).toEqual(expected.map(({ described }) => described))
  }
}

/** Chapter 4 with the acknowledgements of §3.6 and §3.7, but for topics and shared subscriptions. */
export const flows = {
  'MQTT-3.6.1-1': async world => {
    await world.closesOn('81', invalidFlags([6]))
    const client = await world.join()
    await client.ask(1, publish('a', 'x', { qos: 2, id: 1 }))
    expect(await client.ask(1, pubrel(1))).toEqual(['pubcomp:1'])
  },
  'MQTT-3.6.2-1': async world => {
    // 92 for a packet id that it does not know, which 3.1.1 could not say.
    const { client, id } = await unanswered(world, 2)
    expect(await client.ask(1, pubrec(id))).toEqual([`pubrel:${id}`])
    const [answer] = await client.ask(1, pubrec(id === 999 ? 998 : 999))
    expect(answer).toMatch(/^pubrel:99[89](?:,92)?$/)
  },
  'MQTT-3.7.2-1': async world => {
    const client = await world.join()
    await client.ask(1, publish('a', 'x', { qos: 2, id: 1 }))
    expect(await client.ask(1, pubrel(1))).toEqual(['pubcomp:1'])
    expect(await client.ask(1, pubrel(77))).toEqual([expect.toBeOneOf(['pubcomp:77', 'pubcomp:77,92'])])
    // A client that has lost the message says so, and is answered all the same.
    expect(await client.ask(1, pubrel(78, 0x92))).toEqual([expect.toBeOneOf(['pubcomp:78', 'pubcomp:78,92'])])
  },
  'MQTT-3.1.2-23': async world => {
    for (const properties of [[], [['sessionExpiry', 0]]] as const) {
      await world.vanish(await world.join({ clientId: 'short', clean: false, properties }))
      expect((await world.join({ clientId: 'short', clean: false, properties })).seen[0], JSON.stringify(properties)).toBe('connack:0,00')
    }
    for (const seconds of [100, 0xffff_ffff]) {
      const long = { clientId: `long ${seconds}`, clean: false, properties: [['sessionExpiry', seconds]] } as const
      await world.vanish(await world.subscriber([['a', 1]], long))
      await world.say(['a', 'x', { qos: 1 }])
      const back = await world.join(long)
      expect(back.seen[0]).toBe('connack:1,00')
      await back.sees('publish:1:a:x')
    }
    // Whatever clean start said: it is about the beginning.
    await world.vanish(await world.join({ ...kept, clean: true }))
    expect((await world.join(kept)).seen[0]).toBe('connack:1,00')
  },
  'MQTT-4.1.0-1': async world => {
    const client = await world.join({ clean: true })
    await client.ask(1, subscribe(1, [['a', 1]]))
    const waiting = await world.subscriber([['will', 0]])
    // Longer than its expiry, which counts from the end of the connection only.
    const short = await world.join({ clientId: 'short', clean: false, properties: [['sessionExpiry', 1]] })
    await short.ask(1, subscribe(1, [['a', 1]]))
    await world.vanish(await world.join({ ...kept, will: { topic: 'will', payload: '', properties: [['willDelay', 2]] } }))
    await waiting.sees('publish:0:will:')
    await world.say(['a', 'x', { qos: 1 }])
    await client.sees('publish:1:a:x')
    await short.sees('publish:1:a:x')
  },
  'MQTT-4.1.0-2': async world => {
    const short = { clientId: 'short', clean: false, properties: [['sessionExpiry', 1]] } as const
    const watcher = await world.subscriber([['will', 0]])
    // The will comes with the end of the session, so that nothing needs to be waited for by the clock.
    const began = performance.now()
    await world.vanish(await world.join({ ...short, will: { topic: 'will', payload: 'over', properties: [['willDelay', 1000]] } }))
    await expectAfter(watcher, 'publish:0:will:over', began, 1)
    expect((await world.join(short)).seen[0]).toBe('connack:0,00')
    // DISCONNECT may change it, but not from 0.
    const client = await world.join({ ...kept, clientId: 'changed' })
    client.send(disconnect(0, [['sessionExpiry', 0]]))
    await client.untilClosed()
    expect((await world.join({ ...kept, clientId: 'changed' })).seen[0]).toBe('connack:0,00')
    await world.closesOn('82', [disconnect(0, [['sessionExpiry', 10]])])
    await world.closesOn('82', [disconnect(0, [['sessionExpiry', 10]])], { properties: [['sessionExpiry', 0]] })
  },
  'MQTT-4.2-1': async world => {
    // Every byte in a segment of its own.
    const client = await world.join()
    for (const byte of Buffer.concat([subscribe(1, [['a', 1]]), publish('a', 'x', { qos: 1, id: 2 }), pingreq])) {
      client.send(Buffer.from([byte]))
      await new Promise(resolve => setImmediate(resolve))
    }
    for (const seen of ['suback:1:01', 'publish:1:a:x', 'puback:2', 'pingresp']) await client.sees(seen)
  },
  'MQTT-4.3.1-1': async world => {
    const client = await world.subscriber([['a', 0]])
    await world.say(['a', 'x'], ['a', 'y', { qos: 1, dup: true }], ['a', 'z', { qos: 2 }])
    await world.gets(client)
    expect(client.publishes.slice(0, 3).map(({ bytes }) => bytes[0])).toEqual([0x30, 0x30, 0x30])
  },
  'MQTT-4.3.2-1': unusedIds(1),
  'MQTT-4.3.2-2': async world => {
    const { client } = await unanswered(world, 1)
    expect(client.publishes[0]?.bytes[0]).toBe(0x32)
  },
  'MQTT-4.3.2-3': async world => {
    const { client, id } = await unanswered(world, 1)
    await world.vanish(client)
    const second = await comeBack(world)
    expect(await second.received(2)).toEqual(['connack:1,00', 'publish:1d:k/a:x'])
    expect(second.publishes[0]?.id).toBe(id)
    second.send(puback(id))
    expect(await second.ask(1, pingreq)).toEqual(['pingresp'])
    await world.vanish(second)
    expect(await world.gets(await comeBack(world))).toEqual([])
  },
  'MQTT-4.3.2-4': async world => {
    const watcher = await world.subscriber([['a', 1]])
    const client = await world.join()
    for (const id of [1, 300, 65_535]) expect(await client.ask(1, publish('a', String(id), { qos: 1, id }))).toEqual([`puback:${id}`])
    expect(await world.gets(watcher)).toEqual(['publish:1:a:1', 'publish:1:a:300', 'publish:1:a:65535'])
    // Ownership is durability: before it there is no PUBACK.
    await using served = await serveBroker({ journal: new FakeJournal({ auto: false }) })
    using slow = new World(served)
    const waiting = await slow.join()
    expect(await waiting.ask(1, publish('a', 'x', { qos: 1, id: 6 }), pingreq)).toEqual(['pingresp'])
    served.journal.sync()
    await waiting.sees('puback:6')
  },
  'MQTT-4.3.2-5': async world => {
    const watcher = await world.subscriber([['a', 1]])
    const client = await world.join()
    for (const payload of ['first', 'second', 'third', 'third'])
      expect(await client.ask(1, publish('a', payload, { qos: 1, id: 5 }))).toEqual(['puback:5'])
    expect(await client.ask(1, publish('a', 'fourth', { qos: 1, id: 5, dup: true }))).toEqual(['puback:5'])
    const all = ['first', 'second', 'third', 'third', 'fourth'].map(payload => `publish:1:a:${payload}`)
    expect(await world.gets(watcher)).toEqual(all)
    // The deviation: with DUP the same bytes are not.
    expect(await client.ask(1, publish('a', 'fourth', { qos: 1, id: 5, dup: true }))).toEqual(['puback:5'])
    expect(await world.gets(watcher)).toEqual(world.ours ? all : [...all, 'publish:1:a:fourth'])
  },
  'MQTT-4.3.3-1': unusedIds(2),
  'MQTT-4.3.3-2': async world => {
    const { client } = await unanswered(world, 2)
    expect(client.publishes[0]?.bytes[0]).toBe(0x34)
  },
  'MQTT-4.3.3-3': async world => {
    const { client, id } = await unanswered(world, 2)
    await world.vanish(client)
    const second = await comeBack(world)
    expect(await second.received(2)).toEqual(['connack:1,00', 'publish:2d:k/a:x'])
    expect(second.publishes[0]?.id).toBe(id)
  },
  'MQTT-4.3.3-4': async world => {
    const { client, id } = await unanswered(world, 2)
    expect(await client.ask(1, pubrec(id, 0x10))).toEqual([`pubrel:${id}`])
    // Again, for one that comes again.
    expect(await client.ask(1, pubrec(id))).toEqual([`pubrel:${id}`])
    client.send(pubcomp(id))
    // Of an id that was never sent: not found.
    expect(await client.ask(1, pubrec(12_345))).toEqual([expect.toBeOneOf(['pubrel:12345,92', 'pubrel:12345'])])
  },
  'MQTT-4.3.3-5': async world => {
    const { client, id } = await unanswered(world, 2)
    await client.ask(1, pubrec(id))
    for (let round = 0, last = client; round < 2; round++) {
      await world.vanish(last)
      last = await comeBack(world)
      expect(await last.received(2)).toEqual(['connack:1,00', `pubrel:${id}`])
      if (round === 1) last.send(pubcomp(id))
      expect(await last.ask(1, pingreq)).toEqual(['pingresp'])
      if (round === 1) await world.vanish(last)
    }
    const done = await comeBack(world)
    expect(await done.ask(1, pingreq)).toEqual(['pingresp'])
    expect(done.seen).toEqual(['connack:1,00', 'pingresp'])
  },
  'MQTT-4.3.3-6': async world => {
    const { client, id } = await unanswered(world, 2)
    await client.ask(1, pubrec(id))
    await world.vanish(client)
    const back = await comeBack(world)
    await back.sees(`pubrel:${id}`)
    expect(await world.gets(back)).toEqual([])
  },
  'MQTT-4.3.3-7': async world => {
    const client = await comeBack(world)
    await world.say(['k/a', 'x', { qos: 2, properties: [['messageExpiry', 1]] }])
    const { id } = await client.sees('publish:2:k/a:x')
    const watcher = await world.subscriber([['will', 0]])
    await world.vanish(client)
    await world.vanish(
      await world.join({ ...kept, clientId: 'clock', will: { topic: 'will', payload: '', properties: [['willDelay', 3]] } })
    )
    await watcher.sees('publish:0:will:')
    const back = await comeBack(world)
    await back.sees('publish:2d:k/a:x')
    expect(await back.ask(1, pubrec(id))).toEqual([`pubrel:${id}`])
  },
  'MQTT-4.3.3-8': async world => {
    const client = await world.join()
    for (const id of [1, 300, 65_535]) expect(await client.ask(1, publish('a', 'x', { qos: 2, id }))).toEqual([`pubrec:${id}`])
  },
  'MQTT-4.3.3-9': async world => {
    // A publish that is refused, where there is one, leaves its packet id free.
    const client = await world.join()
    const [answer] = await client.ask(1, publish('a', Buffer.from([0xff]), { qos: 2, id: 4, properties: [['payloadFormat', 1]] }))
    expect(answer).toBeOneOf(['pubrec:4', 'pubrec:4,99', 'disconnect:99'])
    const watcher = await world.subscriber([['a', 2]])
    if (answer === 'pubrec:4,99') {
      client.acknowledge()
      await client.ask(2, publish('a', 'fine', { qos: 2, id: 4 }))
      expect(await world.gets(watcher)).toEqual(['publish:2:a:fine'])
    }
  },
  'MQTT-4.3.3-10': async world => {
    const watcher = await world.subscriber([['a', 2]])
    const publisher = { ...kept, clientId: 'publisher' }
    const client = await world.join(publisher)
    expect(await client.ask(1, publish('a', 'once', { qos: 2, id: 7 }))).toEqual(['pubrec:7'])
    expect(await client.ask(1, publish('a', 'once', { qos: 2, id: 7, dup: true }))).toEqual(['pubrec:7'])
    await world.vanish(client)
    const again = await world.join(publisher)
    expect(await again.ask(1, publish('a', 'once', { qos: 2, id: 7, dup: true }))).toEqual(['pubrec:7'])
    expect(await again.ask(2, pubrel(7), pubrel(7))).toEqual(['pubcomp:7', expect.toBeOneOf(['pubcomp:7', 'pubcomp:7,92'])])
    expect(await world.gets(watcher)).toEqual(['publish:2:a:once'])
  },
  'MQTT-4.3.3-11': async world => {
    const client = await world.join()
    await client.ask(1, publish('a', 'x', { qos: 2, id: 9 }))
    expect(await client.ask(1, pubrel(9, 0, []))).toEqual(['pubcomp:9'])
    expect(await client.ask(1, pubrel(10))).toEqual([expect.toBeOneOf(['pubcomp:10,92', 'pubcomp:10'])])
  },
  'MQTT-4.3.3-12': async world => {
    const watcher = await world.subscriber([['a', 2]])
    const client = await world.join()
    for (const payload of ['one', 'two']) {
      await client.ask(1, publish('a', payload, { qos: 2, id: 7 }))
      expect(await client.ask(1, pubrel(7))).toEqual(['pubcomp:7'])
    }
    expect(await world.gets(watcher)).toEqual(['publish:2:a:one', 'publish:2:a:two'])
  },
  'MQTT-4.3.3-13': async world => {
    const publisher = { ...kept, clientId: 'publisher' }
    const client = await world.join(publisher)
    await client.ask(1, publish('a', 'x', { qos: 2, id: 8, properties: [['messageExpiry', 1]] }))
    const watcher = await world.subscriber([['will', 0]])
    await world.vanish(await world.join({ ...kept, will: { topic: 'will', payload: '', properties: [['willDelay', 3]] } }))
    await watcher.sees('publish:0:will:')
    expect(await client.ask(1, pubrel(8))).toEqual(['pubcomp:8'])
  },
  'MQTT-4.4.0-1': async world => {
    const first = await comeBack(world)
    await world.say(...[1, 1, 2, 2].map((qos, at) => ['k/a', String(at), { qos }] as const))
    for (const [at, qos] of [1, 1, 2, 2].entries()) await first.sees(`publish:${qos}:k/a:${at}`)
    const idOf = (payload: number): number => first.publishes.find(packet => packet.payload === String(payload))?.id ?? 0
    first.send(puback(idOf(0)))
    await first.ask(1, pubrec(idOf(2)))
    // While the connection is there nothing is sent again, whatever the time.
    expect(await first.ask(1, pingreq)).toEqual(['pingresp'])
    await world.vanish(first)
    for (let round = 0; round < 2; round++) {
      const back = await comeBack(world)
      await back.received(4)
      expect(await back.ask(1, pingreq)).toEqual(['pingresp'])
      expect(back.seen.slice(1, -1).toSorted()).toEqual(['publish:1d:k/a:1', 'publish:2d:k/a:3', `pubrel:${idOf(2)}`].toSorted())
      expect(new Set(back.publishes.map(({ id }) => id))).toEqual(new Set([idOf(1), idOf(3)]))
      await world.vanish(back)
    }
  },
  'MQTT-4.4.0-2': async world => {
    const client = await comeBack(world)
    await world.say(['k/a', 'one', { qos: 1 }], ['k/a', 'two', { qos: 2 }])
    const [one, two] = [await client.sees('publish:1:k/a:one'), await client.sees('publish:2:k/a:two')]
    client.send(puback(one.id, 0x80), pubrec(two.id, 0x97))
    expect(await client.ask(1, pingreq)).toEqual(['pingresp'])
    await world.vanish(client)
    const back = await comeBack(world)
    expect(await back.ask(1, pingreq)).toEqual(['pingresp'])
    expect(back.seen).toEqual(['connack:1,00', 'pingresp'])
  },
  'MQTT-4.5.0-1': async world => {
    await world.vanish(await comeBack(world))
    const awake = await world.subscriber([['k/+', 1]])
    const other = await world.subscriber([['j/+', 1]])
    await world.say(['k/1', 'x', { qos: 1 }], ['k/2', 'y', { qos: 2 }])
    expect(await world.gets(awake)).toEqual(['publish:1:k/1:x', 'publish:1:k/2:y'])
    expect(await world.gets(other)).toEqual([])
    expect((await world.gets(await comeBack(world))).toSorted()).toEqual(['publish:1:k/1:x', 'publish:2:k/2:y'])
    // The deviation: beyond the limit.
    await using served = await serveBroker({ limits: { queuedMessages: 1 } })
    using bounded = new World(served)
    await bounded.vanish(await comeBack(bounded))
    await bounded.say(['k/1', 'kept', { qos: 1 }], ['k/1', 'dropped', { qos: 1 }])
    expect(await bounded.gets(await comeBack(bounded))).toEqual(['publish:1:k/1:kept'])
  },
  'MQTT-4.6.0-1': async world => {
    const first = await comeBack(world)
    await world.say(...numbered(15, 1))
    await first.received(17)
    const ids = first.publishes.map(({ id }) => id)
    await world.vanish(first)
    for (let round = 0; round < 2; round++) {
      const back = await comeBack(world)
      await back.received(16)
      expect(back.publishes.map(({ id }) => id)).toEqual(ids)
      expect(back.seen.slice(1)).toEqual(ids.map((_, at) => `publish:1d:k/a:${at}`))
      await world.vanish(back)
    }
  },
  'MQTT-4.6.0-2': async world => {
    const client = await world.join()
    const ids = [9, 3, 65_535, 1, 4, 2]
    expect(await client.ask(6, ...ids.map(id => publish('a', String(id), { qos: 1, id })))).toEqual(ids.map(id => `puback:${id}`))
  },
  'MQTT-4.6.0-3': async world => {
    const client = await world.join()
    const ids = [9, 3, 65_535, 1, 4, 2]
    const packets = ids.flatMap(id => [publish('a', String(id), { qos: 2, id }), publish('a', String(id), { qos: 2, id, dup: true })])
    expect(await client.ask(12, ...packets)).toEqual(ids.flatMap(id => [`pubrec:${id}`, `pubrec:${id}`]))
  },
  'MQTT-4.6.0-4': async world => {
    const client = await comeBack(world)
    await world.say(...numbered(15, 2))
    await client.received(17)
    const ids = client.publishes.map(({ id }) => id).toReversed()
    expect(await client.ask(15, ...ids.map(id => pubrec(id)))).toEqual(ids.map(id => `pubrel:${id}`))
  },
  'MQTT-4.6.0-5': async world => await inOrder(world, ['o/a']),
  'MQTT-4.6.0-6': async world => await inOrder(world, ['o/a', 'o/b/c', 'o/d/e/f']),
  'MQTT-4.9.0-1': async world => {
    for (const maximum of [1, 3, 65_535]) {
      const client = await world.join({ properties: [['receiveMaximum', maximum]] })
      await client.ask(1, subscribe(1, [['k/#', 1]]))
      await world.say(...numbered(5, 1))
      await client.sees(`publish:1:k/a:${Math.min(maximum, 5) - 1}`)
      expect(numberOf(client.connack, 'receiveMaximum', 65_535)).toBeGreaterThan(0)
      client.socket.destroy()
    }
  },
  'MQTT-4.9.0-2': async world => {
    const client = await world.join({ properties: [['receiveMaximum', 2]] })
    await client.ask(1, subscribe(1, [['k/#', 2]]))
    await world.say(...numbered(6, 1))
    await client.sees('publish:1:k/a:1')
    expect(await client.ask(1, pingreq)).toEqual(['pingresp'])
    expect(client.publishes).toHaveLength(2)
    client.acknowledge()
    await client.sees('publish:1:k/a:5')
  },
  'MQTT-4.9.0-3': async world => {
    const client = await world.join({ properties: [['receiveMaximum', 1]] })
    await client.ask(1, subscribe(1, [['k/#', 2]]))
    await world.say(...numbered(3, 2))
    const { id } = await client.sees('publish:2:k/a:0')
    expect(await client.ask(2, pingreq, subscribe(2, [['x', 0]]))).toEqual(['pingresp', 'suback:2:00'])
    expect(await client.ask(1, publish('y', 'x', { qos: 1, id: 3 }))).toEqual(['puback:3'])
    expect(await client.ask(1, pubrec(id))).toEqual([`pubrel:${id}`])
    client.send(pubcomp(id))
    await client.sees('publish:2:k/a:1')
  }
} satisfies Checks
