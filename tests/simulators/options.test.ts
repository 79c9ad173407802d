import { describe, expect, it } from 'vitest'
import { checkOptions } from '../../simulators/options.ts'
import type { SimulationOptions } from '../../simulators/options.ts'
import { demoHome, formatReport, listSimulations, reportOk, SimulationFault } from '../../simulators/simulations.ts'
import type { SimulationReport } from '../../simulators/simulations.ts'

const url = 'mqtt://127.0.0.1:1883'

describe('options', () => {
  const wrong: readonly (readonly [Partial<SimulationOptions>, RegExp])[] = [
    [{ home: 'hose' }, /"hose".*home, demo/],
    [{ devices: 0 }, /--devices .* 1 to 20000/],
    [{ devices: 2.5 }, /--devices/],
    [{ home: 'demo', devices: 23 }, /--devices .* 22/],
    [{ rate: 0 }, /--rate/],
    [{ rate: Number.NaN }, /--rate/],
    [{ devices: 3, rate: 3_001 }, /--rate .*3000/],
    [{ seed: -1 }, /--seed/],
    [{ seed: 0.5 }, /--seed/],
    [{ durationMs: 0 }, /--duration/],
    [{ durationMs: Number.POSITIVE_INFINITY }, /--duration/],
    [{ url: 'http://127.0.0.1:1883' }, /--url .*mqtt:/],
    [{ url: 'localhost' }, /--url/],
    [{ http: 'mqtt://127.0.0.1:1883' }, /--http/],
    [{ verify: true, http: 'http://127.0.0.1:8080' }, /--verify needs a --duration/],
    [{ verify: true, durationMs: 1_000 }, /--verify needs --http/],
    [{ verify: true, durationMs: 1_000, http: 'http://127.0.0.1:8080', home: 'demo' }, /--verify does not work with "demo"/],
    [{ verify: true, durationMs: 1e12, rate: 1_000, http: 'http://127.0.0.1:8080' }, /--verify can follow/]
  ]
  for (const [options, message] of wrong) {
    it(`${JSON.stringify(options)} is refused by name`, () => {
      expect(() => checkOptions({ url, ...options })).toThrow(SimulationFault)
      expect(() => checkOptions({ url, ...options })).toThrow(message)
    })
  }

  it('have defaults: one message a second from each of 20 devices, QoS 1, no verification', () => {
    expect(checkOptions({ url })).toMatchObject({ devices: 20, rate: 20, qos: 1, seed: 1, verify: false, total: Number.POSITIVE_INFINITY })
  })

  it('of the demo are right', () => {
    expect(checkOptions({ url, ...demoHome })).toMatchObject({ devices: 22, rate: 22, verify: false })
    expect(listSimulations().map(({ name }) => name)).toEqual(['home', 'demo'])
  })
})

const report: SimulationReport = {
  home: 'home',
  seed: 7,
  devices: 200,
  rate: 2_000,
  qos: 1,
  startedAt: '2026-05-04T03:02:01.000Z',
  tookMs: 30_120,
  interrupted: false,
  sent: 60_000,
  acknowledged: 59_990,
  late: 3,
  notSent: 0,
  reconnects: 2,
  ackMs: { p50: 3.14, p99: 9.87, max: 40 },
  verify: true,
  verification: { stored: 59_995, missing: 0, duplicated: 0, wrong: 0, examples: [], tookMs: 810 }
}

describe('the report', () => {
  it('says all figures and whether it is ok', () => {
    const text = formatReport(report)
    for (const [name, value] of [
      ['sent', '60,000'],
      ['acknowledged', '59,990'],
      ['stored', '59,995'],
      ['missing', '0'],
      ['duplicated', '0'],
      ['wrong', '0']
    ])
      expect(text).toMatch(new RegExp(`^ +${name} +${value}( |$)`, 'm'))
    expect(text).toMatch(/3 late · 2 reconnects/)
    expect(text).toMatch(/p50 3\.1 ms · p99 9\.9 ms/)
    expect(text).toMatch(/^ok: /m)
  })

  const failing: Record<string, SimulationReport> = {
    'one is missing': {
      ...report,
      verification: { stored: 1, missing: 1, duplicated: 0, wrong: 0, examples: ['x: reading 1'], tookMs: 1 }
    },
    'one is there twice': { ...report, verification: { stored: 1, missing: 0, duplicated: 1, wrong: 0, examples: [], tookMs: 1 } },
    'one is wrong': { ...report, verification: { stored: 1, missing: 0, duplicated: 0, wrong: 1, examples: [], tookMs: 1 } },
    'nothing was acknowledged': { ...report, acknowledged: 0 },
    'nothing was sent': { ...report, sent: 0 },
    'it was interrupted': { ...report, interrupted: true }
  }
  for (const [name, wrong] of Object.entries(failing)) {
    it(`is not ok when ${name}`, () => {
      expect(reportOk(wrong)).toBe(false)
      expect(formatReport(wrong)).toMatch(/^FAILED: (?!unknown)/m)
    })
  }
})
