import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FakeSubscriber, RoutingWorld } from './fake-subscriber.ts'

/** A client that follows the specification, over any number of connections; what was on its way to it may be lost with one. */
class Client {
  /** Payloads that it took over, in order: QoS 2 once for each packet id between PUBLISH and PUBREL. */
  readonly taken: string[] = []
  readonly world: RoutingWorld
  readonly receiveMaximum: number
  /** QoS 2 ids between PUBLISH and PUBREL. */
  readonly #open = new Set<number>()
  /** Ids that the server may not use for another message. */
  readonly #unsettled = new Map<number, string>()
  /** Acknowledgements that are due, as `puback:1`; lost with the connection. */
  #due: string[] = []
  #read = 0
  /** Settled over this connection. */
  #settled = 0
  #connected: ReturnType<RoutingWorld['connect']> | undefined

  constructor(world: RoutingWorld, receiveMaximum: number) {
    this.world = world
    this.receiveMaximum = receiveMaximum
  }

  get connected(): boolean {
    return this.#connected !== undefined
  }

  get idle(): boolean {
    return this.#due.length === 0 && this.#unsettled.size === 0
  }

  connect(): void {
    if (this.#connected !== undefined) return
    const subscriber = new FakeSubscriber()
    subscriber.receiveMaximum = this.receiveMaximum
    this.#read = 0
    this.#settled = 0
    this.#due = []
    this.#connected = this.world.connect('client', { subscriber })
    const { session, present } = this.#connected
    if (!present) this.world.subscribe(session, 'a', 2)
  }

  disconnect(): void {
    this.#connected?.leave()
    this.#connected = undefined
  }

  /** The socket takes no more, or does again. */
  fill(full: boolean): void {
    if (this.#connected === undefined) return
    this.#connected.subscriber.full = full
    if (!full) this.world.router.resume(this.#connected.session)
  }

  /** Reads what came. What it does not read before its connection ends is lost. */
  read(): void {
    const { sent, ids } = this.#connected?.subscriber ?? { sent: [], ids: [] }
    for (; this.#read < sent.length; this.#read++) this.#take(sent[this.#read] ?? '', ids[this.#read] ?? 0)
    const current = sent.filter(described => /^a:[12]/.test(described)).length
    const window = Math.min(this.receiveMaximum, this.world.sendWindow)
    if (this.#connected !== undefined) expect(current - this.#settled).toBeLessThanOrEqual(window)
  }

  /** Sends so many of the acknowledgements that are due. */
  acknowledge(count: number): void {
    const deliveries = this.#connected?.session.deliveries
    if (deliveries === undefined) return
    for (const due of this.#due.splice(0, count)) {
      const [type, number] = due.split(':')
      const id = Number(number)
      if (type === 'puback') deliveries.acknowledge(id)
      else if (type === 'pubrec') {
        deliveries.receive(id)
        this.#connected?.subscriber.pubrel(id)
      } else deliveries.complete(id)
      if (type !== 'pubrec') {
        this.#unsettled.delete(id)
        this.#settled += 1
      }
      deliveries.pump(4)
    }
  }

  #take(described: string, id: number): void {
    if (described.startsWith('pubrel')) {
      this.#open.delete(id)
      this.#due.push(`pubcomp:${id}`)
      return
    }
    const [, flags = '', payload = ''] = described.split(':')
    if (id > 0) {
      // An id in use is the same message again, and says so.
      if (this.#unsettled.has(id)) expect([flags.includes('d'), this.#unsettled.get(id)]).toEqual([true, payload])
      this.#unsettled.set(id, payload)
    }
    if (flags.startsWith('2')) {
      this.#due.push(`pubrec:${id}`)
      if (this.#open.has(id)) return
      this.#open.add(id)
    } else if (flags.startsWith('1')) this.#due.push(`puback:${id}`)
    this.taken.push(payload)
  }
}

type Step =
  | { readonly step: 'publish'; readonly qos: readonly (0 | 1 | 2)[] }
  | { readonly step: 'connect' | 'disconnect' | 'read' | 'full' | 'drain' | 'turn' }
  | { readonly step: 'acknowledge'; readonly count: number }

const qos = fc.constantFrom<(0 | 1 | 2)[]>(0, 1, 2)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ step: fc.constant('publish' as const), qos: fc.array(qos, { minLength: 1, maxLength: 5 }) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      step: fc.constantFrom('connect' as const, 'disconnect' as const, 'read' as const, 'full' as const, 'drain' as const, 'turn' as const)
    })
  },
  { weight: 4, arbitrary: fc.record({ step: fc.constant('acknowledge' as const), count: fc.integer({ min: 1, max: 6 }) }) }
)

describe('what a session is owed', () => {
  test('reaches a client that follows the specification, in order and each once it says so, however often it breaks off', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.constantFrom(1, 2, 5, 65_535),
        fc.constantFrom(3, 1000),
        async (steps, receiveMaximum, sendWindow) => {
          const world = new RoutingWorld({ limits: { sendWindow } })
          const client = new Client(world, receiveMaximum)
          client.connect()
          const published: { readonly payload: string; readonly qos: number }[] = []
          for (const next of steps) {
            if (next.step === 'publish')
              for (const level of next.qos) {
                published.push({ payload: `${published.length}`, qos: level })
                world.publish('a', `${published.length - 1}`, { qos: level })
              }
            else if (next.step === 'connect') client.connect()
            else if (next.step === 'disconnect') client.disconnect()
            else if (next.step === 'full') client.fill(true)
            else if (next.step === 'drain') client.fill(false)
            else if (next.step === 'acknowledge') client.acknowledge(next.count)
            else if (next.step === 'turn') await world.turns(1)
            if (next.step !== 'disconnect') client.read()
          }
          client.connect()
          client.fill(false)
          for (let round = 0; round < 1000; round++) {
            await world.turns(2)
            client.read()
            if (client.idle) break
            client.acknowledge(10)
          }
          // The first time that each came.
          const first = [...new Set(client.taken)]
          const owed = published.filter(({ qos: level }) => level > 0).map(({ payload }) => payload)
          expect(first.filter(payload => owed.includes(payload))).toEqual(owed)
          expect(first).toEqual(first.toSorted((a, b) => Number(a) - Number(b)))
          const twice = published.filter(({ qos: level }) => level !== 1).map(({ payload }) => payload)
          for (const payload of twice) expect(client.taken.filter(taken => taken === payload).length).toBeLessThanOrEqual(1)
          expect(world.router.kept).toEqual({ messages: 0, bytes: 0 })
        }
      ),
      { numRuns: 400 }
    )
  })

