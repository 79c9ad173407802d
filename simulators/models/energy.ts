import { seedOf, uniformAt, walk } from '../random.ts'
import { activity, busyCell, daylight, energyOf, hourOf } from './curves.ts'
import type { DeviceModel } from './model.ts'
import { clamp, round } from './model.ts'

/** A socket with something plugged in. */
export const plug: DeviceModel = {
  kind: 'plug',
  description: 'a smart plug: power, energy, mains voltage',
  build(seed) {
    const rated = 25 + 120 * uniformAt(seedOf(seed, 'rated'))
    const load = walk(seedOf(seed, 'load'), 25)
    const mains = walk(seedOf(seed, 'mains'), 50)
    const energy = energyOf(minute => 1 + rated * activity(minute))
    return minute => {
      const on = busyCell(seedOf(seed, 'on'), minute, 30)
      return {
        on,
        power: round(on ? rated * (0.9 + 0.1 * load(minute)) : 0.6 + 0.1 * load(minute), 1),
        energy: round(energy(minute), 1),
        voltage: round(230 + 4 * mains(minute), 1)
      }
    }
  }
}

/** Panels on the roof. */
export const solar: DeviceModel = {
  kind: 'solar',
  description: 'a solar inverter: power, energy, panel voltage',
  build(seed) {
    const peak = 3500 + 3000 * uniformAt(seedOf(seed, 'peak'))
    const clouds = walk(seedOf(seed, 'clouds'), 40)
    const energy = energyOf(minute => peak * 0.7 * daylight(minute))
    return minute => {
      const sun = daylight(minute)
      return {
        power: round(peak * sun * clamp(0.7 + 0.35 * clouds(minute), 0.05, 1), 0),
        energy: round(energy(minute), 0),
        panelVoltage: round(sun === 0 ? 0 : 340 + 60 * sun + 12 * clouds(minute), 1),
        inverterTemperature: round(21 + 26 * sun + 2 * clouds(minute), 1)
      }
    }
  }
}

/** What the home takes from the grid, in W; negative when the roof gives more than it needs. */
function net(minute: number): number {
  return 280 + 2100 * activity(minute) - 3200 * daylight(minute)
}

/** The meter between the home and the grid. */
export const meter: DeviceModel = {
  kind: 'meter',
  description: 'the energy meter of the home: power (negative when feeding in), import, export, frequency',
  build(seed) {
    const load = walk(seedOf(seed, 'load'), 30)
    const mains = walk(seedOf(seed, 'mains'), 60)
    const grid = walk(seedOf(seed, 'frequency'), 12)
    const imported = energyOf(minute => Math.max(0, net(minute)))
    const exported = energyOf(minute => Math.max(0, -net(minute)))
    return minute => ({
      power: round(net(minute) + 340 * load(minute), 0),
      importEnergy: round(imported(minute), 0),
      exportEnergy: round(exported(minute), 0),
      voltage: round(231 + 3.5 * mains(minute), 1),
      frequency: round(50 + 0.045 * grid(minute), 3)
    })
  }
}

const washTable = [
  { until: 25, program: 'heat', power: 2050 },
  { until: 70, program: 'wash', power: 260 },
  { until: 95, program: 'rinse', power: 190 },
  { until: 110, program: 'spin', power: 480 }
] as const
const washCycle = 240

/** A washing machine that runs a programme now and then in the daytime. */
export const washer: DeviceModel = {
  kind: 'washer',
  description: 'a washing machine: programme, power, minutes left',
  build(seed) {
    const noise = walk(seedOf(seed, 'noise'), 8)
    const offset = Math.floor(washCycle * uniformAt(seedOf(seed, 'offset')))
    return minute => {
      const at = (minute + offset) % washCycle
      const hour = hourOf(minute)
      const phase = hour >= 7 && hour < 22 ? washTable.find(step => at < step.until) : undefined
      return {
        program: phase?.program ?? 'off',
        power: round(phase === undefined ? 0.9 + 0.1 * noise(minute) : phase.power * (1 + 0.12 * noise(minute)), 1),
        remaining: phase === undefined ? 0 : 110 - at
      }
    }
  }
}

/** A wall box that charges in the evening. */
export const charger: DeviceModel = {
  kind: 'charger',
  description: 'a car charger: power, charge of the car',
  build(seed) {
    const noise = walk(seedOf(seed, 'noise'), 20)
    const limit = 7200 + 3800 * uniformAt(seedOf(seed, 'limit'))
    return minute => {
      const hour = hourOf(minute)
      const since = (hour - 18 + 24) % 24
      const plugged = since < 13
      const charge = clamp(35 + since * 5, 0, 100)
      return {
        plugged,
        charge: round(plugged ? charge : 35 + 5 * noise(minute), 1),
        power: round(plugged && charge < 100 ? limit * (0.97 + 0.03 * noise(minute)) : 3.1, 0)
      }
    }
  }
}
