import { describe, expect, it } from 'vitest'
import { systemClock } from '../../simulators/schedule.ts'
import type { Clock } from '../../simulators/schedule.ts'
import { reportOk, runSimulation, SimulationFault } from '../../simulators/simulations.ts'
import type { SimulationOptions, SimulationReport } from '../../simulators/simulations.ts'
import { MqttSink } from '../harness/mqtt-sink.ts'
import { FakeTidegate, rowsOf } from './fake-tidegate.ts'
import type { FakeRow } from './fake-tidegate.ts'

const usual = { devices: 12, rate: 1_200, durationMs: 200, seed: 7, verify: true, patienceMs: 2_000 } as const

/** Runs against a sink and an API that shows the sink's readings after `change`. */
async function runAgainst(
  change: (rows: FakeRow[]) => FakeRow[],
  options: Partial<SimulationOptions> = {},
  sinkOptions: Parameters<typeof MqttSink.open>[0] = {}
): Promise<{ readonly report: SimulationReport; readonly sink: MqttSink }> {
  await using sink = await MqttSink.open(sinkOptions)
  await using api = await FakeTidegate.open({ rows: () => change(rowsOf(sink.received)) })
  const report = await runSimulation({ ...usual, url: sink.url, http: api.url, ...options })
  return { report, sink }
}

/** The row with the given number of the given device. */
function rowAt(rows: readonly FakeRow[], device: number, seq: number): FakeRow {
  const ids = [...new Set(rows.map(row => row.device))].toSorted()
  const row = rows.find(row => row.device === ids[device] && row.fields['seq'] === seq)
  if (row === undefined) throw new Error(`no reading ${seq} of device ${device}`)
  return row
}

const valuesOf = (rows: readonly FakeRow[]): readonly string[] => rows.map(row => JSON.stringify([row.device, row.fields])).toSorted()

const counts = (report: SimulationReport): unknown => {
  const { stored, missing, duplicated, wrong } = report.verification ?? {}
  return { sent: report.sent, acknowledged: report.acknowledged, stored, missing, duplicated, wrong, ok: reportOk(report) }
}

describe('a run against a server that keeps everything', () => {
  it('sends each reading once over one connection a device, and finds all of them', async () => {
    const { report, sink } = await runAgainst(rows => rows)
    expect(counts(report)).toEqual({ sent: 240, acknowledged: 240, stored: 240, missing: 0, duplicated: 0, wrong: 0, ok: true })
    expect(report.ackMs?.p50).toBeGreaterThan(0)
    expect(sink.received).toHaveLength(240)
    expect(new Set(sink.connects.map(connect => connect.clientId)).size).toBe(12)
    expect(sink.connects).toHaveLength(12)
    for (const { clientId, topic, qos } of sink.received) expect({ topic, qos }).toEqual({ topic: `devices/${clientId}/telemetry`, qos: 1 })
  })

  it('sends the same values again with the same seed, at other times', async () => {
    const first = await runAgainst(rows => rows)
    const second = await runAgainst(rows => rows)
    expect(valuesOf(rowsOf(second.sink.received))).toEqual(valuesOf(rowsOf(first.sink.received)))
    expect(second.report.startedAt).not.toBe(first.report.startedAt)
  })

  it('is not disturbed by what an earlier run of the same seed left there', async () => {
    await using sink = await MqttSink.open()
    await using api = await FakeTidegate.open({ rows: () => rowsOf(sink.received) })
    const options = { ...usual, url: sink.url, http: api.url, durationMs: 100 }
    const first = await runSimulation(options)
    const second = await runSimulation(options)
    expect([first, second].map(counts)).toEqual(
      Array.from({ length: 2 }, () => ({ sent: 120, acknowledged: 120, stored: 120, missing: 0, duplicated: 0, wrong: 0, ok: true }))
    )
    expect(rowsOf(sink.received)).toHaveLength(240)
  })

  it('waits for readings that become visible later', async () => {
    await using sink = await MqttSink.open()
    let asked = 0
    await using api = await FakeTidegate.open({
      rows: () => {
        asked++
        return rowsOf(sink.received).filter((_, index) => index % 3 !== 0 || asked > 40)
      },
      inJournal: () => (asked > 40 ? 0 : 80)
    })
    const report = await runSimulation({ ...usual, url: sink.url, http: api.url })
    expect(counts(report)).toMatchObject({ stored: 240, missing: 0, ok: true })
  })

  it('asks again when the API answers 503 for a moment', async () => {
    await using sink = await MqttSink.open()
    let asked = 0
    await using api = await FakeTidegate.open({
      rows: () => {
        if (asked++ % 5 === 2) throw new Error('the store is away')
        return rowsOf(sink.received)
      }
    })
    const report = await runSimulation({ ...usual, devices: 3, rate: 600, durationMs: 100, url: sink.url, http: api.url })
    expect(counts(report)).toMatchObject({ stored: 60, missing: 0, ok: true })
  })
})

