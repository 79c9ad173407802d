import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { Decoder } from '../../ingest/decoder.ts'
import type { DecoderConfig } from '../../ingest/decoder.ts'
import { refusalReasons } from '../../ingest/refusals.ts'
import { receivedNs } from '../../journal/record.ts'
import type { FieldDefinition, FieldType, Point } from '../../telemetry.ts'
import { buildSource, fieldTypeOf } from '../../telemetry.ts'
import { FakeCatalogue, decoderConfig, fieldsOf, receivedMs, recordOf } from './fakes.ts'

function decoderOf(config: Partial<DecoderConfig> = {}, catalogue = new FakeCatalogue()) {
  return new Decoder({ ...decoderConfig, ...config }, catalogue)
}

function decode(payload: string | Uint8Array, decoder = decoderOf(), topic = 'devices/boiler/telemetry') {
  const record = recordOf({ ordinal: 41, payload, topic })
  const decoded = decoder.decode(record)
  expect(decoded.points.every(point => point.ordinal === 41)).toBe(true)
  return {
    ...decoded,
    record,
    reasons: decoded.refusals.map(refusal => refusal.reason),
    readings: decoded.points.map(point => ({ timeNs: point.timeNs, ...fieldsOf(point) }))
  }
}

const ms = (value: number): bigint => BigInt(value) * 1_000_000n

test('an object is a reading at its own time, which is no field; values keep their types', () => {
  const at = receivedMs - 5000
  for (const key of ['ts', 'time', 'timestamp']) {
    expect(decode(`{"${key}":${at},"t":21,"ok":false,"mode":"eco","note":""}`)).toMatchObject({
      outcome: 'stored',
      route: 'devices/{device}/telemetry',
      kind: 'json',
      readings: [{ timeNs: ms(at), t: 21, ok: false, mode: 'eco', note: '' }]
    })
  }
})

test('the first time that can be read counts, and none of them becomes a field', () => {
  const at = receivedMs - 700
  expect(decode(`{"ts":"soon","time":${at},"timestamp":5,"v":1}`).readings).toEqual([{ timeNs: ms(at), v: 1 }])
})

test('a time that cannot be read, and one outside the window, are counted; the latter is kept as text', () => {
  const decoder = decoderOf()
  const unusable = decode('{"ts":null,"v":1}', decoder)
  expect(unusable).toMatchObject({ outcome: 'stored', readings: [{ timeNs: receivedNs(unusable.record), v: 1 }] })
  const outside = decode('{"time":"2001-01-01T00:00:00Z","v":2}', decoder)
  expect(outside.readings).toEqual([{ timeNs: receivedNs(outside.record), v: 2, device_time: '2001-01-01T00:00:00Z' }])
  expect(decode('{"ts":1,"v":3}', decoder).readings).toMatchObject([{ v: 3, device_time: '1' }])
  expect(decoder.times).toEqual({ outside: 2, unusable: 1 })
})

test('{"ts","values"} holds its fields in values, where a time is a field like any other', () => {
  const at = receivedMs - 12
  expect(decode(`{"ts":${at},"values":{"a":1,"ts":2}}`).readings).toEqual([{ timeNs: ms(at), a: 1, ts: 2 }])
  expect(decode(`[{"ts":${at},"values":{"a":1}},{"ts":${at + 1},"values":{"b":{"c":2}}}]`).readings).toEqual([
    { timeNs: ms(at), a: 1 },
    { timeNs: ms(at + 1), b_c: 2 }
  ])
  expect(decode(`{"ts":${at},"values":{"a":1},"more":3}`).readings).toEqual([{ timeNs: ms(at), values_a: 1, more: 3 }])
})

test('elements of an array are readings; those without a time share the received one', () => {
  const at = receivedMs - 9
  const decoded = decode(`[{"a":1},{"ts":${at},"a":2},{"a":3}]`)
  const received = receivedNs(decoded.record)
  expect(decoded.readings).toEqual([
    { timeNs: received, a: 1 },
    { timeNs: ms(at), a: 2 },
    { timeNs: received, a: 3 }
  ])
})

