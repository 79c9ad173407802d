import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readLedger, Recorder } from '../harness/recorder.ts'
import { expectAllThere, publishSteadily, settled } from '../harness/settled.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

const rounds = Number(process.env['TIDEGATE_CRASH_ROUNDS'] ?? 20)
const seed = Number(process.env['TIDEGATE_CRASH_SEED'] ?? 7)

/** A small seeded generator (mulberry32): the moments of the kills are the same for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

describe(`${rounds} rounds of SIGKILL under load (seed ${seed})`, () => {
  let folder = ''
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'tidegate-crash-'))
  })
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })

  it('loses nothing acknowledged and stores nothing twice when edge and service are killed', async () => {
    const random = randomFrom(seed)
    let ports = { mqttPort: 0, httpPort: 0 }
    await using recorder = new Recorder('both')
    let tidegate = await Tidegate.start({ folder, ...ports })
    ports = { mqttPort: tidegate.mqttPort, httpPort: tidegate.httpPort }
    await recorder.connect(tidegate.mqttUrl, 20)
    const publishing = publishSteadily(recorder)
    for (let round = 1; round <= rounds; round++) {
      const before = recorder.acknowledged
      await eventually(
        `round ${round}: publishes are acknowledged`,
        () => (recorder.acknowledged >= before + 20 ? true : undefined),
        60_000
      )
      // The moment of the kill: some number of acknowledgements further on, so that it does not depend on the machine's speed.
      const moment = recorder.acknowledged + Math.floor(random() * 2_000)
      await eventually(`round ${round}: the moment of the kill`, () => (recorder.acknowledged >= moment ? true : undefined), 60_000)
      await tidegate.kill()
      tidegate = await Tidegate.start({ folder, ...ports })
    }
    publishing.stop()
    await settled(tidegate, recorder)
    await expectAllThere(tidegate, recorder)
    expect(await tidegate.stop()).toBe(0)
  })

  it('loses nothing acknowledged and stores nothing twice when a stop is cut short', async () => {
    const random = randomFrom(seed + 2)
    const own = path.join(folder, 'stopping')
    let ports = { mqttPort: 0, httpPort: 0 }
    await using recorder = new Recorder('stopping')
    let tidegate = await Tidegate.start({ folder: own, ...ports })
    try {
      ports = { mqttPort: tidegate.mqttPort, httpPort: tidegate.httpPort }
      await recorder.connect(tidegate.mqttUrl, 20)
      const publishing = publishSteadily(recorder)
      let cutShort = 0
      for (let round = 1; round <= Math.min(rounds, 6); round++) {
        const moment = recorder.acknowledged + 500 + Math.floor(random() * 1_000)
        await eventually(`round ${round}: the moment of the stop`, () => (recorder.acknowledged >= moment ? true : undefined), 60_000)
        const stopped = tidegate.stop()
        // At its first step, or anywhere up to its last.
        if (round % 2 === 1) await tidegate.logged(line => line.msg === 'stopping')
        else await Promise.race([stopped, delay(random() * 400)])
        await tidegate.kill()
        if ((await stopped) === null) cutShort++
        tidegate = await Tidegate.start({ folder: own, ...ports })
      }
      publishing.stop()
      await settled(tidegate, recorder)
      await expectAllThere(tidegate, recorder)
      console.log(`${cutShort} stops were cut short`)
      expect(cutShort).toBeGreaterThan(0)
      expect(await tidegate.stop()).toBe(0)
    } finally {
      await tidegate[Symbol.asyncDispose]()
    }
  })

  it('goes on from the checkpoint when the service alone is killed, and the edge acknowledges meanwhile', async () => {
    const random = randomFrom(seed + 1)
    await using tidegate = await Tidegate.start()
    await using recorder = new Recorder('service')
    await recorder.connect(tidegate.mqttUrl, 20)
    const publishing = publishSteadily(recorder)
    const secondsAway: number[] = []
    for (let round = 1; round <= rounds; round++) {
      const moment = recorder.acknowledged + 50 + Math.floor(random() * 1_000)
      await eventually(`round ${round}: the moment of the kill`, () => (recorder.acknowledged >= moment ? true : undefined), 60_000)
      const pid = tidegate.servicePid()
      if (pid === undefined) throw new Error('no service')
      const killedAt = performance.now()
      process.kill(pid, 'SIGKILL')
      const acknowledgedAtKill = recorder.acknowledged
      await eventually(
        `round ${round}: the edge acknowledges without a service`,
        () => (recorder.acknowledged > acknowledgedAtKill + 40 ? true : undefined),
        30_000
      )
      await eventually(
        `round ${round}: another service answers`,
        async () => {
          // The ledger answers when store, dead letters and pipeline are open.
          await readLedger(tidegate.httpUrl)
          return tidegate.servicePid() === pid ? undefined : true
        },
        60_000
      )
      secondsAway.push((performance.now() - killedAt) / 1000)
    }
    publishing.stop()
    await settled(tidegate, recorder)
    await expectAllThere(tidegate, recorder)
    const sorted = secondsAway.toSorted((a, b) => a - b)
    console.log(
      `service away (the requirement is two seconds): median ${sorted[Math.floor(sorted.length / 2)]?.toFixed(2)} s, longest ${sorted.at(-1)?.toFixed(2)} s`
    )
  })
})
