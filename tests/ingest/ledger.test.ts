import { Writable } from 'node:stream'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { TidegateError } from '../../errors.ts'
import type { Clock } from '../../ingest/clock.ts'
import { Ledger } from '../../ingest/ledger.ts'
import type { StoreAccounts } from '../../storage/port.ts'
import { deferred, journalUuid } from './fakes.ts'

const totals = { stored: 4, deadLettered: 0, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 }
const checkpoint = { journal: journalUuid, position: 4, since: 0, totals }

/** A clock whose sleeps end when the test says so. */
class HeldClock implements Clock {
  readonly asked: number[] = []
  #wake: () => void = () => undefined
  #asked = deferred()

  monotonicMs(): number {
    return 0
  }

  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    this.asked.push(ms)
    this.#asked.resolve()
    const woken = deferred()
    this.#wake = woken.resolve
    signal.addEventListener('abort', woken.resolve)
    await woken.promise
    signal.removeEventListener('abort', woken.resolve)
  }

  /** Resolves when a sleep is under way. */
  async sleeping(): Promise<void> {
    await this.#asked.promise
  }

  /** Ends the sleep under way and resolves when the next one begins. */
  async pass(): Promise<void> {
    this.#asked = deferred()
    this.#wake()
    await this.sleeping()
  }
}

/** A ledger over a store of which the test says what it answers, one answer a check. */
function openLedger(options: { readonly lag?: number } = {}) {
  const lines: Record<string, unknown>[] = []
  const log = pino(
    { base: null },
    new Writable({
      write: (chunk: Buffer, _, done) => {
        lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>)
        done()
      }
    })
  )
  const clock = new HeldClock()
  const pipeline = { position: checkpoint, durable: 4 + (options.lag ?? 0), stats: { batches: 1 } }
  const store = { counted: 9, checks: 0, error: undefined as Error | undefined }
  const ledger = Ledger.open({
    pipeline,
    storage: {
      accounts: async (): Promise<StoreAccounts> => {
        store.checks += 1
        if (store.error !== undefined) throw store.error
        return await Promise.resolve({ checkpoint, points: { counted: store.counted, tally: { inserted: 9, replaced: 0, expired: 0 } } })
      }
    },
    scan: async function* ({ from, to }) {
      yield await Promise.resolve({ from, to, records: [], gaps: [{ from, to, kind: 'dropped' }] })
    },
    letters: { accounts: () => Promise.resolve({ kept: 0, tombstoned: 0, evicted: 0 }), unsettled: 0 },
    clock,
    log
  })
  const said = (): unknown[] => lines.map(({ level, msg, code }) => [level, msg, code])
  return { ledger, clock, pipeline, store, lines, said, first: async () => await clock.sleeping() }
}

test('is checked at once, then a second after the last check', async () => {
  const { ledger, clock, store, first } = openLedger()
  await using _ = ledger
  expect(ledger.newest).toBeUndefined()
  await first()
  expect(ledger.newest).toMatchObject({ head: 4, faults: [] })
  for (let checks = 2; checks < 6; checks += 1) {
    await clock.pass()
    expect(store.checks).toBe(checks)
  }
  expect(clock.asked).toEqual([1000, 1000, 1000, 1000, 1000])
})

test('is checked once a minute while there is a backlog, and soon after it is gone', async () => {
  const { ledger, clock, pipeline, store, first } = openLedger({ lag: 10_001 })
  await using _ = ledger
  await first()
  for (let second = 1; second < 60; second += 1) await clock.pass()
  expect(store.checks).toBe(1)
  await clock.pass()
  expect(store.checks).toBe(2)
  await clock.pass()
  expect(store.checks).toBe(2)
  pipeline.durable = 4 + 10_000
  await clock.pass()
  expect(store.checks).toBe(3)
  expect(new Set(clock.asked)).toEqual(new Set([1000]))
})

test('says once when it begins not to balance, with the counts that disagree, and once when it balances again', async () => {
  const { ledger, clock, store, lines, said, first } = openLedger()
  await using _ = ledger
  await first()
  expect(said()).toEqual([])
  store.counted = 8
  await clock.pass()
  await clock.pass()
  expect(ledger.newest?.faults).toMatchObject([{ count: 'points', expected: 9, found: 8 }])
  expect(said()).toEqual([[50, 'the ledger does not balance', 'TG_LEDGER_UNBALANCED']])
  expect(lines[0]).toMatchObject({ head: 4, faults: [{ count: 'points', expected: 9, found: 8 }] })
  store.counted = 9
  await clock.pass()
  await clock.pass()
  expect(ledger.newest?.faults).toEqual([])
  expect(said().slice(1)).toEqual([[30, 'the ledger balances again', undefined]])
})

test('keeps its newest result while a count cannot be taken, says so once, and goes on', async () => {
  const { ledger, clock, store, said, first } = openLedger()
  await using _ = ledger
  await first()
  const before = ledger.newest
  store.counted = 8
  store.error = new TidegateError('TG_STORE_UNAVAILABLE', 'the disk is full')
  await clock.pass()
  await clock.pass()
  expect(ledger.newest).toBe(before)
  expect(said()).toEqual([[40, 'the ledger cannot be checked', 'TG_STORE_UNAVAILABLE']])
  store.error = undefined
  await clock.pass()
  expect(ledger.newest?.faults).toHaveLength(1)
  expect(said().slice(1)).toEqual([
    [30, 'the ledger can be checked again', undefined],
    [50, 'the ledger does not balance', 'TG_LEDGER_UNBALANCED']
  ])
})

test('ends while it rests, and while it checks', async () => {
  const { ledger, first, store } = openLedger()
  await first()
  await ledger[Symbol.asyncDispose]()
  await ledger[Symbol.asyncDispose]()
  expect(store.checks).toBe(1)
  const other = openLedger()
  await other.ledger[Symbol.asyncDispose]()
  expect(other.clock.asked).toEqual([])
})
