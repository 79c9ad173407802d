/**
 * `npm run bench [-- name …]`: prints figures and ratios and keeps them in bench/results/ with machine, Node and commit.
 * Names: those of `measurements`; all of them by default. Lengths are fixed, so that results of one machine compare.
 * `open` writes 4 GiB to the temporary folder, `backlog` 10 GB, `bulk` and `mqtt5` up to as much.
 * With `--short` it shows in little time that a measurement works, and keeps nothing.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { measureBacklog } from './backlog.ts'
import type { Figures } from './figures.ts'
import { measureConnections } from './gate-connections.ts'
import { measureHostile } from './gate-hostile.ts'
import { measureAck } from './gate-latency.ts'
import { measurePipeline } from './gate-pipeline.ts'
import { measureBulk, measureDevice, measureMqtt5 } from './gate-speed.ts'
import { measureOpenLoop, measurePeer, measureStart } from './ingest.ts'
import { measureAppend, measureLargeOpen, measureRecovery } from './journal.ts'
import { describeMachine } from './machine.ts'
import { measureResends } from './resends.ts'
import { short } from './rounds.ts'
import { measureSyncCost } from './sync-cost.ts'

const measurements: Readonly<Record<string, () => Promise<Figures>>> = {
  start: measureStart,
  latency: () => measureOpenLoop(5_000, 20),
  peer: () => measurePeer(5_000, 20),
  sustained: () => measureOpenLoop(15_000, 60),
  append: measureAppend,
  recovery: measureRecovery,
  open: measureLargeOpen,
  sync: measureSyncCost,
  backlog: measureBacklog,
  resends: measureResends,
  device: measureDevice,
  bulk: measureBulk,
  ack: measureAck,
  pipeline: measurePipeline,
  mqtt5: measureMqtt5,
  connections: measureConnections,
  hostile: measureHostile
}

const named = process.argv.slice(2).filter(argument => argument !== '--short')
const wanted = named.length > 0 ? named : Object.keys(measurements)
const unknown = wanted.filter(name => !(name in measurements))
if (unknown.length > 0) {
  console.error(`bench: no measurement called ${unknown.join(', ')}; there are ${Object.keys(measurements).join(', ')}`)
  process.exit(2)
}

// What was started beside it is killed as the process exits.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

const machine = describeMachine()
console.log(`${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, Node ${machine.node}, commit ${machine.commit}`)
const results: Record<string, Figures> = {}
const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'bench', 'results')
mkdirSync(folder, { recursive: true })
const file = path.join(folder, `${new Date().toISOString().slice(0, 19).replaceAll(':', '')}-${machine.commit}.json`)
/** Kept after each measurement, so that one that fails costs no other. */
const keep = (): void => {
  if (!short) writeFileSync(file, `${JSON.stringify({ machine, results }, null, 2)}\n`)
}

for (const name of wanted) {
  console.log(`\n${name}`)
  const startedMs = performance.now()
  try {
    const figures = await measurements[name]?.()
    if (figures === undefined) continue
    results[name] = figures
    for (const [figure, value] of Object.entries(figures)) console.log(`  ${figure.padEnd(40)} ${value}`)
  } catch (error) {
    process.exitCode = 1
    results[name] = { failed: String(error) }
    console.error(`  failed: ${String(error)}`)
  }
  console.log(`  (${((performance.now() - startedMs) / 1000).toFixed(0)} s)`)
  keep()
}
const ours = results['latency']
const peer = results['peer']
if (ours?.['edgeCpuSecondsPerMillion'] !== undefined && peer?.['totalCpuSecondsPerMillion'] !== undefined) {
  const total = Number(ours['edgeCpuSecondsPerMillion']) + Number(ours['serviceCpuSecondsPerMillion'])
  const ratio = Number((total / Number(peer['totalCpuSecondsPerMillion'])).toFixed(2))
  results['ratios'] = { cpuToPeer: ratio }
  console.log(`\nCPU per message stored, Tidegate (embedded store) / Mosquitto + Telegraf + InfluxDB: ${ratio}`)
}
keep()
console.log(short ? '\na short run: nothing is kept' : `\nkept in ${path.relative(process.cwd(), file)}`)
