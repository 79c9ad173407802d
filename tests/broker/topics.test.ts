import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SubscriptionTrie } from '../../broker/routing/subscription-trie.ts'
import { filters, matchesModel, topics } from './topic-model.ts'
import { isMqttString, topicFilterFault, topicNameFault } from '../../broker/packets/topics.ts'

const nameFault = (topic: string | Buffer): string | undefined => topicNameFault(Buffer.from(topic), 0, Buffer.byteLength(topic))?.fault
const filterFault = (filter: string | Buffer): string | undefined =>
  topicFilterFault(Buffer.from(filter), 0, Buffer.byteLength(filter))?.fault

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
          const found: string[] = []
          trie.match(topic, found)
          expect(found.toSorted()).toEqual(expected.toSorted())
          expect(trie.matches(topic)).toBe(expected.length > 0)
        }
      }),
      { numRuns: 500 }
    )
  })
})
