import { expect } from 'vitest'
import { illFormed } from '../format.ts'
import { serveBroker } from '../served.ts'
import { bytes } from '../wire.ts'
import { invalidFlags } from './format.ts'
import { packet, pingreq, puback, pubcomp, pubrec, subscribe, text, uint16, unsubscribe } from './packets.ts'
import { allOf, numberOf } from './received.ts'
import { World } from './world.ts'
import type { Check, Checks } from './world.ts'

/** The subscription identifiers that a message came with, in no order. */
const identifiers = (client: { publishes: World['clients'][number]['publishes'] }, at = 0): readonly unknown[] =>
  allOf(client.publishes[at], 'subscriptionIdentifier')

const overlapping: Check = async world => {
  const client = await world.join()
  if (numberOf(client.connack, 'subscriptionIdentifierAvailable', 1) === 0) {
    await world.closesOn('a1', [subscribe(1, [['a', 0]], [['subscriptionIdentifier', 1]])])
    return
  }
  await client.ask(1, subscribe(1, [['a/b', 1]], [['subscriptionIdentifier', 1]]))
  await client.ask(
    1,
    subscribe(
      2,
      [
        ['a/+', 2],
        ['c', 0]
      ],
      [['subscriptionIdentifier', 268_435_455]]
    )
  )
  await client.ask(1, subscribe(3, [['a/#', 0]]))
  client.acknowledge()
  await world.say(['a/b', 'x', { qos: 1 }])
  await world.gets(client)
  // In one message or in one for each subscription.
  const got = client.publishes.filter(({ topic }) => topic === 'a/b')
  expect(new Set(got.flatMap(packet => allOf(packet, 'subscriptionIdentifier')))).toEqual(new Set([1, 268_435_455]))
  if (world.ours) expect(got).toHaveLength(1)
}

const answersInOrder: Check = async world => {
  const client = await world.join()
  const filters = [2, 0, 1, 1, 0, 2, 2].map((qos, at) => [`a/${at}`, qos] as const)
  expect(await client.ask(1, subscribe(7, filters))).toEqual(['suback:7:02,00,01,01,00,02,02'])
}

