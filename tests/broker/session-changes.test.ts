import { describe, expect, test } from 'vitest'
import type { KeptSessions, SessionOrigin } from '../../broker/routing/kept-sessions.ts'
import type { SessionChanges } from '../../broker/routing/session-changes.ts'
import { RoutingWorld } from './fake-subscriber.ts'
import {
  connect,
  disconnect,
  fakeIntervals,
  packet,
  pingreq,
  publish,
  pubrel,
  RawClient,
  serveBroker,
  subscribe,
  text,
  uint16,
  until
} from './raw-client.ts'

/** Notes the changes it is told of; replies wait until the test says that they are durable. */
class NotedChanges implements KeptSessions {
  readonly changes: string[] = []
  readonly #replies: (() => void)[] = []

  get replyingSoon(): number {
    return this.#replies.length
  }

  get waiting(): number {
    return this.#replies.length
  }

  opened: SessionChanges['opened'] = ({ clientId, expirySeconds }) => this.#note('opened', clientId, expirySeconds)
  detached: SessionChanges['detached'] = ({ clientId }) => this.#note('detached', clientId)
  ended: SessionChanges['ended'] = clientId => this.#note('ended', clientId)
  subscribed: SessionChanges['subscribed'] = (clientId, { filter, qos }) => this.#note('subscribed', clientId, filter, qos)
  unsubscribed: SessionChanges['unsubscribed'] = (clientId, filter) => this.#note('unsubscribed', clientId, filter)
  sent: SessionChanges['sent'] = (clientId, { ordinal, qos, retained }, packetId) =>
    this.#note('sent', clientId, ordinal, qos, retained, packetId)
  releasing: SessionChanges['releasing'] = (clientId, { ordinal }) => this.#note('releasing', clientId, ordinal)
  settled: SessionChanges['settled'] = (clientId, { ordinal }) => this.#note('settled', clientId, ordinal)
  received: SessionChanges['received'] = (clientId, packetId, ordinal) => this.#note('received', clientId, packetId, ordinal)
  released: SessionChanges['released'] = (clientId, packetId) => this.#note('released', clientId, packetId)

  async recall({ journal, visit }: SessionOrigin): Promise<void> {
    await journal.readTail(Infinity, visit)
  }

  whenDurable(reply: () => void): void {
    this.#replies.push(reply)
  }

  /** All that was told is durable. */
  sync(): void {
    for (const reply of this.#replies.splice(0)) reply()
  }

  #note(...words: readonly (string | number | boolean)[]): void {
    this.changes.push(words.join(' '))
  }
}

/** A client whose persistent session is there and durable. */
async function openSession(port: number, changes: NotedChanges): Promise<RawClient> {
  const client = await RawClient.open(port)
  client.send(connect('s', { clean: false }))
  await until(() => changes.waiting === 1, 'the session is there')
  changes.sync()
  return client
}

