/** Zigbee2MQTT (zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html). Friendly names may contain slashes. */
import type { Dialect } from './dialect.ts'
import { levelsOf } from './dialect.ts'

export const zigbee2mqtt: readonly Dialect[] = [
  {
    pattern: 'zigbee2mqtt/{device…}/availability',
    // `{"state":"online"}`, in older versions plain `online`: the same field for both.
    meaning: captured => ({
      measurement: 'home',
      device: levelsOf(captured, 'device'),
      scalarField: 'availability',
      prefix: 'availability',
      scalarKey: 'state'
    })
  },
  {
    pattern: 'zigbee2mqtt/{device…}',
    // Plain values come when its output is `attribute`: the last level is then the field.
    meaning: captured => {
      const levels = captured.get('device') ?? []
      const device = levels.join('/')
      if (levels.length < 2) return { measurement: 'home', device }
      return { measurement: 'home', device, scalarDevice: { device: levels.slice(0, -1).join('/') }, scalarField: levels.at(-1) }
    }
  }
]
