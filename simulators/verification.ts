import { setTimeout as delay } from 'node:timers/promises'
import type { Device } from './fleet.ts'
import { SimulationFault } from './simulation-fault.ts'
import { Bits } from './tally.ts'
import type { DeviceTally } from './tally.ts'
import type { Row, TidegateApi } from './tidegate-api.ts'
import type { Timetable } from './timetable.ts'
import { timeOf } from './timetable.ts'

/** What reading everything back showed. */
export interface Verification {
  /** Different readings of this run that the API shows, right or wrong. */
  readonly stored: number
  /** Acknowledged readings that it does not show. */
  readonly missing: number
  /** Rows beyond the first of a reading. */
  readonly duplicated: number
  /** Rows that differ from what was sent, or that were never sent. */
  readonly wrong: number
  /** The first few faults, in words. */
  readonly examples: readonly string[]
  /** From the end of publishing until everything was visible, or given up, in ms. */
  readonly tookMs: number
}

export interface VerificationOptions {
  readonly api: TidegateApi
  readonly fleet: readonly Device[]
  readonly tallies: readonly DeviceTally[]
  readonly timetable: Timetable
  /** Exclusive end of the event times of the run, ms. */
  readonly endMs: number
  readonly signal: AbortSignal
  /** How long to wait without any reading becoming visible before what is missing counts as lost. */
  readonly patienceMs: number
  /** Called after each device, with how many are complete. */
  readonly progress: (complete: number) => void
}

interface DeviceResult {
  readonly stored: number
  readonly missing: number
  readonly duplicated: number
  readonly wrong: number
  readonly examples: readonly string[]
}

const examplesKept = 20
const atOnce = 2

/**
 * Reads every reading of the run back and compares it with what was sent, made again from the seed. Devices with missing
 * readings are read again until they are complete, until the ledger says that nothing is on its way any more, or until
 * nothing new came for `patienceMs`. Memory: two bits a reading, and one page of rows a device in work.
 */
export async function verifyRun(options: VerificationOptions): Promise<Verification> {
  const { api, fleet, signal, patienceMs, progress } = options
  const beganMs = performance.now()
  const results: DeviceResult[] = []
  let open = fleet.map((_, index) => index)
  let missingBefore = Number.POSITIVE_INFINITY
  let progressedMs = beganMs
  let drainedTwice = false
  for (let pauseMs = 100; ; pauseMs = Math.min(2000, pauseMs * 2)) {
    // Taken before the readings are looked at: what was on its way then may be seen now, what is missing still never will.
    const final = drainedTwice
    const queue = open.values()
    let complete = fleet.length - open.length
    await Promise.all(
      Array.from({ length: atOnce }, async () => {
        for (const index of queue) {
          const result = await verifyDevice(options, index)
          results[index] = result
          if (result.missing === 0) complete++
          progress(complete)
        }
      })
    )
    open = open.filter(index => (results[index]?.missing ?? 0) > 0)
    const missing = sum(results, result => result.missing)
    const nowMs = performance.now()
    if (missing < missingBefore) progressedMs = nowMs
    missingBefore = missing
    if (open.length === 0 || final || nowMs - progressedMs > patienceMs) break
    if (signal.aborted) throw new SimulationFault('stopped before everything was read back')
    const drained = (await api.inJournal()) === 0
    await delay(pauseMs, undefined, { signal }).catch(() => undefined)
    drainedTwice = drained && (await api.inJournal()) === 0
  }
  return {
    stored: sum(results, result => result.stored),
    missing: sum(results, result => result.missing),
    duplicated: sum(results, result => result.duplicated),
    wrong: sum(results, result => result.wrong),
    examples: results.flatMap(result => result.examples).slice(0, examplesKept),
    tookMs: performance.now() - beganMs
  }
}

async function verifyDevice({ api, fleet, tallies, timetable, endMs }: VerificationOptions, index: number): Promise<DeviceResult> {
  const device = fleet[index]
  const tally = tallies[index]
  if (device === undefined || tally === undefined) throw new Error('a device without a tally')
  const seen = new Bits(tally.sent.size)
  const examples: string[] = []
  let duplicated = 0
  let wrong = 0
  const note = (fault: string): void => {
    if (examples.length < examplesKept) examples.push(`${device.id}: ${fault}`)
  }
  for await (const rows of api.rows(device.id, timetable.startMs, endMs)) {
    for (const row of rows) {
      const seq = row.fields['seq']
      if (typeof seq !== 'number' || !Number.isInteger(seq) || !tally.sent.has(seq)) {
        wrong++
        note(`a row that was never sent: ${JSON.stringify(row)}`)
        continue
      }
      const first = seen.add(seq)
      const fault = differenceOf(row, device, seq, timeOf(timetable, index, seq))
      if (fault !== undefined) {
        wrong++
        note(`reading ${seq}: ${fault}`)
      }
      if (!first) {
        duplicated++
        note(`reading ${seq} is there twice, now at ${row.time}`)
      }
    }
  }
  let missing = 0
  for (let seq = 0; seq < tally.sent.size; seq++) {
    if (!tally.acknowledged.has(seq) || seen.has(seq)) continue
    missing++
    note(`reading ${seq} of ${new Date(timeOf(timetable, index, seq)).toISOString()} was acknowledged and is missing`)
  }
  return { stored: seen.count, missing, duplicated, wrong, examples }
}

/** In words, how a row differs from the reading that was sent; undefined when it does not. */
function differenceOf(row: Row, device: Device, seq: number, timeMs: number): string | undefined {
  if (row.device !== device.id) return `device is ${JSON.stringify(row.device)}`
  if (row.measurement !== 'telemetry') return `measurement is ${JSON.stringify(row.measurement)}, not "telemetry"`
  if (row.time !== `${timeMs}000000`) return `time is ${row.time}, not ${timeMs}000000`
  const tag = Object.keys(row.tags).find(name => name !== 'device')
  if (tag !== undefined) return `it has a tag ${JSON.stringify(tag)}`
  const expected = device.reading(seq, timeMs).fields
  const names = Object.keys(expected)
  for (const name of names) {
    if (row.fields[name] !== expected[name]) return `${name} is ${JSON.stringify(row.fields[name])}, not ${JSON.stringify(expected[name])}`
  }
  const extra = Object.keys(row.fields).find(name => name !== 'seq' && !(name in expected))
  return extra === undefined ? undefined : `it has a field ${JSON.stringify(extra)} that was not sent`
}

function sum(results: readonly DeviceResult[], of: (result: DeviceResult) => number): number {
  return results.reduce((total, result) => total + of(result), 0)
}
