import { describe, expect, it } from 'vitest'
import { rawItemToJson } from '../../api/items.ts'
import { TidegateError } from '../../errors.ts'
import type { RawRow } from '../../storage/port.ts'
import { FakeStorage, deviceOf, journal, nowNs, openApi, otherJournal, parseJson, rowOf, sourceOf } from './fakes.ts'

interface Page {
  readonly items: readonly unknown[]
  readonly nextCursor: string | null
}

const minuteNs = 60_000_000_000n
const kitchen = sourceOf('sensor/1', { room: 'kitchen' })
const cellar = sourceOf('sensor/2', { room: 'cellar' })
const lamp = sourceOf('lamp', {}, 'home')

/** 60 distinct rows of three sources; every third time has rows of all three. */
function someRows(): readonly RawRow[] {
  return Array.from({ length: 60 }, (_, index) =>
    rowOf([kitchen, cellar, lamp][index % 3] ?? lamp, nowNs - BigInt(60 - Math.floor(index / 2)) * (minuteNs / 2n), {
      temperature: 20 + index / 100,
      count: BigInt(index),
      name: `row ${index}`
    })
  )
}

function query(parameters: Readonly<Record<string, string | readonly string[]>>): string {
  const search = new URLSearchParams()
  for (const [name, given] of Object.entries(parameters)) for (const value of [given].flat()) search.append(name, value)
  return `/api/v1/query?${search.toString()}`
}

const jsonOf = (rows: readonly RawRow[]): unknown => rows.map(row => parseJson(rawItemToJson(row, 'iso')))

