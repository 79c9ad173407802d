import { expect } from 'vitest'
import { withNul } from '../format.ts'
import { kept } from './connect.ts'
import { puback, publish, pubrec, subscribe, unsubscribe } from './packets.ts'
import { numberOf } from './received.ts'
import type { Check, Checks, Client, World } from './world.ts'

/** Filter, and the topic names that it matches and does not match. */
const matching: readonly (readonly [filter: string, matches: readonly string[], others: readonly string[]])[] = [
  ['m/a', ['m/a'], ['m', 'm/A', 'm/a/', '/m/a', 'm/a/b']],
  ['m/#', ['m', 'm/', 'm/a', 'm/a/b', 'm//'], ['n', 'mm/a', '/m']],
  ['m/+', ['m/', 'm/a'], ['m', 'm/a/', 'm/a/b']],
  ['m/+/b', ['m/a/b', 'm//b'], ['m/b', 'm/a/a/b']],
  ['+/+', ['m/a', '/m', 'm/'], ['m', 'm/a/b']],
  ['/+', ['/m', '/'], ['m', 'm/a']],
  ['+/m/#', ['a/m', '/m/x', 'b/m/x/y'], ['m', 'm/x']]
]

/** A client of a shared subscription, where the server has them. */
async function share(world: World, filter: string, qos: number, options = {}): Promise<Client> {
  const client = await world.join(options)
  await client.ask(1, subscribe(1, [[filter, qos]]))
  return client
}

/** A check that needs shared subscriptions; without them the server says so and refuses. */
const shared =
  (check: Check): Check =>
  async world => {
    const client = await world.join()
    if (numberOf(client.connack, 'sharedSubscriptionAvailable', 1) === 1) await check(world)
    else expect(await client.ask(1, subscribe(1, [['$share/group/a', 1]]))).toEqual([expect.toBeOneOf(['suback:1:9e', 'disconnect:9e'])])
  }

