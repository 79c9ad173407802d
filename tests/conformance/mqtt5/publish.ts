import { expect } from 'vitest'
import { illFormed } from '../format.ts'
import { serveBroker } from '../served.ts'
import { bytes } from '../wire.ts'
import { kept } from './connect.ts'
import { packet, pingreq, puback, publish, pubrec, pubrel, subscribe } from './packets.ts'
import type { Property } from './properties.ts'
import { allOf, numberOf, property } from './received.ts'
import type { Received } from './received.ts'
import { World } from './world.ts'
import type { Check, Checks } from './world.ts'

/** What a subscriber gets of one message with these properties. */
async function forwarded(world: World, properties: readonly Property[], payload = 'x'): Promise<Received> {
  const subscriber = await world.subscriber([['a', 1]])
  await world.say(['a', payload, { qos: 1, properties }])
  expect(await world.gets(subscriber)).toEqual([`publish:1:a:${payload}`])
  const [packet] = subscriber.publishes
  if (packet === undefined) throw new Error('nothing came')
  subscriber.socket.destroy()
  return packet
}

/** Each of these properties reaches a subscriber as it is, at once and retained and queued. */
async function forwardsUnaltered(world: World, properties: readonly Property[]): Promise<void> {
  for (const one of properties) expect((await forwarded(world, [one])).properties).toEqual([one])
  const offline = await world.join(kept)
  await offline.ask(1, subscribe(1, [['b', 1]]))
  await world.vanish(offline)
  const [first] = properties
  if (first === undefined) throw new Error('no property')
  await world.say(['b', 'x', { qos: 1, retain: true, properties: [first] }])
  const late = await world.subscriber([['b', 1]])
  expect((await late.sees('publish:1r:b:x')).properties).toEqual([first])
  expect((await (await world.join(kept)).sees('publish:1:b:x')).properties).toEqual([first])
}

const emptyRetained: Check = async world => {
  const watcher = await world.subscriber([['a', 1]])
  await world.say(['a', 'old', { qos: 1, retain: true }], ['a', '', { qos: 1, retain: true }], ['b', '', { qos: 1, retain: true }])
  expect(await world.gets(watcher)).toEqual(['publish:1:a:old', 'publish:1:a:'])
  const late = await world.subscriber([
    ['a', 1],
    ['b', 1],
    ['+', 1]
  ])
  expect(await world.gets(late)).toEqual([])
}

