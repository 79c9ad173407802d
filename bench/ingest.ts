import { connectAsync } from 'mqtt'
import { type Figures, percentile, round } from './figures.ts'
import { cpuSecondsOf, rssMiBOf } from './machine.ts'
import { runLoad, runTool } from './load.ts'
import { System } from './system.ts'

/** From the start of the command to both ports answering, the median of five starts in empty folders. */
export async function measureStart(): Promise<Figures> {
  const times: number[] = []
  for (let round = 0; round < 5; round++) {
    await using system = await System.start()
    times.push(system.startMs)
  }
  times.sort((a, b) => a - b)
  return { startMsMedian: round(percentile(times, 0.5), 0), startMsMax: round(times.at(-1) ?? 0, 0) }
}

const pollMs = 50
const probeEveryMs = 1_000
const pause = async (ms: number): Promise<void> =>
  await new Promise(resolve => {
    setTimeout(resolve, ms)
  })

/**
 * Publishes probes while the load runs, about one a second, so that asking for them costs little beside the load: how long
 * after its PUBACK a reading is in the API's answer, to 50 ms.
 */
async function probeVisibility(system: System, signal: AbortSignal): Promise<readonly number[]> {
  const client = await connectAsync(`mqtt://127.0.0.1:${system.mqttPort}`, { clientId: 'bench-probe' })
  const times: number[] = []
  for (let probe = 1; !signal.aborted; probe++) {
    await client.publishAsync('devices/bench-probe/telemetry', JSON.stringify({ probe }), { qos: 1 })
    const acknowledgedMs = performance.now()
    for (;;) {
      const text = await (await fetch(`${system.httpUrl}/api/v1/devices/bench-probe/latest`)).text()
      if (text.includes(`"probe":${probe}}`)) break
      if (performance.now() - acknowledgedMs > 30_000) throw new Error(`probe ${probe} is not visible after 30 s: ${text}`)
      await pause(pollMs)
    }
    times.push(performance.now() - acknowledgedMs)
    await pause(probeEveryMs)
  }
  await client.endAsync()
  return times.sort((a, b) => a - b)
}

/** Waits until everything acknowledged has its outcome; answers the seconds that took. */
export async function drained(system: System): Promise<{ readonly seconds: number; readonly stored: number }> {
  const startedMs = performance.now()
  for (;;) {
    const { inJournal, stored } = await system.ledger()
    if (inJournal === 0) return { seconds: (performance.now() - startedMs) / 1000, stored }
    if (performance.now() - startedMs > 300_000) throw new Error(`${inJournal} records still in the journal after 300 s`)
  }
}

/** Open loop: `rate` messages a second from 500 connections, QoS 1, 4 fields, embedded store. */
export async function measureOpenLoop(rate: number, seconds: number): Promise<Figures> {
  await using system = await System.start()
  const pids = [system.edgePid, system.servicePid]
  const cpuBefore = pids.map(cpuSecondsOf)
  const rss: number[][] = []
  const sampler = setInterval(() => rss.push(pids.map(rssMiBOf)), 1000)
  const stop = new AbortController()
  const probing = probeVisibility(system, stop.signal)
  const load = await runLoad({ port: system.mqttPort, conns: 500, qos: 1, rate, seconds, pids: pids.join(',') })
  stop.abort()
  const lag = await drained(system)
  clearInterval(sampler)
  const visible = await probing
  const cpu = pids.map((pid, index) => cpuSecondsOf(pid) - (cpuBefore[index] ?? 0))
  const third = Math.max(1, Math.floor(rss.length / 3))
  const meanOf = (samples: readonly number[][], index: number) =>
    samples.reduce((sum, sample) => sum + (sample[index] ?? 0), 0) / Math.max(1, samples.length)
  const [middle, last] = [rss.slice(third, 2 * third), rss.slice(2 * third)]
  return {
    rate,
    seconds,
    acknowledged: load.ackedTotal,
    notStored: load.ackedTotal + visible.length - lag.stored,
    late: load.late,
    ackP50Ms: load.p50,
    ackP99Ms: load.p99,
    ackMaxMs: load.max,
    visibleP50Ms: round(percentile(visible, 0.5), 0),
    visibleMaxMs: round(visible.at(-1) ?? Number.NaN, 0),
    lagAtEndSeconds: round(lag.seconds),
    edgeCpuSecondsPerMillion: round(((cpu[0] ?? 0) / load.ackedTotal) * 1e6),
    serviceCpuSecondsPerMillion: round(((cpu[1] ?? 0) / load.ackedTotal) * 1e6),
    edgeRssMiB: `${round(meanOf(middle, 0), 0)} → ${round(meanOf(last, 0), 0)}`,
    serviceRssMiB: `${round(meanOf(middle, 1), 0)} → ${round(meanOf(last, 1), 0)}`
  }
}

/** Mosquitto + Telegraf + InfluxDB 2 with the same load in the same run. */
export async function measurePeer(rate: number, seconds: number): Promise<Figures> {
  const result = (await runTool('pipeline-peer.mjs', { rate, seconds, conns: 500 })) as {
    readonly load: { readonly ackedTotal: number; readonly p50: number; readonly p99: number }
    readonly missing: number
    readonly visibleAfterLoadSeconds: number
    readonly cpuPerMillionStored: Readonly<Record<'mosquitto' | 'telegraf' | 'influxd', number>>
  }
  const cpu = result.cpuPerMillionStored
  return {
    rate,
    seconds,
    acknowledged: result.load.ackedTotal,
    notStored: result.missing,
    ackP50Ms: result.load.p50,
    ackP99Ms: result.load.p99,
    lagAtEndSeconds: result.visibleAfterLoadSeconds,
    mosquittoCpuSecondsPerMillion: cpu.mosquitto,
    telegrafCpuSecondsPerMillion: cpu.telegraf,
    influxdCpuSecondsPerMillion: cpu.influxd,
    totalCpuSecondsPerMillion: round(cpu.mosquitto + cpu.telegraf + cpu.influxd)
  }
}
