import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { BatchBuilder } from '../../ingest/batch-builder.ts'
import type { Decoded } from '../../ingest/decoder.ts'
import type { Field, Point } from '../../telemetry.ts'
import { buildSource } from '../../telemetry.ts'
import { fieldsOf, receivedMs, recordOf } from './fakes.ts'

const noLetters = { has: () => false, countIn: () => 0 }

function pointOf(ordinal: number, device: string, timeNs: number, fields: Record<string, number>): Point {
  const source = buildSource('m', device, [])
  return { source, timeNs: BigInt(timeNs), fields: Object.entries(fields).map(([name, value]): Field => ({ name, value })), ordinal }
}

function decodedOf(points: readonly Point[], kind: Decoded['kind'] = 'json'): Decoded {
  return { outcome: 'stored', route: 'r', points, refusals: [], kind }
}

const keyOf = (point: Point): string => `${point.source.device} ${point.timeNs}`

const seen = (device: string, first: number, last: number, clientId: string | undefined, messages: number, points: number) => ({
  device,
  firstSeenMs: receivedMs + first,
  lastSeenMs: receivedMs + last,
  clientId,
  messages,
  points
})

test('points of a source and time are one, in order, field by field, and the records keep their own', () => {
  const reading = fc.record({
    device: fc.constantFrom('a', 'b'),
    time: fc.nat(6),
    fields: fc.dictionary(fc.constantFrom('x', 'y', 'z'), fc.nat(99), { minKeys: 1 })
  })
  fc.assert(
    fc.property(fc.array(fc.array(reading, { maxLength: 3 }), { maxLength: 12 }), records => {
      const builder = new BatchBuilder(0, noLetters)
      const model = new Map<string, Record<string, number>>()
      for (const [ordinal, readings] of records.entries()) {
        const points = readings.map(({ device, time, fields }) => pointOf(ordinal, device, time, fields))
        builder.add(recordOf({ ordinal }), decodedOf(points))
        for (const { device, time, fields } of readings) model.set(`${device} ${time}`, { ...model.get(`${device} ${time}`), ...fields })
      }
      const batch = builder.seal([], () => undefined)
      expect(batch.write.points).toHaveLength(model.size)
      expect(Object.fromEntries(batch.write.points.map(point => [keyOf(point), fieldsOf(point)]))).toEqual(Object.fromEntries(model))
      for (const [ordinal, readings] of records.entries()) {
        expect(batch.entries[ordinal]?.decoded.points.map(fieldsOf)).toEqual(readings.map(each => each.fields))
      }
      const contributors = batch.write.points.flatMap(point => batch.mergedFrom.get(point) ?? [point])
      expect(new Set(contributors)).toEqual(new Set(batch.entries.flatMap(entry => entry.decoded.points)))
      for (const [merged, parts] of batch.mergedFrom) {
        expect(parts.length).toBeGreaterThan(1)
        expect(parts.every(part => keyOf(part) === keyOf(merged))).toBe(true)
        expect(batch.write.points).toContain(merged)
      }
    }),
    { numRuns: 200 }
  )
})

test('a device is seen once a batch: messages, points, first and last time, and the client that published last', () => {
  const builder = new BatchBuilder(3, noLetters)
  const add = (ordinal: number, clientId: string, devices: readonly string[], kind: Decoded['kind'] = 'json'): void => {
    const points = devices.map((device, index) => pointOf(ordinal, device, ordinal * 10 + index, { v: ordinal }))
    builder.add(recordOf({ ordinal, clientId }), decodedOf(points, kind))
  }
  add(3, 'c1', ['a', 'a', 'b'])
  add(4, 'c2', ['a'])
  add(5, 'c3', ['b'], 'line')
  add(6, 'http', ['c'])
  add(7, 'c4', ['d'], 'line')
  add(8, 'c5', ['d'])
  const { write, from, to } = builder.seal([], () => undefined)
  expect([from, to]).toEqual([3, 9])
  expect(write.devices).toEqual([
    seen('a', 3, 4, 'c2', 2, 3),
    seen('b', 3, 5, undefined, 2, 2),
    seen('c', 6, 6, undefined, 1, 1),
    seen('d', 7, 8, 'c5', 2, 2)
  ])
})

test('a record of very many points of one time is one point, added in steps, and knows all that it was made of', () => {
  const points = Array.from({ length: 30_000 }, (_, index) => pointOf(3, 'a', 5, { [`f${index % 700}`]: index }))
  const builder = new BatchBuilder(3, noLetters)
  let steps = 0
  for (const adding = builder.addInSteps(recordOf({ ordinal: 3 }), decodedOf(points)); adding.next().done !== true;) steps += 1
  expect(steps).toBeGreaterThan(50)
  expect(builder.values).toBe(30_000)
  const { write, mergedFrom } = builder.seal([], () => undefined)
  const [point, ...others] = write.points
  expect(others).toEqual([])
  expect(fieldsOf(point)).toEqual(Object.fromEntries(points.map((_, index) => [`f${index % 700}`, index])))
  expect(point === undefined ? undefined : mergedFrom.get(point)).toEqual(points)
})
