import { seedOf, uniformAt, walk } from '../random.ts'
import { activity, bump, busyCell, daylight, energyOf } from './curves.ts'
import type { DeviceModel } from './model.ts'
import { clamp, round } from './model.ts'

/** The boiler in the cellar. */
export const boiler: DeviceModel = {
  kind: 'boiler',
  description: 'the heating boiler: flow and return temperature, pressure, burner',
  build(seed) {
    const noise = walk(seedOf(seed, 'noise'), 35)
    const water = walk(seedOf(seed, 'pressure'), 240)
    return minute => {
      const demand = clamp(
        0.25 + 0.6 * bump(minute, 7, 2) + 0.5 * bump(minute, 20, 3) - 0.3 * daylight(minute) + 0.15 * noise(minute),
        0,
        1
      )
      const burning = demand > 0.22
      const flow = 34 + 31 * demand
      return {
        flowTemperature: round(flow + noise(minute), 1),
        returnTemperature: round(flow - 5 - 9 * demand + 0.8 * noise(minute + 6), 1),
        pressure: round(1.55 + 0.12 * water(minute), 2),
        burning,
        modulation: burning ? round(demand * 100, 0) : 0
      }
    }
  }
}

/** The water meter of the home. */
export const water: DeviceModel = {
  kind: 'water',
  description: 'the water meter: flow, total, leak alarm',
  build(seed) {
    const flow = walk(seedOf(seed, 'flow'), 6)
    const start = 100_000 + Math.floor(50_000 * uniformAt(seedOf(seed, 'start')))
    const litres = energyOf(minute => 60 * 0.9 * activity(minute))
    return minute => ({
      flow: busyCell(seedOf(seed, 'tap'), minute, 5) ? round(7 + 4.5 * flow(minute), 2) : 0,
      total: round(start + litres(minute), 1),
      leak: false
    })
  }
}

/** The weather outside. */
export const weather: DeviceModel = {
  kind: 'weather',
  description: 'outside: temperature, humidity, wind, rain',
  build(seed) {
    const front = walk(seedOf(seed, 'front'), 600)
    const gust = walk(seedOf(seed, 'gust'), 15)
    return minute => ({
      temperature: round(11 + 6.5 * bump(minute, 15, 6) + 4 * front(minute), 2),
      humidity: round(clamp(70 - 18 * daylight(minute) - 14 * front(minute), 25, 100), 1),
      wind: round(clamp(3.5 + 3 * gust(minute) + 2 * front(minute + 90), 0, 40), 1),
      rain: round(clamp(-2.2 * front(minute) - 0.9, 0, 10), 2)
    })
  }
}

/** A bed in the garden. */
export const soil: DeviceModel = {
  kind: 'soil',
  description: 'a bed in the garden: moisture, temperature, conductivity',
  build(seed) {
    const slow = walk(seedOf(seed, 'moisture'), 400)
    return minute => ({
      moisture: round(clamp(38 + 9 * slow(minute) - 5 * daylight(minute), 5, 80), 1),
      temperature: round(12 + 3.5 * bump(minute, 16, 7) + 1.5 * slow(minute + 60), 2),
      conductivity: round(420 + 90 * slow(minute + 200), 0)
    })
  }
}
