import { expect } from 'vitest'
import { illFormed } from '../format.ts'
import { serveBroker } from '../served.ts'
import { bytes } from '../wire.ts'
import { kept } from './connect.ts'
import { connect, disconnect, packet, pingreq, publish, text } from './packets.ts'
import type { Will } from './packets.ts'
import { allOf } from './received.ts'
import { expectAfter } from './timing.ts'
import { World } from './world.ts'
import type { Checks, Client } from './world.ts'

/** A client with a will goes in this way; answers what subscribers of the will's topic get. */
async function willAfter(world: World, end: (client: Client) => void, will: Partial<Will> = {}): Promise<readonly string[]> {
  const watcher = await world.subscriber([['will', 2]])
  const client = await world.join({ clientId: 'mortal', will: { topic: 'will', payload: 'gone', ...will } })
  end(client)
  await client.untilClosed()
  const got = await world.gets(watcher)
  watcher.socket.destroy()
  return got
}

const breaks = (client: Client): void => void client.socket.end()

/** With these flags and fields behind the client id. */
const willFields = (flags: number, ...fields: readonly Buffer[]): Buffer =>
  packet(0x10, text('MQTT'), Buffer.from([5, flags]), bytes('00 00 00'), text('a'), ...fields)

const noProperties = Buffer.from([0])

