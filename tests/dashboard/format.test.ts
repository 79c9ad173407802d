import { describe, expect, it } from 'vitest'
import { decimalsOf, formatClock, formatTicks, formatTimeTick, formatValue } from '../../dashboard/format.ts'

describe('a value', () => {
  it.each([
    [21.157, '21.16'],
    [0.05081, '0.0508'],
    [-893, '-893'],
    [123_825.52, '123,825.5'],
    [0, '0'],
    [0.00003, '3.000e-5'],
    [4.2e15, '4.200e+15'],
    [true, 'yes'],
    ['', '(empty)'],
    ['<b>', '<b>']
  ])('%j is said as %j', (value, text) => {
    expect(formatValue(value)).toBe(text)
  })

  it('keeps the decimals that its field has shown, so that it does not jump, but no more than its size allows', () => {
    expect(decimalsOf(21.16)).toBe(2)
    expect(decimalsOf(22)).toBe(0)
    expect(decimalsOf('1.25')).toBe(0)
    expect(formatValue(22, 2)).toBe('22.00')
    expect(formatValue(9.5, 3)).toBe('9.500')
    expect(formatValue(1200, 4)).toBe('1,200.0')
  })
})

describe('the labels of an axis', () => {
  it('have the decimals that the step needs, all the same number', () => {
    expect(formatTicks([20.9, 20.95, 21, 21.05], 0.05)).toEqual(['20.90', '20.95', '21.00', '21.05'])
    expect(formatTicks([0.1, 0.2, 0.1 + 0.2], 0.1)).toEqual(['0.1', '0.2', '0.3'])
    expect(formatTicks([500, 1000, 1500], 500)).toEqual(['500', '1,000', '1,500'])
    expect(formatTicks([-0.25, 0, 0.25], 0.25)).toEqual(['-0.25', '0.00', '0.25'])
  })

  it('are short where numbers are huge or tiny', () => {
    expect(formatTicks([2e12, 4e12], 2e12)).toEqual(['2.000e+12', '4.000e+12'])
    expect(formatTicks([1e-7, 2e-7], 1e-7)).toEqual(['1.000e-7', '2.000e-7'])
  })

  it('say seconds, minutes or days of the time here, as far as the step needs', () => {
    const noon = new Date(2026, 2, 9, 12, 34, 50).getTime() / 1000
    expect(formatTimeTick(noon, 10)).toBe('12:34:50')
    expect(formatTimeTick(noon - 50, 120)).toBe('12:34')
    expect(formatTimeTick(new Date(2026, 2, 9).getTime() / 1000, 7200)).toBe('03-09')
    expect(formatTimeTick(noon, 86_400)).toBe('03-09')
  })
})

it('a time of another day says the day', () => {
  const timeMs = new Date(2026, 10, 3, 7, 8, 9).getTime()
  expect(formatClock(timeMs, timeMs + 60_000)).toBe('07:08:09')
  expect(formatClock(timeMs, timeMs + 86_400_000)).toBe('11-03 07:08:09')
})
