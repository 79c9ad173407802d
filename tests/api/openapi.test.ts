import { Compile } from 'typebox/compile'
import { describe, expect, it } from 'vitest'
import { buildApi } from '../../api/build-api.ts'
import { FakeStorage, deviceOf, fakeDeadLetters, fakePorts, nowNs, openApi, rowOf, sourceOf } from './fakes.ts'

interface Parameter {
  readonly name: string
  readonly in: string
  readonly required?: boolean
  readonly schema: object
}

interface Operation {
  readonly operationId: string
  readonly summary: string
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema?: object }>> }
  readonly responses: Readonly<
    Record<string, { readonly description: string; readonly content: Readonly<Record<string, { readonly schema: object }>> }>
  >
}

interface Document {
  readonly openapi: string
  readonly info: { readonly title: string; readonly version: string }
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

/** The contract of the main job: every route with its parameters. */
const contract: Readonly<Record<string, readonly string[]>> = {
  'GET /api/v1/devices': ['search', 'cursor', 'limit', 'epoch'],
  'GET /api/v1/devices/{device}': ['device', 'epoch'],
  'GET /api/v1/devices/{device}/latest': ['device', 'fields', 'epoch'],
  'GET /api/v1/query': 'measurement device tag fields from to every agg order limit cursor format epoch after timeout'.split(' '),
  'GET /api/v1/stream': ['device', 'measurement', 'fields', 'epoch', 'last-event-id'],
  'POST /api/v1/telemetry': ['topic'],
  'GET /api/v1/dead-letters': ['reason', 'topic', 'from', 'to', 'cursor', 'limit', 'epoch'],
  'POST /api/v1/dead-letters/replay': ['reason', 'topic', 'from', 'to'],
  'DELETE /api/v1/dead-letters': ['reason', 'topic', 'from', 'to'],
  'POST /api/v1/mappings/test': [],
  'POST /api/v1/journal/replay': [],
  'POST /api/v1/backup': [],
  'GET /api/v1/ledger': [],
  'GET /healthz': [],
  'GET /readyz': [],
  'GET /metrics': [],
  'GET /openapi.json': []
}

async function documentOf(): Promise<Document> {
  await using api = await openApi()
  return (await api.inject({ url: '/openapi.json' })).json()
}

function operationsOf(document: Document): readonly (readonly [string, Operation])[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation] as const)
  )
}