describe('verification finds', () => {
  it('one reading that is missing', async () => {
    const { report } = await runAgainst(rows => rows.filter(row => row !== rowAt(rows, 4, 11)))
    expect(counts(report)).toEqual({ sent: 240, acknowledged: 240, stored: 239, missing: 1, duplicated: 0, wrong: 0, ok: false })
    expect(report.verification?.examples[0]).toMatch(/reading 11 of .* was acknowledged and is missing/)
  })

  it('one reading that is there twice', async () => {
    const { report } = await runAgainst(rows => [...rows, rowAt(rows, 9, 3)])
    expect(counts(report)).toEqual({ sent: 240, acknowledged: 240, stored: 240, missing: 0, duplicated: 1, wrong: 0, ok: false })
  })

  const changes: Record<string, (row: FakeRow) => FakeRow> = {
    'one value that is off by the least amount': row => {
      const [name = ''] = Object.keys(row.fields).filter(name => name !== 'seq' && typeof row.fields[name] === 'number')
      return { ...row, fields: { ...row.fields, [name]: Number(row.fields[name]) + Number.EPSILON * 256 } }
    },
    'one value that became a string': row => {
      const [name = ''] = Object.keys(row.fields).filter(name => name !== 'seq')
      return { ...row, fields: { ...row.fields, [name]: String(row.fields[name]) } }
    },
    'one field that is gone': row => ({
      ...row,
      fields: Object.fromEntries(Object.entries(row.fields).filter(([name], index) => index < 1 || name === 'seq'))
    }),
    'one field too many': row => ({ ...row, fields: { ...row.fields, ts: 1 } }),
    'a time that is off by a nanosecond': row => ({ ...row, time: String(BigInt(row.time) + 1n) }),
    'another measurement': row => ({ ...row, measurement: 'home' }),
    'a tag that was not sent': row => ({ ...row, tags: { room: 'kitchen' } })
  }
  for (const [name, change] of Object.entries(changes)) {
    it(name, async () => {
      const { report } = await runAgainst(rows => rows.map(row => (row === rowAt(rows, 1, 5) ? change(row) : row)), {
        devices: 3,
        rate: 600,
        durationMs: 100
      })
      expect(counts(report)).toEqual({ sent: 60, acknowledged: 60, stored: 60, missing: 0, duplicated: 0, wrong: 1, ok: false })
    })
  }

  it('a row of the run that was never sent', async () => {
    const { report } = await runAgainst(rows => [...rows, { ...rowAt(rows, 0, 2), fields: { seq: 999_999 } }], {
      devices: 3,
      rate: 600,
      durationMs: 100
    })
    expect(counts(report)).toMatchObject({ stored: 60, missing: 0, duplicated: 0, wrong: 1, ok: false })
  })
})

describe('what was not acknowledged', () => {
  const unacknowledged = { decide: ({ number }: { number: number }) => number % 10 !== 5 }

  it('may be missing', async () => {
    await using sink = await MqttSink.open(unacknowledged)
    await using api = await FakeTidegate.open({ rows: () => rowsOf(sink.received.filter(publish => publish.acknowledged)) })
    const report = await runSimulation({ ...usual, url: sink.url, http: api.url, drainTimeoutMs: 300 })
    expect(counts(report)).toEqual({ sent: 240, acknowledged: 216, stored: 216, missing: 0, duplicated: 0, wrong: 0, ok: true })
  })

  it('may be there, but not twice', async () => {
    await using sink = await MqttSink.open(unacknowledged)
    await using api = await FakeTidegate.open({ rows: () => [...rowsOf(sink.received), ...rowsOf(sink.received.slice(5, 6))] })
    const report = await runSimulation({ ...usual, url: sink.url, http: api.url, drainTimeoutMs: 300 })
    expect(counts(report)).toEqual({ sent: 240, acknowledged: 216, stored: 240, missing: 0, duplicated: 1, wrong: 0, ok: false })
  })
})

