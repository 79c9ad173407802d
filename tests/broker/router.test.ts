import { describe, expect, test } from 'vitest'
import { encodePublish, headWithId } from '../../broker/packets/outgoing-publish.ts'
import { neverExpires } from '../../broker/packets/connect-properties.ts'
import { RoutingWorld } from './fake-subscriber.ts'
import { publish } from './raw-client.ts'

describe('routing', () => {
  test('of overlapping subscriptions a session gets a message once: highest QoS, all identifiers, RETAIN if one asks for it', () => {
    const world = new RoutingWorld()
    const { session, subscriber } = world.connect('s')
    world.subscribe(session, 'a/#', 0, { identifier: 1 })
    world.subscribe(session, 'a/+', 1, { identifier: 2, retainAsPublished: true })
    world.subscribe(session, 'a/b', 2)
    world.publish('a/b', 'x', { qos: 2, retain: true })
    world.publish('a/c', 'y', { qos: 2, retain: true })
    world.publish('a/c/d', 'z', { qos: 2, retain: true })
    expect(subscriber.sent).toEqual(['a/b:2r:x', 'a/c:1r:y', 'a/c/d:0:z'])
    expect(subscriber.deliveries.map(({ identifiers }) => identifiers.toSorted((a, b) => a - b))).toEqual([[1, 2], [1, 2], [1]])
  })

  test('No Local: a session does not get what its own client published, by that subscription', () => {
    const world = new RoutingWorld()
    const { session, subscriber } = world.connect('s')
    world.subscribe(session, '#', 1, { noLocal: true })
    world.publish('a', 'own', { clientId: 's' })
    world.publish('a', 'other', { clientId: 't' })
    world.subscribe(session, 'a', 0)
    world.publish('a', 'own again', { clientId: 's' })
    expect(subscriber.sent).toEqual(['a:1:other', 'a:0:own again'])
  })

  test('one message to many is many deliveries in slices, in order for each, and encoded once', async () => {
    const world = new RoutingWorld({ limits: { sessions: 10_000 } })
    const everyone = Array.from({ length: 3000 }, (_, at) => world.connect(`s${at}`, { clean: true }))
    for (const { session } of everyone) world.subscribe(session, 'a', 0)
    await world.turns(10)
    const delivered = (): number => everyone.reduce((sum, { subscriber }) => sum + subscriber.sent.length, 0)
    world.publish('a', 'one')
    world.publish('a', 'two')
    let most = delivered()
    for (let turn = 0; world.router.queued > 0 && turn < 100; turn++) {
      const before = delivered()
      // Who comes and goes meanwhile disturbs nobody.
      if (turn === 1) for (const { leave } of everyone.slice(2990)) leave()
      await world.turns(1)
      most = Math.max(most, delivered() - before)
    }
    expect(most).toBeLessThanOrEqual(512)
    const staying = everyone.slice(0, 2990)
    for (const { subscriber } of staying) expect([subscriber.sent, subscriber.flushed]).toEqual([['a:0:one', 'a:0:two'], 2])
    expect(new Set(staying.map(({ subscriber }) => subscriber.deliveries[0])).size).toBe(1)
    for (const { subscriber } of everyone.slice(2990)) expect(subscriber.sent.length).toBe(0)
  })

  test('many that come back at once have what waited for them sent in turns', async () => {
    const world = new RoutingWorld({ limits: { sessions: 10_000 } })
    for (let at = 0; at < 300; at++) {
      const { session, leave } = world.connect(`s${at}`)
      world.subscribe(session, 'a', 1, { retainHandling: 2 })
      leave()
    }
    for (let number = 0; number < 20; number++) world.publish('a', String(number))
    await world.turns(50)
    const back = Array.from({ length: 300 }, (_, at) => world.connect(`s${at}`).subscriber)
    const sent = (): number => back.reduce((sum, subscriber) => sum + subscriber.sent.length, 0)
    let most = 0
    for (let turn = 0; sent() < 6000 && turn < 100; turn++) {
      const before = sent()
      await world.turns(1)
      most = Math.max(most, sent() - before)
    }
    expect([sent(), most <= 1100]).toEqual([6000, true])
  })

  test('a retained message reaches one that subscribes while it is on its way to others', async () => {
    const world = new RoutingWorld()
    const everyone = Array.from({ length: 700 }, (_, at) => world.connect(`s${at}`, { clean: true }))
    for (const { session } of everyone) world.subscribe(session, 'a', 0, { retainHandling: 2 })
    world.publish('a', 'x', { retain: true })
    expect(world.router.queued).toBe(1)
    const late = world.connect('late')
    world.subscribe(late.session, 'a', 0)
    await world.turns()
    expect(late.subscriber.sent).toEqual(['a:0r:x'])
  })

  test('says exactly who wants what, and when that may have changed', () => {
    const world = new RoutingWorld()
    const { router } = world
    const seen: number[] = []
    const changed = (): boolean => {
      const known = seen.includes(router.subscriptionsGeneration)
      seen.push(router.subscriptionsGeneration)
      return !known
    }
    const wants = (): readonly boolean[] => [router.idle, router.wants('a', 0), router.wants('a', 1), changed()]
    expect(wants()).toEqual([true, false, false, true])
    const first = world.connect('s')
    world.subscribe(first.session, 'a', 0)
    expect(wants()).toEqual([false, true, true, true])
    first.leave()
    expect(wants()).toEqual([true, false, false, true])
    const second = world.connect('s')
    expect(wants()).toEqual([false, true, true, true])
    world.subscribe(second.session, 'a', 1)
    expect(wants()).toEqual([false, true, true, true])
    second.leave()
    expect(wants()).toEqual([false, false, true, true])
    world.connect('s', { clean: true })
    expect(wants()).toEqual([true, false, false, true])
    world.connect('another')
    expect(changed()).toBe(false)
  })
})

