import fc from 'fast-check'
import { expect, test } from 'vitest'
import { eventTime, exactStamps, parseTime } from '../../ingest/event-time.ts'
import { receivedNs } from '../../journal/record.ts'
import { recordOf } from './fakes.ts'

test.each([
  [1604360600, 1604360600000000000n],
  [1631186545.04, 1631186545040000000n],
  [99999999999, 99999999999000000000n],
  [1451649600512, 1451649600512000000n],
  [1451649600512.25, 1451649600512250000n],
  [1451649600512345, 1451649600512345000n],
  [1451649600512345678n, 1451649600512345678n],
  ['2026-05-17T09:30:00Z', 1779010200000000000n],
  ['2026-05-17T09:30:00.123456789Z', 1779010200123456789n],
  ['2026-05-17t09:30:00.5z', 1779010200500000000n],
  ['2026-05-17T11:30:00+02:00', 1779010200000000000n],
  ['2026-05-17 05:00:00-0430', 1779010200000000000n],
  ['2026-05-17T09:30Z', 1779010200000000000n],
  ['1969-12-31T23:59:59.000000001Z', -999999999n]
])('%s is a time', (said, ns) => {
  expect(parseTime(said)).toBe(ns)
})

test.each([
  '2026-05-17T09:30:00',
  '2026-05-17',
  '2026-02-30T00:00:00Z',
  '2026-13-01T00:00:00Z',
  '2026-05-17T24:00:00Z',
  '2026-05-17T09:60:00Z',
  '0026-05-17T09:00:00Z',
  'yesterday',
  '',
  true,
  null,
  {},
  [1],
  NaN,
  Infinity,
  1e400
])('%s is no time', said => {
  expect(parseTime(said)).toBeUndefined()
})

test('ISO 8601 agrees with Date for any instant and zone', () => {
  fc.assert(
    fc.property(
      fc.date({ min: new Date('1000-01-02'), max: new Date('9999-12-30'), noInvalidDate: true }),
      fc.integer({ min: -1439, max: 1439 }),
      (date, zone) => {
        const local = new Date(date.getTime() + zone * 60_000).toISOString().slice(0, -1)
        const [hours, minutes] = [Math.floor(Math.abs(zone) / 60), Math.abs(zone) % 60].map(part => String(part).padStart(2, '0'))
        expect(parseTime(`${local}${zone < 0 ? '-' : '+'}${hours}:${minutes}`)).toBe(BigInt(date.getTime()) * 1_000_000n)
      }
    )
  )
})

const window = { past: 3_600_000, future: 60_000 }
const record = recordOf({ ordinal: 12 })

test('a time inside the window around the received time is used, at its very edges too', () => {
  for (const offset of [-3_600_000, -1, 0, 60_000]) {
    const said = record.receivedMs + offset
    expect(eventTime(said, record, window)).toEqual({ timeNs: BigInt(said) * 1_000_000n, deviceTime: undefined, origin: 'device' })
  }
})

test('a time outside the window gives the received time and keeps what the device said', () => {
  for (const said of [record.receivedMs - 3_600_001, record.receivedMs + 60_001, 0, 1e300, '2016-01-01T00:00:00Z', 12345n]) {
    expect(eventTime(said, record, window)).toEqual({ timeNs: receivedNs(record), deviceTime: String(said), origin: 'outside' })
  }
})

test('without a time, and with one that cannot be read, the received time counts', () => {
  expect(eventTime(undefined, record, window)).toMatchObject({ timeNs: receivedNs(record), origin: 'received' })
  expect(eventTime('2026-05-17T09:30:00', record, window)).toEqual({
    timeNs: receivedNs(record),
    deviceTime: undefined,
    origin: 'unusable'
  })
})

test('nanoseconds above 2^53 keep the digits that they were written with', () => {
  const text = '[{"ts":1779010200123456789,"a":1},{"note":{"ts":5},"time" : 1779010200123456790},{"ts":17}]'
  const exact = exactStamps(text)
  expect(exact(1779010200123456789)).toBe(1779010200123456789n)
  expect(exact(1779010200123456790)).toBe(1779010200123456790n)
  expect(exact(17)).toBe(17)
  expect(exact('x')).toBe('x')
})