test('nested objects and arrays flatten by name and index; of equal names the later one counts', () => {
  expect(decode('{"a":{"b":{"c":1}},"list":[2,{"x":3}],"a_b_c":4}').readings).toMatchObject([{ a_b_c: 4, list_0: 2, list_1_x: 3 }])
})

test.each([
  ['21.5', 21.5],
  [' -3e2\n', -300],
  ['007', 7],
  ['ON', true],
  ['off', false],
  ['True', true],
  ['"quoted"', 'quoted'],
  ['open', 'open'],
  ['12 V', '12 V'],
  ['0x10', '0x10'],
  ['a=b', 'a=b'],
  ['alarm state=on', 'alarm state=on'],
  ['19.5 °C', '19.5 °C'],
  ['\uFEFF5', 5],
  ['\uFFFD', '\uFFFD']
])('the plain payload %s is one value', (payload, value) => {
  expect(decode(payload)).toMatchObject({ outcome: 'stored', kind: 'scalar', readings: [{ value }] })
})

test('line protocol is recognized, brings its own names, and without a device tag it is the client', () => {
  const at = receivedMs - 1
  const decoded = decode(`weather,device=roof,site=n t=1.5,n=2i ${ms(at)}\n# c\nplain v="x"`)
  expect(decoded).toMatchObject({ outcome: 'stored', kind: 'line' })
  expect(
    decoded.points.map(point => [point.source.measurement, point.source.device, point.source.tags, fieldsOf(point), point.timeNs])
  ).toEqual([
    ['weather', 'roof', { site: 'n' }, { t: 1.5, n: 2n }, ms(at)],
    ['plain', 'client-a', {}, { v: 'x' }, receivedNs(decoded.record)]
  ])
})

const unusable = [
  ['', 'empty-payload'],
  [' \n', 'empty-payload'],
  ['{"a":', 'broken-json'],
  ['[1,]', 'broken-json'],
  ['{"a":NaN}', 'broken-json'],
  ['{}', 'no-fields'],
  ['[]', 'no-fields'],
  [`{"ts":${receivedMs}}`, 'no-fields'],
  ['{"a":{}}', 'no-fields'],
  ['{"a":null}', 'null-value'],
  ['null', 'null-value'],
  ['{"a":1e999}', 'non-finite-number'],
  ['1e999', 'non-finite-number'],
  ['NaN', 'non-finite-number'],
  ['-Infinity', 'non-finite-number'],
  ['{"a":{"b":{"c":{"d":{"e":1}}}}}', 'too-deep'],
  [JSON.stringify(Object.fromEntries(Array.from({ length: 21 }, (_, index) => [`f${index}`, index]))), 'too-many-fields'],
  [JSON.stringify({ s: 'x'.repeat(16_385) }), 'string-too-long'],
  [JSON.stringify({ s: 'é'.repeat(8_193) }), 'string-too-long'],
  [`m v="${'x'.repeat(16_385)}"`, 'string-too-long'],
  [JSON.stringify({ a: 1, nulls: Array.from({ length: 330 }, () => null) }), 'null-value'],
  [JSON.stringify({ '': 1 }), 'name-invalid'],
  [JSON.stringify({ 'a\nb': 1 }), 'name-invalid'],
  [JSON.stringify({ ['n'.repeat(257)]: 1 }), 'name-too-long']
] as const

test.each(unusable.map(([payload, reason]) => [reason, payload] as const))(
  'nothing can be stored where the reason is %s',
  (reason, payload) => {
    const decoded = decode(payload)
    expect(decoded).toMatchObject({ outcome: 'deadLettered', readings: [] })
    expect(decoded.reasons[0]).toBe(reason)
    expect(Object.keys(refusalReasons)).toContain(reason)
  }
)

