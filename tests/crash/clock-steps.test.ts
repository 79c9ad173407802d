import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { momentsOf, repeatedBy } from '../harness/cycles.ts'
import { Recorder } from '../harness/recorder.ts'
import { describeWith } from '../harness/servers.ts'
import { acknowledgedMore, publishSteadily, settled, workedOff } from '../harness/settled.ts'
import { makeDataFolder, Tidegate } from '../harness/tidegate.ts'

/** Variables under which a process and its children see a wall clock that is off by so much; their monotonic one is right. */
function clockOff(offset: string): Record<string, string> {
  // $LIB is the dynamic linker's word for the folder of this machine's libraries.
  return { LD_PRELOAD: '/usr/$LIB/faketime/libfaketimeMT.so.1', FAKETIME: offset, DONT_FAKE_MONOTONIC: '1', NO_FAKE_STAT: '1' }
}

/** As libfaketime has them. */
const years = 365 * 86_400_000
const steps = [
  { offset: '+1h', ms: 3_600_000 },
  { offset: '-1h', ms: -3_600_000 },
  { offset: '-10y', ms: -10 * years },
  { offset: '+50y', ms: 50 * years },
  { offset: '-1h', ms: -3_600_000 },
  { offset: '+0', ms: 0 }
] as const

describeWith(['faketime'], `a clock that is set between restarts (${repeatedBy})`, () => {
  it('loses nothing acknowledged and stores nothing twice, killed under load at each', async () => {
    const moment = momentsOf('clock')
    await using kept = await makeDataFolder()
    const { folder } = kept
    let ports = { mqttPort: 0, httpPort: 0 }
    await using recorder = new Recorder('clock')
    let tidegate = await Tidegate.start({ folder, ...ports })
    try {
      ports = { mqttPort: tidegate.mqttPort, httpPort: tidegate.httpPort }
      // What is received far from its own time has that of its receipt, so that only the resend's DUP says what it is.
      await recorder.connect(tidegate.mqttUrl, 5, { dup: true })
      const publishing = publishSteadily(recorder)
      for (const { offset, ms } of steps) {
        await delay(moment())
        await tidegate.kill()
        tidegate = await Tidegate.start({ folder, ...ports, env: clockOff(offset) })
        // The clock is really that far off.
        const said = Date.parse(String(tidegate.log[0]?.['time']))
        expect(Math.abs(said - Date.now() - ms)).toBeLessThan(60_000)
        await acknowledgedMore(recorder, 500)
        await expectThere(tidegate, recorder)
      }
      publishing.stop()
      await settled(tidegate, recorder)
      await expectThere(tidegate, recorder)
      expect(await tidegate.stop()).toBe(0)
    } finally {
      await tidegate[Symbol.asyncDispose]()
    }
  })
})

async function expectThere(tidegate: Tidegate, recorder: Recorder): Promise<void> {
  const acknowledged = recorder.acknowledgedReadings
  await workedOff(tidegate)
  const comparison = await recorder.compare(tidegate.httpUrl, { clocks: 'stepped', acknowledged })
  expect(comparison).toEqual({ missing: [], duplicated: [], wrong: [], unknown: [] })
}
