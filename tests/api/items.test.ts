import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { aggregateItemToJson, rawItemToJson, valueToJson } from '../../api/items.ts'
import { nowNs, parseJson, rowOf, sourceOf } from './fakes.ts'

describe('items', () => {
  it('have exactly the contract’s members', () => {
    const row = rowOf(sourceOf('lamp/1', { room: 'kitchen' }, 'home'), nowNs + 7n, { temperature: 21.5, on: true, name: 'a "b"', n: 3n })
    expect(rawItemToJson(row, 'iso')).toBe(
      '{"time":"2026-05-04T03:02:01.000000007Z","device":"lamp/1","measurement":"home","tags":{"room":"kitchen"},' +
        '"fields":{"n":3,"name":"a \\"b\\"","on":true,"temperature":21.5}}'
    )
  })

  it('write int64 with all its digits', () => {
    expect(valueToJson(9_223_372_036_854_775_807n)).toBe('9223372036854775807')
    expect(valueToJson(-9_223_372_036_854_775_808n)).toBe('-9223372036854775808')
  })

  it('write null for what is no finite number', () => {
    expect([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN].map(valueToJson)).toEqual(['null', 'null', 'null'])
  })

  it('leave out fields that are not wanted', () => {
    const row = rowOf(sourceOf('d'), 0n, { a: 1, b: 2, c: 3 })
    expect(JSON.parse(rawItemToJson(row, 'ns', new Set(['b'])))).toMatchObject({ time: '0', fields: { b: 2 } })
    expect(JSON.parse(rawItemToJson(row, 'ms', new Set(['x'])))).toMatchObject({ time: 0, fields: {} })
  })

  it('of an aggregated row carry the aggregates there are, field by field', () => {
    const item = aggregateItemToJson(
      {
        source: sourceOf('d'),
        timeNs: 0n,
        fields: [
          { name: 'on', values: { count: 3n, last: false } },
          { name: 't', values: { mean: 1.5, max: 2, count: 3n, p99: 2 } }
        ]
      },
      'ms'
    )
    expect(JSON.parse(item)).toEqual({
      time: 0,
      device: 'd',
      measurement: 'telemetry',
      tags: {},
      fields: { on: { count: 3, last: false }, t: { mean: 1.5, max: 2, count: 3, p99: 2 } }
    })
  })

  it('are what JSON.parse gives back, whatever names and values are', () => {
    const name = fc.oneof(fc.string({ unit: 'binary', minLength: 1 }), fc.constantFrom('__proto__', 'constructor', 'é\u0000\u2028"\\'))
    const value = fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean(), fc.string({ unit: 'binary' }))
    fc.assert(
      fc.property(name, name, fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key, maxLength: 5 }), (device, tag, fields) => {
        const source = sourceOf(device, Object.fromEntries([[tag, 'x']]))
        const item = parseJson<{ device: string; tags: object; fields: object }>(
          rawItemToJson({ source, timeNs: nowNs, fields: fields.map(([key, given]) => ({ name: key, value: given })) }, 'iso')
        )
        expect(item.device).toBe(device)
        expect(Object.entries(item.tags)).toEqual([[tag, 'x']])
        expect(new Map(Object.entries(item.fields))).toEqual(new Map(fields.map(([key, given]) => [key, given === 0 ? 0 : given])))
      })
    )
  })
})