test('a string of 16 KiB is stored', () => {
  for (const text of ['x'.repeat(16_384), 'é'.repeat(8192)]) expect(decode(JSON.stringify({ text })).readings).toMatchObject([{ text }])
})

test('a reading of nothing but nulls and empty objects is given up on, whatever its length', () => {
  for (const value of ['null', '{}', '[[],[]]']) {
    const decoded = decode(`{"good":1,"list":[${Array.from({ length: 2000 }, () => value).join()}]}`)
    expect(decoded).toMatchObject({ outcome: 'deadLettered', readings: [] })
    expect(decode(`{"good":1,"list":[${value}]}`).readings).toMatchObject([{ good: 1 }])
  }
})

const viewOf = (point: Point): string =>
  `${point.source.key} ${point.timeNs} ${point.fields.map(field => `${field.name}=${field.value}`).join()}`

const longPayloads: readonly (readonly [string, string])[] = [
  ['40,000 bad lines', 'a b\n'.repeat(20_000) + 'a b=\n'.repeat(20_000)],
  ['bad lines and one good one', `${'a b=x\n'.repeat(30_000)}good v=1`],
  ['20,000 good lines', 'm a=1\n'.repeat(20_000)],
  ['an array of small objects', `[${Array.from({ length: 30_000 }, () => '{"a":1}').join()}]`],
  ['an array of what are no objects', `[{},${'7,'.repeat(100_000)}8]`],
  ['an array of empty objects', `[${Array.from({ length: 80_000 }, () => '{}').join()}]`]
]

test.each(longPayloads)('%s are decoded in many steps, and come out as in one', (_, payload) => {
  const decoder = decoderOf()
  const record = recordOf({ ordinal: 9, payload })
  const steps = decoder.decodeInSteps(record)
  let count = 0
  let step = steps.next()
  for (; step.done !== true; step = steps.next()) count += 1
  // Units are at least three bytes long; a step has 128 of them.
  expect(count).toBeGreaterThanOrEqual(100)
  const once = decoderOf().decode(record)
  expect({ ...step.value, points: [] }).toEqual({ ...once, points: [] })
  expect(step.value.points.map(viewOf).join('\n') === once.points.map(viewOf).join('\n')).toBe(true)
  expect(step.value.refusals.length).toBeLessThanOrEqual(9)
})

test('bytes that are not UTF-8 are refused', () => {
  for (const bytes of [[0xff], [0x7b, 0x22, 0xc3, 0x28, 0x22], [0xed, 0xa0, 0x80]]) {
    expect(decode(Buffer.from(bytes))).toMatchObject({ outcome: 'deadLettered', reasons: ['not-utf8'] })
  }
})

test('what is bad costs no neighbour, and the detail says where it was', () => {
  const decoded = decode('[{"a":1},{"a":null},7,{"a":2,"b":1e999},{"a":{"b":{"c":{"d":{"e":1}}}},"z":3}]')
  expect(decoded.outcome).toBe('deadLettered')
  expect(decoded.readings).toMatchObject([{ a: 1 }, { a: 2 }, { z: 3 }])
  expect(decoded.refusals.map(refusal => `${refusal.reason} ${refusal.detail}`)).toEqual([
    expect.stringMatching(/^null-value element 1: a/),
    expect.stringMatching(/^no-fields element 1/),
    expect.stringMatching(/^not-a-reading element 2/),
    expect.stringMatching(/^non-finite-number element 3: b/),
    expect.stringMatching(/^too-deep element 4: a_b_c/)
  ])
})

test('refusals of one record are bounded, and the last says how many more there were', () => {
  const { refusals } = decode(`[${Array.from({ length: 500 }, () => '{"a":null}').join(',')}]`)
  expect(refusals).toHaveLength(9)
  expect(refusals.at(-1)?.detail).toBe('and 992 more')
})

