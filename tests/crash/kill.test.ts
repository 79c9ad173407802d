import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { cycles, momentsOf, repeatedBy } from '../harness/cycles.ts'
import { readLedger, Recorder } from '../harness/recorder.ts'
import { acknowledgedMore, expectAcknowledgedThere, expectAllThere, publishSteadily, settled } from '../harness/settled.ts'
import { eventually, makeDataFolder, Tidegate } from '../harness/tidegate.ts'

/** Readings of half a minute: publishing waits for a comparison that has as many, as it would on a busy machine. */
const unverified = 40_000
/** Each cycle has about two starts and a wait of up to five seconds. */
const timeoutMs = 120_000 + cycles * 60_000

describe(`${cycles} cycles of SIGKILL under load (${repeatedBy})`, () => {
  it(
    'loses nothing acknowledged and stores nothing twice when edge and service are killed',
    async () => {
      await using kept = await makeDataFolder()
      const { folder } = kept
      const moment = momentsOf('both')
      let ports = { mqttPort: 0, httpPort: 0 }
      await using recorder = new Recorder('both')
      let tidegate = await Tidegate.start({ folder, ...ports })
      try {
        ports = { mqttPort: tidegate.mqttPort, httpPort: tidegate.httpPort }
        await recorder.connect(tidegate.mqttUrl, 12)
        const publishing = publishSteadily(recorder, { unverified })
        let kills = 0
        let readyAt = performance.now()
        const restart = async (): Promise<void> => {
          await tidegate.kill()
          kills++
          tidegate = await Tidegate.start({ folder, ...ports })
          readyAt = performance.now()
        }
        for (let cycle = 1; cycle <= cycles; cycle++) {
          const momentMs = moment()
          // A moment that the comparison before has used up needs another start.
          if (performance.now() - readyAt > momentMs) await restart()
          await delay(Math.max(0, readyAt + momentMs - performance.now()))
          await restart()
          try {
            await expectAcknowledgedThere(tidegate, recorder)
          } catch (error) {
            throw new Error(`cycle ${cycle}, killed ${momentMs} ms after it was ready`, { cause: error })
          }
          if (cycle % 25 === 0) {
            const failures = JSON.stringify([...recorder.failures])
            console.log(`cycle ${cycle} of ${cycles}: ${recorder.acknowledged} readings acknowledged, given up by the client: ${failures}`)
          }
        }
        await acknowledgedMore(recorder, 100)
        publishing.stop()
        await settled(tidegate, recorder)
        await expectAllThere(tidegate, recorder)
        console.log(`${recorder.acknowledged} readings acknowledged over ${kills} kills`)
        expect(await tidegate.stop()).toBe(0)
      } finally {
        await tidegate[Symbol.asyncDispose]()
      }
    },
    timeoutMs
  )

  it('loses nothing acknowledged and stores nothing twice when a stop is cut short', async () => {
    await using kept = await makeDataFolder()
    const { folder } = kept
    const moment = momentsOf('stopping')
    let ports = { mqttPort: 0, httpPort: 0 }
    await using recorder = new Recorder('stopping')
    let tidegate = await Tidegate.start({ folder, ...ports })
    try {
      ports = { mqttPort: tidegate.mqttPort, httpPort: tidegate.httpPort }
      await recorder.connect(tidegate.mqttUrl, 12)
      const publishing = publishSteadily(recorder)
      let cutShort = 0
      for (let round = 1; round <= Math.min(cycles, 6); round++) {
        await acknowledgedMore(recorder, 500)
        const stopped = tidegate.stop()
        // At its first step, or anywhere up to its last.
        if (round % 2 === 1) await tidegate.logged(line => line.msg === 'stopping')
        else await Promise.race([stopped, delay(moment() / 12)])
        await tidegate.kill()
        if ((await stopped) === null) cutShort++
        tidegate = await Tidegate.start({ folder, ...ports })
      }
      await acknowledgedMore(recorder, 100)
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

  it(
    'goes on from the checkpoint when the service alone is killed, and the edge acknowledges meanwhile',
    async () => {
      const moment = momentsOf('service')
      await using tidegate = await Tidegate.start()
      await using recorder = new Recorder('service')
      await recorder.connect(tidegate.mqttUrl, 12)
      const publishing = publishSteadily(recorder, { unverified })
      const secondsAway: number[] = []
      for (let cycle = 1; cycle <= cycles / 2; cycle++) {
        await delay(moment())
        const pid = tidegate.servicePid()
        if (pid === undefined) throw new Error('no service')
        const killedAt = performance.now()
        process.kill(pid, 'SIGKILL')
        await acknowledgedMore(recorder, 40)
        await eventually(
          `cycle ${cycle}: another service answers`,
          async () => {
            // The ledger answers when store, dead letters and pipeline are open.
            await readLedger(tidegate.httpUrl)
            return tidegate.servicePid() === pid ? undefined : true
          },
          60_000
        )
        secondsAway.push((performance.now() - killedAt) / 1000)
        await expectAcknowledgedThere(tidegate, recorder)
      }
      publishing.stop()
      await settled(tidegate, recorder)
      await expectAllThere(tidegate, recorder)
      const sorted = secondsAway.toSorted((a, b) => a - b)
      console.log(
        `service away (the requirement is two seconds): median ${sorted[Math.floor(sorted.length / 2)]?.toFixed(2)} s, longest ${sorted.at(-1)?.toFixed(2)} s`
      )
    },
    timeoutMs
  )
})
