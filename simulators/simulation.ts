import { setMaxListeners } from 'node:events'
import { build } from 'hdr-histogram-js'
import { DeviceConnection } from './device-connection.ts'
import type { Device } from './fleet.ts'
import { buildFleet } from './fleet.ts'
import type { SimulationOptions } from './options.ts'
import { checkOptions } from './options.ts'
import type { SimulationReport } from './report.ts'
import type { Clock } from './schedule.ts'
import { runSchedule, systemClock } from './schedule.ts'
import type { DeviceTally } from './tally.ts'
import { Bits } from './tally.ts'
import { TidegateApi } from './tidegate-api.ts'
import type { Timetable } from './timetable.ts'
import { placeOf, readingsOf, timeOf } from './timetable.ts'
import type { Verification } from './verification.ts'
import { verifyRun } from './verification.ts'

/** Messages without their acknowledgement, of all devices together; beyond it readings are not sent, and counted. */
const unacknowledgedLimit = 50_000
const connectsAtOnce = 50
const firstConnectMs = 10_000
const interruptedDrainMs = 2000
const progressEveryMs = 1000

/**
 * Runs a simulated home against a Tidegate: connects its devices, publishes on schedule, waits for the acknowledgements
 * and, when asked, reads everything back and compares. An abort of the signal ends publishing early and skips
 * verification.
 * Runs of one seed follow each other without disturbing each other, since each has its own time range; runs at the same
 * time need different seeds, since the seed names the devices.
 * @throws SimulationFault when an option is wrong or the server cannot be reached
 */
export async function runSimulation(options: SimulationOptions, clock: Clock = systemClock): Promise<SimulationReport> {
  const { home, url, http, devices, rate, seed, verify, qos, total, drainTimeoutMs, patienceMs, signal, progress } = checkOptions(options)
  // one listener a device that connects
  setMaxListeners(0, signal)
  const fleet = buildFleet(home, devices, seed)
  const api = verify ? new TidegateApi(http, { signal, patienceMs }) : undefined
  await api?.reach()
  await using connections = new Connections()
  progress({ phase: 'connecting', sent: 0, acknowledged: 0, complete: 0, devices })
  await connections.open(fleet, url, signal)

  const table: Timetable = { devices, rate, startMs: Date.now() }
  const tallies = verify ? fleet.map((_, device) => newTally(readingsOf(table, device, total))) : []
  const acks = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 3_600_000_000,
    numberOfSignificantValueDigits: 3,
    useWebAssembly: false,
    bitBucketSize: 64
  })
  let sent = 0
  let notSent = 0
  let acknowledged = 0
  let unacknowledged = 0
  const settled = new AbortController()
  let ended = false
  const beganMs = clock.now()
  const report = setInterval(() => progress({ phase: 'publishing', sent, acknowledged, complete: 0, devices }), progressEveryMs)

  const start = (index: number, dueMs: number): void => {
    const { device, seq } = placeOf(table, index)
    const sender = fleet[device]
    if (sender === undefined) return
    if (unacknowledged >= unacknowledgedLimit) {
      notSent++
      return
    }
    const { topic, payload } = sender.dialect.encode(sender.reading(seq, timeOf(table, device, seq)))
    tallies[device]?.sent.add(seq)
    sent++
    if (qos > 0) unacknowledged++
    connections.of(device)?.publish({
      topic,
      payload,
      qos,
      acknowledged: () => {
        acknowledged++
        unacknowledged--
        tallies[device]?.acknowledged.add(seq)
        acks.recordValue(Math.max(1, Math.round((clock.now() - dueMs) * 1000)))
        if (ended && unacknowledged === 0) settled.abort()
      }
    })
  }
  const { started, late } = await runSchedule({ rate, total, clock, signal, start }).finally(() => clearInterval(report))
  const interrupted = started < total && Number.isFinite(total)
  ended = true
  // who interrupts a run does not want to wait, but what is on its way may still arrive
  if (unacknowledged > 0 && signal.aborted) await clock.wait(Math.min(drainTimeoutMs, interruptedDrainMs), settled.signal)
  else if (unacknowledged > 0) await clock.wait(drainTimeoutMs, AbortSignal.any([settled.signal, signal]))
  const tookMs = clock.now() - beganMs
  const { reconnects } = connections
  await connections[Symbol.asyncDispose]()

  let verification: Verification | undefined
  if (api !== undefined && !interrupted) {
    verification = await verifyRun({
      api,
      fleet,
      tallies,
      timetable: table,
      endMs: timeOf(table, 0, Math.ceil(total / devices)) + 1,
      signal,
      patienceMs,
      progress: atMostEvery(progressEveryMs, complete => progress({ phase: 'verifying', sent, acknowledged, complete, devices }))
    })
  }
  return {
    home: home.name,
    seed,
    devices,
    rate,
    qos,
    startedAt: new Date(table.startMs).toISOString(),
    tookMs,
    interrupted,
    sent,
    acknowledged,
    late,
    notSent,
    reconnects,
    ackMs:
      acks.totalCount === 0
        ? null
        : { p50: acks.getValueAtPercentile(50) / 1000, p99: acks.getValueAtPercentile(99) / 1000, max: acks.maxValue / 1000 },
    verify,
    ...(verification === undefined ? {} : { verification })
  }
}

function newTally(readings: number): DeviceTally {
  return { sent: new Bits(readings), acknowledged: new Bits(readings) }
}

/** The same function, but calls that follow one too soon are left out. */
function atMostEvery(ms: number, call: (value: number) => void): (value: number) => void {
  let lastMs = Number.NEGATIVE_INFINITY
  return value => {
    if (performance.now() - lastMs < ms) return
    lastMs = performance.now()
    call(value)
  }
}

/** The connections of a fleet, one for each device. */
class Connections implements AsyncDisposable {
  readonly #open: (DeviceConnection | undefined)[] = []

  get reconnects(): number {
    return this.#open.reduce((sum, connection) => sum + (connection?.reconnects ?? 0), 0)
  }

  of(device: number): DeviceConnection | undefined {
    return this.#open[device]
  }

  async open(fleet: readonly Device[], url: string, signal: AbortSignal): Promise<void> {
    const queue = fleet.entries()
    const openNext = async (openTimeoutMs: number): Promise<boolean> => {
      const next = queue.next()
      if (next.done === true) return false
      const [index, { id: clientId }] = next.value
      this.#open[index] = await DeviceConnection.open({ url, clientId, openTimeoutMs, signal })
      return true
    }
    // The first one alone: where nobody answers, that is said once and soon.
    await openNext(firstConnectMs)
    const outcomes = await Promise.allSettled(
      Array.from({ length: connectsAtOnce }, async () => {
        // A server may let devices in slowly, so the whole fleet has time.
        while (await openNext(firstConnectMs + fleet.length * 20));
      })
    )
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#open.splice(0).map(async connection => await connection?.[Symbol.asyncDispose]()))
  }
}
