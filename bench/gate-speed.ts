import { type BrokerName, brokerNames, Edge, type MeasuredBroker, startBroker, withBrokers } from './brokers.ts'
import { openClient } from './clients.ts'
import { type Figures, median, round } from './figures.ts'
import { type LoadResult, runLoad } from './load.ts'
import { ratioOf, seconds, short, takeTurns } from './rounds.ts'

/** 1,000 connections, each with its next message when the last one is acknowledged: one message a segment. */
const deviceShape = { conns: 1000, qos: 1, window: 1 }
/** 50 connections with 200 messages in flight (QoS 1), or four chunks of 64 KiB (QoS 0). */
const bulkShape = { conns: 50 }

/**
 * CPU a message in the shape that a fleet has, the journal's fsync in ours.
 * Bound: ≤ 1.25 of Mosquitto's (aim: 1), ≤ 0.55 of plain aedes'.
 */
export async function measureDevice(): Promise<Figures> {
  return await withBrokers(async brokers => {
    const runs = await takeTurns(brokerNames, 5, async name => await loadOn(brokers[name], deviceShape, seconds(5)))
    const cpu = (name: BrokerName) => runs[name].map(cpuOf)
    return {
      ...figuresOf('tidegate', runs.tidegate),
      ...figuresOf('mosquitto', runs.mosquitto),
      ...figuresOf('aedes', runs.aedes),
      cpuToMosquitto: ratioOf(cpu('tidegate'), cpu('mosquitto')),
      cpuToAedes: ratioOf(cpu('tidegate'), cpu('aedes'))
    }
  })
}

/**
 * Messages a second of few pipelining connections in 10 s, with fsync. What counts of ours is what is in the journal: a
 * QoS 0 publish that was read and shed is none. Bound: ≥ 3 times Mosquitto's at QoS 0, ≥ 5 at QoS 1.
 */
export async function measureBulk(): Promise<Figures> {
  const figures: Record<string, number | string> = {}
  for (const qos of [0, 1]) {
    const runs = await takeTurns(['tidegate', 'mosquitto'], 3, async name => await bulkOf(name, qos))
    const aedes = await bulkOf('aedes', qos)
    const rate = (results: readonly CountedLoad[]) => results.map(({ perSecond }) => perSecond)
    Object.assign(figures, figuresOf(`qos${qos}Tidegate`, runs.tidegate), figuresOf(`qos${qos}Mosquitto`, runs.mosquitto))
    Object.assign(figures, figuresOf(`qos${qos}Aedes`, [aedes]))
    figures[`qos${qos}TidegateShedPercent`] = round(median(runs.tidegate.map(({ shedPercent }) => shedPercent)))
    figures[`qos${qos}RateToMosquitto`] = ratioOf(rate(runs.tidegate), rate(runs.mosquitto))
  }
  return figures
}

/** Each run has a fresh broker: a second of it fills a journal with a hundred megabytes. */
async function bulkOf(name: BrokerName, qos: number): Promise<CountedLoad> {
  await using broker = await startBroker(name)
  return await loadOn(broker, { ...bulkShape, qos }, seconds(10))
}

/** CPU a message of MQTT 5.0 against 3.1.1, both on the fast lane. Bound: ≤ 1.15. */
export async function measureMqtt5(): Promise<Figures> {
  await using edge = await Edge.start()
  try {
    const socket = await openClient(edge.port, { clientId: 'bench-mqtt5', version: 5 })
    socket.destroy()
  } catch (error) {
    return { mqtt5: `not served, so that there is nothing to compare: ${String(error)}` }
  }
  const figures: Record<string, number | string> = {}
  for (const [shape, options] of [
    ['device', deviceShape],
    ['bulkQos0', { ...bulkShape, qos: 0 }],
    ['bulkQos1', { ...bulkShape, qos: 1 }]
  ] as const) {
    const runs = await takeTurns(['v4', 'v5'], 5, async version => {
      return await loadOn(edge, { ...options, v: version === 'v5' ? 5 : 4 }, seconds(3))
    })
    const [three, five] = [runs.v4.map(cpuOf), runs.v5.map(cpuOf)]
    figures[`${shape}Mqtt311CpuSecondsPerMillion`] = round(median(three))
    figures[`${shape}Mqtt5CpuSecondsPerMillion`] = round(median(five))
    figures[`${shape}Mqtt5ToMqtt311`] = ratioOf(five, three)
  }
  return figures
}

/** A load whose figures are those of the publishes that reached the journal. */
interface CountedLoad extends LoadResult {
  readonly shedPercent: number
}

async function loadOn(broker: MeasuredBroker, options: Readonly<Record<string, number>>, length: number): Promise<CountedLoad> {
  const edge = broker instanceof Edge ? broker : undefined
  const before = await edge?.journaled()
  const result = await runLoad({ port: broker.port, pids: broker.pid, warmup: short ? 0.5 : 1, seconds: length, ...options })
  if (result.closed > 0) throw new Error(`${result.closed} connections were closed under load`)
  if (edge === undefined || before === undefined) return { ...result, shedPercent: 0 }
  const part = Math.min(1, ((await edge.journaled()) - before) / result.ackedTotal)
  if (options['qos'] !== 0 && part < 1) throw new Error(`of ${result.ackedTotal} acknowledged publishes only ${part} are in the journal`)
  return {
    ...result,
    shedPercent: (1 - part) * 100,
    perSecond: Math.round(result.perSecond * part),
    cpuPerMillion: result.cpuPerMillion.map(cpu => cpu / part)
  }
}

function cpuOf(result: LoadResult): number {
  return result.cpuPerMillion[0] ?? Number.NaN
}

/** The medians of the rounds. With the generator at a core, the rate is its own. */
function figuresOf(name: string, results: readonly CountedLoad[]): Figures {
  return {
    [`${name}CpuSecondsPerMillion`]: round(median(results.map(cpuOf))),
    [`${name}PerSecond`]: median(results.map(({ perSecond }) => perSecond)),
    [`${name}Cores`]: round(median(results.map(({ cores }) => cores[0] ?? Number.NaN))),
    [`${name}GeneratorCores`]: round(median(results.map(({ generatorCores }) => generatorCores)))
  }
}
