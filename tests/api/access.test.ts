import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { buildApi } from '../../api/build-api.ts'
import { isHostAccepted, isLoopbackAddress } from '../../api/access.ts'
import { FakeStorage, fakePorts, listen, openApi } from './fakes.ts'

describe('the Host check', () => {
  it.each(['localhost', 'LOCALHOST:8080', '127.0.0.1:1', '127.8.9.1', '[::1]', '[::1]:8080', 'tidegate.lan', 'tidegate.lan:99', 'Box:81'])(
    'accepts %s',
    host => {
      expect(isHostAccepted(host, ['tidegate.lan', 'box:81'])).toBe(true)
    }
  )

  it.each([
    undefined,
    '',
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'evil.example:8080',
    'box',
    'box:82',
    'x@localhost',
    'localhost/',
    'localhost:80:80',
    '192.168.1.5',
    '[::2]',
    '::1',
    'localhost evil'
  ])('refuses %s', host => {
    expect(isHostAccepted(host, ['tidegate.lan', 'box:81'])).toBe(false)
  })

  it.each(['/', '/api/v1/devices', '/healthz', '/docs/', '/openapi.json', '/nothing'])('stands before %s', async url => {
    await using api = await openApi({ storage: new FakeStorage() })
    const response = await api.inject({ url, headers: { host: 'rebound.example' } })
    expect(response.statusCode).toBe(403)
    expect(response.json()).toMatchObject({ code: 'TG_HOST_REFUSED', status: 403 })
  })

  it('accepts what the configuration lists', async () => {
    await using api = await openApi({ storage: new FakeStorage(), options: { hosts: ['tidegate'] } })
    expect((await api.inject({ url: '/api/v1/devices', headers: { host: 'tidegate:8080' } })).statusCode).toBe(200)
  })
})

describe('access without credentials', () => {
  it.each([
    ['127.0.0.1', true],
    ['127.255.0.9', true],
    ['::1', true],
    ['::ffff:127.0.0.1', true],
    ['10.0.0.1', false],
    ['::ffff:10.0.0.1', false],
    ['2001:db8::1', false],
    ['127.evil', false],
    ['', false]
  ])('%s is of this machine: %s', (address, loopback) => {
    expect(isLoopbackAddress(address)).toBe(loopback)
  })

  it.each([
    ['loopback', '127.0.0.1', 200],
    ['loopback', '192.0.2.7', 401],
    ['any', '192.0.2.7', 200],
    ['never', '127.0.0.1', 401]
  ] as const)('with %s, %s gets %i', async (anonymous, remoteAddress, status) => {
    await using api = await openApi({ storage: new FakeStorage(), options: { anonymous } })
    const response = await api.inject({ url: '/api/v1/devices', remoteAddress })
    expect(response.statusCode).toBe(status)
    if (status === 401) {
      expect(response.json()).toMatchObject({ code: 'TG_ANONYMOUS_REFUSED' })
      expect(response.headers['www-authenticate']).toMatch(/^Bearer/)
    }
    expect((await api.inject({ url: '/healthz', remoteAddress })).statusCode).toBe(200)
    expect((await api.inject({ url: '/readyz', remoteAddress })).statusCode).toBe(200)
    expect((await api.inject({ url: '/metrics', remoteAddress })).statusCode).toBe(status)
    expect((await api.inject({ url: '/docs/', remoteAddress })).statusCode).toBe(status)
  })

  it('does not believe a forwarding header', async () => {
    await using api = await openApi({ storage: new FakeStorage() })
    const response = await api.inject({ url: '/api/v1/devices', remoteAddress: '192.0.2.7', headers: { 'x-forwarded-for': '127.0.0.1' } })
    expect(response.statusCode).toBe(401)
  })
})

