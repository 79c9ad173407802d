import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FakeStorage, deviceOf, nowMs, nowNs, openApi, sourceOf } from './fakes.ts'

function storageWith(...devices: Parameters<typeof deviceOf>[]): FakeStorage {
  const storage = new FakeStorage()
  storage.devices = devices.map(given => deviceOf(...given))
  return storage
}

describe('GET /api/v1/devices', () => {
  it('lists devices in exactly the contract’s shape', async () => {
    const storage = storageWith(
      [
        'b',
        {
          clientId: 'client b',
          measurements: ['home', 'telemetry'],
          fields: [
            { measurement: 'home', name: 't', type: 'float' },
            { measurement: 'home', name: 'on', type: 'boolean' },
            { measurement: 'telemetry', name: 't', type: 'float', unit: '°C' }
          ]
        }
      ],
      ['a', { clientId: 'client a' }],
      ['c']
    )
    await using api = await openApi({ storage, isOnline: clientId => clientId === 'client b' })
    const body: unknown = (await api.inject({ url: '/api/v1/devices' })).json()
    const seen = { firstSeen: '2026-05-04T03:01:01.000000000Z', lastSeen: '2026-05-04T03:02:00.999000000Z' }
    expect(body).toEqual({
      items: [
        { device: 'a', ...seen, online: false, measurements: ['telemetry'], fields: ['temperature'] },
        { device: 'b', ...seen, online: true, measurements: ['home', 'telemetry'], fields: ['on', 't'] },
        { device: 'c', ...seen, online: null, measurements: ['telemetry'], fields: ['temperature'] }
      ],
      nextCursor: null
    })
  })

  it('pages through all of them once, and searches', async () => {
    const names = Array.from({ length: 25 }, (_, index) => `${index % 2 === 0 ? 'Even' : 'odd'}/${String(index).padStart(2, '0')}`)
    await using api = await openApi({ storage: storageWith(...names.map((name): [string] => [name])) })
    for (const [search, expected] of [
      ['', names],
      ['even', names.filter(name => name.startsWith('Even'))]
    ] as const) {
      const seen: string[] = []
      let cursor: string | null = null
      do {
        const query: string = `limit=4${search === '' ? '' : `&search=${search}`}${cursor === null ? '' : `&cursor=${cursor}`}`
        const page: { items: { device: string }[]; nextCursor: string | null } = (
          await api.inject({ url: `/api/v1/devices?${query}` })
        ).json()
        seen.push(...page.items.map(item => item.device))
        cursor = page.nextCursor
      } while (cursor !== null)
      expect(seen).toEqual([...expected].toSorted())
    }
  })

  it('refuses a cursor of another search', async () => {
    await using api = await openApi({ storage: storageWith(['a'], ['b']) })
    const { nextCursor } = (await api.inject({ url: '/api/v1/devices?limit=1' })).json<{ nextCursor: string }>()
    const response = await api.inject({ url: `/api/v1/devices?limit=1&search=x&cursor=${nextCursor}` })
    expect(response.json()).toMatchObject({ status: 400, parameter: 'cursor' })
  })
})

describe('GET /api/v1/devices/{device}', () => {
  it('answers fields with type and unit, and counters', async () => {
    const storage = storageWith([
      'meter/7',
      {
        messages: 12,
        points: 34,
        fields: [
          { measurement: 'telemetry', name: 'energy', type: 'integer', unit: 'Wh' },
          { measurement: 'telemetry', name: 'state', type: 'string' }
        ]
      }
    ])
    await using api = await openApi({ storage })
    const response = await api.inject({ url: '/api/v1/devices/meter%2F7?epoch=ms' })
    expect(response.json()).toEqual({
      device: 'meter/7',
      firstSeen: nowMs - 60_000,
      lastSeen: nowMs - 1,
      online: null,
      measurements: ['telemetry'],
      fields: [
        { measurement: 'telemetry', name: 'energy', type: 'integer', unit: 'Wh' },
        { measurement: 'telemetry', name: 'state', type: 'string', unit: null }
      ],
      counters: { messages: 12, points: 34 }
    })
  })

  it('finds any device id, percent-encoded', async () => {
    const id = fc.oneof(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }),
      fc.string({ unit: fc.constantFrom('/', '%', '2', 'F', '?', '#', ' ', '+', 'ü', '.', ';', ':'), minLength: 1, maxLength: 30 })
    )
    const storage = new FakeStorage()
    await using api = await openApi({ storage })
    await fc.assert(
      fc.asyncProperty(
        id.filter(text => text !== '.' && text !== '..'),
        async device => {
          storage.devices = [deviceOf(device)]
          const response = await api.inject({ url: `/api/v1/devices/${encodeURIComponent(device)}` })
          expect(response.json()).toMatchObject({ device })
        }
      )
    )
  })

  it.each(['/api/v1/devices/no%2Fone', '/api/v1/devices/no%2Fone/latest'])('answers 404 to %s', async url => {
    await using api = await openApi({ storage: storageWith(['a']) })
    const response = await api.inject({ url })
    expect(response.statusCode).toBe(404)
    expect(response.json()).toMatchObject({ code: 'TG_DEVICE_UNKNOWN', parameter: 'device', detail: 'no device "no/one"' })
  })
})

describe('GET /api/v1/devices/{device}/latest', () => {
  it('groups the newest values by source and time, the newest first', async () => {
    const storage = storageWith(['a/b'])
    const [room, home] = [sourceOf('a/b', { room: 'x' }), sourceOf('a/b', {}, 'home')]
    storage.latestValues = [
      { source: room, field: 'old', value: 9_007_199_254_740_993n, timeNs: nowNs - 2n },
      { source: room, field: 'b', value: 2.5, timeNs: nowNs },
      { source: room, field: 'a', value: 'on', timeNs: nowNs },
      { source: home, field: 'c', value: true, timeNs: nowNs }
    ]
    await using api = await openApi({ storage })
    const response = await api.inject({ url: '/api/v1/devices/a%2Fb/latest?epoch=ns' })
    expect(response.body).toContain('"old":9007199254740993}')
    const { items, nextCursor } = response.json<{ items: { time: string; measurement: string; fields: object }[]; nextCursor: null }>()
    expect(nextCursor).toBeNull()
    expect(items.map(({ time, measurement, fields }) => [time, measurement, fields])).toEqual([
      [String(nowNs), 'home', { c: true }],
      [String(nowNs), 'telemetry', { a: 'on', b: 2.5 }],
      [String(nowNs - 2n), 'telemetry', { old: 9_007_199_254_740_992 }]
    ])
  })

  it('answers only the fields asked for', async () => {
    const storage = storageWith(['a'])
    storage.latestValues = ['x', 'y', 'z'].map(field => ({ source: sourceOf('a'), field, value: 1, timeNs: nowNs }))
    await using api = await openApi({ storage })
    const response = await api.inject({ url: '/api/v1/devices/a/latest?fields=x,z' })
    expect(response.json()).toMatchObject({ items: [{ fields: { x: 1, z: 1 } }] })
    expect(response.body).not.toContain('"y"')
  })
})
