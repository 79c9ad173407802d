import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { RouteConfig } from '../../config.ts'
import { BoundedCache } from '../../ingest/bounded-cache.ts'
import { Decoder } from '../../ingest/decoder.ts'
import { Routes, routeFaults } from '../../ingest/routes.ts'
import { SourceInterner } from '../../ingest/source-interner.ts'
import { TopicPattern, patternFault } from '../../ingest/topic-pattern.ts'
import { FakeCatalogue, decoderConfig, fieldsOf, recordOf } from './fakes.ts'

function decode(topic: string, payload: string, routes: readonly RouteConfig[] = [], clientId = 'client-a') {
  const decoder = new Decoder({ ...decoderConfig, routes }, new FakeCatalogue())
  const { outcome, route, points, refusals } = decoder.decode(recordOf({ topic, payload, clientId }))
  const [point] = points
  return {
    outcome,
    route,
    reason: refusals[0]?.reason,
    readings: points.length,
    measurement: point?.source.measurement,
    device: point?.source.device,
    tags: point?.source.tags,
    fields: fieldsOf(point)
  }
}

test.each([
  ['devices/pump-3/telemetry', '{"flow":2.5}', 'telemetry', 'pump-3', { flow: 2.5 }],
  ['devices/pump-3/telemetry', '17', 'telemetry', 'pump-3', { value: 17 }],
  ['zigbee2mqtt/living room/lamp', '{"brightness":254,"state":"ON"}', 'home', 'living room/lamp', { brightness: 254, state: 'ON' }],
  ['zigbee2mqtt/sensor', '{"temperature":27.34,"linkquality":94}', 'home', 'sensor', { temperature: 27.34, linkquality: 94 }],
  ['zigbee2mqtt/attic/sensor/temperature', '27.34', 'home', 'attic/sensor', { temperature: 27.34 }],
  ['zigbee2mqtt/attic/sensor/availability', '{"state":"online"}', 'home', 'attic/sensor', { availability: 'online' }],
  ['zigbee2mqtt/attic/sensor/availability', 'offline', 'home', 'attic/sensor', { availability: 'offline' }],
  ['tele/plug/SENSOR', '{"Time":"2017-02-16T10:13:52","ENERGY":{"Power":12}}', 'home', 'plug', { ENERGY_Power: 12 }],
  ['tele/plug/STATE', '{"Time":"2017-02-16T10:13:52","POWER":"OFF","Wifi":{"RSSI":44}}', 'home', 'plug', { POWER: 'OFF', Wifi_RSSI: 44 }],
  ['shellies/shelly1-ab/relay/0', 'on', 'home', 'shelly1-ab', { relay_0: true }],
  ['shellies/shelly1-ab/relay/0/power', '38.61', 'home', 'shelly1-ab', { relay_0_power: 38.61 }],
  ['shellies/shelly1-ab/info', '{"wifi_sta":{"rssi":-50}}', 'home', 'shelly1-ab', { info_wifi_sta_rssi: -50 }],
  ['plant/line 1/oven/heat', '180.5', 'mqtt', 'plant/line 1/oven', { heat: 180.5 }],
  ['plant/line 1/oven', '{"heat":180.5}', 'mqtt', 'plant/line 1/oven', { heat: 180.5 }],
  ['plant/accelerometer', '[0.5,-1,9.81]', 'mqtt', 'plant', { accelerometer_0: 0.5, accelerometer_1: -1, accelerometer_2: 9.81 }],
  ['alone', '3', 'mqtt', 'client-a', { value: 3 }],
  ['alone', '{"x":3}', 'mqtt', 'alone', { x: 3 }],
  ['/', 'x', 'mqtt', 'client-a', { value: 'x' }],
  ['/lead', 'x', 'mqtt', 'client-a', { lead: 'x' }]
])('built in: %s %s', (topic, payload, measurement, device, fields) => {
  expect(decode(topic, payload)).toMatchObject({ outcome: 'stored', readings: 1, measurement, device, tags: {}, fields })
})

