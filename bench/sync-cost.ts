import { type Figures, round } from './figures.ts'
import { measureDisk } from './journal.ts'
import { runLoad } from './load.ts'
import { System } from './system.ts'

const rate = 5_000
const seconds = 20

interface EdgeCost {
  readonly cpuPerMillion: number
  readonly ackP50Ms: number
  readonly ackP99Ms: number
}

async function costOf(sync: 'fsync' | 'none', syncDelay: string): Promise<EdgeCost> {
  await using system = await System.start({ 'journal.sync': sync, 'journal.syncDelay': syncDelay })
  const load = await runLoad({ port: system.mqttPort, conns: 500, qos: 1, rate, seconds, pids: system.edgePid })
  return { cpuPerMillion: load.cpuPerMillion[0] ?? Number.NaN, ackP50Ms: load.p50, ackP99Ms: load.p99 }
}

/**
 * What fdatasync costs the edge at 5,000 msg/s from 500 connections: CPU with `sync: fsync` against `none` at the same
 * syncDelay, each pair side by side, and the acknowledgement's p99 beside the disk's own.
 */
export async function measureSyncCost(): Promise<Figures> {
  const figures: Record<string, number> = { rate, seconds }
  const disk = measureDisk()
  figures['diskP50Ms'] = disk.p50
  figures['diskP99Ms'] = disk.p99
  for (const delay of ['2ms', '5ms']) {
    const none = await costOf('none', delay)
    const fsync = await costOf('fsync', delay)
    figures[`none${delay}CpuSecondsPerMillion`] = none.cpuPerMillion
    figures[`fsync${delay}CpuSecondsPerMillion`] = fsync.cpuPerMillion
    figures[`ratio${delay}`] = round(fsync.cpuPerMillion / none.cpuPerMillion)
    figures[`fsync${delay}AckP50Ms`] = fsync.ackP50Ms
    figures[`fsync${delay}AckP99Ms`] = fsync.ackP99Ms
    figures[`fsync${delay}AckP99AboveDiskMs`] = round(fsync.ackP99Ms - disk.p99)
  }
  return figures
}
