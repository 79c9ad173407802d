import { expect } from 'vitest'
import * as version3 from '../../broker/raw-client.ts'
import { bytes } from '../wire.ts'
import { kept } from './connect.ts'
import {
  connect,
  disconnect,
  packet,
  pingreq,
  puback,
  pubcomp,
  publish,
  pubrec,
  pubrel,
  subscribe,
  text,
  uint16,
  unsubscribe,
  varint
} from './packets.ts'
import { belongsTo, encodeProperty, propertyNames, rawProperties, typeOf } from './properties.ts'
import type { Property, PropertyName } from './properties.ts'
import { allOf, numberOf, property } from './received.ts'
import { expectAfter } from './timing.ts'
import type { Checks, World } from './world.ts'

/** One property with a value that it may have. */
function example(name: PropertyName): Property {
  const special: Partial<Record<PropertyName, Property>> = {
    responseTopic: ['responseTopic', 'answers'],
    correlationData: ['correlationData', Buffer.from([0, 255])],
    authenticationData: ['authenticationData', Buffer.from([1])],
    userProperty: ['userProperty', ['name', 'value']],
    maximumPacketSize: ['maximumPacketSize', 1000]
  }
  return special[name] ?? [name, typeOf(name) === 'string' ? 'text' : 1]
}

/** Each packet that a client may send and that holds properties, with these in it, by the name that table 2-4 has for it. */
const holders: Readonly<Record<string, (properties: readonly Property[] | Buffer) => Buffer>> = {
  connect: properties => connect({ clientId: 'holder', properties }),
  will: properties => connect({ clientId: 'holder', will: { topic: 'a', payload: '', properties } }),
  publish: properties => publish('a', 'x', { properties }),
  puback: properties => puback(1, 0, properties),
  pubrec: properties => pubrec(1, 0, properties),
  pubrel: properties => pubrel(1, 0, properties),
  pubcomp: properties => pubcomp(1, 0, properties),
  subscribe: properties => subscribe(1, [['a', 0]], properties),
  unsubscribe: properties => unsubscribe(1, ['a'], properties),
  disconnect: properties => disconnect(0, properties)
}

/** These properties in that packet are the end, with one of these reason codes. */
async function refusesIn(world: World, name: string, codes: string, cases: readonly (readonly Property[] | Buffer)[]): Promise<void> {
  const holder = holders[name]
  const vectors = cases.map(properties => holder?.(properties) ?? Buffer.alloc(0))
  if (name === 'connect' || name === 'will') await world.refuses(codes, vectors)
  else await world.closesOn(codes, vectors)
}

/** What table 2-4 allows, but a client does not send: that is another rule. */
const fromServerOnly = new Set(['publish subscriptionIdentifier', 'disconnect serverReference'])

/** An authentication method is its own matter, and so are data without one. */
const authentication = new Set<PropertyName>(['authenticationMethod', 'authenticationData'])

/** The properties that a client may send in this packet. */
const allowedIn = (packetType: string): readonly PropertyName[] =>
  propertyNames.filter(name => belongsTo(name, packetType) && !fromServerOnly.has(`${packetType} ${name}`) && !authentication.has(name))

