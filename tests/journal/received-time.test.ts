import { pino } from 'pino'
import { expect, test } from 'vitest'
import { ReceivedTime } from '../../journal/received-time.ts'

test('where the ns of the ordinal begin again within a ms, the ms advances by one and stays there until the clock moves', () => {
  const time = new ReceivedTime({ ms: 0, subNs: 0 })
  const seen = [999_998, 999_999, 1_000_000, 1_000_001].map(ordinal => {
    time.next(1000, ordinal)
    return [time.ms, time.subNs]
  })
  time.next(1002, 1_000_002)
  expect([...seen, [time.ms, time.subNs]]).toEqual([
    [1000, 999_998],
    [1000, 999_999],
    [1001, 0],
    [1001, 1],
    [1002, 2]
  ])
})

test('the last time of the journal before counts after a restart', () => {
  const time = new ReceivedTime({ ms: 1000, subNs: 999_999 })
  time.next(1000, 2_000_000)
  expect([time.ms, time.subNs]).toEqual([1001, 0])
})

test('a step of the wall clock of more than a second is logged, a slow drift is not', () => {
  const lines: unknown[] = []
  const log = pino({ level: 'info' }, { write: line => lines.push(JSON.parse(line)) })
  const time = new ReceivedTime({ ms: 0, subNs: 0 })
  time.watch(10_000, 0, log)
  time.watch(11_500, 1000, log)
  time.watch(12_900, 2000, log)
  expect(lines).toEqual([])
  time.watch(7_000, 3000, log)
  expect(lines).toEqual([expect.objectContaining({ stepMs: -6900 })])
})