/** §3.3: PUBLISH. */
export const publishing = {
  'MQTT-3.3.1-1': async world => {
    const first = await world.join(kept)
    await first.ask(1, subscribe(1, [['k/#', 2]]))
    await world.say(['k/1', 'one', { qos: 1 }], ['k/2', 'two', { qos: 2 }])
    await first.sees('publish:1:k/1:one')
    await first.sees('publish:2:k/2:two')
    await world.vanish(first)
    await world.say(['k/3', 'three', { qos: 1 }])
    const second = await world.join(kept)
    await second.received(4)
    expect(second.seen.slice(1).toSorted()).toEqual(['publish:1:k/3:three', 'publish:1d:k/1:one', 'publish:2d:k/2:two'])
  },
  'MQTT-3.3.1-2': async world => {
    await world.closesOn('81 82', [publish('a', 'x', { dup: true }), publish('a', 'x', { dup: true, retain: true })])
    const client = await world.subscriber([
      ['a', 2],
      ['b', 0]
    ])
    await world.say(['a', 'x'], ['b', 'y', { qos: 2, dup: true }], ['b', 'z', { qos: 1, dup: true }])
    expect((await world.gets(client)).toSorted()).toEqual(['publish:0:a:x', 'publish:0:b:y', 'publish:0:b:z'])
  },
  'MQTT-3.3.1-3': async world => {
    const client = await world.subscriber([['a', 2]])
    await world.say(['a', 'x', { qos: 1, dup: true }], ['a', 'y', { qos: 2, dup: true }])
    expect((await world.gets(client)).toSorted()).toEqual(['publish:1:a:x', 'publish:2:a:y'])
  },
  'MQTT-3.3.1-4': async world =>
    await world.closesOn('81', [
      publish('a', 'x', { qos: 3 }),
      publish('a', 'x', { qos: 3, dup: true }),
      publish('a', 'x', { qos: 3, retain: true })
    ]),
  'MQTT-3.3.1-5': async world => {
    for (const [payload, qos] of [
      ['first', 1],
      ['second', 2],
      ['third', 0]
    ] as const) {
      await world.say(['a', payload, { qos, retain: true }])
      const late = await world.subscriber([['a', 2]])
      await late.sees(`publish:${qos}r:a:${payload}`)
      expect(await world.gets(late)).toEqual([`publish:${qos}r:a:${payload}`])
    }
    // The deviation: beyond the limit.
    await using served = await serveBroker({ limits: { retained: 1 } })
    using bounded = new World(served)
    await bounded.say(['a', 'kept', { qos: 1, retain: true }])
    const client = await bounded.join()
    const [answer] = await client.ask(1, publish('b', 'not kept', { qos: 1, retain: true }))
    expect(answer).toMatch(/^puback:1(?:,97)?$/)
    const late = await bounded.subscriber([['+', 1]])
    expect((await bounded.gets(late)).filter(seen => !seen.includes('said'))).toEqual(['publish:1r:a:kept'])
  },
  'MQTT-3.3.1-6': emptyRetained,
  'MQTT-3.3.1-7': emptyRetained,
  'MQTT-3.3.1-8': async world => {
    await world.say(
      ['a', 'kept', { qos: 1, retain: true }],
      ['a', 'passing', { qos: 1 }],
      ['a', '', { qos: 1 }],
      ['b', 'passing', { qos: 2 }]
    )
    const late = await world.subscriber([
      ['a', 1],
      ['b', 1]
    ])
    expect(await world.gets(late)).toEqual(['publish:1r:a:kept'])
  },
  'MQTT-3.3.2-1': async world => {
    await world.closesOn('81 90', [
      ...illFormed.map(topic => publish(topic, 'x', { qos: 2 })),
      packet(0x30),
      packet(0x30, bytes('00')),
      packet(0x30, bytes('00 02 61')),
      packet(0x32, bytes('ff ff 61 62'))
    ])
    const client = await world.join()
    expect(await client.ask(1, publish('a'.repeat(256), Buffer.alloc(200_000), { qos: 1 }))).toEqual(['puback:1'])
  },
  'MQTT-3.3.2-2': async world => {
    const topics = ['#', '+', 'a/#', 'a/+', '+/a', 'a/+/b', 'a#', '#a', 'a+b', '/#']
    await world.closesOn(
      '81 82 90',
      topics.flatMap(topic => [publish(topic, 'x'), publish(topic, 'x', { qos: 1 })])
    )
  },
  'MQTT-3.3.2-3': async world => {
    const client = await world.subscriber([['a/+', 0]])
    await world.say(['a', '1'], ['a/b', '2'], ['a/b/c', '3'], ['A/b', '4'], ['/a/b', '5'], ['a/', '6'], ['b/a', '7'])
    expect(await world.gets(client)).toEqual(['publish:0:a/b:2', 'publish:0:a/:6'])
  },
  'MQTT-3.3.2-4': async world => {
    await forwardsUnaltered(world, [
      ['payloadFormat', 1],
      ['payloadFormat', 0]
    ])
    expect((await forwarded(world, [])).properties).toEqual([])
  },
  'MQTT-3.3.2-13': async world =>
    await world.closesOn(
      '81 90',
      illFormed.map(topic => publish('a', 'x', { properties: [['responseTopic', topic]] }))
    ),
  'MQTT-3.3.2-14': async world =>
    await world.closesOn(
      '81 82 90',
      ['#', '+', 'a/#', 'a/+/b', '+/a'].map(topic => publish('a', 'x', { properties: [['responseTopic', topic]] }))
    ),
  'MQTT-3.3.2-15': async world => {
    await forwardsUnaltered(world, [
      ['responseTopic', 'answers/ä/€'],
      ['responseTopic', ' / /']
    ])
    await world.closesOn('81 82', [
      publish('a', 'x', {
        properties: [
          ['responseTopic', 'a'],
          ['responseTopic', 'a']
        ]
      })
    ])
  },
  'MQTT-3.3.2-16': async world =>
    await forwardsUnaltered(world, [
      ['correlationData', Buffer.from([0, 255, 128, 0xc3, 0x28])],
      ['correlationData', Buffer.alloc(0)],
      ['correlationData', Buffer.alloc(60_000, 7)]
    ]),
  'MQTT-3.3.2-17': async world => {
    await forwardsUnaltered(world, [
      ['userProperty', ['name', 'value']],
      ['userProperty', ['', '']],
      ['userProperty', ['ä', '\ufeff€']],
      ['userProperty', ['n'.repeat(1000), 'v'.repeat(10_000)]]
    ])
  },
  'MQTT-3.3.2-18': async world => {
    const pairs = ['b', 'a', 'b', 'c', '', 'a'].map((name, at) => ['userProperty', [name, String(at % 4)]] as const)
    const mixed = [...pairs.slice(0, 2), ['contentType', 'text'] as const, ...pairs.slice(2)]
    const got = await forwarded(world, mixed)
    expect(allOf(got, 'userProperty')).toEqual(pairs.map(([, pair]) => pair))
    expect(property(got, 'contentType')).toBe('text')
  },
  'MQTT-3.3.2-19': async world =>
    await world.closesOn(
      '81',
      illFormed.map(value => publish('a', 'x', { properties: [['contentType', value]] }))
    ),
  'MQTT-3.3.2-20': async world =>
    await forwardsUnaltered(world, [
      ['contentType', 'application/json; charset=utf-8'],
      ['contentType', ''],
      ['contentType', '\ufeffä']
    ]),
  'MQTT-3.3.4-1': async world => {
    const client = await world.join()
    const packets = [publish('a', '0'), publish('a', '1', { qos: 1, id: 1 }), publish('a', '2', { qos: 2, id: 2 }), pingreq]
    const answers = await client.ask(3, ...packets)
    expect(answers.toSorted()).toEqual(['pingresp', 'puback:1', 'pubrec:2'])
  },
  'MQTT-3.3.4-2': async world => {
    const filters = [
      ['a/b', 0],
      ['a/+', 2],
      ['a/#', 1],
      ['+/b', 0]
    ] as const
    for (const rotation of [0, 1, 2, 3]) {
      const client = await world.subscriber([...filters.slice(rotation), ...filters.slice(0, rotation)])
      await world.say(['a/b', 'x', { qos: 2 }], ['a/b', 'y', { qos: 1 }])
      const got = await world.gets(client)
      expect(got).toContain('publish:2:a/b:x')
      expect(got).toContain('publish:1:a/b:y')
      // Once each, or once for each subscription with its QoS.
      if (world.ours) expect(got).toHaveLength(2)
      client.socket.destroy()
    }
  },
  'MQTT-3.3.4-6': async world =>
    await world.closesOn('81 82', [
      publish('a', 'x', { properties: [['subscriptionIdentifier', 1]] }),
      publish('a', 'x', { qos: 1, properties: [['subscriptionIdentifier', 268_435_455]] })
    ]),
  'MQTT-3.3.4-9': async world => {
    const limited = { properties: [['receiveMaximum', 2]] } as const
    const client = await world.join(limited)
    await client.ask(1, subscribe(1, [['a', 2]]))
    await world.say(...Array.from({ length: 6 }, (_, at) => ['a', String(at), { qos: 1 }] as const))
    await client.sees('publish:1:a:1')
    // One answer makes room for one message; what it was to be told is told by the rules of every connection here.
    for (let at = 0; at < 6; at++) {
      const packet = await client.sees(`publish:1:a:${at}`)
      expect(client.seen, [...client.seen, ...client.faults].join()).not.toContain(`publish:1:a:${at + 2}`)
      client.send(puback(packet.id))
    }
    // QoS 2 makes room when PUBCOMP comes, or a PUBREC that refuses.
    await world.say(...Array.from({ length: 4 }, (_, at) => ['a', `two ${at}`, { qos: 2 }] as const))
    const [first, second] = [await client.sees('publish:2:a:two 0'), await client.sees('publish:2:a:two 1')]
    expect(await client.ask(1, pubrec(first.id))).toEqual([`pubrel:${first.id}`])
    expect(await client.ask(1, pingreq)).toEqual(['pingresp'])
    client.send(pubrec(second.id, 0x80))
    await client.sees('publish:2:a:two 2')
    client.acknowledge()
    await client.sees('publish:2:a:two 3')
    // Also for what was queued while there was no connection.
    const gone = await world.join({ ...kept, clientId: 'gone' })
    await gone.ask(1, subscribe(1, [['b', 1]]))
    await world.vanish(gone)
    await world.say(...Array.from({ length: 5 }, (_, at) => ['b', String(at), { qos: 1 }] as const))
    const properties = [['sessionExpiry', 1000] as const, ['receiveMaximum', 1] as const]
    const back = await world.join({ ...kept, clientId: 'gone', properties })
    for (let at = 0; at < 5; at++) back.send(puback((await back.sees(`publish:1:b:${at}`)).id))
  },
  'MQTT-3.3.4-10': async world => {
    const client = await world.join({ properties: [['receiveMaximum', 1]] })
    await client.ask(1, subscribe(1, [['a', 1]]))
    await world.say(['a', 'one', { qos: 1 }], ['a', 'two', { qos: 1 }], ['a', 'none'])
    await client.sees('publish:1:a:one')
    client.forget()
    client.send(pingreq, subscribe(2, [['b', 0]]), publish('c', 'x', { qos: 1, id: 5 }), publish('c', 'y', { qos: 2, id: 6 }), pubrel(6))
    for (const answer of ['pingresp', 'suback:2:00', 'puback:5', 'pubrec:6', 'pubcomp:6']) await client.sees(answer)
    expect(client.seen).not.toContain('publish:1:a:two')
    client.acknowledge()
    expect(numberOf(client.connack, 'receiveMaximum', 65_535)).toBeGreaterThan(0)
  }
} satisfies Checks
