import { expect } from 'vitest'
import { readFreshLedger, readLedger, type Recorder } from './recorder.ts'
import { eventually, type Tidegate } from './tidegate.ts'

/**
 * Publishes from every device every few milliseconds until stopped; stands still while many publishes are unanswered, and
 * with `compareNew` after each cycle also while a comparison has more than `unverified` to read: the next one would have more.
 */
export function publishSteadily(recorder: Recorder, { unverified = Infinity } = {}): { stop(): void } {
  const timer = setInterval(() => {
    if (recorder.unanswered < 5_000 && recorder.unverified < unverified) recorder.publishAll()
  }, 8)
  return { stop: () => clearInterval(timer) }
}

/** Resolves when so many further publishes are acknowledged. */
export async function acknowledgedMore(recorder: Recorder, count: number): Promise<void> {
  const goal = recorder.acknowledged + count
  await eventually(`${count} further acknowledgements`, () => (recorder.acknowledged >= goal ? true : undefined), 60_000)
}

/** Resolves when every publish is answered and every record has its outcome. */
export async function settled(tidegate: Tidegate, recorder: Recorder): Promise<void> {
  await eventually('every publish is answered', () => (recorder.unanswered === 0 ? true : undefined), 60_000)
  await eventually(
    'nothing is left in the journal',
    async () => ((await readLedger(tidegate.httpUrl)).inJournal === 0 ? true : undefined),
    60_000
  )
}

/** Resolves when every record that is accepted by now has its outcome, and the ledger is balanced. */
export async function workedOff(tidegate: Tidegate): Promise<void> {
  const { since, accepted } = await eventually('the ledger answers', async () => await readLedger(tidegate.httpUrl))
  await eventually(
    'all of that has its outcome, and the ledger is balanced',
    async () => {
      const ledger = await readLedger(tidegate.httpUrl)
      const position = ledger.since + ledger.accepted - ledger.inJournal
      return position >= since + accepted && ledger.balanced ? true : undefined
    },
    60_000
  )
}

/** While publishing goes on: what is acknowledged by now is in the API, row by row, once, and the ledger agrees. */
export async function expectAcknowledgedThere(tidegate: Tidegate, recorder: Recorder): Promise<void> {
  const acknowledged = recorder.acknowledgedReadings
  await workedOff(tidegate)
  expect(await recorder.compareNew(tidegate.httpUrl, acknowledged)).toEqual({ missing: [], duplicated: [], wrong: [], unknown: [] })
}

/** Everything acknowledged is in the API, row by row, once; nothing else is; and the ledger agrees. */
export async function expectAllThere(tidegate: Tidegate, recorder: Recorder): Promise<void> {
  expect(await recorder.compare(tidegate.httpUrl)).toEqual({ missing: [], duplicated: [], wrong: [], unknown: [] })
  const ledger = await readFreshLedger(tidegate.httpUrl)
  const { stored, deadLettered, ignored, deduplicated, dropped, damaged } = ledger
  expect(stored + deadLettered + ignored + deduplicated + dropped + damaged).toBe(ledger.accepted)
  expect({ deadLettered, ignored, dropped, damaged, balanced: ledger.balanced, faults: ledger.faults }).toEqual({
    deadLettered: 0,
    ignored: 0,
    dropped: 0,
    damaged: 0,
    balanced: true,
    faults: []
  })
}
