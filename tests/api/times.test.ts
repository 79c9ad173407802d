import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseDurationMs, parseTime, timeToJson, timeToValue } from '../../api/times.ts'

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })

describe('times', () => {
  it('are written with nine decimals in UTC, before 1970 too', () => {
    expect(timeToValue(1_777_863_721_000_000_042n, 'iso')).toBe('2026-05-04T03:02:01.000000042Z')
    expect(timeToValue(-1n, 'iso')).toBe('1969-12-31T23:59:59.999999999Z')
    expect(timeToValue(0n, 'iso')).toBe('1970-01-01T00:00:00.000000000Z')
  })

  it('are written as whole milliseconds, rounded down, or as a decimal string of nanoseconds', () => {
    expect(timeToJson(1_777_863_721_000_999_999n, 'ms')).toBe('1777863721000')
    expect(timeToJson(-1n, 'ms')).toBe('-1')
    expect(timeToJson(1_777_863_721_000_000_042n, 'ns')).toBe('"1777863721000000042"')
  })

  it('come back exactly from what was written, over all of int64', () => {
    fc.assert(
      fc.property(int64, ns => {
        expect(parseTime('from', String(timeToValue(ns, 'iso')))).toBe(ns)
      })
    )
  })

  it.each([
    ['2026-05-04T03:02:01Z', 1_777_863_721_000_000_000n],
    ['2026-05-04T03:02Z', 1_777_863_720_000_000_000n],
    ['2026-05-04T05:02:01+02:00', 1_777_863_721_000_000_000n],
    ['2026-05-04T05:02:01 02:00', 1_777_863_721_000_000_000n],
    ['2026-05-03T23:32:01-0330', 1_777_863_721_000_000_000n],
    ['2026-05-04t03:02:01.5z', 1_777_863_721_500_000_000n],
    ['2024-02-29T00:00:00Z', 1_709_164_800_000_000_000n],
    ['1777863721000', 1_777_863_721_000_000_000n],
    ['-5', -5_000_000n],
    ['0', 0n]
  ])('%s is read', (text, ns) => {
    expect(parseTime('from', text)).toBe(ns)
  })

  it.each([
    '2026-05-04T03:02:01',
    '2026-05-04',
    '2025-02-29T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-05-04T24:00:00Z',
    '2026-05-04T03:60:00Z',
    '2026-05-04T03:02:61Z',
    '2026-05-04T03:02:01+24:00',
    '2026-05-04T03:02:01.1234567890Z',
    '1.5',
    '',
    'now',
    '99999999999999999',
    '2300-01-01T00:00:00Z',
    '1600-01-01T00:00:00Z'
  ])('%s is refused with the name of the parameter', text => {
    expect(() => parseTime('to', text)).toThrow(expect.objectContaining({ code: 'TG_PARAMETER_INVALID', context: { parameter: 'to' } }))
  })
})

describe('durations', () => {
  it('have one number and one unit', () => {
    expect(['250ms', '5s', '15m', '1h', '30d'].map(parseDurationMs)).toEqual([250, 5_000, 900_000, 3_600_000, 2_592_000_000])
  })

  it.each(['', '5', 's', '1.5s', '-1s', '1w', '1s1m', ' 1s', '1S'])('%j is none', text => {
    expect(parseDurationMs(text)).toBeUndefined()
  })
})