describe('changes of sessions', () => {
  test('are told as they happen, of persistent sessions alone', async () => {
    const changes = new NotedChanges()
    const world = new RoutingWorld({ changes })
    const { session, subscriber, leave } = world.connect('s', { expirySeconds: 60 })
    world.subscribe(session, 'a', 2)
    world.publish('a', 'one', { qos: 1 })
    world.publish('a', 'two', { qos: 2 })
    world.publish('a', 'three', { qos: 0 })
    const [one = 0, two = 0] = subscriber.ids
    session.deliveries.acknowledge(one)
    session.deliveries.receive(two)
    session.deliveries.complete(two)
    session.receive(9, 77)
    session.release(9)
    session.release(9)
    world.router.unsubscribe(session, 'a')
    world.router.unsubscribe(session, 'a')
    leave()
    world.nowMs = 60_000
    world.router.expire()
    expect(changes.changes).toEqual([
      'opened s 60',
      'subscribed s a 2',
      'sent s 0 1 false 1',
      'sent s 1 2 false 2',
      'settled s 0',
      'releasing s 1',
      'settled s 1',
      'received s 9 77',
      'released s 9',
      'unsubscribed s a',
      'detached s',
      'ended s'
    ])
    changes.changes.length = 0
    const clean = world.connect('c', { clean: true })
    world.subscribe(clean.session, 'a', 1)
    world.publish('a', 'four')
    clean.session.receive(1, 5)
    clean.leave()
    expect(changes.changes).toEqual([])
  })

  test('are durable before the client hears of them, and what follows CONNECT waits for CONNACK', async () => {
    const changes = new NotedChanges()
    await using served = await serveBroker({ keptSessions: changes })
    using client = await RawClient.open(served.port)
    client.send(connect('s', { clean: false }), subscribe(1, ['a', 1]), pingreq, publish('a', 'x', { qos: 2, id: 7 }))
    await until(() => changes.waiting === 1, 'the session is there')
    using other = await RawClient.open(served.port)
    other.send(connect('other'))
    await until(() => changes.waiting === 2, 'another one comes')
    expect([client.packets, served.journal.records, changes.changes]).toEqual([[], [], ['opened s 4294967295']])
    expect(served.broker.connectedClientIds()).toEqual([])
    changes.sync()
    await client.received(2)
    await until(() => changes.waiting === 1, 'SUBSCRIBE is handled')
    expect(client.packets.slice(0, 2)).toEqual(['connack:0,0', 'pingresp'])
    expect(client.packets.filter(described => described.startsWith('suback'))).toEqual([])
    changes.sync()
    await until(() => client.packets.includes('suback:1:1') && client.packets.includes('pubrec:7'), 'both are answered')
    client.send(pubrel(7), packet(0xa2, uint16(2), text('a')))
    await until(() => changes.waiting === 2, 'PUBREL and UNSUBSCRIBE are handled')
    expect(client.packets).not.toContain('pubcomp:7')
    expect(client.packets).not.toContain('unsuback:2')
    changes.sync()
    await until(() => client.packets.includes('pubcomp:7') && client.packets.includes('unsuback:2'), 'they are answered')
    client.send(disconnect)
    await until(() => changes.changes.at(-1) === 'detached s', 'it is gone')
    // One that is refused meanwhile gets no CONNACK.
    using refused = await RawClient.open(served.port)
    refused.send(connect('s', { clean: false }))
    await until(() => changes.waiting === 1, 'it is back')
    await served.broker.close(100)
    changes.sync()
    await refused.untilClosed()
    expect(refused.packets).toEqual([])
  })
})

test('a clean session that is open waits for nothing of the others', async () => {
  const changes = new NotedChanges()
  await using served = await serveBroker({ keptSessions: changes })
  using client = await RawClient.open(served.port)
  client.send(connect('c'))
  await until(() => changes.waiting === 1, 'the session is there')
  changes.sync()
  client.send(subscribe(1, ['a', 1]), publish('b', 'x', { qos: 2, id: 7 }), pubrel(7), packet(0xa2, uint16(2), text('a')))
  await until(() => client.packets.length === 5, 'all are answered')
  expect(client.packets.toSorted()).toEqual(['connack:0,0', 'pubcomp:7', 'pubrec:7', 'suback:1:1', 'unsuback:2'])
  expect(changes.waiting).toBe(0)
})

test('a stop waits for replies that wait for the disk', async () => {
  const changes = new NotedChanges()
  await using served = await serveBroker({ keptSessions: changes })
  using client = await openSession(served.port, changes)
  client.send(subscribe(1, ['a', 1]))
  await until(() => changes.waiting === 1, 'SUBSCRIBE is handled')
  const closed = served.broker.close(5000)
  setTimeout(() => changes.sync(), 30)
  await closed
  await client.untilClosed()
  expect(client.packets).toEqual(['connack:0,0', 'suback:1:1'])
})

describe('SUBSCRIBE', () => {
  test('for what is subscribed to already changes nothing', () => {
    const changes = new NotedChanges()
    const world = new RoutingWorld({ changes })
    const { session } = world.connect('s')
    for (const qos of [1, 1, 2, 2, 1] as const) world.subscribe(session, 'a', qos)
    world.subscribe(session, 'a', 1, { noLocal: true })
    world.subscribe(session, 'a', 1, { noLocal: true, identifier: 7 })
    world.subscribe(session, 'a', 1, { noLocal: true, identifier: 7 })
    expect(changes.changes.slice(1)).toEqual(['a 1', 'a 2', 'a 1', 'a 1', 'a 1'].map(words => `subscribed s ${words}`))
  })

  test('with a filter many times is one change, the last, and each has its return code', async () => {
    const changes = new NotedChanges()
    await using served = await serveBroker({ keptSessions: changes, limits: { subscriptions: 2 } })
    using client = await openSession(served.port, changes)
    client.send(subscribe(1, ['a', 0], ['b', 1], ['a', 2], ['c', 1], ['b', 0], ['a', 1]))
    await until(() => changes.waiting === 1, 'SUBSCRIBE is handled')
    changes.sync()
    expect((await client.received(2))[1]).toBe('suback:1:0,1,2,128,0,1')
    expect(changes.changes.slice(1)).toEqual(['subscribed s a 1', 'subscribed s b 0'])
  })
})

