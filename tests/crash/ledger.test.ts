import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { connectAsync } from 'mqtt'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { readFreshLedger, readLedger, Recorder, type Ledger } from '../harness/recorder.ts'
import { settled, publishSteadily } from '../harness/settled.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

const rounds = Number(process.env['TIDEGATE_CRASH_ROUNDS'] ?? 20)

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tidegate-crash-ledger-'))
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
})

/** Publishes what cannot be stored and what a route ignores, beside the recorder's readings, until stopped. */
async function publishOthers(mqttUrl: string): Promise<AsyncDisposable> {
  const client = await connectAsync(mqttUrl, { clientId: 'others', clean: false, reconnectPeriod: 50 })
  client.on('error', () => undefined) // a refused reconnect: the client tries again by itself
  let sent = 0
  let open = 0
  const timer = setInterval(() => {
    for (let count = 0; count < 5 && open < 1_000; count++) {
      sent++
      open++
      const broken = sent % 3 !== 0
      client.publish(
        broken ? `devices/others-${sent % 7}/telemetry` : `cmnd/others-${sent % 7}/Power`,
        `{"broken": ${sent}`,
        { qos: 1 },
        () => open--
      )
    }
  }, 8)
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await eventually('the others are answered', () => (open === 0 ? true : undefined), 60_000)
      await client.endAsync(true)
    }
  }
}

/** Asks for the ledger again and again, as long as it runs, and keeps every answer that says that it does not balance. */
function watchLedger(url: () => string): { readonly unbalanced: Ledger[]; readonly checks: Set<string>; stop(): Promise<void> } {
  const unbalanced: Ledger[] = []
  const checks = new Set<string>()
  const ending = new AbortController()
  const watch = async (): Promise<void> => {
    while (!ending.signal.aborted) {
      const ledger = await readLedger(url()).catch(() => undefined)
      if (ledger?.balanced === false) unbalanced.push(ledger)
      if (typeof ledger?.checkedAt === 'string') checks.add(ledger.checkedAt)
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }
  const watching = watch()
  return {
    unbalanced,
    checks,
    async stop() {
      ending.abort()
      await watching
    }
  }
}

it(`never says that it does not balance in ${rounds} rounds of SIGKILL under load, to both processes and to the service alone`, async () => {
  const set = { 'deadLetters.maxBytes': '1MiB', 'journal.segmentBytes': '1MiB', 'journal.keep.time': '0s', 'journal.keep.bytes': '1MiB' }
  let tidegate = await Tidegate.start({ folder, set })
  const ports = { mqttPort: tidegate.mqttPort, httpPort: tidegate.httpPort }
  try {
    await using recorder = new Recorder('ledger')
    await recorder.connect(tidegate.mqttUrl, 20)
    const { httpUrl } = tidegate
    const watcher = watchLedger(() => httpUrl)
    {
      await using _ = await publishOthers(tidegate.mqttUrl)
      const publishing = publishSteadily(recorder)
      for (let round = 1; round <= rounds; round++) {
        const { size } = watcher.checks
        await eventually(`round ${round}: the ledger is checked`, () => (watcher.checks.size > size ? true : undefined), 60_000)
        const moment = recorder.acknowledged + 20 + ((round * 7919) % 1_000)
        await eventually(`round ${round}: the moment of the kill`, () => (recorder.acknowledged >= moment ? true : undefined), 60_000)
        const pid = tidegate.servicePid()
        if (round % 2 === 0 && pid !== undefined) process.kill(pid, 'SIGKILL')
        else {
          await tidegate.kill()
          tidegate = await Tidegate.start({ folder, ...ports, set })
        }
      }
      publishing.stop()
    }
    await settled(tidegate, recorder)
    const ledger = await readFreshLedger(httpUrl)
    await watcher.stop()
    expect(watcher.unbalanced).toEqual([])
    expect(watcher.checks.size).toBeGreaterThan(rounds)
    expect(ledger).toMatchObject({ balanced: true, faults: [], damaged: 0, dropped: 0 })
    const { accepted, stored, deadLettered, ignored } = ledger
    console.log(`${accepted} records: ${stored} stored, ${deadLettered} dead-lettered, ${ignored} ignored; ${watcher.checks.size} checks`)
    expect(stored + deadLettered + ignored).toBe(accepted)
    expect(Math.min(deadLettered, ignored)).toBeGreaterThan(0)
    expect(await recorder.compare(httpUrl)).toEqual({ missing: [], duplicated: [], wrong: [], unknown: [] })
    expect(await tidegate.stop()).toBe(0)
  } finally {
    await tidegate[Symbol.asyncDispose]()
  }
})
