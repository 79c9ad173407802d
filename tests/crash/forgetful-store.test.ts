import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { tidegate as runCommand } from '../cli/harness.ts'
import { ForgetfulInflux } from '../harness/forgetful-influx.ts'
import { InfluxServer } from '../harness/influx.ts'
import { readMetric } from '../harness/operations.ts'
import { readLedger, Recorder } from '../harness/recorder.ts'
import { acknowledgedMore, expectAllThere, publishSteadily, settled } from '../harness/settled.ts'
import { describeWith } from '../harness/servers.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tidegate-forgetful-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
})

const settings = (url: string): Readonly<Record<string, string>> => ({
  'store.kind': 'influx',
  'store.influx.url': url,
  'store.influx.org': 'o',
  'store.influx.bucket': 'b',
  'store.influx.token': 't',
  // Nothing is kept for its own sake: what has to be written again stays by itself.
  'journal.keep.time': '0s',
  'journal.keep.bytes': '0B',
  'journal.segmentBytes': '1MiB'
})

/** Every acknowledged reading is in the server, with its values, and nothing that was not sent. */
function compare(
  server: ForgetfulInflux,
  recorder: Recorder
): { readonly missing: number; readonly wrong: number; readonly unknown: number } {
  const rows = new Map(server.rows())
  let missing = 0
  let wrong = 0
  for (const { device, seq, tsMs, temperature, state, acknowledged } of recorder.sent) {
    const key = `telemetry,device=${device} ${tsMs}000000`
    const row = rows.get(key)
    rows.delete(key)
    if (row === undefined) missing += acknowledged ? 1 : 0
    else {
      const text = `"${state.replace(/["\\]/g, '\\$&')}"`
      const right = row['seq'] === String(seq) && row['temperature'] === String(temperature) && row['state'] === text
      if (!right || Object.keys(row).length !== 3) wrong += 1
    }
  }
  return { missing, wrong, unknown: rows.size }
}

async function expectAllIn(server: ForgetfulInflux, recorder: Recorder): Promise<void> {
  await eventually(
    'every acknowledged reading is in the server',
    () => {
      expect(compare(server, recorder)).toEqual({ missing: 0, wrong: 0, unknown: 0 })
      return true
    },
    60_000
  )
}

/** Resolves when nothing waits to be written, nor to be written again. */
async function written(tidegate: Tidegate, recorder: Recorder): Promise<void> {
  await settled(tidegate, recorder)
  await eventually(
    'nothing is written again',
    async () => ((await readMetric(tidegate, 'tidegate_ingest_rewriting')) === 0 ? true : undefined),
    60_000
  )
}