  test('a thousand messages of QoS 0 and 1 in turn arrive in order, also when the client takes seven at a time', async () => {
    for (const receiveMaximum of [7, 65_535]) {
      const world = new RoutingWorld()
      const client = new Client(world, receiveMaximum)
      client.connect()
      for (let number = 0; number < 1000; number++) {
        world.publish('a', String(number), { qos: number % 2 === 0 ? 0 : 1 })
        client.read()
        if (number % 5 === 0) client.acknowledge(3)
      }
      while (!client.idle) {
        client.acknowledge(100)
        await world.turns(1)
        client.read()
      }
      expect(client.taken).toEqual(Array.from({ length: 1000 }, (_, number) => String(number)))
    }
  })

  test('gets no packet id that is in use, and waits when all are', async () => {
    const world = new RoutingWorld({ limits: { sendWindow: 65_535, queuedMessages: 10, queuedBytes: 100_000_000 } })
    const { session, subscriber } = world.connect('s', { clean: true })
    world.subscribe(session, 'a', 1)
    for (let number = 0; number < 65_540; number++) {
      world.publish('a', 'x')
      if (number % 100 === 0) await world.turns(1)
    }
    await world.turns(2)
    expect([subscriber.ids.length, new Set(subscriber.ids).size, subscriber.tooSlow]).toEqual([65_535, 65_535, 0])
    expect([session.deliveries.size, world.router.kept.messages]).toEqual([65_540, 65_540])
    for (const id of [7, 65_535, 7000]) session.deliveries.acknowledge(id)
    session.deliveries.pump(10)
    expect(subscriber.ids.slice(65_535)).toEqual([7, 7000, 65_535])
  })

