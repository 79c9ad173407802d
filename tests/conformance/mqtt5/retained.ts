import { expect } from 'vitest'
import { options, publish, subscribe } from './packets.ts'
import { numberOf, property } from './received.ts'
import { expectAfter } from './timing.ts'
import type { Checks, World } from './world.ts'

const { noLocal, retainAsPublished, retainIfNew, retainNever } = options

/** Three retained messages and one that passed. */
async function retain(world: World): Promise<void> {
  await world.say(
    ['r/a', 'a', { qos: 1, retain: true }],
    ['r/b', 'b', { qos: 0, retain: true }],
    ['r/c/d', 'd', { qos: 2, retain: true }],
    ['r/e', 'passing', { qos: 1 }]
  )
}

const all = ['publish:0r:r/b:b', 'publish:1r:r/a:a', 'publish:2r:r/c/d:d']

/** §3.3.1.3 and §3.8.3.1: which retained messages a subscription gets, and with which RETAIN flag. */
export const retained = {
  'MQTT-3.3.1-9': async world => {
    await retain(world)
    const client = await world.subscriber([['r/#', 2]])
    expect((await world.gets(client)).toSorted()).toEqual(all)
    // Again when the subscription is there already.
    client.forget()
    await client.ask(1, subscribe(2, [['r/#', 2]]))
    expect((await world.gets(client)).toSorted()).toEqual(all)
    client.forget()
    await client.ask(1, subscribe(3, [['r/+', 0]]))
    expect((await world.gets(client)).toSorted()).toEqual(['publish:0r:r/a:a', 'publish:0r:r/b:b'])
  },
  'MQTT-3.3.1-10': async world => {
    await retain(world)
    const client = await world.subscriber([['r/#', 2 | retainIfNew]])
    expect((await world.gets(client)).toSorted()).toEqual(all)
    client.forget()
    await client.ask(1, subscribe(2, [['r/#', 1 | retainIfNew]]))
    expect(await world.gets(client)).toEqual([])
    // Another filter is another subscription, and one that was ended is new again.
    await client.ask(1, subscribe(3, [['r/+', 2 | retainIfNew]]))
    expect((await world.gets(client)).toSorted()).toEqual(['publish:0r:r/b:b', 'publish:1r:r/a:a'])
    const session = { clientId: 'stays', clean: false, properties: [['sessionExpiry', 1000]] } as const
    const first = await world.subscriber([['r/a', 1]], session)
    await first.sees('publish:1r:r/a:a')
    await world.vanish(first)
    const second = await world.subscriber([['r/a', 1 | retainIfNew]], session)
    expect(await world.gets(second)).toEqual([])
  },
  'MQTT-3.3.1-11': async world => {
    await retain(world)
    const client = await world.subscriber([['r/#', 2 | retainNever]])
    await client.ask(1, subscribe(2, [['r/#', 1 | retainNever]]))
    expect(await world.gets(client)).toEqual([])
    await world.say(['r/a', 'new', { retain: true }])
    expect(await world.gets(client)).toEqual(['publish:0:r/a:new'])
  },
  'MQTT-3.3.1-12': async world => {
    const client = await world.subscriber([['a', 1]])
    await world.say(['a', 'one', { qos: 1, retain: true }], ['a', 'two', { qos: 1 }])
    expect(await world.gets(client)).toEqual(['publish:1:a:one', 'publish:1:a:two'])
    // What is sent because of the subscription has it, as in 3.1.1.
    const late = await world.subscriber([['a', 1]])
    expect(await world.gets(late)).toEqual(['publish:1r:a:one'])
  },
  'MQTT-3.3.1-13': async world => {
    const client = await world.subscriber([['a', 1 | retainAsPublished]])
    await world.say(['a', 'one', { qos: 1, retain: true }], ['a', 'two', { qos: 1 }], ['a', '', { qos: 1, retain: true }])
    expect(await world.gets(client)).toEqual(['publish:1r:a:one', 'publish:1:a:two', 'publish:1r:a:'])
    // Also for what was queued.
    const session = { clientId: 'stays', clean: false, properties: [['sessionExpiry', 1000]] } as const
    await world.vanish(await world.subscriber([['b', 1 | retainAsPublished]], session))
    await world.say(['b', 'one', { qos: 1, retain: true }], ['b', 'two', { qos: 1 }])
    expect(await world.gets(await world.join(session))).toEqual(['publish:1r:b:one', 'publish:1:b:two'])
  },
  'MQTT-3.8.3-3': async world => {
    const client = await world.subscriber([
      ['a', 1 | noLocal],
      ['b', 1]
    ])
    const other = await world.subscriber([['a', 1]])
    await world.say(['a', 'from another', { qos: 1 }])
    await world.gets(client)
    client.forget()
    client.send(publish('a', 'own', { qos: 1, id: 1 }), publish('b', 'own', { qos: 1, id: 2 }))
    await client.sees('publish:1:b:own')
    expect(await world.gets(client)).toEqual(['publish:1:b:own'])
    expect(await world.gets(other)).toEqual(['publish:1:a:from another', 'publish:1:a:own'])
  },
  'MQTT-3.8.3-4': async world => {
    const shared = numberOf((await world.join()).connack, 'sharedSubscriptionAvailable', 1) === 1
    await world.closesOn(shared ? '82' : '82 9e', [
      subscribe(1, [['$share/group/a', 1 | noLocal]]),
      subscribe(1, [
        ['a', 0],
        ['$share/group/a', noLocal]
      ])
    ])
  },
  'MQTT-3.3.2-5': async world => {
    const session = { clientId: 'stays', clean: false, properties: [['sessionExpiry', 1000]] } as const
    await world.vanish(await world.subscriber([['a', 2]], session))
    await world.say(
      ['a', 'short', { qos: 1, retain: true, properties: [['messageExpiry', 1]] }],
      ['a', 'long', { qos: 1, properties: [['messageExpiry', 1000]] }],
      ['a', 'short too', { qos: 2, properties: [['messageExpiry', 1]] }],
      ['a', 'for ever', { qos: 1 }]
    )
    // A will of as many seconds tells that they are over.
    const watcher = await world.subscriber([['will', 0]])
    await world.vanish(
      await world.join({ ...session, clientId: 'clock', will: { topic: 'will', payload: '', properties: [['willDelay', 3]] } })
    )
    await watcher.sees('publish:0:will:')
    expect(await world.gets(await world.join(session))).toEqual(['publish:1:a:long', 'publish:1:a:for ever'])
    expect(await world.gets(await world.subscriber([['a', 1]]))).toEqual([])
  },
  'MQTT-3.3.2-6': async world => {
    const live = await world.subscriber([['a', 1]])
    const session = { clientId: 'stays', clean: false, properties: [['sessionExpiry', 1000]] } as const
    await world.vanish(await world.subscriber([['a', 1]], session))
    const began = performance.now()
    await world.say(['a', 'x', { qos: 1, retain: true, properties: [['messageExpiry', 1000]] }])
    await world.gets(live)
    expect(numberOf(live.publishes[0], 'messageExpiry', 0)).toBeOneOf([999, 1000])
    const watcher = await world.subscriber([['will', 0]])
    await world.vanish(
      await world.join({ ...session, clientId: 'clock', will: { topic: 'will', payload: '', properties: [['willDelay', 3]] } })
    )
    await expectAfter(watcher, 'publish:0:will:', began, 2)
    // Waiting in the queue, and as a retained message.
    const queued = await (await world.join(session)).sees('publish:1:a:x')
    const kept = await (await world.subscriber([['a', 1]])).sees('publish:1r:a:x')
    const waited = (performance.now() - began) / 1000
    for (const packet of [queued, kept]) {
      expect(numberOf(packet, 'messageExpiry', 0)).toBeLessThanOrEqual(999)
      expect(numberOf(packet, 'messageExpiry', 0)).toBeGreaterThanOrEqual(1000 - Math.ceil(waited) - 1)
    }
    // Without one there is none.
    live.forget()
    await world.say(['a', 'plain', { qos: 1 }])
    expect(property(await live.sees('publish:1:a:plain'), 'messageExpiry')).toBeUndefined()
  }
} satisfies Checks
