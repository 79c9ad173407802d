import { describe, expect, it } from 'vitest'
import type { DeadLetter, HttpPublish, Ledger } from '../../api/ports.ts'
import { fakeDeadLetters, journal, listen, nowNs, openApi, rowOf, sourceOf, until } from './fakes.ts'

const letters: readonly DeadLetter[] = Array.from({ length: 7 }, (_, index) => ({
  ordinal: 10 + index,
  receivedNs: nowNs + BigInt(index),
  clientId: `client ${index}`,
  topic: `t/${index % 2}`,
  payload: index === 3 ? Uint8Array.of(0xc3, 0x28) : Buffer.from(`{"n":${index}`),
  reason: index % 3 === 0 ? 'broken-json' : 'too-deep',
  detail: `because ${index}`
}))

describe('GET /api/v1/dead-letters', () => {
  it('answers each with its payload as text, or in base64 where it is none, and the counts by reason', async () => {
    await using api = await openApi({ deadLetters: fakeDeadLetters(letters) })
    const body = (await api.inject({ url: '/api/v1/dead-letters' })).json<{ items: unknown[]; nextCursor: null; counts: object }>()
    expect(body.items).toEqual(
      letters.map((letter, index) => ({
        position: `${journal}:${10 + index}`,
        time: `2026-05-04T03:02:01.00000000${index}Z`,
        clientId: letter.clientId,
        topic: letter.topic,
        ...(index === 3 ? { payloadBase64: 'wyg=' } : { payload: `{"n":${index}` }),
        reason: letter.reason,
        detail: letter.detail
      }))
    )
    expect([body.nextCursor, body.counts]).toEqual([null, { 'broken-json': 3, 'too-deep': 4 }])
  })

  it('keeps a byte order mark of a payload', async () => {
    const letter: DeadLetter = { ...(letters[0] ?? expect.fail()), payload: Buffer.from('\ufeff{') }
    await using api = await openApi({ deadLetters: fakeDeadLetters([letter]) })
    expect((await api.inject({ url: '/api/v1/dead-letters' })).json()).toMatchObject({ items: [{ payload: '\ufeff{' }] })
  })

  it('pages through what is selected once', async () => {
    await using api = await openApi({ deadLetters: fakeDeadLetters(letters) })
    const select = `reason=too-deep&topic=${encodeURIComponent('t/0')}&from=2026-05-04T03:02:01Z&limit=1`
    const seen: string[] = []
    let cursor: string | null = null
    do {
      const url: string = `/api/v1/dead-letters?${select}${cursor === null ? '' : `&cursor=${cursor}`}`
      const page: { items: { clientId: string }[]; nextCursor: string | null } = (await api.inject({ url })).json()
      seen.push(...page.items.map(item => item.clientId))
      cursor = page.nextCursor
    } while (cursor !== null)
    expect(seen).toEqual(['client 2', 'client 4'])
  })

  it('gives times exactly, and refuses a cursor of another selection', async () => {
    const deadLetters = fakeDeadLetters(letters)
    await using api = await openApi({ deadLetters })
    const url = '/api/v1/dead-letters?from=2026-05-04T03:02:01.000000002Z&to=1777863721001&limit=2'
    const { nextCursor } = (await api.inject({ url })).json<{ nextCursor: string }>()
    expect(deadLetters.queries[0]).toMatchObject({ fromNs: nowNs + 2n, toNs: nowNs + 1_000_000n, limit: 2 })
    expect((await api.inject({ url: `/api/v1/dead-letters?cursor=${nextCursor}` })).json()).toMatchObject({
      status: 400,
      parameter: 'cursor'
    })
  })
})

