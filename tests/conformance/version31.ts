import { expect } from 'vitest'
import { RawClient, connect, packet, publish, pubrel, subscribe, text, uint16, until } from '../broker/raw-client.ts'
import { serveBroker } from './served.ts'
import { accepts, ask, closesOn, join, rawConnect, refuses, unsubscribe } from './wire.ts'
import type { Checks } from './wire.ts'

const old = { name: 'MQIsdp', level: 3 }

/** The same packet with DUP set. */
const again = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from([(bytes[0] ?? 0) | 8]), bytes.subarray(1)])

/** Where MQTT 3.1 is another than 3.1.1. */
export const version31 = {
  'V3.1-1': async served => {
    await accepts(served, [rawConnect(0x02, ['a'], old), rawConnect(0xce, ['a', 'will', 'x', 'user', 'password'], old)])
    await refuses(
      served,
      [0, 2, 4, 5, 131, 255].map(level => rawConnect(0x02, ['a'], { ...old, level })),
      ['connack:0,1']
    )
    await refuses(served, [rawConnect(0x02, ['a'], { name: 'MQTT', level: 3 })], ['connack:0,1'])
  },
  'V3.1-2': async served => {
    await accepts(served, [rawConnect(0x02, ['x'.repeat(24)], old), rawConnect(0x02, ['x'.repeat(128)], old)])
    await refuses(served, [rawConnect(0x02, ['x'.repeat(129)], old)], ['connack:0,2'])
  },
  'V3.1-3': async served => await refuses(served, [rawConnect(0x02, [''], old), rawConnect(0x00, [''], old)], ['connack:0,2']),
  'V3.1-4': async served => {
    await accepts(
      served,
      [0x82, 0xc2].map(flags => rawConnect(flags, ['a'], old))
    )
    await accepts(served, [rawConnect(0xc2, ['a', 'user'], old), rawConnect(0xce, ['a', 'will', 'x'], old)])
    // But a field that has begun is whole, nothing is behind the last one, and a password needs a user name.
    const cut = rawConnect(0x82, ['a', 'user'], old)
    await refuses(served, [
      packet(0x10, cut.subarray(2, -1)),
      rawConnect(0x02, ['a', 'user'], old),
      rawConnect(0x42, ['a', 'password'], old)
    ])
  },
  'V3.1-5': async served => {
    for (let round = 0; round < 2; round++) {
      using client = await RawClient.connect(served.port, 'kept', { level: 3, clean: false })
      expect(client.raw[0]?.toString('hex')).toBe('20020000')
      await until(() => served.broker.connectedClientIds().length === 1, 'it is there')
      client.socket.destroy()
      await until(() => served.broker.connectedClientIds().length === 0, 'it is gone')
    }
  },
  'V3.1-6': async served => {
    using client = await join(served, { level: 3 })
    const filter = subscribe(1, ['a', 1])
    expect(await ask(client, 2, filter, again(filter))).toEqual(['suback:1:1', 'suback:1:1'])
    expect(await ask(client, 3, publish('b', 'x', { qos: 2, id: 2 }), again(pubrel(2)), again(pubrel(2)))).toEqual([
      'pubrec:2',
      'pubcomp:2',
      'pubcomp:2'
    ])
    expect(await ask(client, 1, again(unsubscribe(3, 'a')))).toEqual(['unsuback:3'])
    // Only DUP, and not in 3.1.1.
    await closesOn(
      served,
      [0x80, 0x84, 0x86, 0x83].map(header => packet(header, uint16(1), text('a'), Buffer.from([0]))),
      { level: 3 }
    )
    await closesOn(served, [again(filter), again(pubrel(1)), again(unsubscribe(1, 'a'))])
  },
  'V3.1-7': async () => {
    await using served = await serveBroker({ limits: { subscriptions: 1 } })
    using client = await join(served, { level: 3 })
    expect(await ask(client, 1, subscribe(1, ['a', 2], ['b', 1]))).toEqual(['suback:1:2,128'])
    using other = await RawClient.open(served.port)
    other.send(connect('other', { level: 3 }), subscribe(1, ['a', 0]))
    expect(await other.received(2)).toEqual(['connack:0,0', 'suback:1:0'])
  }
} satisfies Checks
