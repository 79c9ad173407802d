import { describe, expect, it } from 'vitest'
import type { HttpPublish } from '../../api/ports.ts'
import { topicFault } from '../../api/routes/telemetry.ts'
import { TidegateError } from '../../errors.ts'
import { journal, openApi } from './fakes.ts'

function recorder(): { readonly published: HttpPublish[]; append(publish: HttpPublish): Promise<number> } {
  const published: HttpPublish[] = []
  return { published, append: async publish => published.push(publish) + 40 }
}

describe('POST /api/v1/telemetry', () => {
  it.each([
    ['application/json', Buffer.from('{ "a" : 1 }')],
    ['application/json; charset=utf-8', Buffer.from('{ broken json')],
    ['application/octet-stream', Buffer.from([0, 255, 254, 10, 13])],
    ['application/octet-stream', Buffer.alloc(0)],
    ['application/json', Buffer.alloc(0)]
  ])('publishes the %s body as it is and answers its position', async (type, payload) => {
    const edge = recorder()
    await using api = await openApi({ append: async publish => await edge.append(publish) })
    const response = await api.inject({
      method: 'POST',
      url: `/api/v1/telemetry?topic=${encodeURIComponent('home/küche #1'.replace(' #1', ''))}`,
      headers: { 'content-type': type },
      payload
    })
    expect(response.statusCode).toBe(202)
    expect(response.json()).toEqual({ position: `${journal}:41` })
    expect(edge.published.map(publish => [publish.topic, Buffer.from(publish.payload)])).toEqual([['home/küche', payload]])
  })

  it('answers only when the publish is durable', async () => {
    let durable: ((ordinal: number) => void) | undefined
    await using api = await openApi({ append: async () => await new Promise<number>(resolve => (durable = resolve)) })
    let answered = false
    const answer = api
      .inject({ method: 'POST', url: '/api/v1/telemetry?topic=a', headers: { 'content-type': 'application/json' }, payload: '1' })
      .then(response => {
        answered = true
        return response.statusCode
      })
    await new Promise(resolve => setTimeout(resolve, 30))
    expect(answered).toBe(false)
    durable?.(3)
    expect(await answer).toBe(202)
  })

  it.each(['TG_EDGE_BUSY', 'TG_JOURNAL_FULL', 'TG_JOURNAL_FAILING'] as const)('answers 503 with Retry-After for %s', async code => {
    await using api = await openApi({
      append: async () => {
        throw new TidegateError(code, 'not now')
      }
    })
    const response = await api.inject({
      method: 'POST',
      url: '/api/v1/telemetry?topic=a',
      headers: { 'content-type': 'application/json' },
      payload: '1'
    })
    expect([response.statusCode, response.headers['retry-after']]).toEqual([503, '1'])
    expect(response.json()).toMatchObject({ code, detail: 'not now' })
  })

  it.each(['', 'topic=', 'topic=a%2F%23', 'topic=a/%2B/b', 'topic=$SYS/x', 'topic=a%00b', 'topic=a&topic=b'])(
    'refuses ?%s and appends nothing',
    async query => {
      const edge = recorder()
      await using api = await openApi({ append: async publish => await edge.append(publish) })
      const response = await api.inject({
        method: 'POST',
        url: `/api/v1/telemetry?${query}`,
        headers: { 'content-type': 'application/json' },
        payload: '1'
      })
      expect(response.json()).toMatchObject({ status: 400, code: 'TG_PARAMETER_INVALID', parameter: 'topic' })
      expect(edge.published).toEqual([])
    }
  )
})

describe('a topic to publish to', () => {
  it.each(['a', '/', '//', 'a/b c/ü', '$share', '$SYSTEM/x', 'x'.repeat(256), Array.from({ length: 16 }, () => 'l').join('/')])(
    'may be %j',
    topic => {
      expect(topicFault(topic)).toBeUndefined()
    }
  )

  it.each(['', '#', 'a/#', '+', 'a+', '$SYS', '$SYS/a', 'a\0', '\ud800', 'ü'.repeat(129), Array.from({ length: 17 }, () => 'l').join('/')])(
    'may not be %j',
    topic => {
      expect(topicFault(topic)).toEqual(expect.any(String))
    }
  )
})
