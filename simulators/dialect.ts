import type { Fields } from './models/model.ts'

/** One reading, before it is a message: what a device says, when, and which one of its readings it is. */
export interface Reading {
  readonly device: string
  /** 0, 1, 2 … of this device. */
  readonly seq: number
  /** Event time, ms since 1970. */
  readonly timeMs: number
  readonly fields: Fields
}

export interface Message {
  readonly topic: string
  readonly payload: string
}

/** How a device speaks: which topic and payload a reading becomes. */
export interface Dialect {
  readonly name: string
  /**
   * True when the payload carries event time and `seq`, so that the reading comes back as one row of measurement
   * `telemetry` without tags, at that time, with its fields and `seq`.
   */
  readonly verifiable: boolean
  encode(reading: Reading): Message
}

const topicOf = (device: string): string => `devices/${device}/telemetry`

/** `devices/<id>/telemetry` with `{"ts":<ms>,"seq":1,"temperature":21.5}`. */
export const flat: Dialect = {
  name: 'telemetry',
  verifiable: true,
  encode: ({ device, seq, timeMs, fields }) => ({ topic: topicOf(device), payload: JSON.stringify({ ts: timeMs, seq, ...fields }) })
}

/** The same topic with the ThingsBoard shape `{"ts":<ms>,"values":{…}}`. */
export const values: Dialect = {
  name: 'telemetry with values',
  verifiable: true,
  encode: ({ device, seq, timeMs, fields }) => ({
    topic: topicOf(device),
    payload: JSON.stringify({ ts: timeMs, values: { seq, ...fields } })
  })
}

/** The same topic with an ISO 8601 time. */
export const iso: Dialect = {
  name: 'telemetry with ISO time',
  verifiable: true,
  encode: ({ device, seq, timeMs, fields }) => ({
    topic: topicOf(device),
    payload: JSON.stringify({ time: new Date(timeMs).toISOString(), seq, ...fields })
  })
}

/** Zigbee2MQTT: `zigbee2mqtt/<friendly name>`, a flat object without time. */
export const zigbee: Dialect = {
  name: 'zigbee2mqtt',
  verifiable: false,
  encode: ({ device, seq, fields }) => ({
    topic: `zigbee2mqtt/${device}`,
    payload: JSON.stringify({ ...fields, linkquality: 80 + ((seq * 7) % 60) })
  })
}

/** Tasmota: `tele/<topic>/SENSOR` with a local time that has no zone and the values one level down. */
export const tasmota: Dialect = {
  name: 'tasmota',
  verifiable: false,
  encode: ({ device, timeMs, fields }) => ({
    topic: `tele/${device}/SENSOR`,
    payload: JSON.stringify({
      Time: new Date(timeMs).toISOString().slice(0, 19),
      ENERGY: { Power: fields['power'], Total: Number(fields['energy']) / 1000, Voltage: fields['voltage'] }
    })
  })
}

/** Shelly of the first generation: one plain number on `shellies/<id>/relay/0/power`. */
export const shelly: Dialect = {
  name: 'shelly',
  verifiable: false,
  encode: ({ device, fields }) => ({ topic: `shellies/${device}/relay/0/power`, payload: String(fields['power']) })
}
