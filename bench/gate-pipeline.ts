import { setTimeout as delay } from 'node:timers/promises'
import { type Figures, median, round } from './figures.ts'
import { InfluxServer } from './influx-server.ts'
import { measurePeer } from './ingest.ts'
import { runLoad } from './load.ts'
import { cpuSecondsOf } from './machine.ts'
import { ratioOf, seconds, takeTurns } from './rounds.ts'
import { System } from './system.ts'

const rates = [5_000, 10_000, 20_000] as const
const askEveryMs = 500
const settlesWithinMs = 120_000

/** CPU seconds a million messages that were found in InfluxDB. */
interface Cost {
  /** Of what takes, routes and writes: edge and service here, Mosquitto and Telegraf there. */
  readonly pipeline: number
  /** The same of the first seconds of fresh processes. */
  readonly fresh: number
  /** Of InfluxDB, which both have. */
  readonly influxd: number
  readonly notStored: number
  readonly lagSeconds: number
  readonly ackP99Ms: number
}

/**
 * End to end into a real InfluxDB, QoS 1 from 500 connections: CPU a stored message of both processes against Mosquitto +
 * Telegraf, from before the first connection until InfluxDB itself counts everything that was acknowledged. `Ratio` is that
 * of a Tidegate that has run for ten seconds, `RatioFresh` that of its first ten, in which V8 compiles; the others do not
 * compile. InfluxDB's own CPU is out on both sides of those and in on both sides of `RatioWithInflux`. Bound: ≤ 0.6 (aim: 0.4).
 */
export async function measurePipeline(): Promise<Figures> {
  const figures: Record<string, number | string> = {}
  for (const rate of rates) {
    const runs = await takeTurns(['tidegate', 'peer'], 2, async name => await (name === 'tidegate' ? costOf(rate) : costOfPeer(rate)))
    const parts = (name: 'tidegate' | 'peer', part: keyof Cost) => runs[name].map(cost => cost[part])
    const whole = (name: 'tidegate' | 'peer') => runs[name].map(({ pipeline, influxd }) => pipeline + influxd)
    for (const name of ['tidegate', 'peer'] as const) {
      const prefix = `at${rate}${name === 'tidegate' ? 'Tidegate' : 'Peer'}`
      figures[`${prefix}CpuSecondsPerMillion`] = round(median(parts(name, 'pipeline')))
      if (name === 'tidegate') figures[`${prefix}FreshCpuSecondsPerMillion`] = round(median(parts(name, 'fresh')))
      figures[`${prefix}InfluxCpuSecondsPerMillion`] = round(median(parts(name, 'influxd')))
      figures[`${prefix}NotStored`] = Math.max(...parts(name, 'notStored'))
      figures[`${prefix}LagAtEndSeconds`] = round(median(parts(name, 'lagSeconds')))
      figures[`${prefix}AckP99Ms`] = median(parts(name, 'ackP99Ms'))
    }
    figures[`at${rate}Ratio`] = ratioOf(parts('tidegate', 'pipeline'), parts('peer', 'pipeline'))
    figures[`at${rate}RatioFresh`] = ratioOf(parts('tidegate', 'fresh'), parts('peer', 'fresh'))
    figures[`at${rate}RatioWithInflux`] = ratioOf(whole('tidegate'), whole('peer'))
  }
  return figures
}

/** Ours, counted as pipeline-peer.mjs counts: the same load, the same InfluxDB, the same question to it every half second. */
async function costOf(rate: number): Promise<Cost> {
  await using influx = await InfluxServer.start()
  await using system = await System.start(influx.settings)
  await delay(2_000)
  const pids = [system.edgePid, system.servicePid, influx.pid]
  let found = 0
  const run = async (length: number) => {
    const [cpuBefore, foundBefore] = [pids.map(cpuSecondsOf), found]
    const load = await runLoad({ port: system.mqttPort, conns: 500, qos: 1, rate, warmup: 2, seconds: length, pids: pids.join(',') })
    const endedMs = performance.now()
    while (found - foundBefore < load.ackedTotal && performance.now() - endedMs < settlesWithinMs) {
      await delay(askEveryMs)
      found = await influx.count('telemetry', 'temperature')
    }
    const stored = found - foundBefore
    const cost = pids.map((pid, index) => ((cpuSecondsOf(pid) - (cpuBefore[index] ?? 0)) / stored) * 1e6)
    return { load, cost, notStored: load.ackedTotal - stored, lagSeconds: (performance.now() - endedMs) / 1000 }
  }
  const fresh = await run(seconds(8))
  const { load, cost, notStored, lagSeconds } = await run(seconds(12))
  const bothOf = ([edge = Number.NaN, service = Number.NaN]: readonly number[]) => edge + service
  return {
    pipeline: bothOf(cost),
    fresh: bothOf(fresh.cost),
    influxd: cost[2] ?? Number.NaN,
    notStored: fresh.notStored + notStored,
    lagSeconds,
    ackP99Ms: load.p99
  }
}

async function costOfPeer(rate: number): Promise<Cost> {
  const figures = await measurePeer(rate, seconds(12))
  const of = (figure: string): number => Number(figures[figure])
  const pipeline = of('mosquittoCpuSecondsPerMillion') + of('telegrafCpuSecondsPerMillion')
  return {
    pipeline,
    fresh: pipeline,
    influxd: of('influxdCpuSecondsPerMillion'),
    notStored: of('notStored'),
    lagSeconds: of('lagAtEndSeconds'),
    ackP99Ms: of('ackP99Ms')
  }
}
