import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RetainedMessages } from '../../broker/routing/retained-messages.ts'
import { SubscriptionTrie } from '../../broker/routing/subscription-trie.ts'
import { isMqttString, topicFilterFault, topicNameFault } from '../../broker/packets/topics.ts'

const nameFault = (topic: string | Buffer): string | undefined => topicNameFault(Buffer.from(topic), 0, Buffer.byteLength(topic))?.fault
const filterFault = (filter: string | Buffer): string | undefined =>
  topicFilterFault(Buffer.from(filter), 0, Buffer.byteLength(filter))?.fault

/** MQTT 3.1.1 §4.7, written as plainly as possible. */
function matchesModel(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false
  const go = (filterLevels: readonly string[], levels: readonly string[]): boolean => {
    const [level, ...filterRest] = filterLevels
    if (level === '#') return true
    if (level === undefined || levels.length === 0) return level === undefined ? levels.length === 0 : filterLevels.join('/') === '#'
    return (level === '+' || level === levels[0]) && go(filterRest, levels.slice(1))
  }
  return go(filter.split('/'), topic.split('/'))
}

const level = fc.constantFrom('a', 'b', 'c', '', '$x', '__proto__')
const topics = fc.array(level, { minLength: 1, maxLength: 4 }).map(levels => levels.join('/'))
const filters = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 0, maxLength: 4 }), fc.boolean())
  .map(([levels, hash]) => [...levels, ...(hash || levels.length === 0 ? ['#'] : [])].join('/'))

describe('topic names', () => {
  test.each([
    ['', 'topic is empty'],
    ['a/+/b', 'topic has a wildcard'],
    ['a/#', 'topic has a wildcard'],
    ['$SYS/broker/load', 'topic is reserved'],
    ['$share/group/a', 'topic is reserved'],
    ['a\0b', 'topic is not UTF-8'],
    ['é\0', 'topic is not UTF-8'],
    ['x'.repeat(257), 'topic is too long'],
    [Array.from({ length: 17 }, (_, at) => `${at}`).join('/'), 'topic has too many levels']
  ])('%j is refused: %s', (topic, fault) => {
    expect(nameFault(topic)).toBe(fault)
  })

  test.each(['a', '/', 'devices/küche/temperatur', 'a/$b', 'x'.repeat(256), Array.from({ length: 16 }, () => 'l').join('/'), '日本/🌡'])(
    '%j is a topic',
    topic => {
      expect(nameFault(topic)).toBeUndefined()
    }
  )

  test.each(['c0af', 'eda080', 'f4908080', 'ff', 'c3', '61e282'])('the bytes %s are not UTF-8', hex => {
    expect(nameFault(Buffer.from(hex, 'hex'))).toBe('topic is not UTF-8')
  })

  test('any bytes are MQTT text exactly when they decode strictly and hold no NUL', () => {
    const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 24 }),
          fc.string({ unit: 'binary' }).map(text => new TextEncoder().encode(text))
        ),
        bytes => {
          let model = !bytes.includes(0)
          try {
            strict.decode(bytes)
          } catch {
            model = false
          }
          expect(isMqttString(Buffer.from(bytes), 0, bytes.length)).toBe(model)
        }
      ),
      { numRuns: 2000 }
    )
  })
})

describe('topic filters', () => {
  test.each(['#', '+', 'a/#', '+/+', '/', 'a//b', '+/a/#', '$SYS/#'])('%j is a filter', filter => {
    expect(filterFault(filter)).toBeUndefined()
  })
  test.each(['a#', 'a/#/b', '#/', 'a+', '+a/b', 'a/b+', '##', ''])('%j is not a filter', filter => {
    expect(filterFault(filter)).toBeDefined()
  })
})

describe('SubscriptionTrie', () => {
  test('it finds exactly the filters that match, after any additions and removals', () => {
    const step = fc.record({ add: fc.boolean(), filter: filters, value: fc.integer({ min: 0, max: 3 }) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.array(topics, { minLength: 1, maxLength: 10 }), (steps, names) => {
        const trie = new SubscriptionTrie<string>()
        const model = new Map<string, string>()
        for (const { add, filter, value } of steps) {
          const key = `${filter} ${value}`
          if (add) {
            trie.add(filter, key)
            model.set(key, filter)
          } else {
            trie.remove(filter, key)
            model.delete(key)
          }
        }
        expect(trie.size).toBe(model.size)
        for (const topic of names) {
          const expected = [...model].filter(([, filter]) => matchesModel(filter, topic)).map(([key]) => key)
          expect([...trie.match(topic)].toSorted()).toEqual(expected.toSorted())
          expect(trie.matches(topic)).toBe(expected.length > 0)
        }
      }),
      { numRuns: 500 }
    )
  })
})

describe('RetainedMessages', () => {
  test('a filter finds exactly the topics that it matches, after any sets and deletes', () => {
    const step = fc.record({ set: fc.boolean(), topic: topics })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), filters, (steps, filter) => {
        const retained = new RetainedMessages<string>({ messages: 1000, bytes: 1e6 }, message => message.length)
        const model = new Map<string, string>()
        for (const [index, { set, topic }] of steps.entries()) {
          const message = `${topic} ${index}`
          if (set) {
            retained.set(topic, message)
            model.set(topic, message)
          } else {
            retained.delete(topic)
            model.delete(topic)
          }
        }
        expect(retained.size).toBe(model.size)
        const expected = [...model].filter(([topic]) => matchesModel(filter, topic)).map(([, message]) => message)
        expect([...retained.match(filter)].toSorted()).toEqual(expected.toSorted())
      }),
      { numRuns: 500 }
    )
  })

  test('at the limit a known topic is replaced and a new one is not kept', () => {
    const retained = new RetainedMessages<string>({ messages: 2, bytes: 10 }, message => message.length)
    expect([retained.set('a', '1'), retained.set('b', '2'), retained.set('c', '3'), retained.set('a', '4')]).toEqual([
      true,
      true,
      false,
      true
    ])
    retained.delete('b')
    expect(retained.set('c', '5')).toBe(true)
    expect([...retained.match('#')].toSorted()).toEqual(['4', '5'])
    // Of 10 bytes the other topic takes one. What finds no room leaves nothing older in its place.
    expect(retained.set('a', '123456789')).toBe(true)
    expect(retained.set('a', '1234567890')).toBe(false)
    expect([...retained.match('#')]).toEqual(['5'])
    expect(retained.set('b', '123456789')).toBe(true)
  })
})
