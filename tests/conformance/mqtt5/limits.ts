import { expect } from 'vitest'
import { kept } from './connect.ts'
import { pingreq, publish, pubrel, subscribe, unsubscribe } from './packets.ts'
import type { Property } from './properties.ts'
import { numberOf, property } from './received.ts'
import type { Received } from './received.ts'
import type { Check, Checks, World } from './world.ts'

/** The topic of each PUBLISH, with the aliases of the connection applied. */
function topicsOf(packets: readonly Received[]): readonly string[] {
  const aliases = new Map<unknown, string>()
  return packets.map(packet => {
    const alias = property(packet, 'topicAlias')
    if (alias === undefined) return packet.topic
    if (packet.topic !== '') aliases.set(alias, packet.topic)
    return aliases.get(alias) ?? 'unknown alias'
  })
}

const aliased = (topic: string, payload: string, alias: number, options: { qos?: number; id?: number } = {}): Buffer =>
  publish(topic, payload, { ...options, properties: [['topicAlias', alias]] })

/**
 * Requests that may be refused with a reason, answered to a client of these properties. Whatever their answers are, the rules
 * that every client here is held to say whether they are as they must be.
 */
export async function provoke(world: World, properties: readonly Property[]): Promise<readonly Received[]> {
  const client = await world.join({ properties })
  await client.ask(
    1,
    subscribe(
      1,
      Array.from({ length: 4 }, (_, at) => [`f/${at}`, 1] as const)
    )
  )
  await client.ask(1, unsubscribe(2, ['f/0', 'none such', 'nor this']))
  const requests = [
    publish('a', Buffer.from([0xff]), { qos: 1, id: 3, properties: [['payloadFormat', 1]] }),
    publish('a', Buffer.from([0xff]), { qos: 2, id: 4, properties: [['payloadFormat', 1]] }),
    publish('$SYS/mine', 'x', { qos: 1, id: 5 }),
    publish('a', 'nobody wants it', { qos: 1, id: 6 }),
    pubrel(7)
  ]
  for (const request of requests) if (!client.closed) await client.ask(1, request)
  return client.packets
}

/** No reason makes an answer longer than the client takes. */
const keepsToSize: Check = async world => {
  const least = (await world.join()).connack?.bytes.length ?? 0
  for (const size of [least, least + 1, least + 4, least + 16, 1000]) {
    const packets = await provoke(world, [['maximumPacketSize', size]])
    expect(packets.every(({ bytes }) => bytes.length <= size)).toBe(true)
  }
}

/** Each alias, and each topic name, in each order. */
const everyAlias: Check = async world => {
  const watcher = await world.subscriber([['t/#', 0]])
  const client = await world.join()
  const highest = numberOf(client.connack, 'topicAliasMaximum', 0)
  if (highest > 0) {
    const aliases = [...new Set([1, Math.ceil(highest / 2), highest])]
    client.send(...aliases.map(alias => aliased(`t/${alias}`, 'set', alias)))
    client.send(...aliases.map(alias => aliased('', 'used', alias)))
    // An alias may get another topic name, and a topic name another alias.
    client.send(aliased('t/other', 'set again', highest), aliased('', 'used again', highest), aliased('t/1', 'same', highest))
    client.send(aliased('', 'same used', highest), pingreq)
    await client.sees('pingresp')
    expect(await world.gets(watcher)).toEqual([
      ...aliases.map(alias => `publish:0:t/${alias}:set`),
      ...aliases.map(alias => `publish:0:t/${alias}:used`),
      'publish:0:t/other:set again',
      'publish:0:t/other:used again',
      'publish:0:t/1:same',
      'publish:0:t/1:same used'
    ])
    expect(await client.ask(1, aliased('', 'acknowledged', 1, { qos: 1, id: 7 }))).toEqual(['puback:7'])
  }
  const codes = '81 82 94'
  if (highest < 65_535) await world.closesOn(codes, [aliased('a', 'x', highest + 1), aliased('a', 'x', 65_535)])
  await world.closesOn(codes, [aliased('', 'never set', 1), aliased('', 'x', highest)])
}

