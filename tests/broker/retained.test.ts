import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { messageBytes } from '../../broker/routing/message.ts'
import type { Message } from '../../broker/routing/message.ts'
import type { RetainedCursor } from '../../broker/routing/retained-cursor.ts'
import { RetainedMessages } from '../../broker/routing/retained-messages.ts'
import { FakeSubscriber, RoutingWorld } from './fake-subscriber.ts'
import { filters, matchesModel, topics } from './topic-model.ts'

let ordinals = 0

function message(topic: string, payload = 'x', expirySeconds?: number): Message {
  ordinals += 1
  const expiry = expirySeconds === undefined ? undefined : { seconds: expirySeconds, takenMs: 0 }
  return { ordinal: ordinals, topic, payload: Buffer.from(payload), qos: 1, retain: true, clientId: 'p', properties: undefined, expiry }
}

const wide = { messages: 1000, bytes: 1e6, now: () => 0 }

function rest(cursor: RetainedCursor): Message[] {
  const found: Message[] = []
  while (!cursor.done) {
    const next = cursor.step()
    if (next !== undefined) found.push(next)
  }
  return found
}

const byOrdinal = (messages: readonly Message[]): readonly Message[] => messages.toSorted((a, b) => a.ordinal - b.ordinal)

describe('retained messages', () => {
  const step = fc.record({ set: fc.boolean(), topic: topics, steps: fc.integer({ min: 0, max: 4 }) })

  test('a filter finds exactly the topics that it matches, after any sets and deletes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), filters, (steps, filter) => {
        const retained = new RetainedMessages(wide)
        const model = new Map<string, Message>()
        for (const { set, topic } of steps) {
          const next = message(topic)
          if (set) retained.set(next)
          else retained.delete(topic)
          if (set) model.set(topic, next)
          else model.delete(topic)
        }
        expect([retained.size, retained.bytes]).toEqual([
          model.size,
          [...model.values()].reduce((sum, kept) => sum + messageBytes(kept), 0)
        ])
        const expected = [...model.values()].filter(({ topic }) => matchesModel(filter, topic))
        expect(byOrdinal(rest(retained.scan(filter)))).toEqual(byOrdinal(expected))
        expect(byOrdinal([...retained])).toEqual(byOrdinal([...model.values()].filter(({ topic }) => !topic.startsWith('$'))))
      }),
      { numRuns: 500 }
    )
  })

  test('a scan finds what is there from its beginning to its end once, whatever comes and goes, and knows where it has been', () => {
    fc.assert(
      fc.property(fc.array(topics, { maxLength: 30 }), filters, fc.array(step, { maxLength: 30 }), (first, filter, steps) => {
        const retained = new RetainedMessages(wide)
        for (const topic of first) retained.set(message(topic))
        const staying = new Map([...retained].map(kept => [kept.topic, kept] as const))
        const cursor = retained.scan(filter)
        const found: Message[] = []
        const advance = (): void => {
          const next = cursor.step()
          if (next !== undefined) found.push(next)
        }
        for (const { set, topic, steps: count } of steps) {
          for (let at = 0; at < count; at++) advance()
          for (const kept of staying.values()) {
            if (matchesModel(filter, kept.topic)) expect(cursor.passed(kept.topic)).toBe(found.includes(kept))
          }
          if (set) retained.set(message(topic))
          else retained.delete(topic)
          staying.delete(topic)
        }
        found.push(...rest(cursor))
        const expected = [...staying.values()].filter(({ topic }) => matchesModel(filter, topic))
        expect(byOrdinal(found.filter(kept => staying.get(kept.topic) === kept))).toEqual(byOrdinal(expected))
        expect(new Set(found).size).toBe(found.length)
      }),
      { numRuns: 1000 }
    )
  })

  test('at the limit a known topic is replaced and a new one is not kept', () => {
    const bytes = messageBytes(message('a', '1')) * 2 + 6
    const retained = new RetainedMessages({ messages: 2, bytes, now: () => 0 })
    const set = (topic: string, payload: string): boolean => retained.set(message(topic, payload))
    const payloads = (): readonly string[] => rest(retained.scan('#')).map(({ payload }) => payload.toString())
    expect([set('a', '1'), set('b', '2'), set('c', '3'), set('a', '4')]).toEqual([true, true, false, true])
    retained.delete('b')
    expect(set('c', '5')).toBe(true)
    expect(payloads().toSorted()).toEqual(['4', '5'])
    // What finds no room leaves nothing older in its place.
    expect(set('a', '1234567')).toBe(true)
    expect(set('a', '12345678')).toBe(false)
    expect(payloads()).toEqual(['5'])
    expect(set('b', '1234567')).toBe(true)
  })

  test('what has expired is not found, and gone when its round comes, a bounded number at a time', () => {
    let nowMs = 0
    const retained = new RetainedMessages({ ...wide, now: () => nowMs })
    for (let number = 0; number < 20; number++) retained.set(message(`e/${number}`, 'x', number < 10 ? 5 : 50))
    retained.set(message('kept'))
    nowMs = 4999
    expect(retained.get('e/0')?.topic).toBe('e/0')
    nowMs = 5000
    expect([retained.get('e/0'), retained.size]).toEqual([undefined, 20])
    retained.expire(5)
    expect(retained.size).toBeGreaterThanOrEqual(15)
    for (let round = 0; round < 6; round++) retained.expire(5)
    expect(retained.size).toBe(11)
    nowMs = 50_000
    for (let round = 0; round < 6; round++) retained.expire(5)
    expect(retained.size).toBe(1)
  })
})