describe('what a session is owed', () => {
  test('can be listed and put back, and goes on as if nothing had been', async () => {
    const world = new RoutingWorld()
    const { session, subscriber, leave } = world.connect('s')
    world.subscribe(session, 'a', 2, { identifier: 3 })
    for (const [at, qos] of ([1, 2, 2, 1] as const).entries()) world.publish('a', `m${at}`, { qos })
    session.deliveries.receive(subscriber.ids[1] ?? 0)
    leave()
    world.publish('a', 'later')
    world.publish('r', 'kept', { retain: true })

    const again = new RoutingWorld()
    const { clientId, expirySeconds } = session
    again.router.sessions.restore({ clientId, expirySeconds, leftMs: Number.POSITIVE_INFINITY }, filled => {
      for (const { subscription } of session.subscriptions.values()) again.router.restoreSubscription(filled, subscription)
      filled.deliveries.restore(session.deliveries, session.deliveries.lastPacketId)
    })
    const restored = again.router.sessions.get(clientId)
    if (restored === undefined) throw new Error('no room')
    for (const message of world.router.retained) again.router.restoreRetained(message)
    expect([...restored.deliveries]).toEqual([...session.deliveries])
    expect(again.router.kept).toEqual(world.router.kept)
    // Ordinals go on behind those of before.
    for (let ordinal = 0; ordinal < 6; ordinal++) again.publish('b', 'nobody wants it')
    again.publish('a', 'kept')
    const back = again.connect('s')
    await again.turns()
    expect(back.present).toBe(true)
    expect(back.subscriber.sent).toEqual(['a:1d:m0', 'a:2d:m2', 'a:1d:m3', 'pubrel:2', 'a:1:later', 'a:1:kept'])
    expect(back.subscriber.ids.slice(0, 4)).toEqual([1, 3, 4, 2])
    expect(back.subscriber.deliveries.at(-1)?.identifiers).toEqual([3])
    again.subscribe(back.session, 'r', 0)
    await again.turns()
    expect(back.subscriber.sent.at(-1)).toBe('r:0r:kept')
  })

  test('PUBCOMPs that become durable together leave together, also when nothing is published any more', async () => {
    const changes = new NotedChanges()
    await using served = await serveBroker({ keptSessions: changes })
    using client = await openSession(served.port, changes)
    client.send(...[1, 2, 3].map(id => publish('a', `${id}`, { qos: 2, id })))
    await client.received(4)
    client.send(...[1, 2, 3].map(pubrel))
    await until(() => changes.waiting === 3, 'their ids are free')
    changes.sync()
    expect((await client.received(7)).slice(4)).toEqual(['pubcomp:1', 'pubcomp:2', 'pubcomp:3'])
  })

  test('answers to SUBSCRIBE that wait are bounded: the next one waits unread, a ping behind it does not', async () => {
    const changes = new NotedChanges()
    await using served = await serveBroker({ keptSessions: changes, limits: { inFlight: 2 } })
    using client = await openSession(served.port, changes)
    client.send(...[1, 2, 3, 4, 5].map(id => subscribe(id, ['a', 1])), packet(0xa2, uint16(6), text('a')), pingreq)
    await client.received(2)
    expect([client.packets.at(-1), changes.waiting]).toEqual(['pingresp', 2])
    for (const [waiting, answered] of [
      [2, 4],
      [2, 6],
      [0, 8]
    ] as const) {
      changes.sync()
      await client.received(answered)
      await until(() => changes.waiting === waiting, 'the next are handled')
    }
    expect(client.packets.slice(2)).toEqual([...[1, 2, 3, 4, 5].map(id => `suback:${id}:1`), 'unsuback:6'])
  })

  test('a client that ends its side while its CONNACK waits leaves no socket behind', async () => {
    using clock = fakeIntervals()
    await using served = await serveBroker({ keptSessions: new NotedChanges() })
    for (const id of ['one', 'two']) {
      using client = await RawClient.open(served.port)
      client.send(connect(id, { clean: false, keepAlive: 0 }))
      client.socket.end()
      await until(() => served.broker.stats.bytesReceived > 0, 'CONNECT is there')
    }
    await until(() => {
      clock.advance(250)
      return served.broker.stats.sockets === 0
    }, 'both sockets are closed')
    expect(served.broker.connectedClientIds()).toEqual([])
  })
})
