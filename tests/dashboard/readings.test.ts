import { anything, assert, property, stringify } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareFields } from '../../dashboard/field-order.ts'
import { formatAge, formatCount, formatRate, formatValue } from '../../dashboard/format.ts'
import {
  parseDevices,
  parseEvent,
  parseItems,
  parseLedger,
  parseLetterCount,
  parseMeans,
  parseReadiness
} from '../../dashboard/readings.ts'

describe('answers of the API', () => {
  it('become items: times as numbers or ISO with nine decimals, fields of three types', () => {
    const body = {
      items: [
        {
          time: 1_700_000_000_123,
          device: 'a/b',
          measurement: 'home',
          tags: { room: 'hall' },
          fields: { t: 21.5, on: true, mode: 'eco', n: null }
        },
        { time: '2023-11-14T22:13:20.456000000Z', device: 'c', measurement: 'mqtt', tags: {}, fields: {} }
      ],
      nextCursor: 'x'
    }
    expect(parseItems(body)).toEqual({
      more: true,
      items: [
        {
          timeMs: 1_700_000_000_123,
          device: 'a/b',
          measurement: 'home',
          tags: { room: 'hall' },
          fields: [
            ['t', 21.5],
            ['on', true],
            ['mode', 'eco']
          ]
        },
        { timeMs: 1_700_000_000_456, device: 'c', measurement: 'mqtt', tags: {}, fields: [] }
      ]
    })
    expect(parseEvent(JSON.stringify({ position: 'p:1', items: body.items }))).toEqual(parseItems(body).items)
  })

  it('become means of one field', () => {
    const items = [
      { time: 60_000, device: 'a', measurement: 'm', tags: {}, fields: { t: { mean: 4 }, u: { mean: 7 } } },
      { time: 120_000, device: 'a', measurement: 'm', tags: { k: 'v' }, fields: { t: { mean: 5 } } },
      { time: 180_000, device: 'a', measurement: 'm', tags: {}, fields: { t: { mean: null } } }
    ]
    expect(parseMeans({ items }, 't')).toEqual([
      { timeMs: 60_000, value: 4, tags: '[]' },
      { timeMs: 120_000, value: 5, tags: '[["k","v"]]' }
    ])
  })

  it('become the number of dead letters that are kept', () => {
    expect(parseLetterCount({ items: [{}], counts: { 'broken-json': 3, 'too-deep': 4 } })).toBe(7)
    expect(parseLetterCount({ items: [], counts: {} })).toBe(0)
  })

  it('of any other shape are empty, never an exception', () => {
    assert(
      property(anything(), body => {
        for (const parse of [parseItems, parseDevices, parseLedger, parseReadiness]) expect(typeof parse(body)).toBe('object')
        expect(Array.isArray(parseMeans(body, 'x'))).toBe(true)
        expect(typeof parseLetterCount(body)).toBe('number')
        expect(Array.isArray(parseEvent(stringify(body)))).toBe(true)
      })
    )
    expect(parseEvent('{"items":[')).toEqual([])
  })
})

describe('what is shown', () => {
  it('values are short and true', () => {
    const shown = [21.503, 1234.567, 0.00001234, 5e15, -2185.75, 0, true, false, 'eco', ''].map(value => formatValue(value))
    expect(shown).toEqual(['21.5', '1,234.6', '1.234e-5', '5.000e+15', '-2,185.8', '0', 'yes', 'no', 'eco', '(empty)'])
  })

  it('counts, rates and ages too', () => {
    expect([0, 5331, 9_999_999, 12_340_000].map(formatCount)).toEqual(['0', '5,331', '9,999,999', '12.34M'])
    expect([0, 6.62, 9.94, 9.96, 2000.4].map(formatRate)).toEqual(['0', '6.6', '9.9', '10', '2,000'])
    expect([-5_000, 900, 61_000, 600_000, 86_400_000, 864_000_000].map(formatAge)).toEqual([
      'now',
      'now',
      '61 s ago',
      '10 min ago',
      '24 h ago',
      '10 d ago'
    ])
  })

  it('fields that move come before those that hardly do', () => {
    expect(['battery', 'humidity', 'seq', 'temperature'].toSorted(compareFields)).toEqual(['temperature', 'humidity', 'battery', 'seq'])
    expect(['ENERGY_Power', 'ENERGY_Total', 'ENERGY_Voltage'].toSorted(compareFields)).toEqual([
      'ENERGY_Power',
      'ENERGY_Voltage',
      'ENERGY_Total'
    ])
    expect(['voc', 'co2', 'pm25'].toSorted(compareFields)).toEqual(['co2', 'pm25', 'voc'])
  })
})