describe('POST /api/v1/dead-letters/replay and DELETE /api/v1/dead-letters', () => {
  const json = { 'content-type': 'application/json' }

  const remaining = async (api: Awaited<ReturnType<typeof openApi>>): Promise<number> =>
    (await api.inject({ url: '/api/v1/dead-letters' })).json<{ items: unknown[] }>().items.length

  it.each(['parameters', 'a body'])('replays what %s select', async how => {
    await using api = await openApi({ deadLetters: fakeDeadLetters(letters) })
    const filters = { topic: 't/1', from: '2026-05-04T03:02:01.000000002Z', to: '1777863721001' }
    const query = how === 'parameters' ? filters : {}
    const payload = how === 'parameters' ? '' : JSON.stringify(filters)
    const response = await api.inject({ method: 'POST', url: '/api/v1/dead-letters/replay', query, payload, headers: json })
    expect([response.statusCode, response.json()]).toEqual([200, { replayed: 2, failed: 0, remaining: 0, error: null }])
    expect(await remaining(api)).toBe(5)
  })

  it('says what remains, and why', async () => {
    await using api = await openApi({ deadLetters: fakeDeadLetters(letters.map(letter => ({ ...letter, topic: 'refused' }))) })
    const response = await api.inject({ method: 'POST', url: '/api/v1/dead-letters/replay?reason=too-deep', payload: {} })
    expect(response.json()).toEqual({ replayed: 0, failed: 4, remaining: 4, error: { code: 'TG_BODY_TOO_LARGE', message: 'too large' } })
  })

  it('purges what is selected, and without a filter all', async () => {
    await using api = await openApi({ deadLetters: fakeDeadLetters(letters) })
    const first = await api.inject({ method: 'DELETE', url: '/api/v1/dead-letters?reason=too-deep', headers: json })
    expect([first.statusCode, first.json(), await remaining(api)]).toEqual([200, { purged: 4 }, 3])
    const second = await api.inject({ method: 'DELETE', url: '/api/v1/dead-letters', payload: {} })
    expect([second.json(), await remaining(api)]).toEqual([{ purged: 3 }, 0])
  })

  it.each([
    ['POST', '/api/v1/dead-letters/replay'],
    ['DELETE', '/api/v1/dead-letters']
  ] as const)('%s %s changes nothing for who may not, or does not say clearly what', async (method, url) => {
    await using api = await openApi({ deadLetters: fakeDeadLetters(letters) })
    const refusals = [
      [{ headers: { 'content-type': 'text/plain' } }, 415, { code: 'TG_MEDIA_TYPE' }],
      [{}, 415, { code: 'TG_MEDIA_TYPE' }],
      [{ headers: { ...json, origin: 'http://evil.example' } }, 403, { code: 'TG_ORIGIN_REFUSED' }],
      [{ headers: json, payload: '{"topic"' }, 400, { code: 'TG_BODY_INVALID' }],
      [{ headers: json, payload: '[]' }, 400, { code: 'TG_BODY_INVALID' }],
      [{ headers: json, payload: '{"topik":"a"}' }, 400, { code: 'TG_BODY_INVALID', parameter: 'topik' }],
      [{ headers: json, payload: '{"reason":5}' }, 400, { code: 'TG_BODY_INVALID', parameter: 'reason' }],
      [{ headers: json, payload: '{"from":"yesterday"}' }, 400, { code: 'TG_PARAMETER_INVALID', parameter: 'from' }],
      [{ headers: json, query: { to: 'soon' } }, 400, { code: 'TG_PARAMETER_INVALID', parameter: 'to' }],
      [{ headers: json, query: { topik: 'a' } }, 400, { code: 'TG_PARAMETER_INVALID', parameter: 'topik' }],
      [{ headers: json, query: { topic: 'a' }, payload: '{"topic":"b"}' }, 400, { code: 'TG_PARAMETER_INVALID', parameter: 'topic' }]
    ] as const
    for (const [request, status, problem] of refusals) {
      const response = await api.inject({ method, url, ...request })
      expect([request, response.statusCode, response.json()]).toEqual([request, status, expect.objectContaining(problem)])
    }
    expect(await remaining(api)).toBe(7)
  })

  it('ends what it began when the client goes away', async () => {
    const deadLetters = fakeDeadLetters(letters)
    await using api = await openApi({
      deadLetters: {
        ...deadLetters,
        replay: async (_selection, signal) => {
          deadLetters.signals.push(signal)
          return await new Promise(() => undefined)
        }
      }
    })
    const base = await listen(api)
    const client = new AbortController()
    const answer = fetch(`${base}/api/v1/dead-letters/replay`, { method: 'POST', headers: json, signal: client.signal })
    await until(() => deadLetters.signals.length === 1, 'it begins')
    expect(deadLetters.signals[0]?.aborted).toBe(false)
    client.abort()
    await expect(answer).rejects.toThrow()
    await until(() => deadLetters.signals[0]?.aborted === true, 'the signal aborts')
  })
})

describe('POST /api/v1/mappings/test', () => {
  it('answers what the message would become, with exact integers', async () => {
    const asked: (HttpPublish & { clientId: string })[] = []
    const source = sourceOf('lamp', { room: 'hall' }, 'home')
    await using api = await openApi({
      testMapping: message => {
        asked.push(message)
        return {
          outcome: 'stored',
          route: 'home/{room}/{device}',
          points: [{ ...rowOf(source, nowNs, { n: 9_007_199_254_740_993n, t: 1.5 }), ordinal: 0 }]
        }
      }
    })
    const response = await api.inject({
      method: 'POST',
      url: '/api/v1/mappings/test',
      payload: { topic: 'home/hall/lamp', payload: '{"t":1.5}', clientId: 'c' }
    })
    expect(response.body).toBe(
      '{"outcome":"stored","route":"home/{room}/{device}","points":[{"time":"2026-05-04T03:02:01.000000000Z","device":"lamp",' +
        '"measurement":"home","tags":{"room":"hall"},"fields":{"n":9007199254740993,"t":1.5}}]}'
    )
    expect(asked.map(({ topic, payload, clientId }) => [topic, Buffer.from(payload).toString(), clientId])).toEqual([
      ['home/hall/lamp', '{"t":1.5}', 'c']
    ])
  })

  it('takes a payload in base64, answers reasons, and publishes as http unless told otherwise', async () => {
    await using api = await openApi({
      testMapping: ({ payload, clientId }) => ({
        outcome: 'deadLettered',
        route: null,
        points: [],
        reason: clientId,
        detail: Buffer.from(payload).toString('hex')
      })
    })
    const response = await api.inject({ method: 'POST', url: '/api/v1/mappings/test', payload: { topic: 'a', payloadBase64: 'AP8=' } })
    expect(response.json()).toEqual({ outcome: 'deadLettered', route: null, points: [], reason: 'http', detail: '00ff' })
  })

  it.each([
    ['{"payload":"1"}', 'topic'],
    ['{"topic":"a"}', 'payload'],
    ['{"topic":"a","payload":"1","payloadBase64":"MQ=="}', 'payload'],
    ['{"topic":"a","payload":1}', 'payload'],
    ['{"topic":"a","payloadBase64":"*"}', 'payloadBase64'],
    ['{"topic":"a","payload":"1","qos":1}', 'qos'],
    ['{"topic":"a","payload":"1","__proto__":{}}', undefined],
    ['[]', undefined],
    ['null', undefined],
    ['{', undefined],
    ['', undefined]
  ])('refuses %s, naming %s', async (payload, parameter) => {
    await using api = await openApi()
    const response = await api.inject({
      method: 'POST',
      url: '/api/v1/mappings/test',
      headers: { 'content-type': 'application/json' },
      payload
    })
    expect(response.json()).toMatchObject({ status: 400, code: 'TG_BODY_INVALID', ...(parameter === undefined ? {} : { parameter }) })
  })
})

