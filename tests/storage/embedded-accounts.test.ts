import { expect, test } from 'vitest'
import type { StoreAccounts } from '../../storage/port.ts'
import type { Point } from '../../telemetry.ts'
import { checkpoint, hourNs, makeFolder, newYearNs, openDatabase, openStore, point, source, write } from './embedded-fixture.ts'

const devices = Array.from({ length: 6 }, (_, index) => source(`device-${index}`))

/** Points over half a day, some of them late, some in place of others. */
function readings(turn: number): readonly Point[] {
  return Array.from({ length: 400 }, (_, index) => {
    const step = (turn * 97 + index * 31) % 1500
    return point(devices[index % devices.length] ?? source('never'), newYearNs + (BigInt(step) * hourNs) / 125n, { a: turn + index / 512 })
  })
}

function agrees({ points }: StoreAccounts): boolean {
  if (points === undefined) return false
  const { inserted, replaced, expired } = points.tally
  return points.counted === inserted - replaced - expired
}

test('rows and tally agree at every moment while points are written, replaced, expired and sorted', async () => {
  await using folder = await makeFolder()
  let nowMs = Number(newYearNs / 1_000_000n) + 2 * 3_600_000
  const options = { clock: () => nowMs, retentionMs: 3_600_000, upkeep: { pieceRows: 150, leastRows: 10 } }
  await using store = await openStore(folder.path, options)
  const state = { working: true }
  const work = async (): Promise<void> => {
    for (let turn = 0; turn < 30; turn += 1) {
      await Promise.all([write(store, readings(turn), turn + 1), turn % 3 === 0 ? store.upkeep.compact() : store.upkeep.expire()])
      nowMs += 600_000
    }
  }
  const working = work().finally(() => (state.working = false))
  const seen = new Set<string>()
  let before = 0
  while (state.working) {
    const accounts = await store.accounts()
    expect(agrees(accounts), JSON.stringify(accounts)).toBe(true)
    const position = accounts.checkpoint?.position ?? 0
    expect(position).toBeGreaterThanOrEqual(before)
    expect(accounts.checkpoint).toEqual(position === 0 ? undefined : checkpoint(position))
    before = position
    seen.add(JSON.stringify(accounts))
  }
  await working
  expect(seen.size).toBeGreaterThan(30)
  const { points } = await store.accounts()
  expect(points?.tally.replaced).toBeGreaterThan(0)
  expect(points?.tally.expired).toBeGreaterThan(0)
})

test.each([
  ['deleted', 'DELETE FROM points WHERE rowid = (SELECT max(rowid) FROM points)', -1],
  ['doubled', 'INSERT INTO points SELECT * FROM points ORDER BY ts LIMIT 1', 1]
])('a row that was %s by hand is not in the tally', async (_, statement, change) => {
  await using folder = await makeFolder()
  {
    await using store = await openStore(folder.path)
    await write(store, readings(0))
    expect(agrees(await store.accounts())).toBe(true)
  }
  {
    await using database = await openDatabase(folder.path)
    await database.transaction(async ({ connection }) => void (await connection.run(statement)))
  }
  await using store = await openStore(folder.path)
  await write(store, [point(source('another'), newYearNs, { a: 1 })])
  const { points } = await store.accounts()
  const { inserted = 0, replaced = 0, expired = 0 } = points?.tally ?? {}
  expect((points?.counted ?? 0) - (inserted - replaced - expired)).toBe(change)
})