test('names that JavaScript treats specially are fields like any other', () => {
  const { outcome, readings } = decode('{"__proto__":{"x":1},"constructor":2,"hasOwnProperty":3,"toString":4,"values":5}')
  expect(outcome).toBe('stored')
  expect(Object.entries(readings[0] ?? {})).toEqual(
    expect.arrayContaining([
      ['__proto___x', 1],
      ['constructor', 2],
      ['hasOwnProperty', 3],
      ['toString', 4],
      ['values', 5]
    ])
  )
  expect(({} as Record<string, unknown>)['x']).toBeUndefined()
  const tagged = decode('m,__proto__=y,device=d v=1').points[0]
  expect(Object.entries(tagged?.source.tags ?? {})).toEqual([['__proto__', 'y']])
})

test('the first type owns the name; other types go to names of their own, for every device', () => {
  const decoder = decoderOf()
  const read = (payload: string) => decode(payload, decoder).readings.map(({ timeNs: _time, ...fields }) => fields)
  expect(read('{"v":1,"s":"a","b":true}')).toEqual([{ v: 1, s: 'a', b: true }])
  expect(read('{"v":"text","s":5,"b":"no"}')).toEqual([{ v_str: 'text', s_num: 5, b_str: 'no' }])
  expect(read('{"v":false,"s":true,"b":0}')).toEqual([{ v_bool: false, s_bool: true, b_num: 0 }])
  expect(read('telemetry,device=other v=7i,s=8i,fresh=9i')).toEqual([{ v: 7, s_num: 8, fresh: 9n }])
  expect(read('{"fresh":1.5}')).toEqual([{ fresh_num: 1.5 }])
  expect(read('telemetry,device=other fresh=10i')).toEqual([{ fresh: 10n }])
  expect(read('m2,device=other v="a name of another measurement"')).toEqual([{ v: 'a name of another measurement' }])
  const types = decoder.types.takeNew().map(({ measurement, field, type }) => `${measurement} ${field} ${type}`)
  expect(types.toSorted()).toEqual(
    [
      'm2 v string',
      ...['b boolean', 'b_num float', 'b_str string', 'fresh integer', 'fresh_num float'].map(text => `telemetry ${text}`),
      ...['s string', 's_bool boolean', 's_num float', 'v float', 'v_bool boolean', 'v_str string'].map(text => `telemetry ${text}`)
    ].toSorted()
  )
  expect(decoder.types.takeNew()).toEqual([])
})

test('a name with suffix that is taken by another type gets the suffix again', () => {
  const decoder = decoderOf()
  decode('{"v":1,"v_str":2}', decoder)
  expect(decode('{"v":"x"}', decoder).readings).toMatchObject([{ v_str_str: 'x' }])
  expect(decode('{"v":"x","v_str":3}', decoder).readings).toMatchObject([{ v_str_str: 'x', v_str: 3 }])
})

test('types are those of the catalogue after a restart, whatever comes first', () => {
  const value = fc.oneof(fc.constant('1.5'), fc.constant('true'), fc.constant('"s"'))
  const payload = fc.dictionary(fc.constantFrom('a', 'b', 'c'), value, { minKeys: 1 }).map(
    fields =>
      `{${Object.entries(fields)
        .map(([name, text]) => `"${name}":${text}`)
        .join(',')}}`
  )
  fc.assert(
    fc.property(fc.array(payload, { minLength: 1, maxLength: 12 }), fc.nat(12), (payloads, cut) => {
      const whole = decoderOf()
      const expected = payloads.map(each => decode(each, whole).readings)
      const catalogue = new FakeCatalogue()
      let decoder = decoderOf({}, catalogue)
      const found = payloads.map((each, index) => {
        if (index === cut) {
          catalogue.definitions.push(...decoder.types.takeNew())
          decoder = decoderOf({}, catalogue)
        }
        return decode(each, decoder).readings
      })
      expect(found).toEqual(expected)
      const known = new Map<string, FieldType>(
        [...catalogue.definitions, ...decoder.types.takeNew()].map((one: FieldDefinition) => [one.field, one.type])
      )
      for (const reading of found.flat()) {
        for (const [name, value] of Object.entries(reading)) if (name !== 'timeNs') expect(fieldTypeOf(value)).toBe(known.get(name))
      }
    }),
    { numRuns: 60 }
  )
})