/** §3.1.2.11: what a client asks for in CONNECT, and topic aliases both ways. */
export const limits = {
  'MQTT-3.1.2-24': async world => {
    const client = await world.join({ properties: [['maximumPacketSize', 40]] })
    client.acknowledge()
    await client.ask(1, subscribe(1, [['a', 2]]))
    // 2 + 3 + 1 bytes around the payload, and 2 more for the packet id.
    await world.say(['a', 'x'.repeat(34)], ['a', 'y'.repeat(35)], ['a', 'z'.repeat(32), { qos: 1 }], ['a', 'w'.repeat(33), { qos: 1 }])
    await world.say(['a', 'v', { properties: [['contentType', 'v'.repeat(40)]] }], ['a', 'u'.repeat(3000), { retain: true }])
    expect((await world.gets(client)).toSorted()).toEqual([`publish:0:a:${'x'.repeat(34)}`, `publish:1:a:${'z'.repeat(32)}`])
    await client.ask(1, subscribe(2, [['+', 1]]))
    expect(await world.gets(client)).toHaveLength(2)
  },
  'MQTT-3.1.2-25': async world => {
    const properties = [
      ['maximumPacketSize', 40],
      ['receiveMaximum', 1],
      ['sessionExpiry', 1000]
    ] as const
    const large = ['a', 'x'.repeat(100), { qos: 1 }] as const
    const client = await world.join({ ...kept, properties })
    client.acknowledge()
    await client.ask(1, subscribe(1, [['a', 2]]))
    // It takes no room in the window, alive or queued.
    await world.say(large, large, ['a', 'one', { qos: 1 }], ['a', large[1], { qos: 2 }], ['a', 'two', { qos: 2 }])
    await client.sees('publish:2:a:two')
    expect((await world.gets(client)).toSorted()).toEqual(['publish:1:a:one', 'publish:2:a:two'])
    await world.vanish(client)
    await world.say(large, ['a', 'three', { qos: 1 }], large, ['a', 'four', { qos: 1 }])
    const back = await world.join({ ...kept, properties })
    back.acknowledge()
    await back.sees('publish:1:a:four')
    expect(await world.gets(back)).toEqual(['publish:1:a:three', 'publish:1:a:four'])
    await world.vanish(back)
    // Nor is it there for a connection that would take it.
    expect(await world.gets(await world.join(kept))).toEqual([])
  },
  'MQTT-3.1.2-26': async world => {
    // The rules of every connection here hold that no alias is above the maximum.
    const topics = ['topics/1', 'topics/2', 'topics/1', 'topics/3', 'topics/2', 'topics/1', 'topics/4', 'topics/4', 'topics/3']
    for (const maximum of [1, 2, 65_535]) {
      const client = await world.join({ properties: [['topicAliasMaximum', maximum]] })
      await client.ask(1, subscribe(1, [['topics/#', 0]]))
      await world.say(...topics.map((topic, at) => [topic, String(at)] as const))
      await world.gets(client)
      expect(topicsOf(client.publishes).slice(0, topics.length)).toEqual(topics)
      if (world.ours) expect(client.publishes.some(({ topic }) => topic === '')).toBe(true)
      client.socket.destroy()
    }
  },
  'MQTT-3.1.2-27': async world => {
    for (const properties of [[], [['topicAliasMaximum', 0]]] as const) {
      const client = await world.join({ properties })
      await client.ask(1, subscribe(1, [['topics/one', 0]]))
      await world.say(['topics/one', '1'], ['topics/one', '2'], ['topics/one', '3'])
      expect(await world.gets(client)).toEqual(['publish:0:topics/one:1', 'publish:0:topics/one:2', 'publish:0:topics/one:3'])
      for (const packet of client.publishes) expect(property(packet, 'topicAlias')).toBeUndefined()
    }
  },
  'MQTT-3.1.2-29': async world => {
    const packets = await provoke(world, [['requestProblemInformation', 0]])
    for (const packet of packets.slice(1)) expect(property(packet, 'reasonString')).toBeUndefined()
    // What subscribers get is not problem information.
    const client = await world.join({ properties: [['requestProblemInformation', 0]] })
    await client.ask(1, subscribe(1, [['a', 0]]))
    await world.say(['a', 'x', { properties: [['userProperty', ['name', 'value']]] }])
    expect((await client.sees('publish:0:a:x')).properties).toEqual([['userProperty', ['name', 'value']]])
  },
  'MQTT-3.3.2-7': async world => {
    const first = await world.join({ ...kept, clientId: 'one' })
    const highest = numberOf(first.connack, 'topicAliasMaximum', 0)
    if (highest > 0) {
      expect(await first.ask(1, aliased('t', 'set', 1, { qos: 1, id: 1 }))).toEqual(['puback:1'])
      await world.vanish(first)
    }
    await world.closesOn('81 82 94', [aliased('', 'x', 1)], { ...kept, clientId: 'one' })
    // The other way: a session that comes back with a smaller maximum gets topic names.
    const properties = [['sessionExpiry', 1000] as const, ['topicAliasMaximum', 5] as const]
    const subscriber = await world.join({ ...kept, clientId: 'two', properties })
    await subscriber.ask(1, subscribe(1, [['topics/one', 1]]))
    await world.say(['topics/one', '1', { qos: 1 }], ['topics/one', '2', { qos: 1 }])
    await subscriber.received(4)
    await world.vanish(subscriber)
    const back = await world.join({ ...kept, clientId: 'two' })
    await back.received(3)
    expect(back.publishes.map(({ topic }) => topic)).toEqual(['topics/one', 'topics/one'])
  },
  'MQTT-3.3.2-8': async world => {
    await world.closesOn('81 82 94', [aliased('a', 'x', 0), aliased('', 'x', 0), aliased('a', 'x', 0, { qos: 1, id: 1 })])
    await world.closesOn('81 82', [
      publish('a', 'x', {
        properties: [
          ['topicAlias', 1],
          ['topicAlias', 1]
        ]
      })
    ])
  },
  'MQTT-3.3.2-11': async world => {
    const client = await world.join({ properties: [['topicAliasMaximum', 3]] })
    await client.ask(1, subscribe(1, [['topics/#', 0]]))
    const topics = Array.from({ length: 30 }, (_, at) => `topics/${at % 10}`)
    await world.say(...topics.map((topic, at) => [topic, String(at)] as const))
    await world.gets(client)
    expect(topicsOf(client.publishes).slice(0, topics.length)).toEqual(topics)
  },
  'MQTT-3.3.2-12': everyAlias,
  'MQTT-3.4.2-1': async world => {
    // The reader of these tests knows the reason codes of each packet.
    const packets = await provoke(world, [])
    expect(packets.filter(({ type }) => type === 'puback').length).toBeGreaterThan(0)
  },
  'MQTT-3.4.2-2': keepsToSize,
  'MQTT-3.4.2-3': keepsToSize,
  'MQTT-3.5.2-1': async world => {
    const client = await world.join()
    expect(await client.ask(1, publish('a', 'x', { qos: 2, id: 3 }))).toEqual(['pubrec:3'])
    expect(await client.ask(1, publish('a', 'x', { qos: 2, id: 3, dup: true }))).toEqual(['pubrec:3'])
    await provoke(world, [])
  },
  'MQTT-3.5.2-2': keepsToSize,
  'MQTT-3.5.2-3': keepsToSize,
  'MQTT-3.9.2-1': keepsToSize,
  'MQTT-3.9.2-2': keepsToSize,
  'MQTT-3.11.2-1': keepsToSize,
  'MQTT-3.11.2-2': keepsToSize
} satisfies Checks
