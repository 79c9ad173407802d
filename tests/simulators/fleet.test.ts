import { describe, expect, it } from 'vitest'
import { buildFleet, homes, models } from '../../simulators/fleet.ts'
import type { Home } from '../../simulators/fleet.ts'
import { seedOf } from '../../simulators/random.ts'

function homeNamed(name: string): Home {
  const home = homes.find(home => home.name === name)
  if (home === undefined) throw new Error(`no home ${name}`)
  return home
}

const home = homeNamed('home')
const demo = homeNamed('demo')
const startMs = 1_700_000_000_000

describe('values', () => {
  it('are the same for the same seed, whatever the time and in whatever order they are asked for', () => {
    const forwards = buildFleet(home, 32, 7).map(device =>
      Array.from({ length: 300 }, (_, seq) => device.reading(seq, startMs + seq).fields)
    )
    const backwards = buildFleet(home, 32, 7).map(device =>
      Array.from({ length: 300 }, (_, seq) => device.reading(299 - seq, startMs * 2).fields).toReversed()
    )
    expect(backwards).toEqual(forwards)
  })

  it('differ between seeds and between devices of one model', () => {
    const first = buildFleet(home, 32, 7)
    const other = buildFleet(home, 32, 8)
    for (let index = 0; index < 16; index++) {
      const course = (fleet: typeof first, at: number): string =>
        JSON.stringify(Array.from({ length: 400 }, (_, seq) => fleet[at]?.reading(seq, 0).fields))
      expect(course(first, index)).not.toBe(course(other, index))
      expect(course(first, index)).not.toBe(course(first, index + 16))
    }
  })

  it('come back from JSON as they are, over two simulated days of every model', () => {
    for (const model of models) {
      const at = model.build(seedOf(3, model.kind))
      const course = Array.from({ length: 2 * 1440 }, (_, minute) => at(minute))
      expect(JSON.parse(JSON.stringify(course))).toStrictEqual(course)
    }
  })

  it('move: every model has a numeric field that changes within half an hour of readings', () => {
    for (const device of buildFleet(demo, 22, 7)) {
      const readings = Array.from({ length: 30 }, (_, seq) => device.reading(seq, 0).fields)
      const moving = Object.keys(readings[0] ?? {}).filter(name => new Set(readings.map(fields => fields[name])).size > 1)
      if (device.model.kind !== 'contact' && device.model.kind !== 'light') expect(moving, device.id).not.toEqual([])
    }
  })

  it('give a field one type over all models, so that no store has to rename it', () => {
    const types = new Map<string, Set<string>>()
    for (const model of models) {
      for (const [name, value] of Object.entries(model.build(1)(700))) types.set(name, (types.get(name) ?? new Set()).add(typeof value))
    }
    for (const [name, seen] of types) expect([name, ...seen]).toHaveLength(2)
  })

  it('count energy upwards only', () => {
    for (const kind of ['plug', 'solar', 'meter', 'water']) {
      const at = models.find(model => model.kind === kind)?.build(11)
      let before: Record<string, unknown> = {}
      for (let minute = 0; minute < 3 * 1440; minute += 7) {
        const fields = at?.(minute) ?? {}
        for (const name of ['energy', 'importEnergy', 'exportEnergy', 'total'])
          if (name in fields) expect(Number(fields[name])).toBeGreaterThanOrEqual(Number(before[name] ?? 0))
        before = fields
      }
    }
  })
})

describe('homes', () => {
  it('have device ids that are legal topic levels and all different', () => {
    for (const fleet of [buildFleet(home, 1_000, 4_294_967_295), buildFleet(demo, 22, 7)]) {
      const ids = fleet.map(device => device.id)
      expect(new Set(ids).size).toBe(ids.length)
      for (const id of ids) expect(id).toMatch(/^[a-z0-9/-]{1,60}$/)
    }
  })

  it('name devices by their seed, so that two seeds never share one', () => {
    const seven = new Set(buildFleet(home, 100, 7).map(device => device.id))
    expect(buildFleet(home, 100, 8).filter(device => seven.has(device.id))).toEqual([])
  })

  it('that can be verified send event time and number with every message', () => {
    for (const device of buildFleet(home, 64, 5)) {
      expect(device.dialect.verifiable).toBe(true)
      const reading = device.reading(17, startMs + 42)
      const { topic, payload } = device.dialect.encode(reading)
      const body: { ts?: number; time?: string; values?: { seq: number }; seq?: number } = JSON.parse(payload)
      expect(topic).toBe(`devices/${device.id}/telemetry`)
      expect(body.ts ?? Date.parse(body.time ?? '')).toBe(startMs + 42)
      expect(body.values?.seq ?? body.seq).toBe(17)
    }
  })

  it('the demo home speaks five dialects on the topics that their makers document', () => {
    const topics = buildFleet(demo, 22, 7).map(device => device.dialect.encode(device.reading(0, startMs)).topic)
    for (const pattern of [
      /^devices\/[^/]+\/telemetry$/,
      /^zigbee2mqtt\/.+$/,
      /^tele\/[^/]+\/SENSOR$/,
      /^shellies\/[^/]+\/relay\/0\/power$/
    ])
      expect(topics.some(topic => pattern.test(topic))).toBe(true)
    expect(topics).toHaveLength(22)
  })
})