describe('routes that change something', () => {
  const publish = { method: 'POST', url: '/api/v1/telemetry?topic=a/b', payload: '{}' } as const
  const json = { 'content-type': 'application/json' }

  it.each([
    [undefined, 202],
    ['http://localhost:80', 202],
    ['http://localhost', 202],
    ['http://LOCALHOST', 202],
    ['http://localhost:8080', 403],
    ['http://evil.example', 403],
    ['null', 403],
    ['', 403],
    ['http://localhost@evil.example', 403]
  ])('from Origin %s answer %i', async (origin, status) => {
    await using api = await openApi()
    const response = await api.inject({
      ...publish,
      headers: { ...json, host: 'localhost:80', ...(origin === undefined ? {} : { origin }) }
    })
    expect(response.statusCode).toBe(status)
    if (status === 403) expect(response.json()).toMatchObject({ code: 'TG_ORIGIN_REFUSED' })
  })

  it.each([
    ['/api/v1/telemetry?topic=a', 'application/json; charset=utf-8', 202],
    ['/api/v1/telemetry?topic=a', 'application/octet-stream', 202],
    ['/api/v1/telemetry?topic=a', 'text/plain', 415],
    ['/api/v1/telemetry?topic=a', 'application/x-www-form-urlencoded', 415],
    ['/api/v1/telemetry?topic=a', 'application/jsonx', 415],
    ['/api/v1/telemetry?topic=a', '', 415],
    ['/api/v1/mappings/test', 'application/json', 200],
    ['/api/v1/mappings/test', 'application/octet-stream', 415],
    ['/api/v1/mappings/test', 'text/plain', 415]
  ])('%s with %j answers %i', async (url, type, status) => {
    await using api = await openApi()
    const headers = type === '' ? {} : { 'content-type': type }
    const response = await api.inject({ method: 'POST', url, headers, payload: Buffer.from('{"topic":"a","payload":"1"}') })
    expect(response.statusCode).toBe(status)
    if (status === 415) expect(response.json()).toMatchObject({ code: 'TG_MEDIA_TYPE' })
  })

  it('take no body that is encoded or too large', async () => {
    await using api = await openApi({ options: { maxBodyBytes: 100 } })
    const gzip = await api.inject({ ...publish, headers: { ...json, 'content-encoding': 'gzip' } })
    expect(gzip.json()).toMatchObject({ status: 415, code: 'TG_MEDIA_TYPE' })
    const large = await api.inject({ ...publish, headers: json, payload: 'x'.repeat(101) })
    expect(large.json()).toMatchObject({ status: 413, code: 'TG_BODY_TOO_LARGE' })
    expect((await api.inject({ ...publish, headers: json, payload: 'x'.repeat(100) })).statusCode).toBe(202)
  })
})

describe('every answer', () => {
  it.each(['/', '/api/v1/devices', '/healthz', '/nothing', '/docs/', '/%ZZ'])(
    'to %s carries the security headers and allows no other origin',
    async url => {
      await using api = await openApi({ storage: new FakeStorage() })
      const { headers } = await api.inject({ url, headers: { origin: 'http://evil.example' } })
      expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY' })
      expect(headers['content-security-policy']).toMatch(/^default-src 'none'; script-src 'self';/)
      expect(Object.keys(headers).filter(name => name.startsWith('access-control'))).toEqual([])
    }
  )

  it('to something that is no HTTP is a problem too', async () => {
    await using api = await openApi()
    const socket = connect(Number(new URL(await listen(api)).port), '127.0.0.1')
    socket.end('GET / HTTP/9.9\r\n\r\n')
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    expect(text).toMatch(/^HTTP\/1.1 400 Bad Request\r\ncontent-type: application\/problem\+json\r\n/)
    expect(text).toContain('"code":"TG_REQUEST_INVALID"')
  })

  it('to a request that comes while the server closes is a 503 problem', async () => {
    const api = buildApi(fakePorts())
    let answer: unknown
    api.addHook('preClose', async () => {
      answer = await (await fetch(`${base}/healthz`)).json()
    })
    const base = await listen(api)
    await api.close()
    expect(answer).toMatchObject({ status: 503, code: 'TG_STORE_UNAVAILABLE' })
  })
})
