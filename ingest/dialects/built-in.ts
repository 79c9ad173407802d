import type { Dialect } from './dialect.ts'
import { ignored, levelsOf } from './dialect.ts'
import { shelly } from './shelly.ts'
import { tasmota } from './tasmota.ts'
import { zigbee2mqtt } from './zigbee2mqtt.ts'

/** Tidegate's own: a device publishes its readings as an object. */
const telemetry: Dialect = {
  pattern: 'devices/{device}/telemetry',
  meaning: captured => ({ measurement: 'telemetry', device: levelsOf(captured, 'device') })
}

/** Registries, requests and commands are no readings. Before the dialects, since their patterns are wider. */
const notReadings = ['homeassistant/#', 'zigbee2mqtt/bridge/#', 'cmnd/#', 'stat/#', '{topic…}/set', '{topic…}/get'].map(ignored)

/** A plain value: the last level is the field, those before it the device. An object: the topic is the device. */
const anyTopic: Dialect = {
  pattern: '{topic…}',
  meaning: (_captured, topic) => {
    const end = topic.lastIndexOf('/')
    const device = end > 0 ? topic.slice(0, end) : undefined
    const field = end < topic.length - 1 && end !== -1 ? topic.slice(end + 1) : undefined
    return { measurement: 'mqtt', device: topic, scalarDevice: { device }, scalarField: field }
  }
}

/** The routes that stand behind the user's own, in order; every topic matches the last one. */
export const builtIn: readonly Dialect[] = [telemetry, ...notReadings, ...zigbee2mqtt, ...tasmota, ...shelly, anyTopic]
