import path from 'node:path'
import { pino } from 'pino'
import { expect, it } from 'vitest'
import type { EmbeddedStore } from '../../storage/embedded-store.ts'
import type { Point } from '../../telemetry.ts'
import { FaultyCalls } from '../harness/faulty-calls.ts'
import { describeWhere, describeWith } from '../harness/servers.ts'
import { mountingFault, SmallDisk } from '../harness/small-disk.ts'
import { eventually } from '../harness/tidegate.ts'
import { collect, makeFolder, Model, newYearNs, openStore, point, query, source, write } from '../storage/embedded-fixture.ts'

const mib = 1024 * 1024
const devices = Array.from({ length: 20 }, (_, index) => source(`device-${index}`))

/** 2,000 points, each distinct, of 20 devices; steps of different numbers share no time. */
function readings(step: number): readonly Point[] {
  return Array.from({ length: 2_000 }, (_, index) => {
    const of = devices[index % devices.length] ?? source('never')
    const text = `step ${step}, reading ${index} ${'-'.repeat(index % 90)}`
    return point(of, newYearNs + BigInt(step) * 1_000_000_000n + BigInt(index), { a: step * 2_000 + index, text })
  })
}

async function expectStored(store: EmbeddedStore, steps: number): Promise<void> {
  const model = new Model()
  for (let step = 0; step < steps; step++) model.write(readings(step))
  expect(await store.countPoints()).toBe(model.size)
  expect(await collect(store.raw(query()))).toEqual(model.raw(query()))
  const { inserted, replaced, expired } = await store.tally()
  expect(inserted - replaced - expired).toBe(model.size)
}

/** A log whose messages can be counted. */
function openLog() {
  const said: string[] = []
  const log = pino({}, { write: (line: string) => said.push(line) })
  return { log, count: (message: string): number => said.filter(line => line.includes(message)).length }
}

describeWhere(mountingFault(), 'the embedded store on a disk that fills', () => {
  it('in the middle of its own checkpoint: it is opened again, waits for space, and has each batch once', async () => {
    await using disk = await SmallDisk.mount(160 * mib)
    const { log, count } = openLog()
    const folder = path.join(disk.folder, 'data')
    let steps = 0
    {
      await using store = await openStore(folder, { log })
      const failures: string[] = []
      // DuckDB moves 16 MiB of its log into the file at once: sooner or later it is that for which there is no room.
      for (let leaveMib = 6; !failures.some(failure => /checkpoint/i.test(failure)); leaveMib += 3) {
        expect(leaveMib).toBeLessThan(30)
        await disk.fill(leaveMib * mib)
        try {
          for (;;) {
            await write(store, readings(steps), steps)
            steps++
          }
        } catch (error) {
          failures.push(String(error))
        }
        expect(store.outage).toBe(failures.at(-1)?.replace('TidegateError: ', ''))
        await expect(write(store, readings(steps), steps)).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
        await disk.empty()
        await eventually('the probe finds that it works again', () => (store.outage === undefined ? true : undefined))
        await write(store, readings(steps), steps)
        steps++
      }
      expect(count('store fails')).toBe(failures.length)
      expect(count('store works again')).toBe(failures.length)
      await expectStored(store, steps)
    }
    await using store = await openStore(folder)
    await expectStored(store, steps)
  })
})

describeWith(['strace'], 'the embedded store on a disk that fails', () => {
  it('to sync: the outage lasts until a write reaches the disk, and the batch is there once', async () => {
    await using folder = await makeFolder()
    const { log, count } = openLog()
    await using store = await openStore(folder.path, { log })
    await write(store, readings(0), 0)
    {
      await using sync = await FaultyCalls.inject(process.pid, ['fsync:error=EIO', 'fdatasync:error=EIO'])
      await expect(write(store, readings(1), 1)).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
      const { met } = sync
      // The probe tries, too.
      await eventually('further syncs that failed', () => (sync.met >= met + 3 ? true : undefined))
      await expect(write(store, readings(1), 1)).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
      expect(store.outage).toBeDefined()
    }
    await eventually('the probe finds that it works again', () => (store.outage === undefined ? true : undefined))
    await write(store, readings(1), 1)
    await expectStored(store, 2)
    expect([count('store fails'), count('store works again'), count('opened again')]).toEqual([1, 1, 1])
  })
})
