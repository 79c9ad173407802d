import { describe, expect, it } from 'vitest'
import { RateMeter } from '../../dashboard/rate-meter.ts'

/** The rate that the meter shows after `seconds` of `perSecond` even messages. */
function rateAfter(perSecond: number, seconds: number, meter = new RateMeter(), startMs = 1_234_567): number {
  const total = perSecond * seconds
  meter.rate(startMs)
  for (let index = 0; index < total; index++) meter.add(startMs + (index * 1000) / perSecond, 1)
  return meter.rate(startMs + seconds * 1000)
}

describe('the rate meter', () => {
  it('shows an even rate within a tenth and one message, from two seconds on', () => {
    for (const perSecond of [1, 20, 400])
      for (const seconds of [2, 3, 5, 12, 60]) {
        const rate = rateAfter(perSecond, seconds)
        expect(rate, `${perSecond}/s for ${seconds} s`).toBeGreaterThan(perSecond * 0.9 - 0.25)
        expect(rate, `${perSecond}/s for ${seconds} s`).toBeLessThan(perSecond * 1.1 + 0.25)
      }
  })

  it('falls to zero within some seconds of silence, and rises again after a long one', () => {
    const meter = new RateMeter()
    rateAfter(50, 10, meter, 0)
    expect(meter.rate(13_000)).toBeLessThan(30)
    expect(meter.rate(16_000)).toBe(0)
    expect(rateAfter(30, 6, meter, 500_000)).toBeCloseTo(30, -1)
  })
})