describe('a store that acknowledges at once and loses its last five seconds when it is killed', () => {
  it.each([false, true])(
    'has everything again after each death, under load and at rest (it says when it started: %s)',
    async tellsStart => {
      await using server = await ForgetfulInflux.start({ tellsStart })
      await using tidegate = await Tidegate.start({ folder, set: settings(server.url) })
      await using recorder = new Recorder('forgotten')
      await recorder.connect(tidegate.mqttUrl, 20)
      const publishing = publishSteadily(recorder)
      for (let deaths = 0; deaths < 3; deaths++) {
        await acknowledgedMore(recorder, 1_500)
        await server.kill()
        await acknowledgedMore(recorder, 500)
        await server.start()
      }
      // And while it is given again what it lost.
      await eventually('it is being given', async () =>
        (await readMetric(tidegate, 'tidegate_ingest_rewriting')) === 1 ? true : undefined
      ).catch(() => undefined)
      await server.kill()
      await server.start()
      publishing.stop()
      await written(tidegate, recorder)
      await expectAllIn(server, recorder)
      // At rest nobody asks it for anything; the lost connection is all there is to notice.
      await server.kill()
      expect(compare(server, recorder).missing).toBeGreaterThan(0)
      await server.start()
      await expectAllIn(server, recorder)
      const { accepted, stored, balanced } = await readLedger(tidegate.httpUrl)
      expect([stored, balanced]).toEqual([accepted, true])
      expect(server.lost).toBeGreaterThan(1_000)
      expect(await tidegate.stop()).toBe(0)
    }
  )

  it('has everything again when edge and service are killed with it', async () => {
    await using server = await ForgetfulInflux.start()
    let ports = { mqttPort: 0, httpPort: 0 }
    let tidegate = await Tidegate.start({ folder, set: settings(server.url), ...ports })
    ports = { mqttPort: tidegate.mqttPort, httpPort: tidegate.httpPort }
    await using recorder = new Recorder('killed')
    try {
      await recorder.connect(tidegate.mqttUrl, 20)
      const publishing = publishSteadily(recorder)
      for (let deaths = 0; deaths < 3; deaths++) {
        await acknowledgedMore(recorder, 1_000)
        await tidegate.kill()
        await server.kill()
        if (deaths !== 1) await server.start()
        tidegate = await Tidegate.start({ folder, set: settings(server.url), ...ports })
        if (deaths !== 1) continue
        await acknowledgedMore(recorder, 500)
        await server.start()
      }
      // The service alone, and the server behind its back.
      await acknowledgedMore(recorder, 1_000)
      const service = tidegate.servicePid()
      if (service !== undefined) process.kill(service, 'SIGKILL')
      await server.kill()
      await server.start()
      await acknowledgedMore(recorder, 500)
      publishing.stop()
      await eventually('the service answers', async () => ((await fetch(`${tidegate.httpUrl}/healthz`)).ok ? true : undefined))
      await written(tidegate, recorder)
      await expectAllIn(server, recorder)
      expect(await tidegate.stop()).toBe(0)
    } finally {
      await tidegate[Symbol.asyncDispose]()
    }
  })

  it('is filled again by `journal replay` when it lost all it had', async () => {
    await using server = await ForgetfulInflux.start()
    const kept = { ...settings(server.url), 'journal.keep.time': '24h', 'journal.keep.bytes': '1GiB' }
    await using tidegate = await Tidegate.start({ folder, set: kept })
    await using recorder = new Recorder('emptied')
    await recorder.connect(tidegate.mqttUrl, 20)
    const publishing = publishSteadily(recorder)
    await acknowledgedMore(recorder, 3_000)
    server.empty()
    await acknowledgedMore(recorder, 500)
    const replay = await runCommand(['journal', 'replay', '--json', '--http', tidegate.httpUrl])
    publishing.stop()
    expect({ code: replay.code, report: JSON.parse(replay.out) as unknown }).toMatchObject({
      code: 0,
      report: { done: true, beyondKept: false, damaged: 0, dropped: 0, refused: 0, deadLettered: 0 }
    })
    await written(tidegate, recorder)
    await expectAllIn(server, recorder)
    const { accepted, stored, deadLettered, balanced } = await readLedger(tidegate.httpUrl)
    expect([stored, deadLettered, balanced]).toEqual([accepted, 0, true])
    expect(await tidegate.stop()).toBe(0)
  })
})

describe('the embedded store', () => {
  it('is written again by `journal replay` without a point more or less, and its tally stays true', async () => {
    await using tidegate = await Tidegate.start({ folder })
    await using recorder = new Recorder('embedded')
    await recorder.connect(tidegate.mqttUrl, 20)
    for (let wave = 0; wave < 100; wave++) recorder.publishAll()
    await settled(tidegate, recorder)
    const before = await readLedger(tidegate.httpUrl)
    const { code, out } = await runCommand(['journal', 'replay', '--json', '--http', tidegate.httpUrl])
    expect({ code, report: JSON.parse(out) as unknown }).toMatchObject({ code: 0, report: { records: 2_000, points: 2_000 } })
    expect(await readLedger(tidegate.httpUrl)).toEqual(before)
    await expectAllThere(tidegate, recorder)
    expect(await tidegate.stop()).toBe(0)
  })
})

describeWith(['influxd'], 'a real InfluxDB', () => {
  it('that is killed again and again under load has everything, once, and no outcome moves by it', async () => {
    await using influx = await InfluxServer.open()
    const bucket = await influx.makeBucket()
    const { url, org, token } = influx
    const set = { ...settings(url), 'store.influx.org': org, 'store.influx.bucket': bucket, 'store.influx.token': token }
    await using tidegate = await Tidegate.start({ folder, set })
    await using recorder = new Recorder('killed-influx')
    await recorder.connect(tidegate.mqttUrl, 20)
    const publishing = publishSteadily(recorder)
    for (let deaths = 0; deaths < 3; deaths++) {
      await acknowledgedMore(recorder, 1_500)
      await influx.stop('SIGKILL')
      await delay(1_000)
      await influx.start()
    }
    await acknowledgedMore(recorder, 500)
    publishing.stop()
    await written(tidegate, recorder)
    expect(tidegate.log.filter(line => line.msg === 'records were written again').length).toBeGreaterThan(0)
    await expectAllThere(tidegate, recorder)
    expect(await tidegate.stop()).toBe(0)
  })
})
