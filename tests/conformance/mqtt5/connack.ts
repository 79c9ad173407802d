import { expect } from 'vitest'
import { kept } from './connect.ts'
import { connect, disconnect, pingreq, publish, subscribe } from './packets.ts'
import { numberOf, property } from './received.ts'
import type { Checks, World } from './world.ts'

/** CONNECTs that a server refuses, each for another reason. */
const refusals: readonly Buffer[] = [
  connect({ clientId: 'a', flags: 0x03 }),
  connect({ clientId: 'a', properties: [['authenticationMethod', 'none such']] }),
  connect({ clientId: 'a', properties: [['receiveMaximum', 0]] }),
  connect({ clientId: 'a', will: { topic: '#', payload: 'x' } })
]

/** A refusal within so many bytes, or none. */
async function refusesWithin(world: World, size: number): Promise<void> {
  const properties = [
    ['maximumPacketSize', size],
    ['authenticationMethod', 'none such']
  ] as const
  const client = await world.connect({ clientId: 'a', properties })
  await client.untilClosed()
  expect(client.seen.join()).toMatch(/^(?:connack:0,8[7c])?$/)
}

/** §3.2: CONNACK. */
export const connack = {
  'MQTT-3.1.2-28': async world => {
    const asks = [[], [['requestResponseInformation', 0]]] as const
    for (const properties of asks) {
      const client = await world.join({ properties })
      expect(property(client.connack, 'responseInformation')).toBeUndefined()
    }
    // A server may answer the others, or not.
    await world.join({ properties: [['requestResponseInformation', 1]] })
  },
  'MQTT-3.2.0-1': async world => {
    // What wants an answer is answered, and what is queued comes, behind it.
    const first = await world.join(kept)
    await first.ask(1, subscribe(1, [['k', 1]]))
    await world.vanish(first)
    await world.say(['k', 'queued', { qos: 1 }])
    const client = await world.open()
    client.send(connect(kept), pingreq, publish('b', 'x', { qos: 1 }), subscribe(2, [['c', 0]]))
    const [answer, ...rest] = await client.received(5)
    expect(answer).toBe('connack:1,00')
    expect(rest.toSorted()).toEqual(['pingresp', 'puback:1', 'publish:1:k:queued', 'suback:2:00'])
  },
  'MQTT-3.2.0-2': async world => {
    const client = await world.join({ clientId: 'a' })
    await client.ask(2, pingreq, subscribe(1, [['a', 0]]))
    client.send(connect({ clientId: 'a' }))
    await client.untilClosed()
    expect(client.seen.filter(seen => seen.startsWith('connack'))).toEqual(['connack:0,00'])
  },
  'MQTT-3.2.2-1': async world => {
    const first = await world.join(kept)
    expect(first.connack?.bytes[2]).toBe(0)
    const second = await world.join(kept)
    expect(second.connack?.bytes[2]).toBe(1)
  },
  'MQTT-3.2.2-2': async world => {
    for (let round = 0; round < 3; round++) {
      const client = await world.join({ ...kept, clean: true })
      expect(client.seen[0]).toBe('connack:0,00')
      await world.vanish(client)
    }
  },
  'MQTT-3.2.2-3': async world => {
    const first = await world.join(kept)
    expect(first.seen[0]).toBe('connack:0,00')
    await world.vanish(first)
    const second = await world.join(kept)
    expect(second.seen[0]).toBe('connack:1,00')
    // A session that ended with its connection is none.
    second.send(disconnect(0, [['sessionExpiry', 0]]))
    await second.untilClosed()
    expect((await world.join(kept)).seen[0]).toBe('connack:0,00')
  },
  'MQTT-3.2.2-6': async world => {
    await world.vanish(await world.join({ ...kept, clientId: 'a' }))
    await world.refuses('81 82 8c 87 90', refusals)
    await world.refuses('81', [connect({ ...kept, clientId: 'a', flags: 0x01 })])
  },
  'MQTT-3.2.2-7': async world => await world.refuses('81 82 8c 87 90', refusals),
  'MQTT-3.2.2-8': async world => {
    // The reader of these tests knows those of table 3-1.
    for (const refusal of refusals) {
      const client = await world.open()
      client.send(refusal)
      await client.untilClosed()
      expect(client.seen.join()).toMatch(/^(?:connack:0,..)?$/)
    }
    expect((await world.join()).seen).toEqual(['connack:0,00'])
  },
  'MQTT-3.2.2-10': async world => {
    const client = await world.join()
    const highest = numberOf(client.connack, 'maximumQos', 2)
    const granted = [0, 1, 2].map(qos => `0${Math.min(qos, highest)}`).join(',')
    const filters = [0, 1, 2].map(qos => [`a/${qos}`, qos] as const)
    expect(await client.ask(1, subscribe(1, filters))).toEqual([`suback:1:${granted}`])
  },
  'MQTT-3.2.2-16': async world => {
    // Not one that another session has, whatever name that gave itself.
    const first = await world.join({ clientId: '' })
    const assigned = property(first.connack, 'assignedClientId')
    if (typeof assigned !== 'string') throw new Error('no client id was assigned')
    await world.vanish(first)
    await world.join({ ...kept, clientId: assigned })
    for (let round = 0; round < 5; round++) {
      const client = await world.join({ clientId: '' })
      expect(property(client.connack, 'assignedClientId')).not.toBe(assigned)
      await client.ask(1, pingreq)
    }
    // With a client id of its own there is none.
    expect(property((await world.join()).connack, 'assignedClientId')).toBeUndefined()
  },
  'MQTT-3.2.2-19': async world => {
    for (const size of [5, 6, 10, 20]) await refusesWithin(world, size)
  },
  'MQTT-3.2.2-20': async world => {
    for (const size of [5, 8, 15, 60]) await refusesWithin(world, size)
    // One that accepts keeps to it too, or is not sent.
    for (const size of [5, 10, 20, 100]) {
      const client = await world.connect({ clientId: '', properties: [['maximumPacketSize', size]] })
      if (client.seen[0] === 'connack:0,00') expect(await client.ask(1, pingreq)).toEqual(['pingresp'])
      else await client.untilClosed()
    }
  },
  'MQTT-3.2.2-22': async world => {
    const client = await world.join({ keepAlive: 1 })
    expect(numberOf(client.connack, 'serverKeepAlive', 1)).toBe(1)
    const began = performance.now()
    await client.untilClosed()
    expect(performance.now() - began).toBeGreaterThanOrEqual(1400)
    // 0 is none: it stands as long as the others took.
    const patient = await world.join({ keepAlive: 0 })
    expect(numberOf(patient.connack, 'serverKeepAlive', 0)).not.toBe(1)
    await (await world.join({ keepAlive: 1 })).untilClosed()
    expect(await patient.ask(1, pingreq)).toEqual(['pingresp'])
  },
  'MQTT-4.12.0-1': async world => {
    await world.refuses('8c 87', [
      connect({ clientId: 'a', properties: [['authenticationMethod', 'none such']] }),
      connect({
        clientId: 'a',
        properties: [
          ['authenticationMethod', 'SCRAM-SHA-1'],
          ['authenticationData', Buffer.from([1, 2, 3])]
        ]
      }),
      connect({ clientId: 'a', properties: [['authenticationMethod', '']], user: 'user', password: 'password' })
    ])
  },
  'MQTT-4.12.0-6': async world => {
    const clients = [await world.join(), await world.join({ user: 'user', password: 'password' })]
    for (const client of clients) {
      await client.ask(1, pingreq)
      expect(client.seen).toEqual(['connack:0,00', 'pingresp'])
      expect(property(client.connack, 'authenticationMethod')).toBeUndefined()
      expect(property(client.connack, 'authenticationData')).toBeUndefined()
    }
  }
} satisfies Checks
