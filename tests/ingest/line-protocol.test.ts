import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeLines } from '../../ingest/codecs/line-protocol.ts'
import type { Line } from '../../ingest/codecs/line-protocol.ts'
import { Refusals } from '../../ingest/refusals.ts'
import type { FieldValue } from '../../telemetry.ts'

function read(text: string) {
  const refusals = new Refusals()
  const lines = decodeLines(text, refusals)
  return { lines, refusals: refusals.list() }
}

function only(text: string): Omit<Line, 'head' | 'number'> {
  const { lines, refusals } = read(text)
  expect(refusals).toEqual([])
  expect(lines).toHaveLength(1)
  const { measurement, tags, fields, timeNs } = lines[0] ?? expect.fail()
  return { measurement, tags, fields, timeNs }
}

test('a full line has measurement, tags, fields of every type and a time in nanoseconds', () => {
  expect(
    only('weather,room=kitchen,device=w1 temp=21.5,count=42i,big=9223372036854775807u,ok=t,text="two words" 1556813561098000123')
  ).toEqual({
    measurement: 'weather',
    tags: [
      ['room', 'kitchen'],
      ['device', 'w1']
    ],
    fields: [
      { name: 'temp', value: 21.5 },
      { name: 'count', value: 42n },
      { name: 'big', value: 9223372036854775807n },
      { name: 'ok', value: true },
      { name: 'text', value: 'two words' }
    ],
    timeNs: 1556813561098000123n
  })
})

test.each([
  ['1', 1],
  ['-1.', -1],
  ['.5', 0.5],
  ['4.2e1', 42],
  ['4.2E-1', 0.42],
  ['-0i', 0n],
  ['-9223372036854775808i', -9223372036854775808n],
  ['7u', 7n],
  ['T', true],
  ['TRUE', true],
  ['True', true],
  ['true', true],
  ['f', false],
  ['FALSE', false],
  ['""', ''],
  [String.raw`"a \"quote\" and a \\ and \n as it is"`, String.raw`a "quote" and a \ and \n as it is`],
  ['"over\ntwo lines, with a = b"', 'over\ntwo lines, with a = b']
])('the field value %s is %s', (text, value) => {
  expect(only(`m v=${text} 17`)).toEqual({ measurement: 'm', tags: [], fields: [{ name: 'v', value }], timeNs: 17n })
})

test('escapes are undone where they mean something and kept where they do not', () => {
  expect(only(String.raw`my\ mea\,sure=ment,ta\=g\ k=va\,l\=ue\ x,b=C:\dir fi\=e\,ld\ =1`)).toMatchObject({
    measurement: 'my mea,sure=ment',
    tags: [
      ['ta=g k', 'va,l=ue x'],
      ['b', String.raw`C:\dir`]
    ],
    fields: [{ name: 'fi=e,ld ', value: 1 }]
  })
})

test('comments, empty lines, CRLF and spaces at the ends are no lines', () => {
  const { lines, refusals } = read('# a comment m v=1\r\n\r\n  a v=1 10  \r\n\n#\nb v=2\r\nc   v=3   30')
  expect(refusals).toEqual([])
  expect(lines.map(line => [line.number, line.measurement, line.timeNs])).toEqual([
    [3, 'a', 10n],
    [6, 'b', undefined],
    [7, 'c', 30n]
  ])
})

test.each([
  ['m', 'line-syntax'],
  ['m ', 'line-syntax'],
  ['m,a= v=1', 'line-syntax'],
  ['m,a v=1', 'line-syntax'],
  ['m,=x v=1', 'line-syntax'],
  ['m,a=1,a=2 v=1', 'line-syntax'],
  ['m,a=b=c v=1', 'line-syntax'],
  [',a=b v=1', 'line-syntax'],
  ['m v', 'line-syntax'],
  ['m v=', 'line-syntax'],
  ['m =1', 'line-syntax'],
  ['m v=1,', 'line-syntax'],
  ['m v=1 x', 'line-syntax'],
  ['m v=1 1.5', 'line-syntax'],
  ['m v=1 10 20', 'line-syntax'],
  ['m v=1 9223372036854775808', 'line-syntax'],
  ['m v="open', 'line-syntax'],
  ['m v="a"b', 'line-syntax'],
  ['m v=tRUE', 'line-syntax'],
  ['m v=0x10', 'line-syntax'],
  ['m v=1.5i', 'line-syntax'],
  ['m v=-1u', 'line-syntax'],
  [String.raw`m,a=b\ v=1`, 'line-syntax'],
  ['m v=9223372036854775808i', 'integer-out-of-range'],
  ['m v=18446744073709551615u', 'integer-out-of-range'],
  ['m v=NaN', 'non-finite-number'],
  ['m v=-Inf', 'non-finite-number'],
  ['m v=1e999', 'non-finite-number'],
  [`m${Array.from({ length: 65 }, (_, index) => `,t${index}=x`).join('')} v=1`, 'too-many-tags']
])('the line %s is refused, its neighbours are not', (bad, reason) => {
  const { lines, refusals } = read(`before v=1 1\n${bad}\nafter v=2 2`)
  const names = lines.map(line => line.measurement)
  // An open string swallows what follows, up to a quote; the next line is still found.
  expect(names).toEqual(['before', 'after'])
  expect(refusals.map(refusal => refusal.reason)).toEqual([reason])
  expect(refusals[0]?.detail).toMatch(/^line 2: /)
})

