import { readdir } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { cycles, momentsOf, repeatedBy } from '../harness/cycles.ts'
import { Flood } from '../harness/flood.ts'
import { becomesReady, readMetric, refuses } from '../harness/operations.ts'
import { readLedger, Recorder } from '../harness/recorder.ts'
import { describeWhere } from '../harness/servers.ts'
import { acknowledgedMore, expectAllThere, publishSteadily, settled } from '../harness/settled.ts'
import { mountingFault, SmallDisk } from '../harness/small-disk.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

const mib = 1024 * 1024
const diskBytes = 128 * mib
const reserveBytes = 24 * mib
const set = { 'journal.segmentBytes': '1MiB', 'journal.maxBytes': '64MiB', 'journal.reserve': '24MiB' }

/** Fills the disk until only so much is left and the journal says so; what it frees itself meanwhile is filled, too. */
async function fill(disk: SmallDisk, tidegate: Tidegate, leaveBytes: number): Promise<void> {
  await disk.fill(leaveBytes)
  await refuses(tidegate, 'TG_JOURNAL_FULL')
  await disk.fill(leaveBytes)
}

async function segmentsOf(folder: string): Promise<readonly string[]> {
  return (await readdir(`${folder}/journal`)).filter(name => name.endsWith('.seg'))
}

/** Resolves when nothing is on its way between the disk and the clients any more. */
async function standsStill(tidegate: Tidegate, recorder: Recorder): Promise<void> {
  let before = -1
  await eventually('no further acknowledgement', async () => {
    const last = before
    before = recorder.acknowledged
    // A connection that is read and answered after all the acknowledgements that were on their way.
    await using ping = new Flood({ port: tidegate.mqttPort, clientId: 'ping', qos: 0, publishes: 0, payloadBytes: 0 })
    await eventually('an answer', () => (ping.pingResponses > 0 ? true : undefined))
    return recorder.acknowledged === last ? true : undefined
  })
}