describe('GET /api/v1/query', () => {
  it('answers the raw items of the last hour, oldest first', async () => {
    const storage = new FakeStorage([...someRows(), rowOf(lamp, nowNs - 61n * minuteNs, { temperature: 1 })])
    await using api = await openApi({ storage })
    const response = await api.inject({ url: '/api/v1/query' })
    expect(response.statusCode).toBe(200)
    expect(response.headers['content-type']).toBe('application/json; charset=utf-8')
    const sorted = storage.select({
      selection: { devices: [], tags: [], fields: [], fromNs: nowNs - 60n * minuteNs, toNs: nowNs },
      order: 'asc',
      limit: 1_000,
      signal: new AbortController().signal
    })
    expect(response.json()).toEqual({ items: jsonOf(sorted), nextCursor: null })
    expect(sorted.length).toBe(60)
  })

  it('gives the store what the parameters say', async () => {
    const storage = new FakeStorage()
    await using api = await openApi({ storage })
    const response = await api.inject({
      url: query({
        measurement: 'home',
        device: ['a/b', 'c', 'c'],
        tag: ['room:kitchen', 'url:http://x'],
        fields: ['t,h', 'p', 't'],
        from: '2026-05-04T00:00:00Z',
        to: '1777863721000',
        order: 'desc',
        limit: '5'
      })
    })
    expect(response.json()).toEqual({ items: [], nextCursor: null })
    const { signal: _signal, ...asked } = storage.queries[0] ?? expect.fail('no query')
    expect(asked).toEqual({
      selection: {
        measurement: 'home',
        devices: ['a/b', 'c'],
        tags: [
          { name: 'room', value: 'kitchen' },
          { name: 'url', value: 'http://x' }
        ],
        fields: ['t', 'h', 'p'],
        fromNs: 1_777_852_800_000_000_000n,
        toNs: nowNs
      },
      order: 'desc',
      limit: 6
    })
  })

  it('includes readings of clocks that run ahead when no end is given', async () => {
    await using api = await openApi({ storage: new FakeStorage([rowOf(lamp, nowNs + 9n * minuteNs, { t: 1 })]) })
    expect((await api.inject({ url: '/api/v1/query' })).json<Page>().items).toHaveLength(1)
  })

  it('starts an hour before an end that lies in the past', async () => {
    const storage = new FakeStorage()
    await using api = await openApi({ storage })
    await api.inject({ url: query({ to: '1000000000000' }) })
    expect(storage.queries[0]?.selection).toMatchObject({ fromNs: 999_996_400_000_000_000n, toNs: 1_000_000_000_000_000_000n })
  })

  it.each(['asc', 'desc'])('pages through everything once, in %s order, even when the clock moves on', async order => {
    const storage = new FakeStorage(someRows())
    let clockMs = Number(nowNs / 1_000_000n)
    await using api = await openApi({ storage, options: { now: () => (clockMs += 20_000) } })
    const seen: unknown[] = []
    let cursor: string | null = null
    do {
      const page: Page = (await api.inject({ url: query({ order, limit: '8', ...(cursor === null ? {} : { cursor }) }) })).json()
      expect(page.items.length).toBe(page.nextCursor === null ? 60 % 8 : 8)
      seen.push(...page.items)
      cursor = page.nextCursor
    } while (cursor !== null)
    const whole = (await api.inject({ url: query({ order, from: '0' }) })).json<Page>()
    expect(seen).toEqual(whole.items)
    const ranges = storage.queries.slice(0, -1).map(({ selection }) => `${selection.fromNs} ${selection.toNs}`)
    expect(new Set(ranges).size).toBe(1)
  })

  it('has no next page when the limit is met exactly', async () => {
    await using api = await openApi({ storage: new FakeStorage(someRows()) })
    expect((await api.inject({ url: query({ limit: '60' }) })).json<Page>()).toMatchObject({ nextCursor: null })
    expect((await api.inject({ url: query({ limit: '59' }) })).json<Page>().nextCursor).toEqual(expect.any(String))
  })

  it('refuses a cursor of another query, and what is no cursor', async () => {
    await using api = await openApi({ storage: new FakeStorage(someRows()) })
    const { nextCursor } = (await api.inject({ url: query({ limit: '8' }) })).json<Page>()
    for (const parameters of [
      { cursor: nextCursor ?? '', order: 'desc' },
      { cursor: nextCursor ?? '', device: 'x' },
      { cursor: 'AAAA' },
      { cursor: '!' }
    ]) {
      const response = await api.inject({ url: query(parameters) })
      expect(response.statusCode).toBe(400)
      expect(response.json()).toMatchObject({ code: 'TG_PARAMETER_INVALID', parameter: 'cursor' })
    }
    expect((await api.inject({ url: query({ cursor: nextCursor ?? '', limit: '9', epoch: 'ns' }) })).statusCode).toBe(200)
  })

  it('writes times as epoch says', async () => {
    await using api = await openApi({ storage: new FakeStorage([rowOf(lamp, nowNs - 1n, { t: 1 })]) })
    const times = await Promise.all(
      ['iso', 'ms', 'ns'].map(
        async epoch => (await api.inject({ url: query({ epoch }) })).json<{ items: { time: unknown }[] }>().items[0]?.time
      )
    )
    expect(times).toEqual(['2026-05-04T03:02:00.999999999Z', Number(nowNs / 1_000_000n) - 1, String(nowNs - 1n)])
  })

  it.each([
    ['1s', 1n],
    ['5m', 300n],
    ['30d', 2_592_000n],
    ['auto', 15n]
  ])('aggregates in buckets of every=%s', async (every, seconds) => {
    const storage = new FakeStorage()
    storage.aggregateRows = [
      { source: kitchen, timeNs: nowNs - minuteNs, fields: [{ name: 'temperature', values: { mean: 21.5, max: 22 } }] },
      { source: lamp, timeNs: nowNs - minuteNs, fields: [{ name: 'n', values: { max: 9_007_199_254_740_993n } }] }
    ]
    await using api = await openApi({ storage })
    const response = await api.inject({ url: query({ every, agg: 'max,mean', epoch: 'ns' }) })
    expect(storage.queries[0]).toMatchObject({ everyNs: seconds * 1_000_000_000n, aggregates: ['mean', 'max'] })
    expect(response.body).toContain('"n":{"max":9007199254740993}')
    expect(response.json<{ items: unknown[] }>().items).toContainEqual({
      time: String(nowNs - minuteNs),
      device: 'sensor/1',
      measurement: 'telemetry',
      tags: { room: 'kitchen' },
      fields: { temperature: { mean: 21.5, max: 22 } }
    })
  })

  it('keeps the buckets of every=auto on later pages', async () => {
    const storage = new FakeStorage()
    storage.aggregateRows = [1n, 2n, 3n].map(index => ({ source: lamp, timeNs: nowNs - index * minuteNs, fields: [] }))
    let clockMs = Number(nowNs / 1_000_000n)
    await using api = await openApi({ storage, options: { now: () => clockMs } })
    const { nextCursor } = (await api.inject({ url: query({ every: 'auto', from: '2026-05-04T03:00:00Z', limit: '2' }) })).json<Page>()
    clockMs += 3_600_000
    await api.inject({ url: query({ every: 'auto', from: '2026-05-04T03:00:00Z', limit: '2', cursor: nextCursor ?? '' }) })
    expect(storage.queries.map(({ everyNs }) => everyNs)).toEqual([1_000_000_000n, 1_000_000_000n])
  })

  it.each([
    ['limit', '0'],
    ['limit', '100001'],
    ['limit', '1e3'],
    ['limit', ''],
    ['from', 'yesterday'],
    ['to', '2026-05-04T00:00:00'],
    ['from', '2030-01-01T00:00:00Z'],
    ['every', '500ms'],
    ['every', '31d'],
    ['every', 'x'],
    ['agg', 'mean'],
    ['order', 'up'],
    ['format', 'xml'],
    ['epoch', 's'],
    ['tag', 'room'],
    ['tag', ':kitchen'],
    ['fields', 'a,,b'],
    ['measurement', ''],
    ['after', '12'],
    ['timeout', '61s'],
    ['timeout', '0s']
  ])('answers 400 that names %s when it is %j', async (name, value) => {
    await using api = await openApi({ storage: new FakeStorage() })
    const response = await api.inject({ url: query({ [name]: value }) })
    expect(response.statusCode).toBe(400)
    expect(response.headers['content-type']).toContain('application/problem+json')
    expect(response.json()).toMatchObject({ status: 400, code: 'TG_PARAMETER_INVALID', parameter: name, title: 'A parameter is wrong' })
  })

  it('names an unknown aggregate', async () => {
    await using api = await openApi({ storage: new FakeStorage() })
    const response = await api.inject({ url: query({ every: '1m', agg: 'mean,median' }) })
    expect(response.json()).toMatchObject({ status: 400, parameter: 'agg', detail: expect.stringContaining('median') })
  })

  it('refuses a parameter that is given twice', async () => {
    await using api = await openApi({ storage: new FakeStorage() })
    const response = await api.inject({ url: query({ limit: ['5', '6'] }) })
    expect(response.json()).toMatchObject({ status: 400, parameter: 'limit', detail: 'limit: given more than once' })
  })

  it.each(['tz', 'fill', 'by', 'constructor', '__proto__', 'Limit'])('refuses the parameter %s, which it does not have', async name => {
    await using api = await openApi({ storage: new FakeStorage() })
    const response = await api.inject({ url: `/api/v1/query?${name}=x` })
    expect(response.statusCode).toBe(400)
    expect(response.json()).toMatchObject({ code: 'TG_PARAMETER_INVALID', parameter: name })
  })

  it('suggests the parameter that was meant', async () => {
    await using api = await openApi({ storage: new FakeStorage() })
    const response = await api.inject({ url: '/api/v1/query?mesurement=home' })
    expect(response.json()).toMatchObject({ parameter: 'mesurement', detail: 'mesurement: no such parameter; did you mean measurement?' })
  })

  it('answers 503 with Retry-After while the store is not open, and when it says so itself', async () => {
    await using closed = await openApi()
    const response = await closed.inject({ url: '/api/v1/query' })
    expect([response.statusCode, response.headers['retry-after']]).toEqual([503, '1'])
    expect(response.json()).toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
    const error = new TidegateError('TG_QUERY_BUSY', 'too many queries')
    await using busy = await openApi({ storage: new FakeStorage(someRows(), { failAt: { index: 0, error } }) })
    expect((await busy.inject({ url: '/api/v1/query' })).json()).toMatchObject({ status: 503, code: 'TG_QUERY_BUSY' })
  })

  it('answers a problem, not a part, when a small answer fails on its way', async () => {
    const storage = new FakeStorage(someRows(), { failAt: { index: 50, error: new Error('secret detail') } })
    await using api = await openApi({ storage })
    const response = await api.inject({ url: '/api/v1/query' })
    expect(response.statusCode).toBe(500)
    expect(response.json()).toMatchObject({ code: 'TG_BUG' })
    expect(response.body).not.toContain('secret')
    expect(storage.ended).toBe(1)
  })
})