test('lines behind a bad string of several lines keep their own numbers', () => {
  const { lines, refusals } = read('a v="one\ntwo"x\nb v=1\nc v="three\nfour"\nd v=1')
  expect(refusals[0]?.detail).toMatch(/^line 1: /)
  expect(lines.map(line => [line.measurement, line.number])).toEqual([
    ['b', 3],
    ['c', 4],
    ['d', 6]
  ])
})

const escapeMeasurement = (text: string): string => text.replaceAll(/[, ]/g, String.raw`\$&`)
const escapeKey = (text: string): string => text.replaceAll(/[,= ]/g, String.raw`\$&`)

function write(line: Omit<Line, 'head' | 'number'>): string {
  const tags = line.tags.map(([key, value]) => `,${escapeKey(key)}=${escapeKey(value)}`).join('')
  const fields = line.fields.map(({ name, value }) => `${escapeKey(name)}=${writeValue(value)}`).join(',')
  return `${escapeMeasurement(line.measurement)}${tags} ${fields}${line.timeNs === undefined ? '' : ` ${line.timeNs}`}`
}

function writeValue(value: FieldValue): string {
  if (typeof value === 'string') return `"${value.replaceAll(/["\\]/g, String.raw`\$&`)}"`
  return typeof value === 'bigint' ? `${value}i` : String(value)
}

// A backslash before a special character, or at the end, cannot be written in a name.
const name = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
  .filter(text => !/[\n\r]/.test(text) && !/\\(?:[,= \\]|$)/.test(text))
const measurement = name.filter(text => !/^[#\s]/.test(text))
const value: fc.Arbitrary<FieldValue> = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(number => number + 0),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.boolean(),
  fc.string({ unit: 'grapheme', maxLength: 20 })
)
const line = fc.record({
  measurement,
  tags: fc.uniqueArray(fc.tuple(name, name), { selector: ([key]) => key, maxLength: 3 }),
  fields: fc.array(fc.record({ name, value }), { minLength: 1, maxLength: 4 }),
  timeNs: fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { nil: undefined })
})

test('what a writer wrote is read back, line by line', () => {
  fc.assert(
    fc.property(fc.array(line, { minLength: 1, maxLength: 5 }), lines => {
      const { lines: found, refusals } = read(lines.map(write).join('\n'))
      expect(refusals).toEqual([])
      expect(found.map(({ measurement, tags, fields, timeNs }) => ({ measurement, tags, fields, timeNs }))).toEqual(lines)
    }),
    { numRuns: 300 }
  )
})

test('a bad line anywhere leaves the good ones as they were', () => {
  fc.assert(
    fc.property(
      fc.array(line, { minLength: 1, maxLength: 5 }),
      fc.nat(5),
      fc.constantFrom('m', 'm,a= v=1', 'm v=1 x'),
      (lines, at, bad) => {
        const texts = lines.map(write)
        texts.splice(Math.min(at, texts.length), 0, bad)
        const { lines: found, refusals } = read(texts.join('\n'))
        expect(refusals).toHaveLength(1)
        expect(found.map(({ measurement, tags, fields, timeNs }) => ({ measurement, tags, fields, timeNs }))).toEqual(lines)
      }
    ),
    { numRuns: 100 }
  )
})

test('a name of nothing but escapes is refused for its length, and costs no neighbour', () => {
  const refusals = new Refusals()
  const lines = decodeLines(`m ${'\\ '.repeat(100_000)}=1\nm ${'\\ '.repeat(256)}=2`, refusals)
  expect(refusals.list().map(({ reason }) => reason)).toEqual(['name-too-long'])
  expect(lines.map(line => line.fields)).toEqual([[{ name: ' '.repeat(256), value: 2 }]])
})
