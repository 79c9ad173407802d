import { expect } from 'vitest'
import { illFormed } from '../format.ts'
import { serveBroker } from '../served.ts'
import { bytes } from '../wire.ts'
import { auth, connect, disconnect, packet, pingreq, publish, subscribe, text, uint16, unsubscribe } from './packets.ts'
import { property } from './received.ts'
import type { Check, Checks, World } from './world.ts'

export const kept = { clientId: 'kept', clean: false, properties: [['sessionExpiry', 1000]] } as const

/** The session `kept` with a subscription, without its connection. */
async function leaveSession(world: World): Promise<void> {
  const client = await world.join({ ...kept, clean: true })
  await client.ask(1, subscribe(1, [['k/#', 2]]))
  await world.vanish(client)
}

const startsClean: Check = async world => {
  await leaveSession(world)
  await world.say(['k/a', 'missed', { qos: 1 }])
  const client = await world.join({ ...kept, clean: true })
  expect(client.connack?.sessionPresent).toBe(false)
  await world.say(['k/a', 'not subscribed', { qos: 1 }])
  expect(await world.gets(client)).toEqual([])
  // And so is a session that is connected.
  await client.ask(1, subscribe(2, [['k/#', 1]]))
  const second = await world.join({ ...kept, clean: true })
  expect(second.connack?.sessionPresent).toBe(false)
  await world.say(['k/a', 'not subscribed', { qos: 1 }])
  expect(await world.gets(second)).toEqual([])
}

const takesOver: Check = async world => {
  const first = await world.join({ clientId: 'one', will: { topic: 'will', payload: 'first' } })
  const watcher = await world.subscriber([['will', 0]])
  const second = await world.join({ clientId: 'one' })
  await first.untilClosed()
  expect(first.seen).toEqual(['connack:0,00', 'disconnect:8e'])
  expect(await second.ask(1, pingreq)).toEqual(['pingresp'])
  expect(await world.gets(watcher)).toEqual(['publish:0:will:first'])
}

/** What a client of an unknown protocol can read nobody knows: the refusal may be that of MQTT 5.0 or that of 3.1.1. */
async function refusesProtocol(world: World, vector: Buffer): Promise<void> {
  const client = await world.open()
  client.send(vector, pingreq)
  await client.untilClosed()
  expect([...client.seen, ...client.faults].join(), vector.toString('hex')).toMatch(/^(?:connack:0,84|20020001: .*)?$/)
  client.faults.length = 0
}

/** Every field that a CONNECT can have. */
const everything = {
  clientId: 'all',
  will: { topic: 'will', payload: 'gone', qos: 1, properties: [['contentType', 'text']] },
  user: 'user',
  password: 'password'
} as const