describe('after', () => {
  it('waits until the record has its outcome before the store is asked', async () => {
    const storage = new FakeStorage(someRows())
    const steps: string[] = []
    await using api = await openApi({
      storage,
      waitFor: async ordinal => {
        steps.push(`${ordinal} before ${storage.queries.length} queries`)
        await new Promise(resolve => setImmediate(resolve))
      }
    })
    expect((await api.inject({ url: query({ after: `${journal}:41` }) })).json<Page>().items).toHaveLength(60)
    expect(steps).toEqual(['41 before 0 queries'])
    expect(storage.queries).toHaveLength(1)
  })

  it('answers 504 when the record has none in time', async () => {
    const storage = new FakeStorage()
    let aborted = false
    await using api = await openApi({
      storage,
      waitFor: async (_ordinal, signal) =>
        await new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            aborted = true
            reject(new Error('aborted'))
          })
        })
    })
    const response = await api.inject({ url: query({ after: `${journal}:41`, timeout: '30ms' }) })
    expect(response.statusCode).toBe(504)
    expect(response.json()).toMatchObject({ code: 'TG_POSITION_TIMEOUT', parameter: 'after' })
    expect([aborted, storage.queries.length]).toEqual([true, 0])
  })

  it('refuses a position of another journal', async () => {
    await using api = await openApi({ storage: new FakeStorage() })
    const response = await api.inject({ url: query({ after: `${otherJournal}:41` }) })
    expect(response.json()).toMatchObject({ status: 400, code: 'TG_POSITION_FOREIGN', parameter: 'after' })
  })
})