describe('sessions', () => {
  test('end when their expiry has passed since the connection was over, also before anyone has looked', () => {
    const world = new RoutingWorld()
    const { sessions } = world.router
    world.connect('short', { expirySeconds: 10 }).leave()
    const held = world.connect('held', { expirySeconds: 10 })
    world.connect('forever', { expirySeconds: neverExpires }).leave()
    world.connect('none', { expirySeconds: 0 }).leave()
    expect([sessions.persistent, sessions.get('none')]).toEqual([3, undefined])
    world.nowMs = 9999
    expect(world.connect('short', { expirySeconds: 10 }).present).toBe(true)
    sessions.get('short')?.connection?.takeOver()
    world.nowMs = 19_999
    expect(world.connect('short', { expirySeconds: 10 }).present).toBe(false)
    world.router.expire()
    expect(sessions.get('held')).toBe(held.session)
    held.leave()
    world.nowMs = 29_998
    for (let round = 0; round < 3; round++) world.router.expire()
    expect(sessions.get('held')).toBe(held.session)
    world.nowMs = 1e15
    for (let round = 0; round < 3; round++) world.router.expire()
    expect([sessions.get('held'), held.session.ended, sessions.persistent]).toEqual([undefined, true, 2])
  })

  test('the expiry may be changed while there is a connection', () => {
    const world = new RoutingWorld()
    const { sessions } = world.router
    const { session, leave } = world.connect('s', { expirySeconds: 100 })
    world.subscribe(session, 'a', 1)
    sessions.setExpiry(session, 0)
    expect(sessions.persistent).toBe(0)
    leave()
    expect([sessions.get('s'), world.router.idle]).toEqual([undefined, true])
  })

  test('a connection with the same client id is over before the session goes to the new one', () => {
    const world = new RoutingWorld()
    const first = world.connect('s')
    world.subscribe(first.session, 'a', 1)
    const second = world.connect('s')
    expect([second.present, second.session === first.session]).toEqual([true, true])
    first.leave()
    world.publish('a', 'x')
    expect([first.subscriber.sent, second.subscriber.sent]).toEqual([[], ['a:1:x']])
    const clean = world.connect('s', { clean: true })
    expect([clean.present, second.session.ended, world.router.idle]).toEqual([false, true, true])
  })

  test('one that is owed a message makes no room for another', () => {
    const world = new RoutingWorld({ limits: { sessions: 1 } })
    const { session, leave } = world.connect('s')
    world.subscribe(session, 'a', 1)
    world.publish('a', 'x')
    world.router.unsubscribe(session, 'a')
    leave()
    expect(() => world.connect('t')).toThrow('no room')
    expect(world.connect('s').present).toBe(true)
  })
})

describe('a PUBLISH for a subscriber', () => {
  test('has the bytes of the specification, of any size, with the packet id and DUP of its own', () => {
    for (const size of [0, 1, 50, 119, 120, 121, 8192, 8193, 16_300, 16_384, 100_000, 2_097_152]) {
      for (const qos of [0, 1, 2] as const) {
        for (const retain of [false, true]) {
          const payload = Buffer.alloc(size, 'x')
          const message = { ordinal: 1, topic: 'a/ä', payload, qos, retain, clientId: 'p', properties: undefined, expiry: undefined }
          const encoded = encodePublish({ message, qos, retain })
          const whole = (packetId: number, dup: boolean): Buffer =>
            Buffer.concat([headWithId(encoded, packetId, dup), encoded.rest ?? Buffer.alloc(0)])
          expect(whole(513, qos > 0).equals(publish('a/ä', payload, { qos, retain, dup: qos > 0, id: 513 }))).toBe(true)
          expect(whole(2, false).equals(publish('a/ä', payload, { qos, retain, id: 2 }))).toBe(true)
        }
      }
    }
  })
})
