/**
 * `npm run bench [-- name …]`: prints figures and ratios and keeps them in bench/results/ with machine, Node and commit.
 * Names: those of `measurements`; all of them by default. Lengths are fixed, so that results of one machine compare.
 * `open` writes 4 GiB to the temporary folder, `backlog` 10 GB.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { measureBacklog } from './backlog.ts'
import type { Figures } from './figures.ts'
import { measureOpenLoop, measurePeer, measureStart } from './ingest.ts'
import { measureAppend, measureLargeOpen, measureRecovery } from './journal.ts'
import { describeMachine } from './machine.ts'
import { measureResends } from './resends.ts'
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
  resends: measureResends
}

const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(measurements)
const unknown = wanted.filter(name => !(name in measurements))
if (unknown.length > 0) {
  console.error(`bench: no measurement called ${unknown.join(', ')}; there are ${Object.keys(measurements).join(', ')}`)
  process.exit(2)
}

const machine = describeMachine()
console.log(`${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, Node ${machine.node}, commit ${machine.commit}`)
const results: Record<string, Figures> = {}
const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'bench', 'results')
mkdirSync(folder, { recursive: true })
const file = path.join(folder, `${new Date().toISOString().slice(0, 19).replaceAll(':', '')}-${machine.commit}.json`)
/** Kept after each measurement, so that one that fails costs no other. */
const keep = (): void => writeFileSync(file, `${JSON.stringify({ machine, results }, null, 2)}\n`)

for (const name of wanted) {
  console.log(`\n${name}`)
  try {
    const figures = await measurements[name]?.()
    if (figures === undefined) continue
    results[name] = figures
    for (const [figure, value] of Object.entries(figures)) console.log(`  ${figure.padEnd(32)} ${value}`)
  } catch (error) {
    process.exitCode = 1
    results[name] = { failed: String(error) }
    console.error(`  failed: ${String(error)}`)
  }
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
console.log(`\nkept in ${path.relative(process.cwd(), file)}`)