  test('acknowledgements that nothing waits for change nothing', async () => {
    const world = new RoutingWorld()
    const { session, subscriber } = world.connect('s')
    world.subscribe(session, 'a', 2)
    world.publish('a', 'one', { qos: 1 })
    world.publish('a', 'two', { qos: 2 })
    const { deliveries } = session
    deliveries.acknowledge(2)
    deliveries.complete(1)
    for (const id of [3, 0, 65_535]) {
      deliveries.acknowledge(id)
      deliveries.complete(id)
      expect(deliveries.receive(id)).toBe(false)
    }
    expect([deliveries.size, deliveries.receive(1), deliveries.receive(2), deliveries.receive(2)]).toEqual([2, false, true, true])
    // MQTT 5: a PUBREC that says no is the end of it.
    world.publish('a', 'three', { qos: 2 })
    expect([deliveries.receive(3, true), deliveries.size, subscriber.ids]).toEqual([true, 2, [1, 2, 3]])
  })

  test('what has expired, or is larger than the client takes, is not sent, and counted', async () => {
    const world = new RoutingWorld()
    const first = world.connect('s')
    world.subscribe(first.session, 'a', 1)
    first.leave()
    world.publish('a', 'short', { expirySeconds: 2 })
    world.publish('a', 'long', { expirySeconds: 20 })
    world.publish('a', 'very large')
    world.publish('a', 'late', { expirySeconds: 3 })
    world.nowMs = 2000
    const subscriber = new FakeSubscriber()
    subscriber.largest = 6
    subscriber.receiveMaximum = 1
    const { session } = world.connect('s', { subscriber })
    await world.turns()
    expect(subscriber.sent).toEqual(['a:1:long'])
    world.nowMs = 3000
    session.deliveries.acknowledge(1)
    session.deliveries.pump(10)
    world.publish('a', 'as large', { qos: 0 })
    expect([subscriber.sent, session.deliveries.size]).toEqual([['a:1:long'], 0])
    expect([world.statistics.expiredDropped, world.statistics.oversizedDropped, world.router.kept]).toEqual([
      2,
      2,
      { messages: 0, bytes: 0 }
    ])
  })

  test('what has expired makes room in a full queue', () => {
    const world = new RoutingWorld({ limits: { queuedMessages: 3 } })
    const { session, leave } = world.connect('s')
    world.subscribe(session, 'a', 1)
    leave()
    for (const payload of ['1', '2', '3']) world.publish('a', payload, { expirySeconds: 1 })
    world.publish('a', 'no room')
    expect([session.deliveries.size, world.statistics.offlineDropped]).toEqual([3, 1])
    world.nowMs = 1000
    world.publish('a', 'room')
    expect([session.deliveries.size, world.statistics.offlineDropped, world.statistics.expiredDropped]).toEqual([1, 1, 3])
  })
})

const numbered = (from: number, to: number, level: 1 | 2): string[] =>
  Array.from({ length: to - from }, (_, at) => `a:${level}:${from + at}`)