export const unnumbered = {
  'V5-1': async world => {
    for (const name of Object.keys(holders)) {
      const foreign = propertyNames.filter(candidate => !belongsTo(candidate, name))
      await refusesIn(
        world,
        name,
        '81 82',
        foreign.map(candidate => [example(candidate)])
      )
    }
  },
  'V5-2': async world => {
    // Each number that is none, with bytes behind it; those above 127 take two bytes.
    const unknown = [0x00, 0x04, 0x0a, 0x0c, 0x14, 0x1b, 0x1d, 0x20, 0x2b, 0x7f, 0x80, 0x81, 0x3fff]
    for (const name of Object.keys(holders))
      await refusesIn(
        world,
        name,
        '81',
        unknown.map(identifier => rawProperties(varint(identifier), bytes('00 00 00 00')))
      )
  },
  'V5-3': async world => {
    for (const name of Object.keys(holders)) {
      const once = allowedIn(name).filter(candidate => candidate !== 'userProperty')
      await refusesIn(
        world,
        name,
        '82',
        once.map(candidate => [example(candidate), example(candidate)])
      )
      // Also with others between them.
      await refusesIn(
        world,
        name,
        '82',
        once.map(candidate => [example(candidate), example('userProperty'), example(candidate)])
      )
    }
  },
  'V5-4': async world => {
    await world.refuses('82', [
      connect({ clientId: 'a', properties: [['receiveMaximum', 0]] }),
      connect({ clientId: 'a', properties: [['maximumPacketSize', 0]] }),
      connect({ clientId: 'a', properties: [['requestProblemInformation', 2]] }),
      connect({ clientId: 'a', properties: [['requestProblemInformation', 255]] }),
      connect({ clientId: 'a', properties: [['requestResponseInformation', 2]] })
    ])
    await world.closesOn('82', [subscribe(1, [['a', 0]], [['subscriptionIdentifier', 0]]), disconnect(0, [['sessionExpiry', 1]])])
  },
  'V5-5': async world => {
    // Each property cut at every byte, with a length that says that this is all.
    for (const name of Object.keys(holders)) {
      const cuts = allowedIn(name).flatMap(candidate => {
        const whole = encodeProperty(example(candidate))
        return Array.from({ length: whole.length - 1 }, (_, at) => rawProperties(whole.subarray(0, at + 1)))
      })
      await refusesIn(world, name, '81', cuts)
    }
  },
  'V5-6': async world => {
    // All at once, user properties many times, in both orders.
    for (const [name, holder] of Object.entries(holders)) {
      const properties = [...allowedIn(name).map(example), example('userProperty'), example('userProperty')]
      for (const order of [properties, properties.toReversed()]) {
        const client = await world.open()
        const inConnect = name === 'connect' || name === 'will'
        const session = connect({ clientId: 'other', properties: [['sessionExpiry', 1]] })
        client.send(inConnect ? holder(order) : session, ...(inConnect ? [] : [holder(order)]), pingreq)
        await client.received(2)
        expect(client.seen[0], name).toMatch(/^connack:[01],00$/)
        if (name === 'disconnect') await client.untilClosed()
        else await client.sees('pingresp')
        expect(client.seen.filter(seen => seen.startsWith('disconnect'))).toEqual([])
        client.socket.destroy()
      }
    }
  },
  'V5-7': async world => {
    await world.refuses('82', [connect({ clientId: 'a', properties: [['authenticationData', Buffer.from([1])]] })])
  },
  'V5-8': async world => {
    const client = await world.join()
    const maximum = numberOf(client.connack, 'receiveMaximum', 65_535)
    // Not answered with PUBREL, so that each counts until the end. 65,535 are all that there are packet ids for.
    if (maximum < 65_535) {
      client.send(...Array.from({ length: maximum + 1 }, (_, at) => publish('a', String(at), { qos: 2, id: at + 1 })))
      const refusals = ['disconnect:93', `pubrec:${maximum + 1},97`]
      await client.until(() => client.closed || refusals.some(refusal => client.seen.includes(refusal)), 'the last one is refused')
      if (world.ours) expect(client.seen.at(-1)).toBe('disconnect:93')
      expect(client.seen.filter(seen => /^pubrec:\d+$/.test(seen)).length).toBeLessThanOrEqual(maximum)
    }
    const fine = await world.join()
    const count = Math.min(maximum, 50)
    fine.send(...Array.from({ length: count }, (_, at) => publish('a', String(at), { qos: 2, id: at + 1 })))
    await fine.sees(`pubrec:${count}`)
    expect(await fine.ask(1, pingreq)).toEqual(['pingresp'])
  },
  'V5-9': async world => {
    const client = await world.join()
    const maximum = numberOf(client.connack, 'maximumPacketSize', 0)
    if (maximum === 0) return expect(client.seen).toEqual(['connack:0,00'])
    // The header is enough to see it; one that is as long as may be is taken.
    await world.closesOn('95', [Buffer.concat([bytes('30'), varint(maximum + 1), text('a'), bytes('00 78')])])
    const around = publish('a', '', { qos: 1 }).length + varint(maximum).length - 1
    expect(await client.ask(1, publish('a', Buffer.alloc(maximum - around, 'x'), { qos: 1 }))).toEqual(['puback:1'])
  },
  'V5-10': async world => {
    // In two bytes, in three, in four, and with properties.
    const reason = [['reasonString', 'why'] as const, ['userProperty', ['a', 'b']] as const]
    const forms = [[], [0], [0, []], [0x10, reason]] as const
    const client = await world.join()
    const receiver = await world.join()
    await receiver.ask(1, subscribe(1, [['a', 2]]))
    for (const [at, form] of forms.entries()) {
      const [code, properties] = form
      await world.say(['a', `one ${at}`, { qos: 1 }], ['a', `two ${at}`, { qos: 2 }])
      const [one, two] = [await receiver.sees(`publish:1:a:one ${at}`), await receiver.sees(`publish:2:a:two ${at}`)]
      receiver.send(puback(one.id, code, properties), pubrec(two.id, code, properties))
      await receiver.sees(`pubrel:${two.id}`)
      const done = code === 0x10 ? 0 : code
      receiver.send(pubcomp(two.id, done, properties))
      await client.ask(1, publish('b', 'x', { qos: 2, id: 9 }))
      expect(await client.ask(1, pubrel(9, done, properties))).toEqual(['pubcomp:9'])
      receiver.forget()
    }
    expect(await receiver.ask(1, pingreq)).toEqual(['pingresp'])
    for (const form of [disconnect(), disconnect(0), disconnect(0, []), disconnect(0x04, reason)]) {
      const ending = await world.join()
      ending.send(form)
      await ending.untilClosed()
      expect(ending.seen).toEqual(['connack:0,00'])
    }
  },
  'V5-11': async world => {
    await world.closesOn('81', [
      // Bytes behind the properties of what has nothing behind them.
      ...[0x40, 0x50, 0x62, 0x70].map(header => packet(header, uint16(1), bytes('00 00 00'))),
      packet(0xe0, bytes('00 00 00')),
      packet(0xe0, bytes('00 05')),
      packet(0x40, uint16(1), bytes('00 05 1f'))
    ])
  },
  'V5-12': async world => {
    // Of the payload format a server may be sure, or not; what it takes it forwards.
    const valid = await world.join()
    expect(await valid.ask(1, publish('a', 'ä', { qos: 1, properties: [['payloadFormat', 1]] }))).toEqual(['puback:1'])
    const invalid = [['payloadFormat', 1]] as const
    const [answer] = await valid.ask(1, publish('a', Buffer.from([0xc3, 0x28]), { qos: 1, id: 2, properties: invalid }))
    expect(answer).toBeOneOf(['puback:2', 'puback:2,99', 'disconnect:99'])
    const [other] = await (
      await world.join()
    ).ask(1, publish('a', Buffer.from([0xff]), { qos: 1, id: 3, properties: [['payloadFormat', 0]] }))
    expect(other).toBe('puback:3')
  },
  'V5-13': async world => {
    // Request and response, as §4.10 draws it: two clients that know nothing of each other.
    const requester = await world.subscriber([['answers/mine', 1]])
    const responder = await world.subscriber([['requests', 1]])
    const correlation = Buffer.from([0, 1, 2, 255])
    const properties = [['responseTopic', 'answers/mine'] as const, ['correlationData', correlation] as const]
    await requester.ask(1, publish('requests', 'what', { qos: 1, properties }))
    const request = await responder.sees('publish:1:requests:what')
    const [topic, data] = [property(request, 'responseTopic'), property(request, 'correlationData')]
    if (typeof topic !== 'string' || !Buffer.isBuffer(data)) throw new Error('the request came without what it asks for')
    await responder.ask(1, publish(topic, 'that', { qos: 1, properties: [['correlationData', data]] }))
    expect(property(await requester.sees('publish:1:answers/mine:that'), 'correlationData')).toEqual(correlation)
  },
  'V5-14': async world => {
    // DISCONNECT makes the session longer.
    const watcher = await world.subscriber([['will', 0]])
    const short = { clientId: 'short', clean: false, properties: [['sessionExpiry', 1]] } as const
    const client = await world.join(short)
    client.send(disconnect(0, [['sessionExpiry', 1000]]))
    await client.untilClosed()
    await world.vanish(await world.join({ ...kept, will: { topic: 'will', payload: '', properties: [['willDelay', 3]] } }))
    await watcher.sees('publish:0:will:')
    expect((await world.join(short)).seen[0]).toBe('connack:1,00')
  },
  'V5-15': async world => {
    // DISCONNECT 04 keeps the will, with its delay.
    const watcher = await world.subscriber([['will', 0]])
    const client = await world.join({ ...kept, will: { topic: 'will', payload: 'gone', properties: [['willDelay', 1]] } })
    const began = performance.now()
    client.send(disconnect(0x04))
    await client.untilClosed()
    await expectAfter(watcher, 'publish:0:will:gone', began, 1)
  },
  'V5-16': async world => {
    // A client of 3.1.1 and one of 5.0.
    using old = await version3.RawClient.connect(world.served.port, 'old')
    old.send(version3.subscribe(1, ['both/#', 2]))
    await old.received(2)
    const young = await world.subscriber([['both/#', 2]])
    const properties = [['userProperty', ['a', 'b']] as const, ['messageExpiry', 100] as const, ['contentType', 'text'] as const]
    await world.say(['both/new', 'x', { qos: 1, properties }])
    await old.received(3)
    expect(old.packets[2]).toBe('publish:1:both/new:x')
    old.send(version3.publish('both/old', 'y', { qos: 1, id: 7 }))
    const packet5 = await young.sees('publish:1:both/old:y')
    expect(packet5.properties).toEqual([])
    expect(young.publishes).toHaveLength(2)
  },
  'V5-17': async world => {
    const pairs = Array.from({ length: 300 }, (_, at) => [`n${at % 7}`, `value ${at}`] as const)
    const client = await world.subscriber([['a', 1]])
    await world.say(['a', 'x', { qos: 1, properties: pairs.map(pair => ['userProperty', pair] as const) }])
    await world.gets(client)
    expect(allOf(client.publishes[0], 'userProperty')).toEqual(pairs)
  },
  'V5-18': async world => {
    const client = await world.join({ keepAlive: 100 })
    const seconds = numberOf(client.connack, 'serverKeepAlive', 100)
    expect(seconds).toBeGreaterThan(0)
    // A keep alive that the server does not like it must replace, and never with more than was asked.
    expect(seconds).toBeLessThanOrEqual(100)
  },
  'V5-19': async world => {
    // Two members of a group, who also subscribe for themselves: each gets its own copy, and one of them the group's.
    const clients = [await world.join(), await world.join()]
    const [first] = clients
    if (numberOf(first?.connack, 'sharedSubscriptionAvailable', 1) === 0)
      return expect(await first?.ask(1, subscribe(1, [['$share/group/s', 1]]))).toEqual([
        expect.toBeOneOf(['suback:1:9e', 'disconnect:9e'])
      ])
    for (const client of clients) {
      client.acknowledge()
      await client.ask(
        1,
        subscribe(1, [
          ['s', 1],
          ['$share/group/s', 1]
        ])
      )
    }
    await world.say(...Array.from({ length: 6 }, (_, at) => ['s', String(at), { qos: 1 }] as const))
    const gots: string[] = []
    for (const client of clients) gots.push(...(await world.gets(client)))
    for (let at = 0; at < 6; at++) expect(gots.filter(seen => seen === `publish:1:s:${at}`)).toHaveLength(3)
  },
  'V5-20': async world => {
    // A subscription identifier takes one to four bytes.
    const client = await world.join()
    if (numberOf(client.connack, 'subscriptionIdentifierAvailable', 1) === 0)
      return await world.closesOn('a1', [subscribe(1, [['a', 0]], [['subscriptionIdentifier', 1]])])
    for (const identifier of [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455]) {
      await client.ask(1, subscribe(1, [['a', 0]], [['subscriptionIdentifier', identifier]]))
      await world.say(['a', String(identifier)])
      expect(allOf(await client.sees(`publish:0:a:${identifier}`), 'subscriptionIdentifier')).toEqual([identifier])
    }
  }
} satisfies Checks