describe('formats', () => {
  it('NDJSON has the items of JSON, one a line', async () => {
    await using api = await openApi({ storage: new FakeStorage(someRows()) })
    const json = (await api.inject({ url: query({ limit: '9' }) })).json<Page>()
    const response = await api.inject({ url: query({ limit: '9', format: 'ndjson' }) })
    expect(response.headers['content-type']).toBe('application/x-ndjson; charset=utf-8')
    expect(response.body.endsWith('\n')).toBe(true)
    const lines = response.body.split('\n').slice(0, -1)
    expect(lines.map(line => parseJson(line))).toEqual(json.items)
    expect(response.headers['tidegate-next-cursor']).toBe(json.nextCursor)
  })

  it('CSV has one column for each field of the catalogue, and none of other measurements', async () => {
    const storage = new FakeStorage([
      rowOf(sourceOf('a,b', { room: 'the "old" one' }), nowNs - 2n, { t: 1.5, note: 'two\r\nlines' }),
      rowOf(sourceOf('c'), nowNs - 1n, { big: 9_223_372_036_854_775_807n, on: true, note: '' }),
      rowOf(lamp, nowNs - 1n, { other: 1 })
    ])
    await using api = await openApi({ storage })
    const response = await api.inject({ url: query({ format: 'csv', measurement: 'telemetry', epoch: 'ns' }) })
    expect(response.headers['content-type']).toContain('text/csv')
    expect(response.headers['tidegate-next-cursor']).toBeUndefined()
    expect(response.body).toBe(
      'time,device,measurement,tags,big,note,on,t\r\n' +
        `${nowNs - 2n},"a,b",telemetry,"{""room"":""the \\""old\\"" one""}",,"two\r\nlines",,1.5\r\n` +
        `${nowNs - 1n},c,telemetry,{},9223372036854775807,"",true,\r\n`
    )
  })

  it('CSV has the fields asked for, in the order asked for', async () => {
    await using api = await openApi({ storage: new FakeStorage([rowOf(lamp, nowNs - 1n, { a: 1, b: 2, c: 3 })]) })
    const response = await api.inject({ url: query({ format: 'csv', fields: 'c,a,missing', epoch: 'ms' }) })
    expect(response.body).toBe(`time,device,measurement,tags,c,a,missing\r\n${Number(nowNs / 1_000_000n) - 1},lamp,home,{},3,1,\r\n`)
  })

  it('CSV of devices has the columns that these devices have', async () => {
    const storage = new FakeStorage([rowOf(lamp, nowNs - 1n, { a: 1 })])
    storage.devices = [
      deviceOf('lamp', {
        fields: [
          { measurement: 'home', name: 'z', type: 'float' },
          { measurement: 'home', name: 'a', type: 'float' }
        ]
      }),
      deviceOf('other', { fields: [{ measurement: 'home', name: 'b', type: 'float' }] })
    ]
    await using api = await openApi({ storage })
    const response = await api.inject({ url: query({ format: 'csv', device: 'lamp' }) })
    expect(response.body.split('\r\n')[0]).toBe('time,device,measurement,tags,a,z')
  })

  it('CSV of an aggregated query has a column for each field and aggregate', async () => {
    const storage = new FakeStorage()
    storage.aggregateRows = [
      { source: lamp, timeNs: 0n, fields: [{ name: 't', values: { min: 1, max: 2 } }] },
      { source: lamp, timeNs: 1_000_000n, fields: [{ name: 'on', values: { count: 5n } }] }
    ]
    await using api = await openApi({ storage })
    const response = await api.inject({ url: query({ format: 'csv', every: '1m', agg: 'min,max,count', epoch: 'ms' }) })
    expect(response.body).toBe(
      'time,device,measurement,tags,on.min,on.max,on.count,t.min,t.max,t.count\r\n0,lamp,home,{},,,,1,2,\r\n1,lamp,home,{},,,5,,,\r\n'
    )
  })

  it('CSV refuses more columns than it can have', async () => {
    const wide = Object.fromEntries(Array.from({ length: 1_001 }, (_, index) => [`f${index}`, index]))
    await using api = await openApi({ storage: new FakeStorage([rowOf(lamp, nowNs - 1n, wide)]) })
    const response = await api.inject({ url: query({ format: 'csv' }) })
    expect(response.json()).toMatchObject({ status: 400, parameter: 'fields' })
  })

  it('an empty answer is a header line, nothing, or an empty list', async () => {
    await using api = await openApi({ storage: new FakeStorage() })
    const bodies = await Promise.all(['csv', 'ndjson', 'json'].map(async format => (await api.inject({ url: query({ format }) })).body))
    expect(bodies).toEqual(['time,device,measurement,tags\r\n', '', '{"items":[],"nextCursor":null}'])
  })
})
