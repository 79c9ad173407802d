import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { encodeCursor } from '../../api/cursors.ts'
import { FakeStorage, deviceOf, journal, nowNs, openApi, rowOf, sourceOf } from './fakes.ts'

const routes = [
  '/api/v1/query',
  '/api/v1/devices',
  '/api/v1/devices/a%2Fb',
  '/api/v1/devices/a%2Fb/latest',
  '/api/v1/dead-letters',
  '/api/v1/ledger',
  '/healthz',
  '/nothing'
]
const names = ['measurement', 'device', 'tag', 'fields', 'from', 'to', 'every', 'agg', 'order', 'limit', 'cursor', 'format', 'epoch']
const nameOf = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...names, 'search', 'after', 'timeout', 'topic', 'reason') },
  fc.string({ unit: 'binary' })
)
const valueOf = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('', 'a', 'asc', 'csv', 'ndjson', 'ns', 'ms', '1s', 'auto', '30d', 'mean,max', 'room:x', `${journal}:5`, '5s', 'a,b'),
  fc.integer().map(String),
  fc.bigInt().map(String),
  fc.date({ noInvalidDate: true }).map(date => date.toISOString()),
  fc.array(fc.string(), { maxLength: 7 }).map(values => encodeCursor('x', values)),
  fc.json().map(text => Buffer.from(text).toString('base64url'))
)
const rawQuery = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .array(fc.tuple(nameOf, valueOf), { maxLength: 5 })
      .map(pairs => pairs.map(([name, value]) => `${enc(name)}=${enc(value)}`).join('&'))
  },
  fc.string({ unit: 'grapheme-ascii' }).map(text => text.replaceAll(/[^!-~]/g, ''))
)

function enc(text: string): string {
  return encodeURIComponent(text.replaceAll(/\p{Surrogate}/gu, ''))
}

it('whatever the parameters are, the answer is a good one or a problem that is the client’s', async () => {
  const storage = new FakeStorage(
    Array.from({ length: 30 }, (_, index) => rowOf(sourceOf('a/b', { room: 'x' }), nowNs - BigInt(index), { a: index, b: 'x' }))
  )
  storage.devices = [deviceOf('a/b')]
  await using api = await openApi({ storage, ledger: async () => await new Promise(() => {}) })
  const seen = new Set<number>()
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...routes), rawQuery, async (route, query) => {
      if (route === '/api/v1/ledger' && query === '') return
      const response = await api.inject({
        url: `${route}?x=1&${query}`.replace('x=1&', query === '' || route !== '/api/v1/ledger' ? '' : 'x=1&')
      })
      seen.add(response.statusCode)
      expect(response.statusCode).toBeLessThan(500)
      const type = response.headers['content-type']?.toString() ?? ''
      if (response.statusCode >= 400)
        expect([type, Object.keys(response.json())]).toEqual([
          expect.stringContaining('application/problem+json'),
          expect.arrayContaining(['type', 'title', 'status', 'detail', 'code'])
        ])
      else if (type.includes('application/json')) response.json()
    }),
    { numRuns: 600 }
  )
  expect(seen).toEqual(new Set([200, 400, 404]))
})

it('a cursor with any bit changed is refused or a cursor', async () => {
  const storage = new FakeStorage(Array.from({ length: 30 }, (_, index) => rowOf(sourceOf('d'), nowNs - BigInt(index), { a: index })))
  await using api = await openApi({ storage })
  const { nextCursor } = (await api.inject({ url: '/api/v1/query?limit=5' })).json<{ nextCursor: string }>()
  await fc.assert(
    fc.asyncProperty(fc.nat(nextCursor.length - 1), fc.constantFrom(...'A Z a z 0 9 - _ = . %'.split(' ')), async (index, letter) => {
      const cursor = encodeURIComponent(nextCursor.slice(0, index) + letter + nextCursor.slice(index + 1))
      const response = await api.inject({ url: `/api/v1/query?limit=5&cursor=${cursor}` })
      expect([200, 400]).toContain(response.statusCode)
    }),
    { numRuns: 300 }
  )
})

it('whatever the body is, mappings/test answers it or names a fault of the client', async () => {
  await using api = await openApi()
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.json(),
        fc.string(),
        fc.jsonValue().map(value => JSON.stringify({ topic: 'a', payload: value }))
      ),
      async payload => {
        const response = await api.inject({
          method: 'POST',
          url: '/api/v1/mappings/test',
          headers: { 'content-type': 'application/json' },
          payload
        })
        expect([200, 400]).toContain(response.statusCode)
      }
    ),
    { numRuns: 300 }
  )
})