test.each([
  'homeassistant/sensor/x/config',
  'homeassistant',
  'zigbee2mqtt/bridge/devices',
  'cmnd/plug/Power',
  'stat/plug/RESULT',
  'zigbee2mqtt/lamp/set',
  'zigbee2mqtt/a/b/get',
  'anything/else/set',
  'shellies/announce',
  'shellies/shelly1-ab/relay/0/command'
])('built in: %s is ignored whatever it says', topic => {
  expect(decode(topic, '{"broken')).toMatchObject({ outcome: 'ignored', readings: 0 })
})

test("the user's routes come first, in their order; segments become tags, field and device", () => {
  const routes: RouteConfig[] = [
    { topic: 'home/{room}/secret/#', ignore: true },
    { topic: 'home/{room}/{device}/{field}', measurement: 'home' },
    { topic: 'devices/{site}/telemetry', measurement: 'overridden' },
    { topic: '{measurement}/at/{device...}/of/{floor}' },
    { topic: 'raw/{rest…}', measurement: 'raw', payload: 'scalar' },
    { topic: 'counts/{device}', measurement: 'counts', integers: ['n', 'deep_n', 'value'] }
  ]
  expect(decode('home/kitchen/secret/x/y', '1', routes)).toMatchObject({ outcome: 'ignored', route: 'home/{room}/secret/#' })
  expect(decode('home/kitchen/fridge/temperature', '4.5', routes)).toMatchObject({
    route: 'home/{room}/{device}/{field}',
    measurement: 'home',
    device: 'fridge',
    tags: { room: 'kitchen' },
    fields: { temperature: 4.5 }
  })
  expect(decode('home/kitchen/fridge/door', '{"open":true,"count":2}', routes).fields).toEqual({ door_open: true, door_count: 2 })
  expect(decode('devices/north/telemetry', '{"a":1}', routes, 'c-9')).toMatchObject({
    measurement: 'overridden',
    device: 'c-9',
    tags: { site: 'north' }
  })
  expect(decode('climate/at/a/b/c/of/2', '{"t":1}', routes)).toMatchObject({
    measurement: 'climate',
    device: 'a/b/c',
    tags: { floor: '2' }
  })
  expect(decode('raw/a/b', '{"t":1}', routes)).toMatchObject({ tags: { rest: 'a/b' }, fields: { value: '{"t":1}' } })
  expect(decode('counts/m', '{"n":3,"deep":{"n":4},"f":5,"value":1.5}', routes).fields).toEqual({ n: 3n, deep_n: 4n, f: 5, value: 1.5 })
  expect(decode('counts/m', '12', routes).fields).toEqual({ value: 12n })
  expect(decode('home//fridge/temperature', '4.5', routes).tags).toEqual({})
})

test('a route says how payloads are read', () => {
  const route = (payload: 'json' | 'scalar' | 'line'): RouteConfig[] => [{ topic: 'in/{device}', measurement: 'm', payload }]
  expect(decode('in/d', '21.5', route('json'))).toMatchObject({ device: 'd', fields: { value: 21.5 } })
  expect(decode('in/d', 'ON', route('json'))).toMatchObject({ outcome: 'deadLettered', reason: 'broken-json' })
  expect(decode('in/d', 'w f=1', route('scalar')).fields).toEqual({ value: 'w f=1' })
  expect(decode('in/d', 'w f=1', route('line'))).toMatchObject({ measurement: 'w', device: 'client-a', fields: { f: 1 } })
  expect(decode('in/d', 'w', route('line'))).toMatchObject({ outcome: 'deadLettered', reason: 'line-syntax' })
})

test('names that can be none are refused with a reason', () => {
  expect(decode('devices//telemetry', '{"a":1}')).toMatchObject({ outcome: 'deadLettered', reason: 'name-invalid' })
  expect(decode(`devices/${'d'.repeat(257)}/telemetry`, '{"a":1}')).toMatchObject({ outcome: 'deadLettered', reason: 'name-too-long' })
  expect(decode('devices/a\u0007b/telemetry', '{"a":1}')).toMatchObject({ outcome: 'deadLettered', reason: 'name-invalid' })
})

