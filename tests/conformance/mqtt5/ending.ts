import { expect } from 'vitest'
import { bytes } from '../wire.ts'
import { auth, connect, disconnect, packet, pingreq, publish, pubcomp, pubrel, subscribe } from './packets.ts'
import { rawProperties } from './properties.ts'
import { property } from './received.ts'
import type { Check, Checks, Client, World } from './world.ts'

/** One of each class of protocol error, sent after CONNECT, with the reason codes that fit it. */
const errors: readonly (readonly [codes: string, packet: Buffer])[] = [
  ['81', publish('a', 'x', { qos: 3 })],
  ['81', subscribe(1, [['a', 0x40]])],
  ['81', bytes('80 07 00 01 00 00 01 61 00')],
  ['82', connect({ clientId: 'again' })],
  ['81 82', publish('', 'x')],
  ['81 82 90', publish('a/#', 'x')],
  [
    '82',
    publish('a', 'x', {
      properties: [
        ['contentType', 'a'],
        ['contentType', 'b']
      ]
    })
  ],
  ['81 82 94', publish('a', 'x', { properties: [['topicAlias', 0]] })],
  ['82', auth(0x18, [['authenticationMethod', 'x']])]
]

/** What a client gets between this packet and the end. */
async function endOf(world: World, vector: Buffer, size?: number): Promise<Client> {
  const client = await world.join(size === undefined ? {} : { properties: [['maximumPacketSize', size]] })
  client.send(vector)
  await client.untilClosed(vector.toString('hex'))
  return client
}

const keepsToSize: Check = async world => {
  const least = (await world.join()).connack?.bytes.length ?? 0
  for (const size of [least, least + 8, 1000])
    for (const [, vector] of errors) {
      const client = await endOf(world, vector, size)
      for (const { bytes: sent } of client.packets) expect(sent.length).toBeLessThanOrEqual(size)
    }
}

/** §3.12, §3.14, §3.15 and §4.13: the ends of a connection. */
export const ending = {
  'MQTT-3.12.4-1': async world => {
    const client = await world.join()
    expect(await client.ask(3, pingreq, pingreq, pingreq)).toEqual(['pingresp', 'pingresp', 'pingresp'])
    expect(client.packets[1]?.bytes.toString('hex')).toBe('d000')
  },
  'MQTT-3.14.0-1': async world => {
    // A CONNECT that is refused, and what is no CONNECT: no DISCONNECT (the rules of every connection hold it).
    await world.refuses('81', [connect({ clientId: 'a', flags: 0x03 })])
    await world.refuses('-', [disconnect(0x81), pingreq, publish('a', 'x'), auth(0x18)])
  },
  'MQTT-3.14.1-1': async world => {
    await world.closesOn(
      '81',
      Array.from({ length: 15 }, (_, flags) => Buffer.from([0xe1 + flags, 0]))
    )
    const watcher = await world.subscriber([['will', 0]])
    const client = await world.join({ will: { topic: 'will', payload: 'gone' } })
    client.send(bytes('e1 00'))
    await client.untilClosed()
    expect(await world.gets(watcher)).toEqual(['publish:0:will:gone'])
  },
  'MQTT-3.14.2-1': async world => {
    for (const [codes, vector] of errors) {
      const client = await endOf(world, vector)
      const ends = client.seen.slice(1)
      if (world.ours) expect(ends).toEqual([expect.toBeOneOf(codes.split(' ').map(code => `disconnect:${code}`))])
      else expect(ends.join()).toMatch(/^(?:disconnect:[89a].)?$/)
    }
    // Those of a client: it may send these, and no other.
    const taken = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x99]
    for (const code of taken) {
      const client = await endOf(world, disconnect(code))
      expect(client.seen, code.toString(16)).toEqual(['connack:0,00'])
    }
    await world.closesOn('81 82', [disconnect(0x01), disconnect(0x03), disconnect(0x7f), disconnect(0xff)])
  },
  'MQTT-3.14.2-2': async world => {
    for (const [, vector] of errors)
      for (const packet of (await endOf(world, vector)).packets.slice(1)) expect(property(packet, 'sessionExpiry')).toBeUndefined()
  },
  'MQTT-3.14.2-3': keepsToSize,
  'MQTT-3.14.2-4': keepsToSize,
  'MQTT-3.14.4-1': async world => {
    // Behind the error are requests that would be answered.
    for (const [, vector] of errors) {
      const client = await world.join()
      client.send(vector, pingreq, subscribe(1, [['a', 0]]), publish('a', 'x', { qos: 1, id: 2 }))
      await client.untilClosed()
      expect(client.seen.slice(1).filter(seen => !seen.startsWith('disconnect'))).toEqual([])
    }
  },
  'MQTT-3.14.4-2': async world => {
    for (const [, vector] of errors) await endOf(world, vector)
    await endOf(world, disconnect())
  },
  'MQTT-3.15.1-1': async world => {
    const body = auth(0x18, [['authenticationMethod', 'x']]).subarray(1)
    await world.closesOn(
      '81',
      Array.from({ length: 15 }, (_, flags) => Buffer.concat([Buffer.from([0xf1 + flags]), body]))
    )
  },
  'MQTT-4.12.1-2': async world => {
    await world.closesOn('82 87 8c', [
      auth(0x19, [['authenticationMethod', 'x']]),
      auth(0x18, [['authenticationMethod', 'x']]),
      auth(0x00, [['authenticationMethod', 'x']])
    ])
    await world.closesOn('81 82 87 8c', [auth(), auth(0x19), auth(0x19, []), auth(0x42, [['authenticationMethod', 'x']])])
  },
  'MQTT-4.13.1-1': async world => {
    for (const [codes, vector] of errors) await world.closesOn(codes, [vector])
    await world.closesOn('81', [
      packet(0x62, bytes('00 01 00'), rawProperties(bytes('1f 00 05 61'))),
      pubrel(1, 0, bytes('05')),
      pubcomp(1, 0, [['contentType', 'x']]),
      bytes('c0 01 00'),
      bytes('c0 02 00 01')
    ])
    await world.closesOn('81 82', [pubrel(1, 0x42), pubcomp(1, 0x10)])
    // No other connection has anything to do with it.
    const other = await world.join()
    for (const [, vector] of errors) await endOf(world, vector)
    expect(await other.ask(1, pingreq)).toEqual(['pingresp'])
  },
  'MQTT-4.13.2-1': async world => {
    for (const [, vector] of errors) await endOf(world, vector)
    for (const code of [0x80, 0x81, 0x93]) await endOf(world, disconnect(code))
    await world.refuses('8c 87', [connect({ clientId: 'a', properties: [['authenticationMethod', 'none such']] })])
  }
} satisfies Checks