describe('a subscriber that reads and does not acknowledge', () => {
  for (const clean of [true, false])
    test(`gets limits.sendWindow messages, each counts as kept, and all flows in order when it acknowledges (clean: ${clean})`, () => {
      const world = new RoutingWorld({ limits: { sendWindow: 20, queuedMessages: 30 } })
      const { session, subscriber } = world.connect('s', { clean })
      const { deliveries } = session
      world.subscribe(session, 'a', 2)
      for (let number = 0; number < 50; number++) world.publish('a', `${number}`)
      expect(subscriber.sent).toEqual(numbered(0, 20, 1))
      // What waits as always; of what was sent no more than an id is kept when the session ends with its connection.
      const waiting = 30 * (256 + 'a'.length + '00'.length)
      const sent = clean ? 20 * 360 : 20 * (256 + 'a'.length) + 10 * '0'.length + 10 * '00'.length
      expect([world.router.kept, subscriber.tooSlow]).toEqual([{ messages: 50, bytes: waiting + sent }, 0])
      world.publish('a', 'one too many')
      expect([subscriber.tooSlow, world.statistics.slowDropped, world.router.kept.messages]).toEqual([1, 1, 50])
      for (let at = 0; at < 50; at++) {
        deliveries.acknowledge(subscriber.ids[at] ?? 0)
        deliveries.pump(4)
      }
      expect(subscriber.sent).toEqual(numbered(0, 50, 1))
      expect(world.router.kept).toEqual({ messages: 0, bytes: 0 })
    })

  test('frees all that was kept when its session ends', () => {
    const world = new RoutingWorld({ limits: { sendWindow: 20 } })
    const { session, subscriber, leave } = world.connect('s', { clean: true })
    world.subscribe(session, 'a', 2)
    for (let number = 0; number < 50; number++) world.publish('a', `${number}`, { qos: number % 2 === 0 ? 1 : 2 })
    for (const id of subscriber.ids) session.deliveries.receive(id)
    expect(world.router.kept.messages).toBe(50)
    leave()
    expect(world.router.kept).toEqual({ messages: 0, bytes: 0 })
  })

  test('has no more open for saying PUBREC alone, over one connection or many', async () => {
    const world = new RoutingWorld({ limits: { sendWindow: 20 } })
    const first = world.connect('s')
    world.subscribe(first.session, 'a', 2)
    for (let number = 0; number < 50; number++) world.publish('a', `${number}`, { qos: 2 })
    const { deliveries } = first.session
    for (const id of first.subscriber.ids) deliveries.receive(id)
    deliveries.pump(100)
    expect(first.subscriber.sent).toEqual(numbered(0, 20, 2))
    expect(world.router.kept).toEqual({ messages: 50, bytes: 20 * 360 + 30 * (256 + 'a'.length + '00'.length) })
    first.leave()
    const { subscriber } = world.connect('s')
    await world.turns()
    expect(subscriber.sent).toEqual(first.subscriber.ids.map(id => `pubrel:${id}`))
    for (const id of first.subscriber.ids) deliveries.complete(id)
    deliveries.pump(100)
    expect(subscriber.sent.slice(20)).toEqual(numbered(20, 40, 2))
  })

  test('is disconnected for it when all together have too much open, and one that acknowledges gets everything', async () => {
    const queuedBytes = 360 * 100
    const world = new RoutingWorld({ limits: { queuedBytes } })
    const silent = Array.from({ length: 8 }, (_, at) => world.connect(`silent ${at}`, { clean: true }))
    const reader = world.connect('reader', { clean: true })
    for (const { session } of [...silent, reader]) world.subscribe(session, 'a', 1)
    let acknowledged = 0
    for (let number = 0; number < 500; number++) {
      world.publish('a', `${number}`)
      for (const { session, subscriber, leave } of silent) if (subscriber.tooSlow > 0 && !session.ended) leave()
      for (; acknowledged < reader.subscriber.ids.length; acknowledged++)
        reader.session.deliveries.acknowledge(reader.subscriber.ids[acknowledged] ?? 0)
      expect(world.router.kept.bytes).toBeLessThanOrEqual(queuedBytes + 9 * 16 * 360)
      if (number % 20 === 0) await world.turns(2)
    }
    await world.turns()
    expect(silent.every(({ subscriber }) => subscriber.sent.length <= 100)).toBe(true)
    expect(silent.map(({ session }) => session.ended)).toContain(true)
    expect([reader.subscriber.sent, reader.subscriber.tooSlow]).toEqual([numbered(0, 500, 1), 0])
  })
})