test('a field with few series left: known ones go on, new ones are refused by name, in total and per device', () => {
  const catalogue = new FakeCatalogue()
  const decoder = decoderOf({ limits: { ...decoderConfig.limits, series: 5, seriesPerDevice: 3 } }, catalogue)
  const send = (device: string, payload: string) => decode(payload, decoder, `devices/${device}/telemetry`)
  expect(send('d1', '{"a":1,"b":2}').outcome).toBe('stored')
  const third = send('d1', '{"a":3,"c":4,"d":5}')
  expect(third.readings).toMatchObject([{ a: 3, c: 4 }])
  expect(third.refusals).toEqual([{ reason: 'series-limit', detail: expect.stringContaining('limits.seriesPerDevice') }])
  expect(send('d2', '{"a":1,"b":2}').outcome).toBe('stored')
  expect(send('d3', '{"a":1}')).toMatchObject({ outcome: 'deadLettered', readings: [], reasons: ['series-limit'] })
  expect(send('d1', '{"a":6,"b":7,"c":8}').outcome).toBe('stored')
  // A field that no series was admitted for has no type: nothing of what was refused is remembered.
  expect(decoder.types.takeNew().map(definition => definition.field)).toEqual(['a', 'b', 'c'])
})

test('series count once while their batch is written and after it, and again when the store refused them', () => {
  const catalogue = new FakeCatalogue()
  const decoder = decoderOf({ limits: { ...decoderConfig.limits, series: 2 } }, catalogue)
  const send = (payload: string) => decode(payload, decoder)
  const { points } = send('{"a":1}')
  const settled = decoder.budget.seal()
  catalogue.learn({ points, fields: [], devices: [] }, points)
  expect(send('{"b":1}').outcome).toBe('stored')
  settled()
  const refused = decoder.budget.seal()
  expect(send('{"c":1}').reasons).toEqual(['series-limit'])
  refused()
  expect(send('{"c":1}').outcome).toBe('stored')
  expect(send('{"b":1}').reasons).toEqual(['series-limit'])
})

test('at 80 % of a limit there is one warning', () => {
  const warnings: unknown[] = []
  const limits = { ...decoderConfig.limits, series: 10, seriesPerDevice: 5 }
  const decoder = new Decoder({ ...decoderConfig, limits }, new FakeCatalogue(), { warn: warning => warnings.push(warning) })
  for (let index = 0; index < 20; index += 1) {
    decode(`{"f${index % 4}":1}`, decoder, `devices/d${index % 5}/telemetry`)
  }
  expect(warnings).toEqual([{ device: undefined, series: 8, limit: 10 }])
  for (let index = 0; index < 5; index += 1) decode(`{"g${index}":1}`, decoder, 'devices/d0/telemetry')
  expect(warnings.slice(1)).toEqual(warnings.slice(1).map(() => expect.objectContaining({ device: 'd0', limit: 5 })))
})

