/** Tasmota (tasmota.github.io/docs/MQTT): its `Time` is local and names no zone, so it is neither time nor field. */
import type { Dialect } from './dialect.ts'
import { levelsOf } from './dialect.ts'

export const tasmota: readonly Dialect[] = ['SENSOR', 'STATE'].map(kind => ({
  pattern: `tele/{device}/${kind}`,
  meaning: captured => ({ measurement: 'home', device: levelsOf(captured, 'device'), omit: ['Time'] })
}))
