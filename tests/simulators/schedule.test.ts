import { assert, double, integer, property } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { lateAfterMs, runSchedule } from '../../simulators/schedule.ts'
import type { Clock } from '../../simulators/schedule.ts'
import { placeOf, readingsOf, timeOf } from '../../simulators/timetable.ts'

/** A clock that moves when it is waited on, and by a stall when the test says so. */
class FakeClock implements Clock {
  nowMs = 1_000
  readonly waits: number[] = []
  now(): number {
    return this.nowMs
  }
  async wait(ms: number): Promise<void> {
    this.waits.push(ms)
    // not a fraction of a tick too early, which a sum of doubles may be
    this.nowMs = Math.round((this.nowMs + Math.max(0, ms)) * 1e6) / 1e6 + (ms > 0 ? 1e-6 : 0)
  }
}

const never = new AbortController().signal

describe('the open-loop schedule', () => {
  it('starts every number once, in order, at its time on the absolute clock', async () => {
    const clock = new FakeClock()
    const starts: { index: number; atMs: number; dueMs: number }[] = []
    const outcome = await runSchedule({
      rate: 40,
      total: 13,
      clock,
      signal: never,
      start: (index, dueMs) => starts.push({ index, dueMs, atMs: Math.round(clock.now()) })
    })
    expect(outcome).toEqual({ started: 13, late: 0 })
    expect(starts).toEqual(Array.from({ length: 13 }, (_, index) => ({ index, dueMs: 1_000 + index * 25, atMs: 1_000 + index * 25 })))
  })

  it('starts at once what a stall held up, counts it as late, and is back on time afterwards', async () => {
    const clock = new FakeClock()
    const starts: { index: number; atMs: number }[] = []
    const outcome = await runSchedule({
      rate: 100,
      total: 60,
      clock,
      signal: never,
      start: index => {
        starts.push({ index, atMs: Math.round(clock.now()) })
        if (index === 9) clock.nowMs += 305
      }
    })
    expect(starts.map(start => start.index)).toEqual(Array.from({ length: 60 }, (_, index) => index))
    // 10 … 40 were due from 1,100 to 1,400 and the clock says 1,395 when number 9 returns
    const stalled = starts.filter(start => start.index >= 10 && start.index < 40)
    expect(new Set(stalled.map(start => start.atMs))).toEqual(new Set([1_395]))
    expect(outcome.late).toBe(stalled.filter(start => 1_395 - (1_000 + start.index * 10) > lateAfterMs).length)
    expect(starts.slice(40).map(start => start.atMs)).toEqual(Array.from({ length: 20 }, (_, index) => 1_400 + index * 10))
  })

  it('gives the event loop a turn while it catches up', async () => {
    const clock = new FakeClock()
    await runSchedule({
      rate: 10_000,
      total: 3_000,
      clock,
      signal: never,
      start: index => {
        if (index === 0) clock.nowMs += 299
      }
    })
    expect(clock.waits.filter(ms => ms <= 0).length).toBeGreaterThanOrEqual(10)
  })

  it('ends when the signal aborts and says how far it came', async () => {
    const stop = new AbortController()
    const clock = new FakeClock()
    const outcome = await runSchedule({
      rate: 10,
      total: Number.POSITIVE_INFINITY,
      clock,
      signal: stop.signal,
      start: index => {
        if (index === 4) stop.abort()
      }
    })
    expect(outcome.started).toBe(5)
  })
})

describe('the timetable', () => {
  it('gives every start a reading of its own, and each device strictly increasing times', () => {
    assert(
      property(
        integer({ min: 1, max: 40 }),
        double({ min: 0.01, max: 1, noNaN: true }),
        integer({ min: 1, max: 400 }),
        (devices, share, total) => {
          const table = { devices, rate: devices * 1000 * share, startMs: 1_700_000_000_000 }
          const readings = Array.from({ length: devices }, (): { seq: number; timeMs: number }[] => [])
          for (let index = 0; index < total; index++) {
            const { device, seq } = placeOf(table, index)
            readings[device]?.push({ seq, timeMs: timeOf(table, device, seq) })
          }
          for (const [device, own] of readings.entries()) {
            expect(own.map(reading => reading.seq)).toEqual(Array.from({ length: readingsOf(table, device, total) }, (_, seq) => seq))
            expect(own.filter(({ timeMs }, at) => at > 0 && timeMs <= (own[at - 1]?.timeMs ?? 0))).toEqual([])
            expect(own[0]?.timeMs ?? table.startMs).toBeGreaterThanOrEqual(table.startMs)
          }
        }
      ),
      { numRuns: 200 }
    )
  })
})
