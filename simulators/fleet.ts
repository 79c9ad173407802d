import type { Dialect, Reading } from './dialect.ts'
import { flat, iso, shelly, tasmota, values, zigbee } from './dialect.ts'
import { charger, meter, plug, solar, washer } from './models/energy.ts'
import { air, climate, contact, fridge, light, motion, thermostat } from './models/indoors.ts'
import type { DeviceModel, Fields } from './models/model.ts'
import { boiler, soil, water, weather } from './models/utilities.ts'
import { seedOf } from './random.ts'

/** Every device model, in the order in which a large home is filled. */
export const models: readonly DeviceModel[] = [
  climate,
  plug,
  motion,
  light,
  contact,
  thermostat,
  air,
  fridge,
  washer,
  boiler,
  solar,
  meter,
  water,
  weather,
  soil,
  charger
]

/** One simulated device. */
export interface Device {
  /** Device id, and its MQTT client id too; no wildcard or control character in it. */
  readonly id: string
  readonly model: DeviceModel
  readonly dialect: Dialect
  /** The reading with this number. It depends on the seed, the device and the number alone, but for the time given. */
  reading(seq: number, timeMs: number): Reading
}

/** Simulated minutes that pass from one reading of a device to the next: at one a second a day takes 24 minutes. */
const minutesPerReading = 1
/** Simulated time of the first reading: the sun rises, the home wakes up. */
const firstMinute = 6.5 * 60

interface Place {
  readonly id: string
  readonly model: DeviceModel
  readonly dialect: Dialect
}

const demoPlaces: readonly Place[] = [
  { id: 'living-room-climate', model: climate, dialect: flat },
  { id: 'living-room-light', model: light, dialect: flat },
  { id: 'living-room-tv', model: plug, dialect: tasmota },
  { id: 'living-room-air', model: air, dialect: values },
  { id: 'kitchen/climate', model: climate, dialect: zigbee },
  { id: 'kitchen-fridge', model: fridge, dialect: flat },
  { id: 'kitchen-motion', model: motion, dialect: flat },
  { id: 'shellyplug-s-kettle', model: plug, dialect: shelly },
  { id: 'bedroom-climate', model: climate, dialect: iso },
  { id: 'bedroom-thermostat', model: thermostat, dialect: flat },
  { id: 'bedroom/window', model: contact, dialect: zigbee },
  { id: 'bathroom-climate', model: climate, dialect: flat },
  { id: 'hall-door', model: contact, dialect: flat },
  { id: 'hall/motion', model: motion, dialect: zigbee },
  { id: 'cellar-boiler', model: boiler, dialect: flat },
  { id: 'cellar-washer', model: washer, dialect: values },
  { id: 'cellar-water', model: water, dialect: flat },
  { id: 'cellar-meter', model: meter, dialect: flat },
  { id: 'roof-solar', model: solar, dialect: flat },
  { id: 'garden-weather', model: weather, dialect: iso },
  { id: 'garden-soil', model: soil, dialect: flat },
  { id: 'garage-charger', model: charger, dialect: flat }
]

const rooms = ['kitchen', 'living-room', 'bedroom', 'bathroom', 'hall', 'study', 'cellar', 'garage', 'attic', 'garden'] as const
const verifiableDialects = [flat, flat, values, iso] as const

/** What `sim run <name>` can run. */
export interface Home {
  readonly name: string
  readonly description: string
  readonly defaultDevices: number
  /** Devices at most. */
  readonly maxDevices: number
  /** True when every device of it speaks a dialect that verification can read back. */
  readonly verifiable: boolean
  places(devices: number, seed: number): readonly Place[]
}

/** The homes there are. */
export const homes: readonly Home[] = [
  {
    name: 'home',
    description: 'any number of devices over the rooms of a home, all models; every reading can be verified',
    defaultDevices: 20,
    maxDevices: 20_000,
    verifiable: true,
    places: (devices, seed) =>
      Array.from({ length: devices }, (_, index) => {
        const model = models[index % models.length] ?? climate
        const room = rooms[Math.floor(index / models.length) % rooms.length] ?? 'hall'
        return {
          // The seed is in the name: two seeds may run side by side, one seed finds its own devices again.
          id: `sim${seed}-${room}-${model.kind}-${String(index + 1).padStart(4, '0')}`,
          model,
          dialect: verifiableDialects[index % verifiableDialects.length] ?? flat
        }
      })
  },
  {
    name: 'demo',
    description: 'the home of `npm run demo`: 22 devices, some speak Zigbee2MQTT, Tasmota or Shelly; cannot be verified',
    defaultDevices: demoPlaces.length,
    maxDevices: demoPlaces.length,
    verifiable: false,
    places: devices => demoPlaces.slice(0, devices)
  }
]

/** The devices of a home, the same for the same seed and number. */
export function buildFleet(home: Home, devices: number, seed: number): readonly Device[] {
  return home.places(devices, seed).map(place => buildDevice(place, seed))
}

function buildDevice({ id, model, dialect }: Place, seed: number): Device {
  const at: (minute: number) => Fields = model.build(seedOf(seed, id))
  return {
    id,
    model,
    dialect,
    reading: (seq, timeMs) => ({ device: id, seq, timeMs, fields: at(firstMinute + seq * minutesPerReading) })
  }
}
