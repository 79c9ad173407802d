import { cellAt, seedOf, smoothNoise, uniformAt, walk } from '../random.ts'
import { activity, bump, busyCell, daylight, hourOf } from './curves.ts'
import type { DeviceModel } from './model.ts'
import { clamp, round } from './model.ts'

/** Temperature and humidity of a room. */
export const climate: DeviceModel = {
  kind: 'climate',
  description: 'temperature and humidity of a room, battery powered',
  build(seed) {
    const base = 19.5 + 2.5 * uniformAt(seedOf(seed, 'base'))
    const drift = walk(seedOf(seed, 'temperature'), 180)
    const jitter = smoothNoise(seedOf(seed, 'jitter'), 1.5)
    const damp = walk(seedOf(seed, 'humidity'), 120)
    const charge = 60 + 40 * uniformAt(seedOf(seed, 'battery'))
    return minute => ({
      temperature: round(base + 1.4 * bump(minute, 16, 6) + 1.1 * drift(minute) + 0.05 * jitter(minute), 2),
      humidity: round(clamp(48 + 8 * damp(minute) + 6 * bump(minute, 7.5, 1), 20, 95), 1),
      battery: round(charge - ((minute / 5000) % 50), 0)
    })
  }
}

/** What the air in a room is like. */
export const air: DeviceModel = {
  kind: 'air',
  description: 'carbon dioxide, fine dust and volatile compounds in a room',
  build(seed) {
    const people = walk(seedOf(seed, 'people'), 90)
    const dust = walk(seedOf(seed, 'dust'), 60)
    return minute => ({
      co2: round(430 + 620 * activity(minute) * (0.8 + 0.4 * people(minute)) + 25 * people(minute), 0),
      pm25: round(clamp(6 + 5 * dust(minute) + 14 * bump(minute, 19, 0.8), 0.5, 200), 1),
      voc: round(clamp(110 + 60 * dust(minute + 40) + 90 * activity(minute), 1, 500), 0)
    })
  }
}

/** Someone moves. */
export const motion: DeviceModel = {
  kind: 'motion',
  description: 'motion and brightness of a room',
  build(seed) {
    const clouds = walk(seedOf(seed, 'clouds'), 45)
    return minute => {
      const moving = busyCell(seedOf(seed, 'motion'), minute, 4)
      const lamp = moving && daylight(minute) < 0.15 ? 90 : 0
      return { motion: moving, illuminance: round(clamp(650 * daylight(minute) * (0.75 + 0.25 * clouds(minute)) + lamp, 0, 2000), 0) }
    }
  }
}

/** A door or window. */
export const contact: DeviceModel = {
  kind: 'contact',
  description: 'a door or window, open or closed',
  build(seed) {
    const charge = 55 + 45 * uniformAt(seedOf(seed, 'battery'))
    return minute => ({
      open: busyCell(seedOf(seed, 'open'), minute, 3) && cellAt(seedOf(seed, 'passage'), Math.floor(minute / 3)) < 0.4,
      battery: round(charge - ((minute / 8000) % 50), 0)
    })
  }
}

/** A lamp that is on when someone is there in the dark. */
export const light: DeviceModel = {
  kind: 'light',
  description: 'a lamp with brightness and colour temperature',
  build(seed) {
    const taste = walk(seedOf(seed, 'taste'), 200)
    return minute => {
      const on = daylight(minute) < 0.3 && busyCell(seedOf(seed, 'on'), minute, 20)
      return {
        on,
        brightness: on ? round(170 + 80 * taste(minute), 0) : 0,
        colorTemperature: round(3300 + 1500 * daylight(minute) - 600 * bump(minute, 22, 3), 0)
      }
    }
  }
}

/** A radiator thermostat that follows its target. */
export const thermostat: DeviceModel = {
  kind: 'thermostat',
  description: 'a radiator thermostat: room temperature, target, valve',
  build(seed) {
    const drift = walk(seedOf(seed, 'temperature'), 100)
    const comfort = 20.5 + uniformAt(seedOf(seed, 'comfort'))
    return minute => {
      const hour = hourOf(minute)
      const day = hour >= 6 && hour < 22.5
      const target = round(day ? comfort : comfort - 3, 1)
      const temperature = round(target + 0.7 * drift(minute) - (hour >= 6 && hour < 7 ? 2 * (7 - hour) : 0), 2)
      return { temperature, target, valve: round(clamp((target - temperature) * 45 + 20, 0, 100), 0), mode: day ? 'comfort' : 'night' }
    }
  }
}

/** A refrigerator whose compressor comes and goes. */
export const fridge: DeviceModel = {
  kind: 'fridge',
  description: 'a refrigerator: inside temperature and compressor',
  build(seed) {
    const cycle = 38 + Math.floor(14 * uniformAt(seedOf(seed, 'cycle')))
    const noise = walk(seedOf(seed, 'noise'), 30)
    return minute => {
      const part = (minute % cycle) / cycle
      const running = part < 0.4
      return {
        temperature: round(4.2 + (running ? 1 - part * 5 : (part - 0.4) * 3.33 - 1) + 0.3 * noise(minute), 2),
        compressor: running,
        power: round(running ? 82 + 9 * noise(minute) : 1.4 + 0.2 * noise(minute), 1)
      }
    }
  }
}
