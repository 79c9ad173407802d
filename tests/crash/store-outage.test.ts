import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { InfluxServer } from '../harness/influx.ts'
import { outageSeen, readReadiness } from '../harness/operations.ts'
import { Recorder } from '../harness/recorder.ts'
import { acknowledgedMore, expectAllThere, publishSteadily, settled } from '../harness/settled.ts'
import { describeWith } from '../harness/servers.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

const outageMs = Number(process.env['TIDEGATE_OUTAGE_MS'] ?? 30_000)

describeWith(['influxd'], 'InfluxDB that is away', () => {
  let influx: InfluxServer
  let folder = ''
  let set: Readonly<Record<string, string>> = {}

  beforeAll(async () => {
    influx = await InfluxServer.open()
  })
  afterAll(async () => await influx[Symbol.asyncDispose]())

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'tidegate-outage-'))
    const { url, org, token } = influx
    const bucket = await influx.makeBucket()
    set = { 'store.kind': 'influx', 'store.influx.url': url, 'store.influx.org': org, 'store.influx.bucket': bucket }
    set = { ...set, 'store.influx.token': token }
  })
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })

  it('when Tidegate starts costs no acknowledgement, and all of it is there when InfluxDB comes', async () => {
    await influx.stop()
    await using tidegate = await Tidegate.start({ folder, set })
    await using recorder = new Recorder('before')
    await recorder.connect(tidegate.mqttUrl, 20)
    await outageSeen(tidegate)
    for (let wave = 0; wave < 100; wave++) recorder.publishAll()
    await eventually('every publish is acknowledged without a store', () => (recorder.acknowledged === 2_000 ? true : undefined))
    expect(await readReadiness(tidegate)).toEqual({ status: 200, codes: ['TG_STORE_UNAVAILABLE'] })
    await influx.start()
    await settled(tidegate, recorder)
    await eventually('no reason is left', async () => ((await readReadiness(tidegate)).codes.length === 0 ? true : undefined))
    await expectAllThere(tidegate, recorder)
    expect(await tidegate.stop()).toBe(0)
  })

  it(`for ${outageMs / 1000} s under load, stopped and started again, loses nothing acknowledged and stores nothing twice`, async () => {
    await using tidegate = await Tidegate.start({ folder, set })
    await using recorder = new Recorder('under-load')
    await recorder.connect(tidegate.mqttUrl, 20)
    const publishing = publishSteadily(recorder)
    await acknowledgedMore(recorder, 1_000)
    const away = delay(outageMs)
    await influx.stop('SIGTERM')
    await outageSeen(tidegate)
    await acknowledgedMore(recorder, 1_000)
    await away
    expect(await readReadiness(tidegate)).toEqual({ status: 200, codes: ['TG_STORE_UNAVAILABLE'] })
    await influx.start()
    await acknowledgedMore(recorder, 1_000)
    publishing.stop()
    await settled(tidegate, recorder)
    await expectAllThere(tidegate, recorder)
    expect(await tidegate.stop()).toBe(0)
  })

  it('while edge and service are killed, too, loses nothing acknowledged and stores nothing twice', async () => {
    let ports = { mqttPort: 0, httpPort: 0 }
    await using recorder = new Recorder('killed')
    let tidegate = await Tidegate.start({ folder, set, ...ports })
    ports = { mqttPort: tidegate.mqttPort, httpPort: tidegate.httpPort }
    try {
      await recorder.connect(tidegate.mqttUrl, 20)
      const publishing = publishSteadily(recorder)
      await acknowledgedMore(recorder, 500)
      // InfluxDB in the middle of a batch, then Tidegate with a backlog, twice.
      await influx.stop('SIGKILL')
      for (let round = 0; round < 2; round++) {
        await acknowledgedMore(recorder, 500)
        await tidegate.kill()
        tidegate = await Tidegate.start({ folder, set, ...ports })
        await outageSeen(tidegate)
      }
      await acknowledgedMore(recorder, 500)
      await influx.start()
      // And once more while it catches up.
      await acknowledgedMore(recorder, 50)
      await tidegate.kill()
      tidegate = await Tidegate.start({ folder, set, ...ports })
      await acknowledgedMore(recorder, 500)
      publishing.stop()
      await settled(tidegate, recorder)
      await expectAllThere(tidegate, recorder)
      expect(await tidegate.stop()).toBe(0)
    } finally {
      await tidegate[Symbol.asyncDispose]()
    }
  })
})
