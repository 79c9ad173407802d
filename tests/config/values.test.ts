import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatDuration, formatSize, listed, parseDuration, parseInteger, parseSize, shown } from '../../config/values.ts'

describe('durations', () => {
  it.each([
    ['2ms', 2],
    ['250ms', 250],
    ['3s', 3000],
    ['10m', 600_000],
    ['24h', 86_400_000],
    ['400d', 34_560_000_000],
    ['1.5s', 1500],
    ['0ms', 0],
    ['7 s', 7000]
  ])('%s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toEqual({ value: ms })
  })

  it('a bare number is told that it has no unit', () => {
    expect(parseDuration('5')).toEqual({ fault: '"5" has no unit: write 5ms, 5s, 5m, 5h or 5d' })
  })

  it.each(['', 'ms', '-1s', '1h30m', 'soon', '1e3s', '٣s', '5s\n', ' 5s'])('%j is a fault', text => {
    expect(parseDuration(text)).toHaveProperty('fault')
  })

  it('an unknown unit is named', () => {
    expect(parseDuration('3w')).toEqual({ fault: '"w" is not a unit of a duration: write 3ms, 3s, 3m, 3h or 3d' })
    expect(parseDuration('3MS')).toEqual({ fault: '"MS" is not a unit of a duration: write 3ms' })
  })

  it('a fraction of a millisecond is a fault', () => {
    expect(parseDuration('0.5ms')).toEqual({ fault: '"0.5ms" is not a whole number of ms' })
  })
})

describe('sizes', () => {
  it.each([
    ['512B', 512],
    ['64KiB', 65_536],
    ['1.5MiB', 1_572_864],
    ['4GiB', 4_294_967_296]
  ])('%s is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toEqual({ value: bytes })
  })

  it('KB, which means two things, is answered with the unit that means one', () => {
    expect(parseSize('64KB')).toEqual({ fault: '"KB" is not a unit of a size: write 64KiB' })
    expect(parseSize('64kib')).toEqual({ fault: '"kib" is not a unit of a size: write 64KiB' })
  })
})

it('what is formatted is read back as the same value', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 31), value => {
      expect(parseDuration(formatDuration(value))).toEqual({ value })
      expect(parseSize(formatSize(value))).toEqual({ value })
    })
  )
})

it('formats by the largest unit that is exact', () => {
  expect([0, 250, 90_000, 86_400_000].map(formatDuration)).toEqual(['0ms', '250ms', '90s', '1d'])
  expect([0, 1000, 65_536, 1_610_612_736].map(formatSize)).toEqual(['0B', '1000B', '64KiB', '1536MiB'])
})

it('whole numbers stay within their bounds', () => {
  expect(parseInteger('65535', 0, 65_535)).toEqual({ value: 65_535 })
  for (const text of ['65536', '-1', '1.0', '1e3', '0x10', '', '12a', '9'.repeat(40)]) {
    expect(parseInteger(text, 0, 65_535)).toHaveProperty('fault')
  }
})

it('foreign text is shown short and without control characters', () => {
  expect(shown('a\u0000b\u001B[31m')).toBe('a?b?[31m')
  expect(shown('x'.repeat(500))).toHaveLength(60)
  expect(listed(['one'])).toBe('one')
  expect(listed(['one', 'two', 'three'])).toBe('one, two or three')
})
