import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { startBroker } from './brokers.ts'
import { type Figures, median, round } from './figures.ts'
import { drained } from './ingest.ts'
import { measureDisk } from './journal.ts'
import { type LoadResult, runLoad } from './load.ts'
import { ratioOf, seconds, takeTurns } from './rounds.ts'
import { System } from './system.ts'

const openLoop = { conns: 500, qos: 1, rate: 5_000 }
/** What lies in the store before: ten devices of 100,000 readings of four fields, as fast as they are taken. */
const stored = { conns: 10, qos: 1, window: 500 }
const storedHours = 1

/** Each scans everything that is stored, and sorts it for its percentiles. */
const heavyQueries = [
  'every=1s&agg=p50,p95,p99&limit=100000',
  'every=auto&agg=mean,min,max,p95',
  'every=1m&agg=p99,count,sum,first,last&order=desc',
  'every=10s&agg=p50,p99&limit=100000&format=csv'
]

/**
 * Acknowledgements at 5,000 msg/s with fsync, alone and while four clients ask heavy queries and one exports everything, each
 * without a pause. Bound: p99 ≤ 10 ms, and ≤ 1.5 times that under queries. Mosquitto, which has no part in the queries, is
 * loaded beside them too: its ratio is what the machine's cores themselves cost the generator.
 */
export async function measureAck(): Promise<Figures> {
  await using system = await System.start()
  await using mosquitto = await startBroker('mosquitto')
  const from = Date.now() - storedHours * 3_600_000
  const filled = await runLoad({ port: system.mqttPort, ...stored, start: from, seconds: seconds(20) })
  await drained(system)
  const answers: number[] = []
  const refusals: number[] = []
  const load = async (port: number): Promise<LoadResult> =>
    await runLoad({ port, pids: system.edgePid, warmup: 1, seconds: seconds(8), ...openLoop })
  const situations = {
    quiet: { port: system.mqttPort, queried: false },
    queried: { port: system.mqttPort, queried: true },
    mosquittoQuiet: { port: mosquitto.port, queried: false },
    mosquittoQueried: { port: mosquitto.port, queried: true }
  } as const
  const runs = await takeTurns(['quiet', 'queried', 'mosquittoQuiet', 'mosquittoQueried'], 3, async name => {
    const { port, queried } = situations[name]
    if (!queried) return await load(port)
    const stop = new AbortController()
    const asking = askAll(system.httpUrl, from, { signal: stop.signal, answers, refusals })
    // It is awaited below; until then its failure has nobody else.
    asking.catch(() => undefined)
    try {
      return await load(port)
    } finally {
      stop.abort()
      await asking
      await drained(system)
    }
  })
  const p99 = (name: keyof typeof runs) => runs[name].map(result => result.p99)
  const disk = measureDisk()
  return {
    rate: openLoop.rate,
    storedMessages: filled.ackedTotal,
    answers: answers.length,
    answersRefused: refusals.length,
    answerMsMedian: round(median(answers), 0),
    quietAckP50Ms: median(runs.quiet.map(({ p50 }) => p50)),
    quietAckP99Ms: median(p99('quiet')),
    queriedAckP50Ms: median(runs.queried.map(({ p50 }) => p50)),
    queriedAckP99Ms: median(p99('queried')),
    queriedToQuietP99: ratioOf(p99('queried'), p99('quiet')),
    mosquittoQuietAckP99Ms: median(p99('mosquittoQuiet')),
    mosquittoQueriedAckP99Ms: median(p99('mosquittoQueried')),
    mosquittoQueriedToQuietP99: ratioOf(p99('mosquittoQueried'), p99('mosquittoQuiet')),
    late: runs.quiet.concat(runs.queried).reduce((sum, { late }) => sum + late, 0),
    diskP99Ms: disk.p99
  }
}

interface Asking {
  readonly signal: AbortSignal
  /** Gets the ms of each answer that came whole. */
  readonly answers: number[]
  /** Gets the status of each that was none. */
  readonly refusals: number[]
}

/** Asks the heavy queries and the export, each again as soon as it is answered, until the signal. */
async function askAll(httpUrl: string, from: number, asking: Asking): Promise<void> {
  const url = `${httpUrl}/api/v1/query?from=${from}&`
  await Promise.all([
    ...heavyQueries.map(async query => {
      while (!asking.signal.aborted) await answerOf(url + query, asking)
    }),
    exportAll(`${url}format=ndjson&limit=100000`, asking)
  ])
}

/** Everything, page after page, and again from the beginning. */
async function exportAll(url: string, asking: Asking): Promise<void> {
  let cursor = ''
  while (!asking.signal.aborted)
    cursor = (await answerOf(cursor === '' ? url : `${url}&cursor=${encodeURIComponent(cursor)}`, asking)) ?? ''
}

/** Reads an answer and throws it away; answers its next cursor. Behind a refusal it waits a moment. */
async function answerOf(url: string, { signal, answers, refusals }: Asking): Promise<string | undefined> {
  const startedMs = performance.now()
  try {
    const request = get(url, { signal })
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    for await (const _ of response);
    if (response.statusCode !== 200) {
      refusals.push(response.statusCode ?? 0)
      await delay(100, undefined, { signal })
      return undefined
    }
    answers.push(performance.now() - startedMs)
    const cursor = response.headers['tidegate-next-cursor'] ?? response.trailers['tidegate-next-cursor']
    return typeof cursor === 'string' && cursor !== '' ? cursor : undefined
  } catch (error) {
    if (!signal.aborted) throw error
    return undefined
  }
}
