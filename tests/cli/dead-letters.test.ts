import { expect, it } from 'vitest'
import { serve, tidegate } from './harness.ts'

const letter = {
  position: '0a1b2c3d-1111-4222-8333-444455556666:7',
  time: '2026-05-04T03:02:01.000000007Z',
  clientId: 'meter',
  topic: 'plant/1/raw',
  payload: '{"a":',
  reason: 'broken-json',
  detail: 'Unexpected end'
}

it('lists letters page by page up to the limit, and says when there are more', async () => {
  const counts = { 'broken-json': 4, 'not-utf8': 1 }
  await using api = await serve(
    200,
    { items: [letter, { ...letter, topic: 'b' }], nextCursor: 'next', counts },
    { items: [{ ...letter, payload: undefined, payloadBase64: 'wyg=' }], nextCursor: 'more', counts }
  )
  const options = ['--reason', 'broken-json', '--topic', 'plant/#', '--from', '2026-05-04T00:00:00Z', '--to', '1777863721001']
  const { code, out } = await tidegate(['dead-letters', 'list', ...options, '--limit', '3', '--http', api.url])
  expect(code).toBe(0)
  expect(out.split('\n')).toEqual([
    '2026-05-04T03:02:01.000000007Z  plant/1/raw  by meter',
    '  broken-json: Unexpected end',
    '  "{\\"a\\":"',
    '2026-05-04T03:02:01.000000007Z  b  by meter',
    '  broken-json: Unexpected end',
    '  "{\\"a\\":"',
    '2026-05-04T03:02:01.000000007Z  plant/1/raw  by meter',
    '  broken-json: Unexpected end',
    '  base64 wyg=',
    '… and more: --limit takes a larger number than 3',
    'kept: broken-json 4, not-utf8 1'
  ])
  const selected = 'reason=broken-json&topic=plant%2F%23&from=2026-05-04T00%3A00%3A00Z&to=1777863721001'
  expect(api.asked).toEqual([
    { method: 'GET', url: `/api/v1/dead-letters?${selected}&limit=3`, type: undefined, body: undefined },
    { method: 'GET', url: `/api/v1/dead-letters?${selected}&limit=1&cursor=next`, type: undefined, body: undefined }
  ])
})

it('with --json the letters are as the API has them; without any it says so', async () => {
  await using api = await serve(200, { items: [letter], nextCursor: null, counts: { 'broken-json': 1 } })
  const { out } = await tidegate(['dead-letters', 'list', '--json', '--http', api.url])
  expect(JSON.parse(out)).toEqual({ items: [letter], nextCursor: null, counts: { 'broken-json': 1 } })
  await using empty = await serve(200, { items: [], nextCursor: null, counts: {} })
  expect(await tidegate(['dead-letters', 'list', '--http', empty.url])).toEqual({ code: 0, out: 'no dead letters are kept', err: '' })
  await using others = await serve(200, { items: [], nextCursor: null, counts: { 'not-utf8': 2 } })
  const { out: none } = await tidegate(['dead-letters', 'list', '--topic', 'plant/#', '--http', others.url])
  expect(none).toBe('none that is kept is selected\nkept: not-utf8 2')
})

it('what a client sent is nothing to the terminal', async () => {
  const hostile = { ...letter, topic: 'a\u001b[2Jb', clientId: 'c\u0007', detail: 'd\u009bx', payload: '\u001b]0;x\u0007\u009b' }
  await using api = await serve(200, { items: [hostile], nextCursor: null, counts: {} })
  const { out } = await tidegate(['dead-letters', 'list', '--http', api.url])
  expect(out.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
  expect(out).toContain('a\\u001b[2Jb  by c\\u0007')
})

it('replay asks for it and exits with 0 when nothing that was selected remains', async () => {
  await using api = await serve(200, { replayed: 12, failed: 0, remaining: 0, error: null })
  expect(await tidegate(['dead-letters', 'replay', '--topic', 'plant/#', '--http', api.url])).toEqual({
    code: 0,
    out: 'replayed   12\nfailed     0\nremaining  0',
    err: ''
  })
  expect(api.asked).toEqual([{ method: 'POST', url: '/api/v1/dead-letters/replay?topic=plant%2F%23', type: 'application/json', body: {} }])
})

it('replay exits with 1 when letters remain, and says why', async () => {
  const answer = { replayed: 2, failed: 1, remaining: 5, error: { code: 'TG_JOURNAL_FULL', message: 'the journal is full' } }
  await using api = await serve(200, answer)
  const { code, out } = await tidegate(['dead-letters', 'replay', '--http', api.url])
  expect([code, out]).toEqual([1, 'replayed   2\nfailed     1\nremaining  5\nerror      the journal is full'])
  const json = await tidegate(['dead-letters', 'replay', '--json', '--http', api.url])
  expect([json.code, JSON.parse(json.out)]).toEqual([1, answer])
})

it('purge asks nothing unless a filter or --all says what is meant', async () => {
  await using api = await serve(200, { purged: 3 })
  expect(await tidegate(['dead-letters', 'purge', '--http', api.url])).toEqual({
    code: 1,
    out: '',
    err: 'tidegate: purge: give --all, or a filter (--reason, --topic, --from, --to)'
  })
  expect(await tidegate(['dead-letters', 'purge', '--all', '--reason', 'not-utf8', '--http', api.url])).toMatchObject({ code: 1, out: '' })
  expect(api.asked).toEqual([])
  expect(await tidegate(['dead-letters', 'purge', '--all', '--http', api.url])).toEqual({ code: 0, out: 'purged  3', err: '' })
  expect(await tidegate(['dead-letters', 'purge', '--reason', 'not-utf8', '--http', api.url])).toMatchObject({ code: 0 })
  expect(api.asked).toEqual([
    { method: 'DELETE', url: '/api/v1/dead-letters', type: 'application/json', body: {} },
    { method: 'DELETE', url: '/api/v1/dead-letters?reason=not-utf8', type: 'application/json', body: {} }
  ])
})

it('a refusal is one line with its code, and a wrong limit or address is named', async () => {
  await using api = await serve(503, { code: 'TG_DEAD_LETTERS_BUSY', detail: 'dead letters are being replayed or purged' })
  expect(await tidegate(['dead-letters', 'replay', '--http', api.url])).toMatchObject({
    code: 1,
    err: `tidegate: ${api.url} refuses the request: dead letters are being replayed or purged`
  })
  const { err } = await tidegate(['dead-letters', 'replay', '--json', '--http', api.url])
  expect(JSON.parse(err)).toMatchObject({ error: { code: 'TG_DEAD_LETTERS_BUSY' } })
  for (const limit of ['0', '-1', 'many', '1.5']) {
    expect((await tidegate(['dead-letters', 'list', '--limit', limit, '--http', api.url])).err).toContain(`--limit: "${limit}" is not`)
  }
  expect((await tidegate(['dead-letters', 'list', '--http', 'http://127.0.0.1:9'])).err).toContain(
    'no Tidegate answers at http://127.0.0.1:9'
  )
  expect((await tidegate(['dead-letters', 'list', '--http', 'ftp://127.0.0.1'])).err).toContain('--http')
})
