import { describe, expect, test } from 'vitest'
import { connect, disconnect, pingreq, publish, pubrel, subscribe } from '../broker/raw-client.ts'
import { Reference } from './reference.ts'
import type { Verdict } from './reference.ts'

const read = (...packets: readonly Buffer[]): Verdict =>
  new Reference({ maxPacketBytes: 1000, subscriptions: 2, openIds: 3 }).sit(Buffer.concat(packets))
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const hello = connect('c')

describe('the reference of the fuzzer reads what the specification shows', () => {
  test('a CONNECT, a PUBLISH of each QoS, and what is owed for them (bytes written out by hand)', () => {
    const verdict = read(
      hex('10 0d 0004 4d515454 04 02 003c 0001 61'),
      hex('30 05 0001 74 68 69'),
      hex('32 07 0001 74 000a 68 69'),
      hex('34 07 0001 74 000b 68 69'),
      hex('62 02 000b'),
      hex('c0 00'),
      hex('e0 00')
    )
    expect(verdict).toMatchObject({ packets: 7, clientId: 'a', connack: '20020000', pings: 1, end: 'left', unfinished: 0 })
    expect(verdict.records).toEqual(['0 id=0 user=- topic="t" hi', '1 id=10 user=- topic="t" hi', '2 id=11 user=- topic="t" hi'])
    expect(verdict.acknowledgements).toEqual([0x40000a, 0x50000b, 0x70000b])
  })

  test.each([
    ['another packet before CONNECT', [pingreq], undefined],
    ['a second CONNECT', [hello, hello], '20020000'],
    ['an unknown level', [connect('c', { level: 5 })], '20020001'],
    ['an empty id that wants a session', [connect('', { clean: false })], '20020002'],
    ['a reserved CONNECT flag', [connect('c', { flags: 3 })], undefined],
    ['QoS 3', [hello, hex('36 07 0001 74 000a 68 69')], '20020000'],
    ['packet id 0', [hello, publish('t', 'x', { qos: 1, id: 0 })], '20020000'],
    ['a wildcard in a topic', [hello, publish('a/+', 'x')], '20020000'],
    ['an overlong encoding', [hello, publish(hex('c080'), 'x')], '20020000'],
    ['a surrogate', [hello, publish(hex('eda080'), 'x')], '20020000'],
    ['U+0000', [hello, publish(hex('6100'), 'x')], '20020000'],
    ['a cut character', [hello, publish(hex('e282'), 'x')], '20020000'],
    ['DUP on QoS 0', [hello, publish('t', 'x', { dup: true })], '20020000'],
    ['a fifth byte of length', [hello, hex('30 ff ff ff ff')], '20020000'],
    ['a packet that is too large', [hello, publish('t', 'x'.repeat(1000))], '20020000'],
    ['a misplaced wildcard', [hello, subscribe(1, ['a#', 0])], '20020000'],
    ['a SUBSCRIBE without filters', [hello, hex('82 02 0001')], '20020000'],
    ['too many open QoS 2 ids', [hello, ...[1, 2, 3, 4].map(id => publish('t', 'x', { qos: 2, id }))], '20020000']
  ])('%s is a violation', (_name, packets, connack) => {
    expect(read(...packets, publish('t', 'behind'))).toMatchObject({ end: 'violated', connack, packets: expect.any(Number) })
    expect(read(...packets, publish('t', 'behind')).records.join()).not.toContain('behind')
  })

  test('what a packet lacks makes it unfinished, not wrong', () => {
    const bytes = publish('topic', 'payload', { qos: 1, id: 3 })
    for (let length = 1; length < bytes.length; length++) {
      expect(read(hello, bytes.subarray(0, length))).toMatchObject({ end: 'open', unfinished: length, records: [] })
    }
  })

  test('a resend is no second record, until the client said that it is done', () => {
    const reference = new Reference({ maxPacketBytes: 1000, subscriptions: 2, openIds: 3 })
    const first = publish('t', 'x', { qos: 1, id: 3 })
    const again = publish('t', 'x', { qos: 1, id: 3, dup: true })
    const sit = (...packets: readonly Buffer[]): number => reference.sit(Buffer.concat([hello, ...packets])).records.length
    expect([
      sit(first, again),
      sit(again),
      sit(publish('t', 'y', { qos: 1, id: 3, dup: true })),
      sit(again, disconnect),
      sit(again)
    ]).toEqual([1, 0, 1, 1, 1])
    expect(
      sit(publish('t', 'x', { qos: 2, id: 4 }), publish('t', 'z', { qos: 2, id: 4 }), pubrel(4), publish('t', 'z', { qos: 2, id: 4 }))
    ).toBe(2)
  })
})