describe('operations', () => {
  it('GET /api/v1/ledger answers exactly the ledger, with what the newest check found', async () => {
    const numbers = {
      since: 1,
      accepted: 20,
      stored: 11,
      inJournal: 2,
      deadLettered: 3,
      ignored: 1,
      deduplicated: 1,
      dropped: 1,
      damaged: 1,
      sinceStart: { shed: 5, resends: 6, refused: 7 }
    }
    const fault = { count: 'deadLetters', expected: 3, found: 2, message: 'one is gone' } as const
    const atMs = Date.UTC(2026, 4, 17, 9, 30, 1, 250)
    const shown = { checkedAt: '2026-05-17T09:30:01.250000000Z', checkedHead: 21 }
    for (const [check, answer] of [
      [undefined, { balanced: null, checkedAt: null, checkedHead: null, faults: [] }],
      [
        { atMs, head: 21, faults: [] },
        { ...shown, balanced: true, faults: [] }
      ],
      [
        { atMs, head: 21, faults: [fault] },
        { ...shown, balanced: false, faults: [fault] }
      ]
    ] as const) {
      const ledger: Ledger = { ...numbers, check }
      await using api = await openApi({ ledger: async () => ledger })
      expect((await api.inject({ url: '/api/v1/ledger' })).json()).toEqual({ ...numbers, ...answer })
    }
  })

  it('GET /readyz is 200 with reasons while ready, 503 otherwise', async () => {
    const reasons = [{ code: 'TG_STORE_UNAVAILABLE', message: 'the store does not answer' }]
    for (const ready of [true, false]) {
      await using api = await openApi({ readiness: () => ({ ready, mqttPort: ready ? 1883 : undefined, reasons }) })
      const response = await api.inject({ url: '/readyz' })
      expect([response.statusCode, response.json()]).toEqual([
        ready ? 200 : 503,
        { ready, mqttPort: ready ? 1883 : null, anonymous: 'loopback', reasons }
      ])
    }
  })

  it('GET /metrics is Prometheus text, GET /healthz says ok', async () => {
    await using api = await openApi({ metrics: async () => 'tidegate_x 1\n' })
    const metrics = await api.inject({ url: '/metrics' })
    expect([metrics.headers['content-type'], metrics.body]).toEqual(['text/plain; version=0.0.4; charset=utf-8', 'tidegate_x 1\n'])
    expect((await api.inject({ url: '/healthz' })).json()).toEqual({ status: 'ok' })
  })

  it('a route that does not exist is a 404 problem, with any method', async () => {
    await using api = await openApi()
    for (const [method, url] of [
      ['GET', '/api/v1/nothing'],
      ['DELETE', '/api/v1/devices/a'],
      ['POST', '/api/v1/query'],
      ['PUT', '/'],
      ['HEAD', '/api/v1/query'],
      ['GET', '/api/v1/devices/a/b']
    ] as const) {
      const response = await api.inject({ method, url })
      expect(response.statusCode).toBe(404)
      expect(response.headers['content-type']).toContain('application/problem+json')
      if (method !== 'HEAD')
        expect(response.json()).toMatchObject({ type: 'urn:tidegate:error:TG_ROUTE_UNKNOWN', title: 'No such route', status: 404 })
    }
  })

  it('an unexpected failure is a 500 problem that tells nothing of the inside', async () => {
    await using api = await openApi()
    const response = await api.inject({ url: '/api/v1/ledger' })
    expect(response.json()).toEqual({
      type: 'urn:tidegate:error:TG_BUG',
      title: 'Unexpected failure',
      status: 500,
      detail: 'the log of the service has the details',
      code: 'TG_BUG'
    })
  })
})