/** §4.7 and §4.8: topics, and shared subscriptions. */
export const topics = {
  'MQTT-4.7.0-1': async world => {
    const client = await world.join()
    expect(
      await client.ask(
        1,
        subscribe(1, [
          ['#', 0],
          ['+', 0],
          ['a/#', 0],
          ['+/b', 0]
        ])
      )
    ).toEqual(['suback:1:00,00,00,00'])
    await world.closesOn(
      '81 82 90',
      ['#', '+', 'a/#', '+/b'].map(topic => publish(topic, 'x', { qos: 1 }))
    )
  },
  'MQTT-4.7.1-1': async world => {
    const wrong = ['a#', 'a/b#', '#/a', 'a/#/b', '##', 'a/##', '+#', '#+']
    await world.closesOn(
      '81 82 8f',
      wrong.map(filter => unsubscribe(1, [filter]))
    )
    for (const filter of wrong) await refusesFilter(world, filter)
    await matches(
      world,
      matching.filter(([filter]) => filter.includes('#'))
    )
  },
  'MQTT-4.7.1-2': async world => {
    for (const filter of ['a+', '+a', 'a/b+', 'a/+b/c', '++', 'a/++']) await refusesFilter(world, filter)
    await matches(
      world,
      matching.filter(([filter]) => filter.includes('+'))
    )
  },
  'MQTT-4.7.2-1': async world => {
    const client = await world.subscriber([
      ['#', 0],
      ['+/mine', 0],
      ['+', 0]
    ])
    const publisher = await world.join()
    // A server may refuse such a topic name, or take it.
    publisher.send(publish('$mine/mine', 'x'), publish('$mine', 'y'), publish('plain', 'z'))
    await world.say(['plain/mine', 'last'])
    const got = await world.gets(client)
    expect(got.filter(seen => seen.includes(':$'))).toEqual([])
    expect(got).toContain('publish:0:plain/mine:last')
  },
  'MQTT-4.7.3-1': async world => {
    await world.closesOn('81 82 90 8f', [publish('', 'x'), publish('', 'x', { qos: 1 })])
    await refusesFilter(world, '')
    const client = await world.subscriber([
      [' ', 0],
      ['/', 0]
    ])
    await world.say([' ', 'x'], ['/', 'y'])
    expect(await world.gets(client)).toEqual(['publish:0: :x', 'publish:0:/:y'])
  },
  'MQTT-4.7.3-2': async world =>
    await world.closesOn(
      '81 90 8f',
      withNul.flatMap(topic => [publish(topic, 'x'), subscribe(1, [[topic, 0]]), unsubscribe(1, [topic])])
    ),
  'MQTT-4.7.3-3': async world => {
    const longest = 'a'.repeat(256)
    const client = await world.subscriber([[longest, 0]])
    await world.say([longest, 'x'])
    expect(await world.gets(client)).toEqual([`publish:0:${longest}:x`])
    // The deviation: longer ones, which others take.
    if (!world.ours) return
    const long = [`${longest}a`, 'a/'.repeat(16), 'a'.repeat(65_535)]
    await world.closesOn(
      '90 81 8f 95',
      long.map(topic => publish(topic, 'x'))
    )
    for (const filter of long) await refusesFilter(world, filter)
  },
  'MQTT-4.7.3-4': async world => {
    // Composed and decomposed, upper and lower, with spaces, empty levels, dots.
    const names = ['n/é', 'n/e\u0301', 'n/A', 'n/a', 'n/ a', 'n//a', 'n/./a', 'n/../a', 'n/%61', 'n/\ufeffa']
    const client = await world.subscriber(names.map(name => [name, 0] as const))
    await world.say(...names.map((name, at) => [name, String(at)] as const), ['n/É', 'other'])
    expect(await world.gets(client)).toEqual(names.map((name, at) => `publish:0:${name}:${at}`))
  },
  'MQTT-4.8.2-1': shared(async world => {
    for (const filter of ['$share/', '$share//a', '$share/group', '$share']) await refusesFilter(world, filter, filter === '$share')
    const one = await share(world, '$share/group/s/#', 1)
    const two = await share(world, '$share/group/s/#', 1)
    const other = await share(world, '$share/other/s/+', 0)
    await world.say(...Array.from({ length: 10 }, (_, at) => ['s/a', String(at), { qos: 1 }] as const))
    const numbers = Array.from({ length: 10 }, (_, at) => String(at))
    const gots = [await world.gets(one), await world.gets(two)].flat()
    expect(gots.toSorted()).toEqual(numbers.map(number => `publish:1:s/a:${number}`))
    expect(await world.gets(other)).toEqual(numbers.map(number => `publish:0:s/a:${number}`))
    // No retained messages for a shared subscription.
    await world.say(['s/r', 'kept', { retain: true }])
    expect(await world.gets(await share(world, '$share/third/s/r', 1))).toEqual([])
  }),
  'MQTT-4.8.2-2': shared(async world => {
    for (const filter of [
      '$share/a+b/c',
      '$share/+/c',
      '$share/#/c',
      '$share/a#/c',
      '$share/group/',
      '$share/group/a#',
      '$share/group/#/b'
    ])
      await refusesFilter(world, filter)
    const client = await share(world, '$share/group//s', 0)
    await world.say(['/s', 'x'], ['s', 'y'])
    expect(await world.gets(client)).toEqual(['publish:0:/s:x'])
    expect(await client.ask(1, unsubscribe(3, ['/s', '$share/other//s', '$share/group//s']))).toEqual(['unsuback:3:11,11,00'])
  }),
  'MQTT-4.8.2-3': shared(async world => {
    for (const granted of [0, 1, 2]) {
      const client = await share(world, `$share/g${granted}/s`, granted)
      client.acknowledge()
      await world.say(...[0, 1, 2].map(qos => ['s', String(qos), { qos }] as const))
      expect((await world.gets(client)).toSorted()).toEqual([0, 1, 2].map(qos => `publish:${Math.min(qos, granted)}:s:${qos}`))
    }
  }),
  'MQTT-4.8.2-4': shared(async world => {
    const first = await share(world, '$share/group/s', 2, kept)
    await world.say(['s', 'x', { qos: 2 }])
    const { id } = await first.sees('publish:2:s:x')
    const other = await share(world, '$share/group/s', 2)
    await world.vanish(first)
    const back = await world.join(kept)
    await back.sees('publish:2d:s:x')
    expect(await back.ask(1, pubrec(id))).toEqual([`pubrel:${id}`])
    expect(await world.gets(other)).toEqual([])
  }),
  'MQTT-4.8.2-5': shared(async world => {
    const first = await share(world, '$share/group/s', 2)
    await world.say(['s', 'x', { qos: 2 }])
    await first.sees('publish:2:s:x')
    const other = await share(world, '$share/group/s', 2)
    await world.vanish(first)
    expect(await world.gets(other)).toEqual([])
    // What comes now is for the other.
    await world.say(['s', 'y', { qos: 1 }])
    expect(await world.gets(other)).toEqual(['publish:1:s:y'])
  }),
  'MQTT-4.8.2-6': shared(async world => {
    const first = await share(world, '$share/group/s', 2)
    await world.say(['s', 'x', { qos: 1 }], ['s', 'y', { qos: 2 }])
    const [one, two] = [await first.sees('publish:1:s:x'), await first.sees('publish:2:s:y')]
    const other = await share(world, '$share/group/s', 2)
    first.send(puback(one.id, 0x83), pubrec(two.id, 0x97))
    expect(await world.gets(other)).toEqual([])
    expect((await world.gets(first)).toSorted()).toEqual(['publish:1:s:x', 'publish:2:s:y'])
  })
} satisfies Checks

/** A filter that is none: the connection ends, or SUBACK says so. */
async function refusesFilter(world: World, filter: string, orTaken = false): Promise<void> {
  const client = await world.join()
  const [answer] = await client.ask(1, subscribe(1, [[filter, 0]]))
  const fine = [
    undefined,
    'disconnect:81',
    'disconnect:82',
    'disconnect:8f',
    'disconnect:90',
    'suback:1:8f',
    ...(orTaken ? ['suback:1:00'] : [])
  ]
  expect({ filter: filter.slice(0, 50), answer, fine }).toEqual({ filter: filter.slice(0, 50), answer: expect.toBeOneOf(fine), fine })
  client.socket.destroy()
}

/** Each filter gets what it matches, and no other. */
async function matches(world: World, cases: typeof matching): Promise<void> {
  for (const [filter, names, others] of cases) {
    const client = await world.subscriber([[filter, 0]])
    await world.say(...[...names, ...others].map(name => [name, 'x'] as const))
    expect((await world.gets(client)).toSorted(), filter).toEqual(names.map(name => `publish:0:${name}:x`).toSorted())
    client.socket.destroy()
  }
}
