import { mkdirSync, rmdirSync } from 'node:fs'
import path from 'node:path'
import { type Figures, round } from './figures.ts'
import { runLoad } from './load.ts'
import { rssMiBOf } from './machine.ts'
import { System } from './system.ts'

const backlogBytes = 10e9
const rate = 5_000
/** Every message of a fleet has its own time; each run of the generator goes on where the one before can have ended. */
const startMs = 1_700_000_000_000
const runSpanMs = 10_000_000

const pause = async (seconds: number): Promise<void> =>
  await new Promise(resolve => {
    setTimeout(resolve, seconds * 1000)
  })

/** Resident memory of both processes in MiB, the mean of ten seconds. */
async function memoryOf(system: System): Promise<readonly [number, number]> {
  let [edge, service] = [0, 0]
  for (let sample = 0; sample < 10; sample++) {
    await pause(1)
    edge += rssMiBOf(system.edgePid) / 10
    service += rssMiBOf(system.servicePid) / 10
  }
  return [edge, service]
}

/**
 * The store is away (a folder lies where its file belongs) until 10 GB wait in the journal; then it comes while 5,000 msg/s
 * keep coming. Memory is compared after equal load: with what the processes took behind a short flood, not a fresh start.
 */
export async function measureBacklog(): Promise<Figures> {
  let obstacle = ''
  await using system = await System.start({ 'journal.maxBytes': '64GiB' }, folder => {
    obstacle = path.join(folder, 'tidegate.duckdb')
    mkdirSync(obstacle)
  })
  let run = 0
  const load = async (options: Readonly<Record<string, number>>) =>
    await runLoad({ port: system.mqttPort, qos: 1, start: startMs + run++ * runSpanMs, ...options })
  await load({ conns: 50, seconds: 5 })
  const idle = await memoryOf(system)
  const filledFromMs = performance.now()
  while ((await system.metric('tidegate_journal_uncommitted_bytes')) < backlogBytes) await load({ conns: 50, seconds: 20 })
  const filledSeconds = (performance.now() - filledFromMs) / 1000
  const full = await memoryOf(system)
  const bytes = await system.metric('tidegate_journal_uncommitted_bytes')
  const records = await system.metric('tidegate_journal_head_position')

  rmdirSync(obstacle)
  const loading = load({ conns: 500, rate, seconds: 90 })
  while (
    !(await system.ledger().then(
      ({ stored }) => stored > 0,
      () => false
    ))
  )
    await pause(0.2)
  const before = await system.ledger()
  const drainedFromMs = performance.now()
  const result = await loading
  const after = await system.ledger()
  const perSecond = (after.stored - before.stored) / ((performance.now() - drainedFromMs) / 1000)
  const draining = [rssMiBOf(system.edgePid), rssMiBOf(system.servicePid)] as const
  return {
    backlogGB: round(bytes / 1e9),
    records,
    filledSeconds: round(filledSeconds, 0),
    edgeRssMiBIdle: round(idle[0], 0),
    edgeRssMiBFull: round(full[0], 0),
    edgeRssRatio: round(full[0] / idle[0]),
    serviceRssMiBIdle: round(idle[1], 0),
    serviceRssMiBFull: round(full[1], 0),
    serviceRssRatio: round(full[1] / idle[1]),
    edgeRssMiBDraining: round(draining[0], 0),
    serviceRssMiBDraining: round(draining[1], 0),
    storedPerSecond: Math.round(perSecond),
    storedToRate: round(perSecond / rate),
    ackP50Ms: result.p50,
    ackP99Ms: result.p99
  }
}
