import { expect, it } from 'vitest'
import { serve, tidegate } from './harness.ts'

it('sends the message and prints what it would become', async () => {
  await using api = await serve(200, { outcome: 'stored', route: 'home/{room}', points: [{ device: 'kitchen', fields: { value: 21.5 } }] })
  expect(await tidegate(['mapping', 'test', 'home/kitchen', '21.5', '--client', 'c1', '--http', api.url])).toEqual({
    code: 0,
    out: 'outcome  stored\nroute    home/{room}\npoint    {"device":"kitchen","fields":{"value":21.5}}',
    err: ''
  })
  expect(api.asked).toEqual([
    {
      method: 'POST',
      url: '/api/v1/mappings/test',
      type: 'application/json',
      body: { topic: 'home/kitchen', payloadBase64: Buffer.from('21.5').toString('base64'), clientId: 'c1' }
    }
  ])
})

it('a message that gives no points is exit code 1, with the reason', async () => {
  await using api = await serve(200, { outcome: 'deadLettered', route: 'a', points: [], reason: 'broken-json', detail: 'position 6' })
  const { code, out } = await tidegate(['mapping', 'test', 'a', '{', '--http', api.url])
  expect(code).toBe(1)
  expect(out).toContain('reason   broken-json\ndetail   position 6')
})

it('a refused request is one line', async () => {
  await using api = await serve(400, { title: 'A parameter is wrong', detail: 'topic: has a wildcard' })
  expect(await tidegate(['mapping', 'test', '#', '1', '--http', api.url])).toEqual({
    code: 1,
    out: '',
    err: `tidegate: ${api.url} refuses the request: topic: has a wildcard`
  })
})

it('without a service the address is named', async () => {
  expect(await tidegate(['mapping', 'test', 'a', '1', '--http', 'http://127.0.0.1:9'])).toMatchObject({
    code: 1,
    err: 'tidegate: --http: no Tidegate answers at http://127.0.0.1:9; start it, or give the address of its API'
  })
  expect((await tidegate(['mapping', 'test', 'a', '1', '--http', 'here'])).err).toContain('--http: "here" is not an address')
})
