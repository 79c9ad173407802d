import path from 'node:path'
import { expect, it } from 'vitest'
import { FaultyCalls } from '../harness/faulty-calls.ts'
import { Flood } from '../harness/flood.ts'
import { rssBoundBytes, watchMemory } from '../harness/memory.ts'
import { becomesReady, givesReason, outageSeen, readMetric, refuses } from '../harness/operations.ts'
import { Recorder } from '../harness/recorder.ts'
import { describeWith } from '../harness/servers.ts'
import { acknowledgedMore, expectAllThere, publishSteadily, settled } from '../harness/settled.ts'
import { eventually, makeDataFolder, Tidegate } from '../harness/tidegate.ts'

async function failuresMore(tidegate: Tidegate, count: number): Promise<void> {
  const failures = async (): Promise<number> => await readMetric(tidegate, 'tidegate_journal_write_failures_total')
  const goal = (await failures()) + count
  await eventually(`${count} further failures`, async () => ((await failures()) >= goal ? true : undefined), 60_000)
}

describeWith(['strace'], 'a disk that fails while Tidegate runs', () => {
  for (const [what, faults, code] of [
    ['no sync', ['fdatasync:error=EIO', 'fsync:error=EIO'], 'TG_JOURNAL_FAILING'],
    ['no write', ['pwrite64:error=EIO'], 'TG_JOURNAL_FAILING'],
    ['a sync that finds no space', ['fdatasync:error=ENOSPC'], 'TG_JOURNAL_FULL']
  ] as const) {
    it(`with ${what}: nothing is acknowledged until it works again, and then all goes on`, async () => {
      await using tidegate = await Tidegate.start()
      await using recorder = new Recorder('failing')
      await recorder.connect(tidegate.mqttUrl, 20)
      const publishing = publishSteadily(recorder)
      await acknowledgedMore(recorder, 1_000)
      {
        await using _ = await FaultyCalls.inject(tidegate.pid, faults)
        await refuses(tidegate, code)
        // Acknowledgements of groups that were synced before it failed have come by now.
        await failuresMore(tidegate, 1)
        const { acknowledged } = recorder
        await failuresMore(tidegate, 2)
        expect({ acknowledged: recorder.acknowledged, disconnects: recorder.disconnects }).toEqual({ acknowledged, disconnects: 0 })
      }
      await acknowledgedMore(recorder, 1_000)
      await becomesReady(tidegate)
      publishing.stop()
      await settled(tidegate, recorder)
      await expectAllThere(tidegate, recorder)
      expect(recorder.disconnects).toBe(0)
      expect(await tidegate.stop()).toBe(0)
    })
  }

  it('now and then: each failure costs a segment and no false acknowledgement, also when it is killed in the middle of it', async () => {
    await using kept = await makeDataFolder()
    const { folder } = kept
    let ports = { mqttPort: 0, httpPort: 0 }
    await using recorder = new Recorder('flaky')
    let tidegate = await Tidegate.start({ folder, ...ports })
    try {
      ports = { mqttPort: tidegate.mqttPort, httpPort: tidegate.httpPort }
      await recorder.connect(tidegate.mqttUrl, 20)
      const publishing = publishSteadily(recorder)
      for (const faults of [
        ['fdatasync:error=EIO:when=2+3', 'fsync:error=EIO:when=2+3', 'pwrite64:error=EIO:when=5+7'],
        ['pwrite64:error=ENOSPC:when=2+2'],
        ['fdatasync:error=EIO', 'pwrite64:error=EIO:when=40+']
      ]) {
        await acknowledgedMore(recorder, 500)
        await using _ = await FaultyCalls.inject(tidegate.pid, faults)
        await failuresMore(tidegate, 4)
        await tidegate.kill()
        tidegate = await Tidegate.start({ folder, ...ports })
      }
      await acknowledgedMore(recorder, 500)
      publishing.stop()
      await becomesReady(tidegate)
      await settled(tidegate, recorder)
      await expectAllThere(tidegate, recorder)
      expect(await tidegate.stop()).toBe(0)
    } finally {
      await tidegate[Symbol.asyncDispose]()
    }
  })

  it('under the store alone: publishes are acknowledged, and it goes on by itself', async () => {
    await using tidegate = await Tidegate.start()
    await using recorder = new Recorder('store')
    await recorder.connect(tidegate.mqttUrl, 20)
    const publishing = publishSteadily(recorder)
    const service = tidegate.servicePid()
    if (service === undefined) throw new Error('no service')
    for (const faults of [['fsync:error=EIO'], ['write:error=EIO'], ['write:error=ENOSPC:when=2+2', 'fsync:error=EIO:when=2+3']]) {
      await acknowledgedMore(recorder, 500)
      {
        await using _ = await FaultyCalls.inject(service, faults, path.join(tidegate.folder, 'tidegate.duckdb.wal'))
        await outageSeen(tidegate)
        await acknowledgedMore(recorder, 500)
      }
      await becomesReady(tidegate)
    }
    publishing.stop()
    await settled(tidegate, recorder)
    await expectAllThere(tidegate, recorder)
    expect(tidegate.servicePid()).toBe(service)
    expect(await tidegate.stop()).toBe(0)
  })

  it('to do anything quickly: the edge answers meanwhile, and what waits for it is bounded', async () => {
    await using tidegate = await Tidegate.start()
    const { mqttPort: port } = tidegate
    using memory = watchMemory(tidegate)
    await using recorder = new Recorder('slow')
    await recorder.connect(tidegate.mqttUrl, 20)
    recorder.publishAll()
    await settled(tidegate, recorder)
    {
      await using _ = await FaultyCalls.inject(tidegate.pid, ['fdatasync:delay_enter=5s'])
      recorder.publishAll()
      const floods = Array.from({ length: 8 }, (_, index) => {
        return new Flood({ port, clientId: `flood-${index}`, qos: 1, publishes: 10_000, payloadBytes: 4_096 })
      })
      await givesReason(tidegate, 'TG_JOURNAL_BEHIND')
      await using pinging = new Flood({ port, clientId: 'pinging', qos: 1, publishes: 1, payloadBytes: 10 })
      await eventually('a PINGREQ is answered', () => (pinging.pingResponses > 0 ? true : undefined))
      expect(pinging.acknowledged).toBe(0)
      for (const flood of floods) {
        expect(flood.disconnected).toBe(false)
        await flood[Symbol.asyncDispose]()
      }
    }
    await settled(tidegate, recorder)
    await expectAllThere(tidegate, recorder)
    console.log(`greatest memory of the edge: ${Math.round(memory.edge / 1024 / 1024)} MiB`)
    expect(memory.edge).toBeLessThan(rssBoundBytes)
    expect(await tidegate.stop()).toBe(0)
  })
})
