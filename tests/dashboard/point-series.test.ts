import { array, assert, integer, property, record } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PointSeries } from '../../dashboard/point-series.ts'

describe('the points of a chart', () => {
  it('are those of a map by time, in order, whatever order they came in', () => {
    assert(
      property(array(record({ timeMs: integer({ min: 0, max: 60 }), value: integer() })), points => {
        const series = new PointSeries(100)
        const model = new Map<number, number>()
        for (const { timeMs, value } of points) {
          series.add(timeMs, value)
          model.set(timeMs, value)
        }
        const expected = [...model].toSorted(([a], [b]) => a - b)
        expect(series.timesMs).toEqual(expected.map(([timeMs]) => timeMs))
        expect(series.values).toEqual(expected.map(([, value]) => value))
        expect(series.overflowed).toBe(false)
      })
    )
  })

  it('never exceed their limit, keep the newest, and say that some had to go', () => {
    const series = new PointSeries(50)
    for (let index = 0; index < 1_000; index++) {
      series.add(index * 10, index)
      expect(series.timesMs.length).toBeLessThanOrEqual(50)
    }
    expect(series.values.at(-1)).toBe(999)
    expect(series.values).toEqual(Array.from({ length: series.values.length }, (_, index) => 1_000 - series.values.length + index))
    expect(series.values.length).toBeGreaterThanOrEqual(44)
    expect(series.overflowed).toBe(true)
  })

  it('forget what left the range, but keep the one before its edge', () => {
    const series = new PointSeries(1_000)
    for (let index = 0; index < 300; index++) series.add(index * 10, index)
    series.trim(2_005)
    expect(series.timesMs[0]).toBe(2_000)
    expect(series.values).toEqual(Array.from({ length: 100 }, (_, index) => 200 + index))
  })
})
