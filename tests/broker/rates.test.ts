import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ClientRate, Rates } from '../../broker/rates.ts'
import { Wheel } from '../../broker/wheel.ts'
import { RawClient, disconnect, fakeIntervals, pingreq, publish, serveBroker, subscribe, until } from './raw-client.ts'

/** A clock that stands until it is moved, and the intervals that go by it. */
function fakeClock(): { readonly monotonic: () => number; advance(milliseconds: number): void } & Disposable {
  const intervals = fakeIntervals()
  let now = 5_000_000
  return {
    monotonic: () => now,
    advance: milliseconds => {
      now += milliseconds
      intervals.advance(milliseconds)
    },
    [Symbol.dispose]: () => intervals[Symbol.dispose]()
  }
}

const publishes = (count: number, from = 1): readonly Buffer[] =>
  Array.from({ length: count }, (_, at) => publish('t', `${from + at}`, { qos: 1, id: from + at }))

describe('the rate of a client', () => {
  test('lets a packet through exactly when a bucket that fills steadily has room', () => {
    const steps = fc.array(fc.record({ afterMs: fc.nat(700), bytes: fc.integer({ min: 1, max: 3000 }) }), { maxLength: 200 })
    // Rates whose shares of a second are whole milliseconds, so that the model is exact.
    fc.assert(
      fc.property(fc.constantFrom(0, 1, 2, 5, 8, 100), fc.constantFrom(0, 500, 1000), steps, (messagesPerSecond, bytesPerSecond, sent) => {
        let now = 1000
        const rate = new ClientRate('c', { messagesPerSecond, bytesPerSecond }, () => now)
        // Milliseconds' worth; a thousandth of a message is lost at a rate of 100 otherwise.
        let messages = messagesPerSecond * 1000
        let bytes = bytesPerSecond * 1000
        for (const step of sent) {
          now += step.afterMs
          messages = Math.min(messagesPerSecond * 1000, messages + step.afterMs * messagesPerSecond)
          bytes = Math.min(bytesPerSecond * 1000, bytes + step.afterMs * bytesPerSecond)
          const room = (messagesPerSecond === 0 || messages >= 1000) && (bytesPerSecond === 0 || bytes >= 1000)
          expect(rate.waitMs() === 0).toBe(room)
          if (!room) {
            // After the wait, and not before, there is room.
            const wait = rate.waitMs()
            now += wait
            expect(rate.waitMs()).toBe(0)
            now -= wait
            continue
          }
          rate.charge(1, step.bytes)
          messages -= 1000
          bytes -= step.bytes * 1000
        }
      })
    )
  })

  test('without a limit there is none, and one of both leaves the other free', () => {
    expect(new Rates({ messagesPerSecond: 0, bytesPerSecond: 0 }, () => 0).attach('c')).toBeUndefined()
    const rate = new Rates({ messagesPerSecond: 1, bytesPerSecond: 0 }, () => 0).attach('c')
    rate?.charge(1, 1_000_000_000)
    expect(rate?.waitMs()).toBe(1000)
  })

  test('is remembered while its client is away, until it is whole, and of ten thousand at most', () => {
    let now = 0
    const rates = new Rates({ messagesPerSecond: 10, bytesPerSecond: 0 }, () => now)
    const leave = (clientId: string, messages: number): void => {
      const rate = rates.attach(clientId)
      rate?.charge(messages, 0)
      if (rate !== undefined) rates.detach(rate)
    }
    leave('never sent', 0)
    expect(rates.absent).toBe(0)
    leave('long', 600)
    for (let number = 0; number < 300; number++) leave(`short-${number}`, 1)
    expect(rates.absent).toBe(301)
    expect(rates.attach('short-7')?.waitMs()).toBe(0)
    now = 200
    for (let round = 0; round < 3; round++) rates.expire()
    expect(rates.absent).toBe(1)
    expect(rates.attach('long')?.waitMs()).toBe(60_000 - 900 - 200)
    for (let number = 0; number < 10_500; number++) leave(`flood-${number}`, 100)
    expect(rates.absent).toBe(10_000)
  })
})

describe('the wheel', () => {
  test('wakes each once, in at most a slot more than its wait, and stops when nobody waits', () => {
    using intervals = fakeIntervals()
    let now = 0
    const woken: [number, number][] = []
    const wheel = new Wheel<number>(wait => woken.push([wait, now]))
    for (const wait of [0, 1, 10, 11, 250, 630, 5000]) wheel.add(wait, wait)
    wheel.add(77, 77)
    wheel.delete(77)
    expect(wheel.size).toBe(7)
    for (; now < 1000; intervals.advance(10)) now += 10
    expect(woken).toEqual([
      [0, 10],
      [1, 10],
      [10, 10],
      [11, 20],
      [250, 250],
      [630, 630],
      [5000, 630]
    ])
    expect(wheel.size).toBe(0)
    wheel.add(1, 15)
    intervals.advance(20)
    expect(woken.at(-1)?.[0]).toBe(1)
  })
})