test('testing a mapping answers what decoding would, and changes nothing', () => {
  const catalogue = new FakeCatalogue()
  const decoder = decoderOf({ limits: { ...decoderConfig.limits, series: 3 } }, catalogue)
  decode('{"known":1}', decoder)
  decoder.types.takeNew()
  const probe = (topic: string, payload: string, clientId?: string) =>
    decoder.testMapping({ topic, payload: Buffer.from(payload), ...(clientId === undefined ? {} : { clientId }) }, catalogue, receivedMs)
  for (let round = 0; round < 5; round += 1) {
    const answer = probe('devices/boiler/telemetry', `{"known":"now text","n${round}":1,"ts":5}`)
    expect(answer).toMatchObject({ outcome: 'stored', route: 'devices/{device}/telemetry' })
    expect(fieldsOf(answer.points[0])).toEqual({ known_str: 'now text', [`n${round}`]: 1, device_time: '5' })
  }
  expect(probe('solo', '5').points[0]?.source.device).toBe('http')
  expect(probe('solo', '5', 'me').points[0]?.source).toEqual(buildSource('mqtt', 'me', []))
  expect(probe('a/set', '5')).toEqual({ outcome: 'ignored', route: '{topic…}/set', points: [] })
  expect(probe('a', '{"x":null}')).toMatchObject({ outcome: 'deadLettered', reason: 'null-value', detail: expect.stringContaining('x') })
  expect(decoder.types.takeNew()).toEqual([])
  expect(decoder.times).toEqual({ outside: 0, unusable: 0 })
  expect(decode('{"other":1,"more":2}', decoder).outcome).toBe('stored')
  expect(decode('{"last":2}', decoder).reasons).toEqual(['series-limit'])
})

test('decoding never throws, whatever the bytes and the topic, and says why when it stores nothing', () => {
  const decoder = decoderOf({
    routes: [
      { topic: 'l/{device}', payload: 'line' },
      { topic: 'j/{device}/{field}', payload: 'json' }
    ]
  })
  const nested = fc.nat(3000).map(depth => '['.repeat(depth) + '{"a":'.repeat(depth % 50))
  const text = fc.oneof(
    fc.json(),
    fc.string({ unit: 'binary' }),
    nested,
    fc.stringMatching(/^[mt,= "\\\n#\d.ieuT-]{0,40}$/),
    fc.array(fc.json(), { maxLength: 4 }).map(parts => `[${parts.join(',')}]`)
  )
  const payload = fc.oneof(
    text.map(each => Buffer.from(each)),
    fc.uint8Array({ maxLength: 60 })
  )
  const topic = fc.oneof(
    fc.constantFrom('devices/x/telemetry', 'l/x', 'j/x/y', 'zigbee2mqtt/x/availability', 'tele/x/STATE', 'shellies/x/relay/0', 'a'),
    fc.string({ unit: 'grapheme', minLength: 1 })
  )
  fc.assert(
    fc.property(topic, payload, (topic, bytes) => {
      const { outcome, points, refusals } = decoder.decode(recordOf({ topic, payload: bytes }))
      expect(outcome).toBe(refusals.length > 0 ? 'deadLettered' : points.length > 0 ? 'stored' : 'ignored')
      for (const { fields } of points) {
        expect(fields.length).toBeGreaterThan(0)
        expect(new Set(fields.map(field => field.name)).size).toBe(fields.length)
        for (const { value } of fields) expect(typeof value !== 'number' || Number.isFinite(value)).toBe(true)
      }
    }),
    { numRuns: 1000 }
  )
})

test.each([
  ['digits that end in none', `m v=${'1'.repeat(250_000)}x`],
  ['a number without end', '1'.repeat(250_000)],
  ['bad lines only', 'm v=\n'.repeat(50_000)],
  ['many tags', `m${Array.from({ length: 40_000 }, (_, index) => `,${index}=x`).join('')} v=1`],
  ['many fields', `m ${Array.from({ length: 40_000 }, (_, index) => `f${index}=1`).join(',')}`],
  ['open strings', 'm v="\n'.repeat(40_000)],
  ['many nulls', `[${'{"a":null},'.repeat(20_000)}{}]`],
  ['deep arrays', '['.repeat(120_000) + ']'.repeat(120_000)],
  ['many stamps', `[${'{"ts":1779010200123456789,"a":1},'.repeat(7000)}{}]`],
  ['a long name', JSON.stringify({ ['n'.repeat(250_000)]: { ['m'.repeat(1000)]: 1 } })]
])('a payload made to be slow (%s) is not', (_name, payload) => {
  const startMs = performance.now()
  decode(payload)
  // Generous for a busy machine: what is quadratic here takes minutes.
  expect(performance.now() - startMs).toBeLessThan(3000)
})