/** §3.8 to §3.11. */
export const subscribing = {
  'MQTT-3.3.4-3': async world => {
    await overlapping(world)
    const client = await world.join()
    if (numberOf(client.connack, 'subscriptionIdentifierAvailable', 1) === 0) return
    client.acknowledge()
    // Also on retained messages; a subscription that is replaced has the identifier of the new one, or none.
    await world.say(['r', 'kept', { qos: 1, retain: true }])
    await client.ask(1, subscribe(1, [['r', 1]], [['subscriptionIdentifier', 128]]))
    await client.sees('publish:1r:r:kept')
    expect(identifiers(client)).toEqual([128])
    client.forget()
    await client.ask(1, subscribe(2, [['r', 1]], [['subscriptionIdentifier', 7]]))
    await client.sees('publish:1r:r:kept')
    expect(identifiers(client)).toEqual([7])
    client.forget()
    await client.ask(1, subscribe(3, [['r', 1]]))
    await client.sees('publish:1r:r:kept')
    expect(identifiers(client)).toEqual([])
    // They belong to the session.
    const session = { clientId: 'stays', clean: false, properties: [['sessionExpiry', 1000]] } as const
    const first = await world.join(session)
    await first.ask(1, subscribe(1, [['q', 1]], [['subscriptionIdentifier', 9]]))
    await world.vanish(first)
    await world.say(['q', 'queued', { qos: 1 }])
    const second = await world.join(session)
    await second.sees('publish:1:q:queued')
    expect(identifiers(second)).toEqual([9])
  },
  'MQTT-3.3.4-4': overlapping,
  'MQTT-3.8.1-1': async world => await world.closesOn('81', invalidFlags([8])),
  'MQTT-3.8.3-1': async world => {
    await world.closesOn(
      '81',
      illFormed.map(filter => subscribe(1, [[filter, 0]]))
    )
    await world.closesOn('81', [
      packet(0x82, uint16(1), bytes('00'), text('a')),
      packet(0x82, uint16(1), bytes('00 00 05 61 00')),
      packet(0x82, uint16(1), bytes('00'), text('a'), bytes('00 00'))
    ])
  },
  'MQTT-3.8.3-2': async world => await world.closesOn('81 82', [subscribe(1, []), subscribe(1, [], [['userProperty', ['a', 'b']]])]),
  'MQTT-3.8.3-5': async world => {
    const reserved = [0x40, 0x80, 0xc0, 0x41, 0xff]
    await world.closesOn(
      '81',
      reserved.map(bits => subscribe(1, [['a', bits]]))
    )
    await world.closesOn(
      '81 82',
      [3, 0x30, 0x31, 0x0b, 0x3f].map(bits => subscribe(1, [['a', bits]]))
    )
    await world.closesOn('81', [
      subscribe(1, [
        ['a', 0],
        ['b', 0x40]
      ])
    ])
  },
  'MQTT-3.8.4-1': async world => {
    const client = await world.join()
    expect(await client.ask(1, subscribe(1, [['a', 0]]))).toEqual(['suback:1:00'])
    expect(await client.ask(1, subscribe(2, [['a', 0]], [['userProperty', ['name', 'value']]]))).toEqual(['suback:2:00'])
  },
  'MQTT-3.8.4-2': async world => {
    const client = await world.join()
    const ids = [65_535, 1, 300, 2]
    expect(await client.ask(4, ...ids.map(id => subscribe(id, [['a', 1]])))).toEqual(ids.map(id => `suback:${id}:01`))
  },
  'MQTT-3.8.4-3': async world => {
    const client = await world.subscriber([['a', 0]])
    await client.ask(1, subscribe(2, [['a', 2]]))
    await world.say(['a', 'x', { qos: 2 }])
    expect(await world.gets(client)).toEqual(['publish:2:a:x'])
    client.forget()
    await client.ask(1, subscribe(3, [['a', 0]]))
    await world.say(['a', 'y', { qos: 2 }])
    expect(await world.gets(client)).toEqual(['publish:0:a:y'])
    // It was one subscription all the time.
    expect(await client.ask(1, unsubscribe(4, ['a']))).toEqual(['unsuback:4:00'])
    client.forget()
    await world.say(['a', 'z', { qos: 2 }])
    expect(await world.gets(client)).toEqual([])
  },
  'MQTT-3.8.4-4': async world => {
    await world.say(['a', 'kept', { qos: 1, retain: true }])
    const client = await world.subscriber([['a', 1]])
    await client.sees('publish:1r:a:kept')
    client.forget()
    // Many times while messages come: none is lost.
    const numbers = Array.from({ length: 60 }, (_, at) => String(at))
    const saying = world.say(...numbers.map(number => ['a', number, { qos: 1 }] as const))
    for (let id = 2; id < 22; id++) await client.ask(1, subscribe(id, [['a', 1]]))
    await saying
    const got = await world.gets(client)
    expect(got.filter(seen => seen === 'publish:1r:a:kept')).toHaveLength(20)
    expect(got.filter(seen => !seen.includes('kept'))).toEqual(numbers.map(number => `publish:1:a:${number}`))
  },
  'MQTT-3.8.4-5': async world => {
    const client = await world.join()
    client.acknowledge()
    const filters = [
      ['a', 2],
      ['b/+', 1],
      ['a', 0],
      ['c/#', 2]
    ] as const
    expect(await client.ask(1, subscribe(1, filters))).toEqual(['suback:1:02,01,00,02'])
    await world.say(['a', '1', { qos: 2 }], ['b/x', '2', { qos: 2 }], ['c/y/z', '3', { qos: 2 }])
    // The later of two that are the same counts.
    expect((await world.gets(client)).toSorted()).toEqual(['publish:0:a:1', 'publish:1:b/x:2', 'publish:2:c/y/z:3'])
  },
  'MQTT-3.8.4-6': async world => {
    const client = await world.join()
    const filters = Array.from({ length: 40 }, (_, at) => [`a/${at}`, at % 3] as const)
    expect(await client.ask(1, subscribe(1, filters))).toEqual([`suback:1:${filters.map(([, qos]) => `0${qos}`).join(',')}`])
  },
  'MQTT-3.8.4-7': async world => {
    await answersInOrder(world)
    await using served = await serveBroker({ limits: { subscriptions: 2 } })
    using bounded = new World(served)
    const client = await bounded.join()
    const three = ['a', 'b', 'c'].map(filter => [filter, 1] as const)
    expect(await client.ask(1, subscribe(1, three))).toEqual(['suback:1:01,01,97'])
    client.acknowledge()
    await bounded.say(['c', 'x', { qos: 1 }], ['a', 'y', { qos: 1 }])
    await client.sees('publish:1:a:y')
    expect(client.seen).not.toContain('publish:1:c:x')
  },
  'MQTT-3.8.4-8': async world => {
    for (const granted of [0, 1, 2]) {
      const client = await world.subscriber([['a', granted]])
      await world.say(...[0, 1, 2].map(qos => ['a', String(qos), { qos }] as const))
      expect((await world.gets(client)).toSorted()).toEqual([0, 1, 2].map(qos => `publish:${Math.min(qos, granted)}:a:${qos}`).toSorted())
      client.socket.destroy()
    }
  },
  'MQTT-3.9.3-1': answersInOrder,
  'MQTT-3.9.3-2': async world => {
    const client = await world.join()
    const connack = client.connack
    const kinds = [
      ['plain', 1, 1],
      ['wild/#', 1, numberOf(connack, 'wildcardSubscriptionAvailable', 1)],
      ['$SYS/#', 0, 1]
    ] as const
    for (const [filter, qos, available] of kinds) {
      const [answer = ''] = await client.ask(1, subscribe(1, [[filter, qos]]))
      if (available === 1) expect(answer).toBe(`suback:1:0${qos}`)
      else expect(answer).toBeOneOf(['suback:1:a2', 'disconnect:a2'])
    }
  },
  'MQTT-3.10.1-1': async world => await world.closesOn('81', invalidFlags([10])),
  'MQTT-3.10.3-1': async world => {
    await world.closesOn(
      '81',
      illFormed.flatMap(filter => [unsubscribe(1, [filter]), unsubscribe(1, ['a', filter])])
    )
    await world.closesOn('81', [
      packet(0xa2, uint16(1), bytes('00 00 05 61')),
      packet(0xa2, uint16(1), bytes('00'), text('a'), bytes('00'))
    ])
  },
  'MQTT-3.10.3-2': async world => await world.closesOn('81 82', [unsubscribe(1, []), unsubscribe(1, [], [['userProperty', ['a', 'b']]])]),
  'MQTT-3.10.4-1': async world => {
    const filters = ['a/b', 'a/+', 'a/#', 'A/b', 'a/b/'].map(filter => [filter, 0] as const)
    const client = await world.subscriber(filters)
    expect(await client.ask(1, unsubscribe(2, ['a/+', 'a', '+/b', 'a/b/#']))).toEqual(['unsuback:2:00,11,11,11'])
    await world.say(['a/c', 'by a/#'])
    expect(await world.gets(client)).toEqual(['publish:0:a/c:by a/#'])
    expect(await client.ask(1, unsubscribe(3, ['a/#', 'a/b', 'a/b']))).toEqual(['unsuback:3:00,00,11'])
    client.forget()
    await world.say(['a/b', 'none'], ['a/c', 'none'], ['A/b', 'one'], ['a/b/', 'two'])
    expect(await world.gets(client)).toEqual(['publish:0:A/b:one', 'publish:0:a/b/:two'])
  },
  'MQTT-3.10.4-2': async world => {
    const client = await world.subscriber([
      ['a', 1],
      ['b', 1]
    ])
    await client.ask(1, unsubscribe(2, ['a']))
    await world.say(['a', 'none', { qos: 1 }], ['b', 'one', { qos: 1 }])
    expect(await world.gets(client)).toEqual(['publish:1:b:one'])
  },
  'MQTT-3.10.4-3': async world => {
    const session = { clientId: 'stays', clean: false, properties: [['sessionExpiry', 1000]] } as const
    const client = await world.join(session)
    await client.ask(1, subscribe(1, [['a', 2]]))
    await world.say(['a', 'one', { qos: 1 }], ['a', 'two', { qos: 2 }], ['a', 'three', { qos: 2 }])
    const [one, two, three] = [
      await client.sees('publish:1:a:one'),
      await client.sees('publish:2:a:two'),
      await client.sees('publish:2:a:three')
    ]
    expect(await client.ask(1, pubrec(three.id))).toEqual([`pubrel:${three.id}`])
    expect(await client.ask(1, unsubscribe(2, ['a']))).toEqual(['unsuback:2:00'])
    expect(await client.ask(1, pubrec(two.id))).toEqual([`pubrel:${two.id}`])
    client.send(pubcomp(two.id))
    expect(await client.ask(1, pingreq)).toEqual(['pingresp'])
    await world.vanish(client)
    const back = await world.join(session)
    await back.received(3)
    expect(back.seen.slice(1).toSorted()).toEqual(['publish:1d:a:one', `pubrel:${three.id}`])
    back.send(puback(one.id), pubcomp(three.id))
    expect(await back.ask(1, pingreq)).toEqual(['pingresp'])
  },
  'MQTT-3.10.4-4': async world => {
    const client = await world.subscriber([['a', 1]])
    expect(await client.ask(1, unsubscribe(2, ['a'], [['userProperty', ['name', 'value']]]))).toEqual(['unsuback:2:00'])
  },
  'MQTT-3.10.4-5': async world => {
    const client = await world.join()
    for (const id of [1, 0x1234, 65_535]) expect(await client.ask(1, unsubscribe(id, ['none such']))).toEqual([`unsuback:${id}:11`])
  },
  'MQTT-3.10.4-6': async world => {
    const client = await world.subscriber([
      ['a', 0],
      ['b', 0],
      ['c', 0]
    ])
    expect(await client.ask(1, unsubscribe(2, ['a', 'c']))).toEqual(['unsuback:2:00,00'])
    await world.say(['a', '1'], ['b', '2'], ['c', '3'])
    expect(await world.gets(client)).toEqual(['publish:0:b:2'])
  },
  'MQTT-3.11.3-1': async world => {
    const client = await world.subscriber([
      ['b', 0],
      ['d', 0]
    ])
    expect(await client.ask(1, unsubscribe(2, ['a', 'b', 'c', 'd', 'b']))).toEqual(['unsuback:2:11,00,11,00,11'])
  },
  'MQTT-3.11.3-2': async world => {
    const client = await world.join()
    expect(await client.ask(1, unsubscribe(2, ['a', '#', '$SYS/#']))).toEqual(['unsuback:2:11,11,11'])
  }
} satisfies Checks
