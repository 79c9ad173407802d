import { describe, expect, it } from 'vitest'
import { readLedger, Recorder } from '../harness/recorder.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

describe('what was acknowledged', () => {
  it('is in the API row by row, value by value, and the ledger agrees', async () => {
    await using tidegate = await Tidegate.start()
    await using recorder = new Recorder('row-by-row')
    await recorder.connect(tidegate.mqttUrl, 25)
    for (let wave = 0; wave < 120; wave++) recorder.publishAll()
    await eventually('every publish is acknowledged', () => (recorder.acknowledged === 3_000 ? true : undefined), 30_000)
    await eventually('nothing is left in the journal', async () =>
      (await readLedger(tidegate.httpUrl)).inJournal === 0 ? true : undefined
    )
    expect(await recorder.compare(tidegate.httpUrl)).toEqual({ missing: [], duplicated: [], wrong: [], unknown: [] })
    expect(await readLedger(tidegate.httpUrl)).toMatchObject({ accepted: 3_000, stored: 3_000, deadLettered: 0, balanced: true })
    expect(await tidegate.stop()).toBe(0)
  })

  it('one record in 100,000 that is lost, or stored twice, would be seen', async () => {
    await using tidegate = await Tidegate.start()
    await using recorder = new Recorder('many')
    await recorder.connect(tidegate.mqttUrl, 50)
    const waves = 2_100
    for (let wave = 0; wave < waves; wave++) {
      recorder.publishAll()
      if (recorder.unanswered > 10_000)
        await eventually('acknowledgements come', () => (recorder.unanswered < 5_000 ? true : undefined), 60_000)
    }
    await eventually('every publish is acknowledged', () => (recorder.acknowledged === waves * 50 ? true : undefined), 60_000)
    await eventually(
      'nothing is left in the journal',
      async () => ((await readLedger(tidegate.httpUrl)).inJournal === 0 ? true : undefined),
      60_000
    )
    expect(await recorder.compare(tidegate.httpUrl)).toEqual({ missing: [], duplicated: [], wrong: [], unknown: [] })
    expect(await readLedger(tidegate.httpUrl)).toMatchObject({ accepted: waves * 50, stored: waves * 50, balanced: true })
  }, 120_000)
})