/** §3.1.2.5 to §3.1.2.7 and §3.1.3.2: the will. */
export const wills = {
  'MQTT-3.1.2-7': async world => {
    expect(await willAfter(world, breaks)).toEqual(['publish:0:will:gone'])
    // It is not published before.
    const watcher = await world.subscriber([['will', 0]])
    const client = await world.join({ will: { topic: 'will', payload: 'gone' } })
    expect(await world.gets(watcher)).toEqual([])
    await world.vanish(client)
    expect(await world.gets(watcher)).toEqual(['publish:0:will:gone'])
  },
  'MQTT-3.1.2-8': async world => {
    // The connection breaks, violates the protocol, or ends with another reason code than 00.
    expect(await willAfter(world, client => client.send(publish('a', 'x', { qos: 3 })))).toEqual(['publish:0:will:gone'])
    expect(await willAfter(world, client => client.send(disconnect(0x04)))).toEqual(['publish:0:will:gone'])
    expect(await willAfter(world, client => client.send(disconnect(0x80, [['reasonString', 'why']])))).toEqual(['publish:0:will:gone'])
    expect(await willAfter(world, client => client.send(disconnect(0x00)))).toEqual([])
    // After the delay.
    const watcher = await world.subscriber([['will', 0]])
    const will = { topic: 'will', payload: 'delayed', properties: [['willDelay', 2]] } as const
    const delayed = await world.join({ ...kept, will })
    const began = performance.now()
    await world.vanish(delayed)
    await expectAfter(watcher, 'publish:0:will:delayed', began, 2)
    // Or when the session ends, if that is earlier: with the connection, and with a new session for the client id.
    watcher.forget()
    await world.vanish(await world.join({ will: { topic: 'will', payload: 'at once', properties: [['willDelay', 1000]] } }))
    await watcher.sees('publish:0:will:at once')
    await world.vanish(await world.join({ ...kept, will: { topic: 'will', payload: 'session over', properties: [['willDelay', 1000]] } }))
    await world.join({ ...kept, clean: true })
    await watcher.sees('publish:0:will:session over')
    // The deviation: not when the server itself is stopped.
    const served = await serveBroker({})
    using stopped = new World(served)
    await stopped.join({ will: { topic: 'will', payload: 'stopped' } })
    await served.broker.close(500)
    expect(served.journal.records).toEqual([])
  },
  'MQTT-3.1.2-9': async world => {
    await world.refuses('81', [
      willFields(0x06),
      willFields(0x06, noProperties),
      willFields(0x06, noProperties, text('will')),
      willFields(0x06, bytes('05 18 00 00 00')),
      willFields(0x06, noProperties, text('will'), bytes('00 05 61'))
    ])
    await world.accepts([willFields(0x06, noProperties, text('will'), text('')), willFields(0x0e, noProperties, text('will'), text('x'))])
  },
  'MQTT-3.1.2-10': async world => {
    const watcher = await world.subscriber([['will', 0]])
    const will = { topic: 'will', payload: 'once' }
    await world.vanish(await world.join({ ...kept, will }))
    expect(await world.gets(watcher)).toEqual(['publish:0:will:once'])
    await world.vanish(await world.join(kept))
    const client = await world.join({ ...kept, will })
    client.send(disconnect(0))
    await client.untilClosed()
    await world.vanish(await world.join(kept))
    expect(await world.gets(watcher)).toEqual(['publish:0:will:once'])
  },
  'MQTT-3.1.2-11': async world =>
    await world.refuses(
      '81 82',
      [0x0a, 0x12, 0x1a].map(flags => connect({ clientId: 'a', flags }))
    ),
  'MQTT-3.1.2-12': async world => {
    await world.refuses('81', [
      connect({ clientId: 'a', will: { topic: 'will', payload: 'x' }, flags: 0x1e }),
      connect({ clientId: 'a', will: { topic: 'will', payload: 'x' }, flags: 0x3e })
    ])
    for (const qos of [0, 1, 2]) expect(await willAfter(world, breaks, { qos })).toEqual([`publish:${qos}:will:gone`])
  },
  'MQTT-3.1.2-13': async world => await world.refuses('81 82', [connect({ clientId: 'a', flags: 0x22 })]),
  'MQTT-3.1.2-14': async world => {
    expect(await willAfter(world, breaks, { retain: false })).toEqual(['publish:0:will:gone'])
    expect(await world.gets(await world.subscriber([['will', 0]]))).toEqual([])
  },
  'MQTT-3.1.2-15': async world => {
    expect(await willAfter(world, breaks, { retain: true })).toEqual(['publish:0:will:gone'])
    const late = await world.subscriber([
      ['will', 8],
      ['+', 0]
    ])
    expect((await world.gets(late)).filter(seen => seen.includes('will'))).toEqual(expect.arrayContaining(['publish:0r:will:gone']))
  },
  'MQTT-3.1.3-9': async world => {
    const watcher = await world.subscriber([['will', 0]])
    const will = (payload: string, seconds: number) => ({ topic: 'will', payload, properties: [['willDelay', seconds]] }) as const
    await world.vanish(await world.join({ ...kept, will: will('taken back', 2) }))
    const back = await world.join(kept)
    // What was to come later than the first did, and comes.
    const began = performance.now()
    await world.vanish(await world.join({ ...kept, clientId: 'other', will: will('sent', 3) }))
    await expectAfter(watcher, 'publish:0:will:sent', began, 3)
    expect(await world.gets(watcher)).toEqual(['publish:0:will:sent'])
    expect(await back.ask(1, pingreq)).toEqual(['pingresp'])
  },
  'MQTT-3.1.3-10': async world => {
    const properties = [
      ['userProperty', ['b', '1']],
      ['payloadFormat', 1],
      ['userProperty', ['a', '2']],
      ['messageExpiry', 1000],
      ['userProperty', ['b', '1']],
      ['responseTopic', 'answers/here'],
      ['correlationData', Buffer.from([0, 255])],
      ['userProperty', ['', '']]
    ] as const
    const watcher = await world.subscriber([['will', 1]])
    await world.vanish(await world.join({ will: { topic: 'will', payload: 'gone', qos: 1, properties } }))
    await world.gets(watcher)
    const [packet] = watcher.publishes
    expect(allOf(packet, 'userProperty')).toEqual([
      ['b', '1'],
      ['a', '2'],
      ['b', '1'],
      ['', '']
    ])
    expect(packet?.properties).toEqual(expect.arrayContaining([properties[1], properties[5], properties[6]]))
  },
  'MQTT-3.1.3-11': async world => {
    await world.refuses(
      '81 90',
      illFormed.map(topic => connect({ clientId: 'a', will: { topic, payload: 'x' } }))
    )
    await world.refuses(
      '81 82 90',
      ['#', '+', 'a/#', 'a/+/b', ''].map(topic => connect({ clientId: 'a', will: { topic, payload: 'x' } }))
    )
  },
  'MQTT-3.14.4-3': async world => {
    const will = { properties: [['willDelay', 1]] } as const
    expect(await willAfter(world, client => client.send(disconnect()))).toEqual([])
    expect(await willAfter(world, client => client.send(disconnect(0, [])), { qos: 2, retain: true })).toEqual([])
    expect(await willAfter(world, client => client.send(disconnect(), publish('will', 'behind'), bytes('ff ff')))).toEqual([])
    // Also one with a delay, in a session that stays.
    const watcher = await world.subscriber([['will', 0]])
    const client = await world.join({ ...kept, will: { topic: 'will', payload: 'never', ...will } })
    client.send(disconnect())
    await client.untilClosed()
    const began = performance.now()
    await world.vanish(
      await world.join({ ...kept, clientId: 'later', will: { topic: 'will', payload: 'sent', properties: [['willDelay', 2]] } })
    )
    await expectAfter(watcher, 'publish:0:will:sent', began, 2)
    expect(await world.gets(watcher)).toEqual(['publish:0:will:sent'])
  }
} satisfies Checks