describe('a new subscription', () => {
  test('gets retained messages as its retain handling says', async () => {
    const world = new RoutingWorld()
    world.publish('a', 'kept', { retain: true })
    const { session, subscriber } = world.connect('s')
    const got = async (): Promise<readonly string[]> => {
      await world.turns()
      return subscriber.sent.splice(0)
    }
    world.subscribe(session, 'a', 1, { retainHandling: 2 })
    expect(await got()).toEqual([])
    world.subscribe(session, 'a', 1, { retainHandling: 1 })
    expect(await got()).toEqual([])
    world.subscribe(session, '+', 1, { retainHandling: 1 })
    expect(await got()).toEqual(['a:1r:kept'])
    world.subscribe(session, '+', 0, { retainHandling: 0 })
    expect(await got()).toEqual(['a:0r:kept'])
    world.router.unsubscribe(session, '+')
    world.subscribe(session, '+', 2, { retainHandling: 1, identifier: 7 })
    expect(await got()).toEqual(['a:1r:kept'])
    expect(subscriber.deliveries.at(-1)?.identifiers).toEqual([7])
    world.subscribe(world.connect('publisher', { subscriber }).session, '#', 1, { noLocal: true })
    expect(await got()).toEqual([])
  })

  test('to everything holds no turn of the event loop, and what is published meanwhile neither overtakes nor is lost', async () => {
    const world = new RoutingWorld({ limits: { retained: 20_000, retainedBytes: 100_000_000 } })
    const count = 10_000
    for (let number = 0; number < count; number++) world.publish(`t/${number}`, 'old', { retain: true })
    await world.turns(200)
    const { session, subscriber } = world.connect('s')
    world.subscribe(session, '#', 0)
    let most = 0
    let published = 0
    for (let turn = 0; subscriber.sent.length < count + published && turn < 2000; turn++) {
      const before = subscriber.sent.length
      await world.turns(1)
      most = Math.max(most, subscriber.sent.length - before)
      if (turn >= 100) continue
      // One before the scan and one behind it, retained or not.
      for (const number of [turn, count - 1 - turn]) world.publish(`t/${number}`, `new ${turn}`, { retain: number % 2 === 0 })
      published += 2
    }
    await world.turns(50)
    expect(most).toBeLessThanOrEqual(1100)
    const byTopic = new Map<string, string[]>()
    for (const sent of subscriber.sent) {
      const [topic = '', qos, payload] = sent.split(':')
      byTopic.set(topic, [...(byTopic.get(topic) ?? []), `${qos}:${payload}`])
    }
    expect(byTopic.size).toBe(count)
    for (let number = 0; number < count; number++) {
      const turn = number < 100 ? number : number >= count - 100 ? count - 1 - number : undefined
      expect(byTopic.get(`t/${number}`)).toEqual(turn === undefined ? ['0r:old'] : ['0r:old', `0:new ${turn}`])
    }
  })

  test('gets its retained messages as the client takes them, also after it came back, and ends with UNSUBSCRIBE', async () => {
    const world = new RoutingWorld()
    for (const number of [1, 2, 3, 4, 5]) world.publish(`t/${number}`, 'x', { retain: true })
    const narrow = new FakeSubscriber()
    narrow.receiveMaximum = 2
    const first = world.connect('s', { subscriber: narrow })
    world.subscribe(first.session, 't/#', 1)
    await world.turns()
    expect(narrow.sent).toEqual(['t/1:1r:x', 't/2:1r:x'])
    world.publish('t/4', 'live')
    first.leave()
    const { session, subscriber } = world.connect('s')
    await world.turns()
    expect(subscriber.sent).toEqual(['t/1:1dr:x', 't/2:1dr:x', 't/4:1r:x', 't/4:1:live', 't/3:1r:x', 't/5:1r:x'])
    subscriber.full = true
    world.subscribe(session, 't/+', 1)
    await world.turns()
    world.router.unsubscribe(session, 't/+')
    subscriber.full = false
    world.router.resume(session)
    await world.turns()
    expect(subscriber.sent).toHaveLength(6)
  })
})