/** §3.1: CONNECT, but for the will. */
export const connecting = {
  'MQTT-3.1.0-1': async world => {
    const others = [
      publish('a', 'x'),
      publish('a', 'x', { qos: 1 }),
      subscribe(1, [['a', 0]]),
      unsubscribe(1, ['a']),
      pingreq,
      disconnect(),
      auth(0x18, [['authenticationMethod', 'x']]),
      ...[0x40, 0x50, 0x62, 0x70].map(header => packet(header, uint16(1))),
      bytes('20 03 00 00 00'),
      bytes('00 00')
    ]
    await world.refuses('-', others)
    await world.refuses(
      '-',
      others.map(other => Buffer.concat([other, connect({ clientId: 'late' })]))
    )
    const client = await world.open()
    client.send(connect({ clientId: 'early' }), publish('a', 'x', { qos: 1 }), subscribe(2, [['b', 0]]), pingreq)
    const [first, ...rest] = await client.received(4)
    expect(first).toBe('connack:0,00')
    expect(rest.toSorted()).toEqual(['pingresp', 'puback:1', 'suback:2:00'])
  },
  'MQTT-3.1.0-2': async world => {
    await world.closesOn('82', [connect({ clientId: 'other' }), connect({ clientId: 'other', level: 4 })])
    await world.closesOn('81 82', [packet(0x10)])
    // It was not served: the session of that name is new.
    expect((await world.join({ clientId: 'other', clean: false })).connack?.sessionPresent).toBe(false)
  },
  'MQTT-3.1.2-1': async world => {
    const names = ['', 'mqtt', 'MQT', 'MQTT ', 'MQTTX', 'MQIsdp', 'HTTP', '\ufeffMQTT']
    for (const name of names) await refusesProtocol(world, connect({ clientId: 'a', name }))
  },
  'MQTT-3.1.2-2': async world => {
    for (const level of [0, 1, 2, 6, 7, 127, 128, 133, 255]) await refusesProtocol(world, connect({ clientId: 'a', level }))
    await world.accepts([connect({ clientId: 'a' })])
  },
  'MQTT-3.1.2-3': async world => {
    await world.refuses('81', [
      connect({ clientId: 'a', flags: 0x01 }),
      connect({ clientId: 'a', flags: 0x03 }),
      connect({ ...everything, flags: 0xcf })
    ])
  },
  'MQTT-3.1.2-4': startsClean,
  'MQTT-3.1.2-5': async world => {
    await leaveSession(world)
    await world.say(['k/1', 'one', { qos: 1 }], ['k/2', 'two', { qos: 2 }], ['b', 'other', { qos: 1 }])
    const client = await world.join(kept)
    client.acknowledge()
    await client.sees('publish:1:k/1:one')
    await client.sees('publish:2:k/2:two')
    expect(client.connack?.sessionPresent).toBe(true)
    await world.say(['k/3', 'live', { qos: 1 }])
    expect((await world.gets(client)).toSorted()).toEqual(['publish:1:k/1:one', 'publish:1:k/3:live', 'publish:2:k/2:two'])
    // From a connection that is still there as well.
    const second = await world.join(kept)
    expect(second.connack?.sessionPresent).toBe(true)
    await world.say(['k/4', 'taken over', { qos: 1 }])
    expect(await world.gets(second)).toEqual(['publish:1:k/4:taken over'])
  },
  'MQTT-3.1.2-6': async world => {
    const client = await world.join(kept)
    expect(client.connack?.sessionPresent).toBe(false)
    await client.ask(1, subscribe(1, [['k/#', 1]]))
    await world.vanish(client)
    expect((await world.join(kept)).connack?.sessionPresent).toBe(true)
  },
  'MQTT-3.1.2-16': async world => {
    await world.refuses('81', [connect({ clientId: 'a', flags: 0x02, user: 'user' }), connect({ clientId: 'a', flags: 0x02, user: '' })])
    await world.accepts([connect({ clientId: 'a' })])
  },
  'MQTT-3.1.2-17': async world => {
    await world.refuses('81', [connect({ clientId: 'a', flags: 0x82 }), connect({ clientId: 'a', flags: 0xc2, user: 'user' })])
    await world.accepts([connect({ clientId: 'a', user: 'user' }), connect({ clientId: 'a', user: '' })])
  },
  'MQTT-3.1.2-18': async world => {
    await world.refuses('81', [connect({ clientId: 'a', flags: 0x82, user: 'user', password: 'password' })])
    await world.accepts([connect({ clientId: 'a', user: 'user' })])
  },
  'MQTT-3.1.2-19': async world => {
    await world.refuses('81', [connect({ clientId: 'a', flags: 0x42 })])
    await world.accepts([
      connect({ clientId: 'a', user: 'user', password: 'password' }),
      connect({ clientId: 'a', user: 'user', password: Buffer.from([0, 0xff, 0xc3, 0x28]) }),
      connect({ clientId: 'a', password: 'password' })
    ])
  },
  'MQTT-3.1.2-22': async world => {
    const watcher = await world.subscriber([['will', 0]])
    const began = performance.now()
    const client = await world.join({ keepAlive: 1, will: { topic: 'will', payload: 'gone' } })
    const pings = setInterval(() => watcher.send(pingreq), 500)
    await client.untilClosed()
    clearInterval(pings)
    expect(performance.now() - began).toBeGreaterThanOrEqual(1490)
    expect(client.seen.slice(1)).toEqual(world.ours ? ['disconnect:8d'] : expect.toBeOneOf([[], ['disconnect:8d']]))
    expect(await world.gets(watcher)).toEqual(['publish:0:will:gone'])
  },
  'MQTT-3.1.3-1': async world => {
    const watcher = await world.subscriber([['will', 1]])
    await world.vanish(await world.join(everything))
    expect(await world.gets(watcher)).toEqual(['publish:1:will:gone'])
    expect(watcher.publishes[0]?.properties).toEqual([['contentType', 'text']])
    // As in 3.1.1, without will properties: the topic is not where it belongs.
    await world.refuses('81 82', [packet(0x10, text('MQTT'), bytes('05 06 00 00 00'), text('a'), text('will'), text('gone'))])
  },
  'MQTT-3.1.3-2': async world => {
    await leaveSession(world)
    const stranger = await world.join({ ...kept, clientId: 'kept2' })
    expect(stranger.connack?.sessionPresent).toBe(false)
    expect((await world.join({ ...kept, clientId: 'Kept' })).connack?.sessionPresent).toBe(false)
    expect((await world.join(kept)).connack?.sessionPresent).toBe(true)
  },
  'MQTT-3.1.3-3': async world => {
    await world.refuses('81', [
      packet(0x10, text('MQTT'), bytes('05 02 00 00 00')),
      packet(0x10, text('MQTT'), bytes('05 02 00 00 00 00')),
      packet(0x10, text('MQTT'), bytes('05 02 00 00 00 00 05 61'))
    ])
  },
  'MQTT-3.1.3-4': async world =>
    await world.refuses(
      '81 85',
      illFormed.map(clientId => connect({ clientId }))
    ),
  'MQTT-3.1.3-5': async world => {
    const letters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
    const ids = [...letters.split(''), ...[0, 13, 26, 39].map(at => letters.slice(at, at + 23))]
    await world.accepts(ids.map(clientId => connect({ clientId })))
  },
  'MQTT-3.1.3-6': async world => {
    const clients = await Promise.all(Array.from({ length: 10 }, async () => await world.join({ clientId: '' })))
    const ids = clients.map(({ connack }) => property(connack, 'assignedClientId'))
    expect(new Set(ids).size).toBe(10)
    for (const id of ids) expect(id).toMatch(/./)
    for (const client of clients) expect(await client.ask(1, pingreq)).toEqual(['pingresp'])
  },
  'MQTT-3.1.3-7': async world => {
    const first = await world.join({ clientId: '', clean: false, properties: [['sessionExpiry', 1000]] })
    const assigned = property(first.connack, 'assignedClientId')
    if (typeof assigned !== 'string') throw new Error('no client id was assigned')
    await first.ask(1, subscribe(1, [['a', 1]]))
    await world.vanish(first)
    const second = await world.join({ clientId: assigned, clean: false })
    expect(second.connack?.sessionPresent).toBe(true)
    expect(property(second.connack, 'assignedClientId')).toBeUndefined()
    await world.say(['a', 'x', { qos: 1 }])
    expect(await world.gets(second)).toEqual(['publish:1:a:x'])
  },
  'MQTT-3.1.3-8': async world => {
    // What a server refuses is its own affair; ours refuses what is longer than 128 bytes.
    if (world.ours) await world.refuses('85', [connect({ clientId: 'x'.repeat(129) }), connect({ clientId: 'x'.repeat(65_000) })])
    await world.refuses('81 85', [connect({ clientId: 'a\0' })])
  },
  'MQTT-3.1.3-12': async world =>
    await world.refuses(
      '81 86',
      illFormed.flatMap(user => [connect({ clientId: 'a', user }), connect({ clientId: 'a', user, password: 'x' })])
    ),
  'MQTT-3.1.4-1': async world => {
    const whole = connect(everything)
    const body = whole.subarray(2)
    // Cut at every byte behind the version, so that its length says that it is whole.
    await world.refuses(
      '81 82',
      Array.from({ length: body.length - 7 }, (_, at) => packet(0x10, body.subarray(0, at + 7)))
    )
    await world.refuses('81', [packet(0x10, body, bytes('00')), packet(0x10, connect({ clientId: 'a' }).subarray(2), text('more'))])
  },
  'MQTT-3.1.4-2': async world => {
    await using served = await serveBroker({ anonymous: 'never' })
    await world.refuses('87 86', [connect({ clientId: 'a' }), connect({ clientId: 'a', user: 'anna', password: 'x' })], served.port)
    await using full = await serveBroker({ limits: { sessions: 1 } })
    const first = await world.connect({ ...kept, clientId: 'first' }, full.port)
    await world.refuses('97 88 89', [connect({ ...kept, clientId: 'second' })], full.port)
    expect(await first.ask(1, pingreq)).toEqual(['pingresp'])
  },
  'MQTT-3.1.4-3': takesOver,
  'MQTT-3.1.4-4': async world => {
    await startsClean(world)
    await takesOver(world)
  },
  'MQTT-3.1.4-5': async world =>
    await world.accepts([
      connect({ clientId: 'a' }),
      connect(everything),
      connect({ clientId: 'b', clean: false }),
      connect({ clientId: 'a', keepAlive: 65_535 })
    ]),
  'MQTT-3.1.4-6': async world => {
    const watcher = await world.subscriber([['behind', 0]])
    await world.refuses('81', [connect({ clientId: 'a', flags: 0x03 })])
    await world.refuses('8c 87', [connect({ clientId: 'a', properties: [['authenticationMethod', 'none such']] })])
    const client = await world.open()
    client.send(connect({ clientId: 'a', flags: 0x03 }), publish('behind', 'it'), connect({ clientId: 'a' }), publish('behind', 'it'))
    await client.untilClosed()
    expect(await world.gets(watcher)).toEqual([])
  }
} satisfies Checks