describe('a client over its rate', () => {
  test('is acknowledged as its rate allows, answered its PINGREQ meanwhile, and never disconnected', async () => {
    using clock = fakeClock()
    await using served = await serveBroker({ monotonic: clock.monotonic, limits: { messagesPerSecond: 10 } })
    using fast = await RawClient.connect(served.port, 'fast')
    using other = await RawClient.connect(served.port, 'other')
    fast.send(...publishes(25), pingreq)
    await fast.received(12)
    expect(fast.packets.filter(name => name === 'pingresp')).toHaveLength(1)
    expect(served.broker.waitingByReason().get('rate')).toBe(1)
    other.send(...publishes(10))
    await other.received(11)
    for (const allowed of [15, 20, 25]) {
      expect(served.journal.records.filter(({ clientId }) => clientId === 'fast')).toHaveLength(allowed - 5)
      clock.advance(500)
      await until(() => fast.packets.filter(name => name.startsWith('puback')).length === allowed, `${allowed} are acknowledged`)
    }
    // DISCONNECT is not a matter of the rate.
    fast.send(disconnect)
    await fast.untilClosed()
    expect(served.broker.stats.violations).toBe(0)
    expect(served.journal.records.filter(({ clientId }) => clientId === 'fast').map(({ payload }) => Number(payload))).toEqual(
      Array.from({ length: 25 }, (_, at) => at + 1)
    )
  })

  test('is not read, and its keep alive stands still, once it has the bytes that may be held', async () => {
    using clock = fakeClock()
    await using served = await serveBroker({
      monotonic: clock.monotonic,
      limits: { bytesPerSecond: 4096, heldBytes: 8192 }
    })
    using fast = await RawClient.connect(served.port, 'fast', { keepAlive: 1 })
    using slow = await RawClient.connect(served.port, 'slow', { keepAlive: 1 })
    const payload = 'x'.repeat(1000)
    fast.send(...Array.from({ length: 40 }, (_, at) => publish('t', `${at}${payload}`, { qos: 1, id: at + 1 })))
    await until(() => served.broker.stats.pausedSockets === 1, 'it is not read')
    const { heldBytes } = served.broker.stats
    // One read of 64 KiB may come on top.
    expect(heldBytes).toBeGreaterThan(8192)
    for (let second = 0; second < 60; second++) {
      clock.advance(1000)
      slow.send(pingreq)
      await slow.received(second + 2)
    }
    await fast.received(41)
    expect(fast.packets.slice(1)).toEqual(Array.from({ length: 40 }, (_, at) => `puback:${at + 1}`))
    expect(served.broker.stats).toMatchObject({ pausedSockets: 0, heldBytes: 0, violations: 0 })
    // Read again, it is silent like any other.
    clock.advance(1750)
    await fast.untilClosed()
  })

  test('gets no new allowance by coming again, and a packet larger than a second passes', async () => {
    using clock = fakeClock()
    await using served = await serveBroker({ monotonic: clock.monotonic, limits: { bytesPerSecond: 1000, messagesPerSecond: 100 } })
    using first = await RawClient.connect(served.port, 'again')
    first.send(publish('t', 'x'.repeat(2992), { qos: 1, id: 1 }))
    await first.received(2)
    using second = await RawClient.connect(served.port, 'again')
    await first.untilClosed()
    second.send(subscribe(1, ['t', 0]), pingreq)
    expect((await second.received(2)).at(-1)).toBe('pingresp')
    expect(served.broker.waitingByReason().get('rate')).toBe(1)
    second.socket.resetAndDestroy()
    await until(() => served.broker.stats.sockets === 0, 'it has left')
    expect(served.broker.stats.ratesRemembered).toBe(1)
    using third = await RawClient.connect(served.port, 'again')
    third.send(subscribe(1, ['t', 0]), pingreq)
    await third.received(2)
    clock.advance(1990)
    third.send(pingreq)
    expect((await third.received(3)).slice(1)).toEqual(['pingresp', 'pingresp'])
    clock.advance(20)
    expect((await third.received(4)).at(-1)).toBe('suback:1:0')
    third.send(disconnect)
    await third.untilClosed()
    clock.advance(1000)
    expect(served.broker.stats.ratesRemembered).toBe(0)
  })
})
