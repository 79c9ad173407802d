import { expect, test } from 'vitest'
import { TopicInterest } from '../../broker/topic-interest.ts'
import { Random } from '../fuzz/random.ts'

const topics = ['a', 'b', 'd/1/temperature', 'd/2/temperature', 'd/1/humidity', 'ü'] as const

test('the answers are those of the router, by topic and QoS, and follow every change of subscriptions', () => {
  const random = new Random(7)
  const subscribed = new Set<string>()
  let asked = 0
  const router = {
    subscriptionsGeneration: 0,
    wants: (topic: string, qos: 0 | 1 | 2): boolean => {
      asked += 1
      return subscribed.has(`${topic} ${qos === 0 ? 'live' : 'kept'}`)
    }
  }
  const interest = new TopicInterest()
  const shared = Buffer.alloc(64)
  for (let step = 0; step < 20_000; step++) {
    const topic = topics[random.below(topics.length)] ?? 'a'
    if (random.oneIn(20)) {
      const key = `${topic} ${random.pick(['live', 'kept'])}`
      if (!subscribed.delete(key)) subscribed.add(key)
      router.subscriptionsGeneration += 1
    }
    const qos = ([0, 1, 2] as const)[random.below(3)] ?? 0
    // As the gate has it: a view of a buffer that is used again.
    const length = shared.write(topic)
    const wants = interest.wants(router, shared.subarray(0, length), qos)
    const before = asked
    expect(wants).toBe(router.wants(topic, qos))
    asked = before
  }
})

test('a device that goes through four topics asks once for each, as long as no subscription changes', () => {
  let asked = 0
  const router = { subscriptionsGeneration: 5, wants: () => (asked++, false) }
  const interest = new TopicInterest()
  const publish = (rounds: number): void => {
    for (let round = 0; round < rounds; round++) for (const topic of topics.slice(0, 4)) interest.wants(router, Buffer.from(topic), 1)
  }
  publish(100)
  expect(asked).toBe(4)
  router.subscriptionsGeneration += 1
  publish(100)
  expect(asked).toBe(8)
})