describeWhere(mountingFault(), `a disk that fills while Tidegate runs (${repeatedBy})`, () => {
  it('below the reserve: QoS 1 and 2 wait, QoS 0 is shed and counted, what is in the journal is stored; with space all goes on', async () => {
    await using disk = await SmallDisk.mount(diskBytes)
    await using tidegate = await Tidegate.start({ folder: `${disk.folder}/data`, set })
    const { mqttPort: port } = tidegate
    await using recorder = new Recorder('reserve')
    await recorder.connect(tidegate.mqttUrl, 20)
    const publishing = publishSteadily(recorder)
    await acknowledgedMore(recorder, 2_000)
    await fill(disk, tidegate, reserveBytes - 8 * mib)
    await standsStill(tidegate, recorder)

    const { acknowledged } = recorder
    await using waiting = new Flood({ port, clientId: 'waiting', qos: 1, publishes: 1, payloadBytes: 10 })
    await using shed = new Flood({ port, clientId: 'shed', qos: 0, publishes: 20_000, payloadBytes: 1_000 })
    const counted = async (): Promise<number> => await readMetric(tidegate, 'tidegate_mqtt_publishes_shed_total')
    await eventually('each QoS 0 publish is counted as shed', async () => ((await counted()) === 20_000 ? true : undefined))
    await eventually('a PINGREQ behind a publish that waits is answered', () => (waiting.pingResponses >= 2 ? true : undefined))
    // The reserve is there for this.
    await eventually('the journal is worked off', async () => ((await readLedger(tidegate.httpUrl)).inJournal === 0 ? true : undefined))
    await refuses(tidegate, 'TG_JOURNAL_FULL')
    expect({ acknowledged: recorder.acknowledged, disconnects: recorder.disconnects }).toEqual({ acknowledged, disconnects: 0 })
    expect([waiting.acknowledged, waiting.disconnected, shed.disconnected]).toEqual([0, false, false])

    await disk.empty()
    await acknowledgedMore(recorder, 2_000)
    await eventually('the publish that waited is acknowledged', () => (waiting.acknowledged === 1 ? true : undefined))
    await becomesReady(tidegate)
    publishing.stop()
    await settled(tidegate, recorder)
    await expectAllThere(tidegate, recorder)
    expect(await readLedger(tidegate.httpUrl)).toMatchObject({ sinceStart: { shed: 20_000 } })
    expect(recorder.disconnects).toBe(0)
    expect(await tidegate.stop()).toBe(0)
  })

  it('to its last byte, twice: journal and store wait and go on by themselves, each outage is logged once', async () => {
    await using disk = await SmallDisk.mount(diskBytes)
    await using tidegate = await Tidegate.start({ folder: `${disk.folder}/data`, set })
    await using recorder = new Recorder('last-byte')
    await recorder.connect(tidegate.mqttUrl, 20)
    const publishing = publishSteadily(recorder)
    for (let time = 1; time <= 2; time++) {
      await acknowledgedMore(recorder, 2_000)
      await fill(disk, tidegate, 0)
      await refuses(tidegate, 'TG_STORE_UNAVAILABLE')
      await standsStill(tidegate, recorder)
      await disk.empty()
      await acknowledgedMore(recorder, 100)
      await becomesReady(tidegate)
    }
    publishing.stop()
    await settled(tidegate, recorder)
    await expectAllThere(tidegate, recorder)
    expect(recorder.disconnects).toBe(0)
    expect(tidegate.log.filter(line => line.msg === 'store fails')).toHaveLength(2)
    expect(tidegate.log.filter(line => line['code'] === 'TG_JOURNAL_FAILING')).toEqual([])
    expect(await tidegate.stop()).toBe(0)
  })

  it('with drop-oldest costs what was dropped, counted, and nothing else', async () => {
    await using disk = await SmallDisk.mount(diskBytes)
    const dropping = { ...set, 'journal.maxBytes': '8MiB', 'journal.whenFull': 'drop-oldest' }
    const folder = `${disk.folder}/data`
    await using tidegate = await Tidegate.start({ folder, set: dropping })
    await using recorder = new Recorder('dropped')
    await recorder.connect(tidegate.mqttUrl, 20)
    const publishing = publishSteadily(recorder)
    await acknowledgedMore(recorder, 1_000)
    const service = tidegate.servicePid()
    if (service === undefined) throw new Error('no service')
    // Only a service that does not read leaves anything that can be dropped; several segments of it.
    process.kill(service, 'SIGSTOP')
    try {
      await acknowledgedMore(recorder, 20_000)
      await disk.fill(reserveBytes - 8 * mib)
      await tidegate.logged(line => line.msg === 'the journal is full and drops its oldest records')
      // The one that the service has open can be read to its end; two more are gone for good.
      const kept = (await segmentsOf(folder)).length
      await eventually('further segments are dropped', async () => ((await segmentsOf(folder)).length <= kept - 2 ? true : undefined))
    } finally {
      process.kill(service, 'SIGCONT')
    }
    await refuses(tidegate, 'TG_JOURNAL_FULL')
    await disk.empty()
    await acknowledgedMore(recorder, 2_000)
    await becomesReady(tidegate)
    publishing.stop()
    await settled(tidegate, recorder)
    const { accepted, stored, dropped, balanced } = await readLedger(tidegate.httpUrl)
    const { missing, ...others } = await recorder.compare(tidegate.httpUrl)
    expect(others).toEqual({ duplicated: [], wrong: [], unknown: [] })
    expect({ sum: stored + dropped, balanced }).toEqual({ sum: accepted, balanced: true })
    expect(dropped).toBeGreaterThan(0)
    expect(missing).toHaveLength(dropped)
    expect(await tidegate.stop()).toBe(0)
  })

  it('while edge and service are killed: they start on the full disk, and what was acknowledged is there when it has space', async () => {
    await using disk = await SmallDisk.mount(diskBytes)
    const folder = `${disk.folder}/data`
    const moment = momentsOf('full')
    let ports = { mqttPort: 0, httpPort: 0 }
    await using recorder = new Recorder('killed')
    let tidegate = await Tidegate.start({ folder, set, ...ports })
    try {
      ports = { mqttPort: tidegate.mqttPort, httpPort: tidegate.httpPort }
      await recorder.connect(tidegate.mqttUrl, 20)
      const publishing = publishSteadily(recorder)
      for (let cycle = 0; cycle < Math.max(3, cycles / 10); cycle++) {
        // With nothing left to the store, or the reserve; killed as the disk fills, or some time later.
        const leaveBytes = cycle % 2 === 0 ? 0 : reserveBytes - 8 * mib
        await acknowledgedMore(recorder, 1_000)
        await disk.fill(leaveBytes)
        if (cycle % 4 < 2) await delay(moment())
        await tidegate.kill()
        await disk.fill(leaveBytes)
        tidegate = await Tidegate.start({ folder, set, ...ports })
        await refuses(tidegate, 'TG_JOURNAL_FULL')
        // And once more, from a start on a full disk.
        await tidegate.kill()
        tidegate = await Tidegate.start({ folder, set, ...ports })
        await disk.empty()
      }
      await acknowledgedMore(recorder, 1_000)
      publishing.stop()
      await becomesReady(tidegate)
      await settled(tidegate, recorder)
      await expectAllThere(tidegate, recorder)
      expect(await tidegate.stop()).toBe(0)
    } finally {
      await tidegate[Symbol.asyncDispose]()
    }
  })
})
