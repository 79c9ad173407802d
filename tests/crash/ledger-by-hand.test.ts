import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { connectAsync } from 'mqtt'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { EmbeddedDatabase } from '../../storage/embedded-database.ts'
import { readFreshLedger, readLedger } from '../harness/recorder.ts'
import { cutFrame } from '../harness/segments.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

// Each starts Tidegate several times and waits for checks that are a second apart.
vi.setConfig({ testTimeout: 180_000 })

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tidegate-ledger-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
})

/** Publishes one message after the other, QoS 1, each acknowledged. */
async function publish(tidegate: Tidegate, payloads: readonly string[]): Promise<void> {
  const client = await connectAsync(tidegate.mqttUrl, { clientId: 'boiler' })
  for (const payload of payloads) await client.publishAsync('devices/boiler/telemetry', payload, { qos: 1 })
  await client.endAsync()
}

const readings = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, index) => JSON.stringify({ ts: Date.now() - 60_000 + from + index, seq: from + index, ok: true }))

async function worked(tidegate: Tidegate): Promise<void> {
  await eventually('everything has its outcome', async () => {
    const { accepted, inJournal } = await readLedger(tidegate.httpUrl)
    return accepted > 0 && inJournal === 0 ? true : undefined
  })
}

async function balancedMetric(tidegate: Tidegate): Promise<string | undefined> {
  return /^tidegate_ledger_balanced (\d)$/m.exec(await (await fetch(`${tidegate.httpUrl}/metrics`)).text())?.[1]
}

/** What the ledger, its metric and the log say when exactly one count disagrees. */
async function expectFault(tidegate: Tidegate, fault: { readonly count: string; readonly expected: number; readonly found: number }) {
  const ledger = await readFreshLedger(tidegate.httpUrl)
  expect(ledger).toMatchObject({ balanced: false, faults: [fault] })
  expect(ledger.faults).toHaveLength(1)
  expect(await balancedMetric(tidegate)).toBe('0')
  const readiness = await fetch(`${tidegate.httpUrl}/readyz`)
  expect([readiness.status, await readiness.json()]).toMatchObject([
    200,
    { reasons: expect.arrayContaining([expect.objectContaining({ code: 'TG_LEDGER_UNBALANCED' })]) }
  ])
  await tidegate.logged(line => line.msg === 'the ledger does not balance')
  expect(tidegate.log.filter(line => line['code'] === 'TG_LEDGER_UNBALANCED')).toMatchObject([{ faults: [fault] }])
}

async function expectBalanced(tidegate: Tidegate): Promise<void> {
  expect(await readFreshLedger(tidegate.httpUrl)).toMatchObject({ balanced: true, faults: [] })
  expect(await balancedMetric(tidegate)).toBe('1')
}

/** An InfluxDB that is down until it is told to be up; then it takes whatever comes. */
async function openServer(): Promise<{ up: boolean; readonly url: string } & AsyncDisposable> {
  const state = { up: false }
  const server: Server = createServer((request, response) => {
    request.resume().on('end', () => response.writeHead(state.up ? 204 : 503).end())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return Object.assign(state, {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    }
  })
}

it('says that a row was deleted from the embedded store, also after more was stored', async () => {
  {
    await using tidegate = await Tidegate.start({ folder })
    await publish(tidegate, readings(40))
    await worked(tidegate)
    await expectBalanced(tidegate)
    expect(await tidegate.stop()).toBe(0)
  }
  {
    await using database = await EmbeddedDatabase.open({ folder, memoryBytes: 64 * 1024 ** 2, log: pino({ level: 'silent' }) })
    await database.transaction(async ({ connection }) => {
      await connection.run('DELETE FROM points WHERE rowid = (SELECT min(rowid) FROM points WHERE value = 17)')
    })
  }
  await using tidegate = await Tidegate.start({ folder })
  await expectFault(tidegate, { count: 'points', expected: 80, found: 79 })
  await publish(tidegate, readings(5, 100))
  await worked(tidegate)
  expect((await readFreshLedger(tidegate.httpUrl)).faults).toMatchObject([{ count: 'points', expected: 90, found: 89 }])
})

it('says that a record which is not stored yet is gone from the journal, until it is counted as damaged', async () => {
  await using server = await openServer()
  const set = { 'store.kind': 'influx', 'store.influx.url': server.url, 'store.influx.token': 'none' }
  {
    await using tidegate = await Tidegate.start({ folder, set })
    await publish(tidegate, readings(60))
    expect(await readFreshLedger(tidegate.httpUrl)).toMatchObject({ inJournal: 60, balanced: true, checkedHead: 60 })
    await tidegate.kill()
  }
  await cutFrame(path.join(folder, 'journal'), 23)
  await using tidegate = await Tidegate.start({ folder, set })
  await expectFault(tidegate, { count: 'journal', expected: 60, found: 59 })
  expect((await readLedger(tidegate.httpUrl)).faults[0]?.message).toContain('the first at ordinal 23')
  server.up = true
  await worked(tidegate)
  await expectBalanced(tidegate)
  expect(await readLedger(tidegate.httpUrl)).toMatchObject({ accepted: 60, stored: 59, damaged: 1 })
  await tidegate.logged(line => line.msg === 'the ledger balances again')
})

it('says that a dead letter is gone', async () => {
  {
    await using tidegate = await Tidegate.start({ folder })
    await publish(tidegate, [...readings(3), '{"broken', '[neither', ...readings(3, 10), '{"broken again"'])
    await worked(tidegate)
    await expectBalanced(tidegate)
    expect(await readLedger(tidegate.httpUrl)).toMatchObject({ stored: 6, deadLettered: 3 })
    expect(await tidegate.stop()).toBe(0)
  }
  await cutFrame(path.join(folder, 'dead-letters'), 1)
  await using tidegate = await Tidegate.start({ folder })
  await expectFault(tidegate, { count: 'deadLetters', expected: 3, found: 2 })
})

it('balances across kills, and from a new beginning when the database is lost', async () => {
  for (let round = 0; round < 3; round += 1) {
    await using tidegate = await Tidegate.start({ folder })
    await publish(tidegate, [...readings(20, round * 100), `{"broken ${round}`])
    await tidegate.kill()
  }
  {
    await using tidegate = await Tidegate.start({ folder })
    await worked(tidegate)
    await expectBalanced(tidegate)
    expect(await readLedger(tidegate.httpUrl)).toMatchObject({ since: 0, accepted: 63, stored: 60, deadLettered: 3 })
    expect(await tidegate.stop()).toBe(0)
  }
  for (const name of ['tidegate.duckdb', 'tidegate.duckdb.wal']) await rm(path.join(folder, name), { force: true })
  await using tidegate = await Tidegate.start({ folder })
  await worked(tidegate)
  await expectBalanced(tidegate)
  expect(await readLedger(tidegate.httpUrl)).toMatchObject({ since: 0, accepted: 63, stored: 60, deadLettered: 3 })
})
