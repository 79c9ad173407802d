import { setTimeout as delay } from 'node:timers/promises'
import { brokerNames, type MeasuredBroker, startBroker } from './brokers.ts'
import { type Figures, median, round } from './figures.ts'
import { HostileCrowd, retainForSubscribers } from './hostile-crowd.ts'
import { type LoadResult, runLoad } from './load.ts'
import { rssMiBOf } from './machine.ts'
import { ratioOf, seconds, short, takeTurns } from './rounds.ts'

const crowd = short ? 200 : 1_000
/** 100 devices with twenty messages in flight, as fast as they are acknowledged. */
const honest = { conns: 100, qos: 1, window: 20 }

/**
 * What 1,000 hostile sockets take: resident memory above the honest load alone, and the part of the honest clients'
 * throughput that is lost, by rounds with and without them. Bound: ≤ 100 MB, < 10 %. The crowd's own CPU is not free either on
 * a machine of few cores: `hostileCores`.
 */
export async function measureHostile(): Promise<Figures> {
  const figures: Record<string, number> = { hostileSockets: crowd }
  for (const name of brokerNames) {
    await using broker = await startBroker(name)
    await retainForSubscribers(broker.port)
    // Twice: what Tidegate remembers of publishes grows with the first of them, up to its bound.
    for (let warming = 0; warming < 2; warming++) await load(broker)
    const [alone, beside]: [number[], number[]] = [[], []]
    let [open, closed, hostileCores] = [Number.POSITIVE_INFINITY, 0, 0]
    const runs = await takeTurns(['honest', 'attacked'], 3, async situation => {
      if (situation === 'honest') return await withPeakRss(broker.pid, alone, async () => await load(broker))
      await using hostile = new HostileCrowd(broker.port, crowd)
      return await withPeakRss(broker.pid, beside, async () => {
        // Some are always away, since they were closed.
        for (const untilMs = performance.now() + 5_000; hostile.size < crowd * 0.9 && performance.now() < untilMs;) await delay(100)
        const before = process.cpuUsage()
        const startedMs = performance.now()
        const result = await load(broker)
        const { user, system } = process.cpuUsage(before)
        hostileCores = Math.max(hostileCores, (user + system) / 1e3 / (performance.now() - startedMs))
        open = Math.min(open, hostile.size)
        closed += hostile.closed
        return result
      })
    })
    const rate = (situation: 'honest' | 'attacked') => runs[situation].map(({ perSecond }) => perSecond)
    figures[`${name}HonestPerSecond`] = median(rate('honest'))
    figures[`${name}AttackedPerSecond`] = median(rate('attacked'))
    figures[`${name}LostPercent`] = round((1 - ratioOf(rate('attacked'), rate('honest'))) * 100, 1)
    // Against the first round, which no attack has come before.
    const [honestRss, attackedRss] = [alone[0] ?? Number.NaN, Math.max(...beside)]
    figures[`${name}HonestRssMiB`] = round(honestRss, 0)
    figures[`${name}AttackedRssMiB`] = round(attackedRss, 0)
    figures[`${name}TakenMB`] = round(((attackedRss - honestRss) * 1024 ** 2) / 1e6, 0)
    figures[`${name}HonestClosed`] = runs.attacked.reduce((sum, result) => sum + result.closed, 0)
    figures[`${name}HostileOpen`] = open
    figures[`${name}HostileClosed`] = closed
    figures[`${name}HostileCores`] = round(hostileCores)
  }
  return figures
}

async function load(broker: MeasuredBroker): Promise<LoadResult> {
  return await runLoad({ port: broker.port, pids: broker.pid, warmup: 1, seconds: seconds(6), ...honest })
}

/** Runs, and adds the most resident memory of a process meanwhile, in MiB. */
async function withPeakRss<Result>(pid: number, peaks: number[], run: () => Promise<Result>): Promise<Result> {
  let peak = 0
  const sampler = setInterval(() => (peak = Math.max(peak, rssMiBOf(pid))), 100)
  try {
    return await run()
  } finally {
    clearInterval(sampler)
    peaks.push(peak)
  }
}