describe('lost connections', () => {
  it('come back under the same client id, everything is sent again until it is acknowledged, and acknowledged once', async () => {
    let cuts = 0
    const { report, sink } = await runAgainst(
      rows => rows,
      { devices: 4, rate: 600, durationMs: 1_000 },
      { decide: ({ number }) => (number % 97 === 60 && cuts++ < 6 ? 'cut' : true) }
    )
    expect(counts(report)).toEqual({ sent: 600, acknowledged: 600, stored: 600, missing: 0, duplicated: 0, wrong: 0, ok: true })
    expect(report.reconnects).toBeGreaterThanOrEqual(1)
    expect(new Set(sink.connects.map(connect => connect.clientId)).size).toBe(4)
    expect(sink.received.some(publish => publish.dup)).toBe(true)
    // the first CONNECT of a client is clean, later ones continue its session
    const seen = new Set<string>()
    for (const { clientId, clean } of sink.connects) {
      expect(clean).toBe(!seen.has(clientId))
      seen.add(clientId)
    }
  })
})

describe('other ends', () => {
  it('no wait goes on when the run is over, so the command ends at once', async () => {
    let pending = 0
    const clock: Clock = {
      now: () => systemClock.now(),
      wait: async (ms, signal) => {
        pending++
        await systemClock.wait(ms, signal)
        pending--
      }
    }
    await using sink = await MqttSink.open()
    const report = await runSimulation({ devices: 3, rate: 300, durationMs: 100, url: sink.url }, clock)
    expect({ pending, acknowledged: report.acknowledged }).toEqual({ pending: 0, acknowledged: 30 })
    expect(report.tookMs).toBeLessThan(5_000)
  })

  it('progress names its phases in order', async () => {
    const phases: string[] = []
    await runAgainst(rows => rows, { progress: ({ phase }) => phases.push(phase) })
    expect(phases).toEqual(['connecting', 'verifying'])
  })

  it('an abort stops publishing, skips verification and is not ok', async () => {
    const stop = new AbortController()
    await using api = await FakeTidegate.open({ rows: () => [] })
    await using sink = await MqttSink.open({
      decide: ({ number }) => {
        if (number === 30) stop.abort()
        return true
      }
    })
    const report = await runSimulation({ ...usual, durationMs: 60_000, url: sink.url, http: api.url, signal: stop.signal })
    expect(report.interrupted).toBe(true)
    expect(report.verification).toBeUndefined()
    expect(reportOk(report)).toBe(false)
  })

  it('runs the demo home until it is stopped, and that is ok', async () => {
    const stop = new AbortController()
    await using sink = await MqttSink.open({
      decide: ({ number }) => {
        if (number === 50) stop.abort()
        return true
      }
    })
    const report = await runSimulation({ home: 'demo', rate: 400, url: sink.url, signal: stop.signal })
    expect(reportOk(report)).toBe(true)
    expect(report.sent).toBeGreaterThan(50)
    expect(new Set(sink.received.map(publish => publish.topic)).size).toBe(22)
  })

  it('QoS 0 is never acknowledged, and nothing waits for it', async () => {
    const { report } = await runAgainst(rows => rows, { qos: 0 })
    expect(counts(report)).toEqual({ sent: 240, acknowledged: 0, stored: 240, missing: 0, duplicated: 0, wrong: 0, ok: true })
  })

  it('a server that refuses the connection is named, with its reason', async () => {
    await using sink = await MqttSink.open({ returnCode: 5 })
    const run = runSimulation({ devices: 3, durationMs: 100, url: sink.url })
    await expect(run).rejects.toThrow(SimulationFault)
    await expect(run).rejects.toThrow(/refuses the connection: .*Not authorized/)
  })
})

describe('a run that is to be verified where no API answers', () => {
  it('says so before anything is published', async () => {
    await using sink = await MqttSink.open()
    const gone = await FakeTidegate.open({ rows: () => [] })
    const http = gone.url
    await gone[Symbol.asyncDispose]()
    const run = runSimulation({ ...usual, url: sink.url, http, patienceMs: 100 })
    await expect(run).rejects.toThrow(/^--http: no Tidegate answers for --verify: .*ECONNREFUSED/)
    expect(sink.connects).toEqual([])
  })
})