describe('a subscriber that does not read', () => {
  test('is told once, of what waits for it only so much is kept, and a persistent session has its part of it when it comes back', async () => {
    const world = new RoutingWorld({ limits: { queuedMessages: 10 } })
    const { session, subscriber, leave } = world.connect('s')
    world.subscribe(session, 'a', 1)
    subscriber.full = true
    for (let number = 0; number < 20; number++) world.publish('a', String(number), { qos: number % 2 === 0 ? 0 : 1 })
    expect([subscriber.sent, subscriber.tooSlow, session.deliveries.size, world.statistics.slowDropped]).toEqual([[], 1, 10, 10])
    leave()
    expect([session.deliveries.size, world.router.kept.messages]).toEqual([5, 5])
    const back = world.connect('s')
    await world.turns()
    expect(back.subscriber.sent).toEqual(['1', '3', '5', '7', '9'].map(number => `a:1:${number}`))
  })

  test('is bounded in bytes too: of its own, and of all sessions together', () => {
    const world = new RoutingWorld({ limits: { queuedMessages: 100_000, queuedBytes: 2_000_000 } })
    const slow = world.connect('slow', { clean: true })
    world.subscribe(slow.session, 'a', 0)
    slow.subscriber.full = true
    for (let number = 0; number < 2000; number++) world.publish('a', 'x'.repeat(900), { qos: 0 })
    expect(slow.subscriber.tooSlow).toBe(1)
    expect(world.router.kept.bytes).toBeGreaterThan(1_000_000)
    expect(world.router.kept.bytes).toBeLessThanOrEqual(1_048_576)
    const other = world.connect('other')
    world.subscribe(other.session, 'a', 1)
    other.leave()
    for (let number = 0; number < 2000; number++) world.publish('a', 'x'.repeat(900))
    expect(world.router.kept.bytes).toBeLessThanOrEqual(2_000_000)
    expect(world.statistics.offlineDropped).toBeGreaterThan(500)
    slow.leave()
    expect(world.router.kept.messages).toBe(other.session.deliveries.size)
  })

  test('is not taken for one when it comes back to a full queue and messages go on', async () => {
    const world = new RoutingWorld({ limits: { queuedMessages: 50 } })
    const { session, leave } = world.connect('s')
    world.subscribe(session, 'a', 1)
    leave()
    for (let number = 0; number < 60; number++) world.publish('a', String(number))
    const subscriber = new FakeSubscriber()
    subscriber.full = true
    world.connect('s', { subscriber })
    for (let number = 60; number < 110; number++) world.publish('a', String(number))
    expect([subscriber.tooSlow, session.deliveries.size]).toEqual([0, 100])
    world.publish('a', 'one more')
    expect([subscriber.tooSlow, session.deliveries.size]).toEqual([1, 100])
    subscriber.full = false
    world.router.resume(session)
    await world.turns()
    const expected = [...Array.from({ length: 50 }, (_, at) => at), ...Array.from({ length: 50 }, (_, at) => 60 + at)]
    expect(subscriber.sent).toEqual(expected.map(number => `a:1:${number}`))
  })

  test('when nothing more can be kept, a subscriber that reads gets it all the same, once', async () => {
    const world = new RoutingWorld({ limits: { queuedBytes: 0 } })
    const first = world.connect('s')
    world.subscribe(first.session, 'a', 1)
    world.publish('a', 'x')
    expect(first.subscriber.sent).toEqual(['a:1:x'])
    first.leave()
    const back = world.connect('s')
    await world.turns()
    expect([back.subscriber.sent, back.session.deliveries.size, world.statistics.offlineDropped]).toEqual([[], 0, 1])
  })
})
