import { Point as ClientPoint } from '@influxdata/influxdb-client'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LineEncoder } from '../../storage/influx-lines.ts'
import { contractPoint, contractSource } from '../contract/readings.ts'

const encoder = new LineEncoder()

/** Tags in any order, since the client does not sort device among them. */
function parts(line: string | undefined): string[] {
  return (line ?? '').split(/(?<!\\)[, ]/).toSorted()
}

describe('line protocol', () => {
  it('is what the client writes, for names without backslashes', () => {
    // The client loses a name that is __proto__; ours has it.
    const name = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
      .filter(text => !/[\\\n\r\t\0]|^#|^time$|^device$|^__proto__$/.test(text))
    const value = fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      // The client's own writer goes through a number.
      fc.bigInt({ min: -(2n ** 53n), max: 2n ** 53n }),
      fc.boolean(),
      fc.string({ unit: 'grapheme' })
    )
    fc.assert(
      fc.property(
        name,
        name,
        fc.dictionary(name, name, { maxKeys: 3 }),
        fc.dictionary(name, value, { minKeys: 1, maxKeys: 4 }),
        fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n }),
        (measurement, device, tags, fields, timeNs) => {
          const point = contractPoint(contractSource(device, measurement, tags), timeNs, fields)
          const client = new ClientPoint(measurement).tag('device', device).timestamp(String(timeNs))
          for (const [key, text] of Object.entries(tags)) client.tag(key, text)
          for (const [key, one] of Object.entries(fields)) {
            if (typeof one === 'bigint') client.intField(key, String(one))
            else if (typeof one === 'boolean') client.booleanField(key, one)
            else if (typeof one === 'string') client.stringField(key, one)
            else client.floatField(key, one)
          }
          expect(parts(encoder.encode(point).line)).toEqual(parts(client.toLineProtocol()))
        }
      ),
      { numRuns: 300 }
    )
  })

  it('puts all fields of a point into one line, with the tags sorted', () => {
    const source = contractSource('pump 1', 'home,x', { 'a=b': 'c d', zone: '1' })
    const fields = { 'in side': 21.5, count: 7n, on: false, text: 'say "hi" \\ \n bye' }
    expect(encoder.encode(contractPoint(source, -5n, fields)).line).toBe(
      'home\\,x,a\\=b=c\\ d,device=pump\\ 1,zone=1 in\\ side=21.5,count=7i,on=F,text="say \\"hi\\" \\\\ \n bye" -5'
    )
  })

  it.each([
    ['a measurement that is a comment', contractPoint(contractSource('d', '#m'), 1n, { x: 1.5 })],
    ['an empty measurement', contractPoint(contractSource('d', ''), 1n, { x: 1.5 })],
    ['an empty device', contractPoint(contractSource(''), 1n, { x: 1.5 })],
    ['an empty tag', contractPoint(contractSource('d', 'm', { room: '' }), 1n, { x: 1.5 })],
    ['a device that ends in a backslash', contractPoint(contractSource('d\\'), 1n, { x: 1.5 })],
    ['a backslash before a comma', contractPoint(contractSource('d\\,e'), 1n, { x: 1.5 })],
    ['a line feed in a tag', contractPoint(contractSource('d', 'm', { room: 'a\nb' }), 1n, { x: 1.5 })],
    ['a NUL in a device', contractPoint(contractSource('a\0b'), 1n, { x: 1.5 })],
    ['a tag named time', contractPoint(contractSource('d', 'm', { time: 'now' }), 1n, { x: 1.5 })],
    ['a field named time', contractPoint(contractSource('d'), 1n, { time: 1.5 })],
    ['a field name with an escaped quote', contractPoint(contractSource('d'), 1n, { 'a\\"b': 1.5 })],
    ['half a character', contractPoint(contractSource('d'), 1n, { text: 'a\ud800' })],
    ['a float that is not finite', contractPoint(contractSource('d'), 1n, { x: Number.NaN })],
    ['an integer over 64 bits', contractPoint(contractSource('d'), 1n, { x: 2n ** 63n })],
    ['a time that is too late', contractPoint(contractSource('d'), 2n ** 63n - 1n, { x: 1.5 })],
    ['a point without fields', contractPoint(contractSource('d'), 1n, {})]
  ])('refuses %s with a reason', (_, point) => {
    const encoded = encoder.encode(point)
    expect(encoded.line).toBeUndefined()
    expect(encoded.reason).toMatch(/\w+ \w+/)
  })
})
