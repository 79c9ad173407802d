import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { listLetters, listPlant, publishLetters, rawRoutes } from '../harness/letters.ts'
import { readMetric } from '../harness/operations.ts'
import { readFreshLedger, readLedger } from '../harness/recorder.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

const letters = 5_000
/** How far the replay has come when it is cut off, as a part of what is left. */
const moments = [0.1, 0.5, 0.02, 0.3] as const

interface Answer {
  readonly replayed: number
  readonly failed: number
  readonly remaining: number
  readonly error: unknown
}

/** Undefined when whoever should answer was killed. */
async function replay(tidegate: Tidegate): Promise<Answer | undefined> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${tidegate.httpUrl}/api/v1/dead-letters/replay`, { method: 'POST', headers }).catch(() => undefined)
  if (response === undefined || !response.ok) return undefined
  return (await response.json().catch(() => undefined)) as Answer | undefined
}

async function accepted(tidegate: Tidegate): Promise<number> {
  return await eventually('the ledger answers', async () => (await readLedger(tidegate.httpUrl)).accepted, 60_000)
}

describe(`a replay of ${letters} dead letters`, () => {
  let folder = ''
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'tidegate-replay-'))
  })
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })

  it.each(['service', 'edge and service'] as const)('cut off by SIGKILL of %s, again and again, stores each once', async victim => {
    let before
    {
      await using tidegate = await Tidegate.start({ folder })
      await publishLetters(tidegate, letters)
      before = await listLetters(tidegate)
      expect(before).toHaveLength(letters)
      expect(await tidegate.stop()).toBe(0)
    }
    let tidegate = await Tidegate.start({ folder, set: { routes: rawRoutes } })
    try {
      let cutOff = 0
      for (const moment of moments) {
        const first = await accepted(tidegate)
        const left = (await listLetters(tidegate)).length
        const replaying = replay(tidegate)
        await eventually(
          'the replay is on its way',
          async () => ((await readLedger(tidegate.httpUrl)).accepted > first + left * moment ? true : undefined),
          60_000
        )
        if (victim === 'service') process.kill(tidegate.servicePid() ?? -1, 'SIGKILL')
        else await tidegate.kill()
        if ((await replaying) === undefined) cutOff += 1
        if (victim !== 'service') tidegate = await Tidegate.start({ folder, set: { routes: rawRoutes } })
        await accepted(tidegate)
      }
      console.log(`${cutOff} of ${moments.length} replays were cut off`)
      expect(cutOff).toBeGreaterThan(0)
      const last = await replay(tidegate)
      expect(last).toMatchObject({ failed: 0, remaining: 0, error: null })
      await eventually(
        'all have their outcome',
        async () => ((await readLedger(tidegate.httpUrl)).inJournal === 0 ? true : undefined),
        60_000
      )
      const points = (await listPlant(tidegate)).map(({ time, value }) => `${time} ${String(value)}`)
      expect(points).toEqual(before.map(({ time, payload }) => `${time} ${payload}`))
      const ledger = await readFreshLedger(tidegate.httpUrl)
      expect(ledger).toMatchObject({ deadLettered: letters, stored: ledger.accepted - letters, balanced: true })
      expect(ledger.stored).toBeGreaterThanOrEqual(letters)
      expect(await listLetters(tidegate)).toEqual([])
      expect([
        await readMetric(tidegate, 'tidegate_dead_letters_replayed_total'),
        await readMetric(tidegate, 'tidegate_dead_letters')
      ]).toEqual([letters, 0])
      expect(await tidegate.stop()).toBe(0)
    } finally {
      await tidegate[Symbol.asyncDispose]()
    }
  })
})