test('patterns that cannot be are said with the setting that they stand in', () => {
  expect(routeFaults([{ topic: 'a/{b}/c' }, { topic: 'home/+/{x…}/y' }, { topic: '#', ignore: true }])).toEqual([])
  const bad = ['', 'a/{}', 'a/x{b}', 'a/{b-c}', 'a/{b}/{b}', '{a…}/{b…}', '{a…}/#', '#/a', 'a/b#', 'a+/b', 'a/{b']
  const faults = routeFaults(bad.map(topic => ({ topic })))
  expect(faults.map(fault => fault.replace(/:.*/, ''))).toEqual(bad.map((topic, index) => `routes[${index}] (${topic})`))
  expect(routeFaults([{ topic: 'a', measurement: '' }])).toHaveLength(1)
})

/** MQTT's own matching, level by level, written another way. */
function filterMatches(filter: readonly string[], topic: readonly string[]): boolean {
  const [head, ...rest] = filter
  if (head === undefined) return topic.length === 0
  if (head === '#') return true
  const [level, ...others] = topic
  return level !== undefined && (head === '+' || head === level) && filterMatches(rest, others)
}

test('a pattern of MQTT wildcards matches what a filter matches', () => {
  const level = fc.constantFrom('a', 'b', '', 'c')
  const filter = fc.tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
  fc.assert(
    fc.property(filter, fc.array(level, { minLength: 1, maxLength: 5 }), ([levels, hash], topic) => {
      const parts = hash ? [...levels, '#'] : levels
      fc.pre(parts.join('/') !== '')
      expect(new TopicPattern(parts.join('/')).match(topic) !== undefined).toBe(filterMatches(parts, topic))
    })
  )
  expect(new TopicPattern('#').match(['$SYS', 'x'])).toBeUndefined()
})

test('named segments capture exactly the levels that they stand for', () => {
  const level = fc.string({ maxLength: 4 }).filter(text => !text.includes('/'))
  const some = fc.array(level, { minLength: 1, maxLength: 3 })
  fc.assert(
    fc.property(level, some, level, (first, rest, last) => {
      const captured = new TopicPattern('x/{first}/{rest…}/{last}/y').match(['x', first, ...rest, last, 'y'])
      expect(Object.fromEntries(captured ?? [])).toEqual({ first: [first], rest, last: [last] })
    })
  )
  expect(new TopicPattern('x/{rest…}/y').match(['x', 'y'])).toBeUndefined()
  expect(patternFault('x/{rest…}/y')).toBeUndefined()
})

test('a known topic gives the same plan, and topics beyond the bound are forgotten and found again', () => {
  const routes = new Routes([], new SourceInterner(100), 8)
  const first = routes.plan('devices/a/telemetry')
  expect(routes.plan('devices/a/telemetry')).toBe(first)
  for (let index = 0; index < 50; index += 1) routes.plan(`devices/other-${index}/telemetry`)
  expect(routes.plan('devices/a/telemetry')).not.toBe(first)
  expect(routes.plan('devices/a/telemetry').route).toBe(first.route)
})

test('a bounded cache holds the entries used last, and never more than its capacity', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(30), { maxLength: 200 }), keys => {
      const cache = new BoundedCache<number>(10)
      for (const [index, key] of keys.entries()) {
        if (cache.get(`k${key}`) === undefined) cache.set(`k${key}`, key)
        expect(cache.get(`k${key}`)).toBe(key)
        expect(cache.size).toBeLessThanOrEqual(10)
        const lately = new Set(keys.slice(0, index + 1).slice(-5))
        for (const recent of lately) expect(cache.get(`k${recent}`)).toBe(recent)
      }
    }),
    { numRuns: 50 }
  )
})
