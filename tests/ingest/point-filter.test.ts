import { expect, test } from 'vitest'
import { PointFilter } from '../../ingest/point-filter.ts'
import type { Point } from '../../telemetry.ts'
import { buildSource } from '../../telemetry.ts'

const pointOf = (device: string, timeNs: bigint): Point => ({
  source: buildSource('telemetry', device, []),
  timeNs,
  fields: [],
  ordinal: 0
})

test('it finds every point that was added, whoever holds the source, and next to none of the others', () => {
  const filter = new PointFilter()
  expect([filter.empty, filter.mayHave(pointOf('d1', 1n))]).toEqual([true, false])
  const base = 1_790_000_000_000_000_000n
  const times = Array.from({ length: 50_000 }, (_, index) => base + BigInt(index) * 1_000_003n)
  const [one, other] = [pointOf('d1', 0n).source, pointOf('d2', 0n).source]
  for (const timeNs of [...times, -1n, 0n, -(2n ** 63n)]) filter.add({ ...pointOf('', timeNs), source: one })
  expect([...times, -1n, 0n, -(2n ** 63n)].every(timeNs => filter.mayHave(pointOf('d1', timeNs)))).toBe(true)
  let mistaken = 0
  for (const timeNs of times) {
    if (filter.mayHave({ ...pointOf('', timeNs), source: other })) mistaken += 1
    if (filter.mayHave({ ...pointOf('', timeNs + 1n), source: one })) mistaken += 1
    if (filter.mayHave({ ...pointOf('', timeNs + 2n ** 32n), source: one })) mistaken += 1
  }
  expect(mistaken).toBeLessThan(15)
})