describe('the OpenAPI document', () => {
  it('lists exactly the routes of the contract with exactly their parameters', async () => {
    const listed = operationsOf(await documentOf()).map(
      ([route, { parameters = [] }]) => [route, parameters.map(({ name }) => name).toSorted()] as const
    )
    expect(Object.fromEntries(listed)).toEqual(
      Object.fromEntries(Object.entries(contract).map(([route, names]) => [route, names.toSorted()]))
    )
  })

  it('lists every route that the server has, but for the page’s files', async () => {
    const served = new Set<string>()
    const api = buildApi(fakePorts())
    // plugins load later, so that this hook comes before all routes
    api.addHook('onRoute', ({ method, url, schema }) => {
      if (schema?.hide !== true) for (const name of [method].flat()) served.add(`${name} ${url.replaceAll(/:(\w+)/g, '{$1}')}`)
    })
    await api.ready()
    await api.close()
    expect([...served].toSorted()).toEqual(
      operationsOf(await documentOf())
        .map(([route]) => route)
        .toSorted()
    )
  })

  it('is OpenAPI 3.1: unique operation ids, described responses, path parameters that match, sound schemas', async () => {
    const document = await documentOf()
    expect(document.openapi).toBe('3.1.0')
    expect(document.info).toMatchObject({ title: 'Tidegate', version: expect.any(String) })
    const ids = new Set<string>()
    for (const [route, operation] of operationsOf(document)) {
      expect(ids.has(operation.operationId)).toBe(false)
      ids.add(operation.operationId)
      expect(operation.summary).toEqual(expect.any(String))
      const { parameters = [] } = operation
      expect(new Set(parameters.map(parameter => `${parameter.in} ${parameter.name}`)).size).toBe(parameters.length)
      const inPath = [...route.matchAll(/\{(\w+)\}/g)].map(match => match[1])
      expect(parameters.filter(parameter => parameter.in === 'path').map(({ name }) => name)).toEqual(inPath)
      for (const parameter of parameters) {
        expect(['path', 'query', 'header']).toContain(parameter.in)
        if (parameter.in === 'path') expect(parameter.required).toBe(true)
        Compile(parameter.schema)
      }
      const statuses = Object.keys(operation.responses)
      expect(statuses).toEqual(expect.arrayContaining([route === 'POST /api/v1/telemetry' ? '202' : '200', '4XX']))
      for (const [status, response] of Object.entries(operation.responses)) {
        expect(status).toMatch(/^([1-5]\d\d|[45]XX)$/)
        expect(response.description).toEqual(expect.any(String))
        expect(Object.keys(response.content).length).toBeGreaterThan(0)
        for (const media of Object.values(response.content)) Compile(media.schema)
      }
      for (const media of Object.values(operation.requestBody?.content ?? {})) if (media.schema !== undefined) Compile(media.schema)
      expect(Object.keys(operation.responses['4XX']?.content ?? {})).toEqual(['application/problem+json'])
    }
  })

  it('says what a publish may carry', async () => {
    const operation = (await documentOf()).paths['/api/v1/telemetry']?.['post']
    expect(Object.keys(operation?.requestBody?.content ?? {})).toEqual(['application/json', 'application/octet-stream'])
  })

  it('describes the answers that the server gives', async () => {
    const document = await documentOf()
    const storage = new FakeStorage([rowOf(sourceOf('a', { room: 'x' }), nowNs - 1n, { t: 1.5, on: true, s: 'x', n: 3n })])
    storage.devices = [deviceOf('a', { fields: [{ measurement: 'telemetry', name: 't', type: 'float', unit: '°C' }] })]
    storage.latestValues = [{ source: sourceOf('a'), field: 't', value: 1.5, timeNs: nowNs }]
    storage.aggregateRows = [
      { source: sourceOf('a'), timeNs: nowNs, fields: [{ name: 't', values: { mean: 1.5, sum: Number.POSITIVE_INFINITY } }] }
    ]
    await using api = await openApi({
      storage,
      deadLetters: fakeDeadLetters([
        { ordinal: 1, receivedNs: nowNs, clientId: 'c', topic: 'refused', payload: Uint8Array.of(255), reason: 'r', detail: 'd' }
      ]),
      testMapping: () => ({ outcome: 'stored', route: 'r', points: [{ ...rowOf(sourceOf('a'), nowNs, { t: 1 }), ordinal: 0 }] }),
      ledger: async () => ({
        since: 0,
        accepted: 1,
        stored: 1,
        inJournal: 0,
        deadLettered: 0,
        ignored: 0,
        deduplicated: 0,
        dropped: 0,
        damaged: 0,
        check: {
          atMs: 1_747_474_201_123,
          head: 1,
          faults: [{ count: 'points', expected: 3, found: 2, message: 'the store holds 2 points, but the tally says 3' }]
        },
        sinceStart: { shed: 0, resends: 0, refused: 0 }
      })
    })
    const asked: readonly (readonly [string, string, string])[] = [
      ['GET /api/v1/devices', '/api/v1/devices?epoch=ms', '200'],
      ['GET /api/v1/devices/{device}', '/api/v1/devices/a', '200'],
      ['GET /api/v1/devices/{device}/latest', '/api/v1/devices/a/latest', '200'],
      ['GET /api/v1/query', '/api/v1/query', '200'],
      ['GET /api/v1/query', '/api/v1/query?every=1m&epoch=ms', '200'],
      ['GET /api/v1/query', '/api/v1/query?every=x', '4XX'],
      ['POST /api/v1/telemetry', '/api/v1/telemetry?topic=a', '202'],
      ['GET /api/v1/dead-letters', '/api/v1/dead-letters', '200'],
      ['POST /api/v1/dead-letters/replay', '/api/v1/dead-letters/replay', '200'],
      ['DELETE /api/v1/dead-letters', '/api/v1/dead-letters', '200'],
      ['POST /api/v1/mappings/test', '/api/v1/mappings/test', '200'],
      ['GET /api/v1/ledger', '/api/v1/ledger', '200'],
      ['GET /healthz', '/healthz', '200'],
      ['GET /readyz', '/readyz', '200'],
      ['GET /openapi.json', '/openapi.json', '200']
    ]
    const operations = new Map(operationsOf(document))
    for (const [route, url, status] of asked) {
      const method = route.startsWith('POST') ? 'POST' : route.startsWith('DELETE') ? 'DELETE' : 'GET'
      const payload = url.includes('dead-letters') ? { topic: 'refused' } : { topic: 'a', payload: '1' }
      const response = await api.inject(method === 'GET' ? { url } : { method, url, payload })
      expect([url, String(response.statusCode)]).toEqual([url, expect.stringMatching(status.replace('XX', '\\d\\d'))])
      const type = response.headers['content-type']?.toString().split(';')[0] ?? ''
      const media = operations.get(route)?.responses[status]?.content[type]
      if (media === undefined) expect.fail(`${route} documents no ${type} for ${status}`)
      const errors = [...Compile(closed(media.schema)).Errors(response.json())]
      expect([url, errors]).toEqual([url, []])
    }
  })
})

/** The same schema with objects that list their members allowing no others. */
function closed(schema: object): object {
  const entries = Object.entries(schema).map(([name, value]: [string, unknown]) => [
    name,
    Array.isArray(value)
      ? value.map((item: unknown) => (typeof item === 'object' && item !== null ? closed(item) : item))
      : typeof value === 'object' && value !== null
        ? closed(value)
        : value
  ])
  const copy: Record<string, unknown> = Object.fromEntries(entries)
  const properties = copy['properties']
  const lists = copy['type'] === 'object' && typeof properties === 'object' && properties !== null && Object.keys(properties).length > 0
  return lists ? { ...copy, additionalProperties: false } : copy
}
