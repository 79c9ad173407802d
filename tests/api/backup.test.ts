import { describe, expect, it } from 'vitest'
import type { BackupDone, BackupTarget } from '../../api/ports.ts'
import { TidegateError } from '../../errors.ts'
import { journal, listen, openApi } from './fakes.ts'

const key = 'a key of twenty bytes'
const done: BackupDone = {
  folder: '/backups/x',
  created: '2026-05-04T03:02:01.000Z',
  checkpoint: 40,
  head: 70,
  store: 'embedded',
  files: 5,
  bytes: 1_000,
  heldMs: 12,
  tookMs: 34
}
const post = (payload: unknown, headers: Readonly<Record<string, string>> = {}) => ({
  method: 'POST' as const,
  url: '/api/v1/backup',
  headers: { 'content-type': 'application/json', ...headers },
  payload: JSON.stringify(payload)
})

describe('POST /api/v1/backup', () => {
  it('has a backup made and answers where its checkpoint and its head are', async () => {
    const asked: BackupTarget[] = []
    await using api = await openApi({
      backup: async target => {
        asked.push(target)
        return done
      }
    })
    const response = await api.inject(post({ folder: '/backups/x', key }))
    expect(response.statusCode).toBe(200)
    expect(response.json()).toEqual({ ...done, checkpoint: `${journal}:40`, head: `${journal}:70` })
    expect(asked).toEqual([{ folder: '/backups/x', key }])
  })

  it.each([
    [{ folder: 'backups/x', key }, 400, 'folder'],
    [{ folder: '/backups/\0x', key }, 400, 'folder'],
    [{ folder: '', key }, 400, 'folder'],
    [{ folder: '/x', key: 'short' }, 400, 'key'],
    [{ folder: '/x' }, 400, 'key'],
    [{ key }, 400, 'folder'],
    [{ folder: 7, key }, 400, 'folder'],
    [{ folder: '/x', key, more: 1 }, 400, 'more']
  ])('refuses %j', async (body, status, parameter) => {
    await using api = await openApi({ backup: async () => expect.fail('asked') })
    const response = await api.inject(post(body))
    expect([response.statusCode, response.json()]).toEqual([status, expect.objectContaining({ parameter })])
  })

  it('is a route that changes something: of this origin, and JSON', async () => {
    await using api = await openApi({ backup: async () => expect.fail('asked') })
    const foreign = await api.inject(post({ folder: '/x', key }, { origin: 'http://evil.example' }))
    expect(foreign.json()).toMatchObject({ code: 'TG_ORIGIN_REFUSED', status: 403 })
    const text = await api.inject(post({ folder: '/x', key }, { 'content-type': 'text/plain' }))
    expect(text.json()).toMatchObject({ code: 'TG_MEDIA_TYPE', status: 415 })
    expect((await api.inject({ ...post({}), method: 'GET' })).statusCode).toBe(404)
  })

  it.each([
    ['TG_BACKUP_REFUSED', 403],
    ['TG_BACKUP_RUNNING', 409],
    ['TG_BACKUP_UNWRITABLE', 507],
    ['TG_STORE_UNAVAILABLE', 503]
  ] as const)('answers %s with status %i', async (code, status) => {
    await using api = await openApi({ backup: async () => await Promise.reject(new TidegateError(code, 'why')) })
    const response = await api.inject(post({ folder: '/x', key }))
    expect([response.statusCode, response.json()]).toEqual([status, expect.objectContaining({ code, detail: 'why' })])
  })

  it('takes the backup back when the client goes away', async () => {
    let aborted = (): void => undefined
    const gone = new Promise<void>(resolve => {
      aborted = resolve
    })
    let begun = (): void => undefined
    const asked = new Promise<void>(resolve => {
      begun = resolve
    })
    await using api = await openApi({
      backup: async (_target, signal) => {
        signal.addEventListener('abort', () => aborted())
        begun()
        await gone
        throw new TidegateError('TG_QUERY_CANCELLED', 'the client went away')
      }
    })
    const client = new AbortController()
    const url = await listen(api)
    const answer = fetch(`${url}/api/v1/backup`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ folder: '/x', key }),
      signal: client.signal
    })
    await asked
    client.abort()
    await expect(answer).rejects.toThrow()
    await gone
  })
})
