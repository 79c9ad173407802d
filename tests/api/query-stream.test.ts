import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { describe, expect, it, vi } from 'vitest'
import { rawItemToJson } from '../../api/items.ts'
import { RowText } from '../../api/row-stream.ts'
import { EmbeddedStatements } from '../../storage/embedded-statements.ts'
import { EmbeddedStore } from '../../storage/embedded-store.ts'
import type { RawRow } from '../../storage/port.ts'
import { FakeStorage, journal, listen, nowNs, openApi, parseJson, responseOf, rowOf, sourceOf, until } from './fakes.ts'

const source = sourceOf('meter', { site: 'north' })

function manyRows(count: number): readonly RawRow[] {
  return Array.from({ length: count }, (_, index) =>
    rowOf(source, nowNs - BigInt(count - index) * 1_000n, { n: BigInt(index), text: `reading ${index}` })
  )
}

async function get(url: string): Promise<IncomingMessage> {
  return await responseOf(http.get(url, { agent: false }))
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = ''
  response.setEncoding('utf8')
  for await (const chunk of response) text += String(chunk)
  return text
}

describe('a large answer', () => {
  const rows = manyRows(20_000)

  it('arrives whole, in JSON, with the cursor behind the items', async () => {
    await using api = await openApi({ storage: new FakeStorage(rows, { chunkRows: 1_000 }) })
    const base = await listen(api)
    const text = await textOf(await get(`${base}/api/v1/query?limit=19999&epoch=ns`))
    const { items, nextCursor } = parseJson<{ items: { fields: { n: number } }[]; nextCursor: string }>(text)
    expect(items.map(item => item.fields.n)).toEqual(Array.from({ length: 19_999 }, (_, index) => index))
    const rest = await textOf(await get(`${base}/api/v1/query?cursor=${nextCursor}&epoch=ns`))
    expect(JSON.parse(rest)).toMatchObject({ items: [{ fields: { n: 19_999 } }], nextCursor: null })
  })

  it('has the next cursor in a trailer when it is NDJSON, an empty one on the last page', async () => {
    await using api = await openApi({ storage: new FakeStorage(rows, { chunkRows: 1_000 }) })
    const base = await listen(api)
    const first = await get(`${base}/api/v1/query?limit=15000&format=ndjson`)
    expect(first.headers['trailer']).toBe('tidegate-next-cursor')
    const lines = (await textOf(first)).trimEnd().split('\n')
    const cursor = first.trailers['tidegate-next-cursor'] ?? ''
    const second = await get(`${base}/api/v1/query?limit=15000&format=ndjson&cursor=${cursor}`)
    lines.push(...(await textOf(second)).trimEnd().split('\n'))
    expect(second.trailers['tidegate-next-cursor']).toBe('')
    expect(lines.map(line => parseJson<{ fields: { n: number } }>(line).fields.n)).toEqual(rows.map((_, index) => index))
  })

  it('is taken from the store only as fast as the client reads', async () => {
    // 16 MB of rows: more than all buffers between the two
    const wide = Array.from({ length: 16_000 }, (_, index) => rowOf(source, nowNs - BigInt(index + 1), { text: 'x'.repeat(1_000) + index }))
    const storage = new FakeStorage(wide, { chunkRows: 100 })
    await using api = await openApi({ storage })
    const base = await listen(api)
    const response = await get(`${base}/api/v1/query?limit=100000`)
    let before = -1
    while (before !== storage.handedOut) {
      before = storage.handedOut
      await new Promise(resolve => setTimeout(resolve, 100))
    }
    expect(storage.handedOut).toBeLessThan(14_000)
    const text = await textOf(response)
    expect(parseJson<{ items: unknown[] }>(text).items).toHaveLength(16_000)
    expect(storage.handedOut).toBe(16_000)
  })

  it('gives other work its turn after every 32 KiB, also when the store has all rows at hand', async () => {
    const wide = manyRows(50_000)
    let encoded = 0
    const text = new RowText({
      rows: (async function* () {
        yield wide
      })(),
      limit: 100_000,
      cursorBehind: () => '',
      format: async () => ({ head: '', separator: ',', encode: row => (encoded++, rawItemToJson(row, 'iso')), tail: () => '' })
    })
    const turns: number[] = []
    let done = false
    const watch = (): void => {
      turns.push(encoded)
      if (!done) setImmediate(watch)
    }
    watch()
    let length = 0
    for await (const slice of text.slices()) length += slice.length
    done = true
    turns.push(encoded)
    const inOneTurn = turns.map((count, index) => count - (turns[index - 1] ?? 0))
    expect(encoded).toBe(50_000)
    // 32 KiB of these rows, and a slice that was begun
    expect(Math.max(...inOneTurn)).toBeLessThanOrEqual(2 * Math.ceil(32_768 / (length / 50_000)))
  })

  it('breaks off visibly when the store fails after the first part', async () => {
    const lines: string[] = []
    const log = pino({ level: 'warn' }, { write: line => lines.push(line) })
    const storage = new FakeStorage(rows, { chunkRows: 500, failAt: { index: 15_000, error: new Error('disk gone') } })
    await using api = await openApi({ storage, log })
    const base = await listen(api)
    for (const format of ['json', 'csv', 'ndjson']) {
      const response = await get(`${base}/api/v1/query?limit=20000&format=${format}`)
      expect(response.statusCode).toBe(200)
      await expect(textOf(response)).rejects.toMatchObject({ code: 'ECONNRESET' })
      expect(response.complete).toBe(false)
    }
    expect(lines.map(line => parseJson<{ code: string }>(line).code)).toEqual(['TG_BUG', 'TG_BUG', 'TG_BUG'])
  })

  it('ends its query when nobody takes it for too long', async () => {
    const wide = Array.from({ length: 16_000 }, (_, index) => rowOf(source, nowNs - BigInt(index + 1), { text: 'x'.repeat(1_000) + index }))
    const storage = new FakeStorage(wide, { chunkRows: 100 })
    await using api = await openApi({ storage, options: { stallMs: 100 } })
    const response = await get(`${await listen(api)}/api/v1/query?limit=100000`)
    await until(() => storage.ended === 1, 'the query ends')
    expect(storage.handedOut).toBeLessThan(16_000)
    await expect(textOf(response)).rejects.toMatchObject({ code: 'ECONNRESET' })
  })
})

describe('a client that goes away', () => {
  it('stops its query before the first byte', async () => {
    const storage = new FakeStorage(manyRows(100), { hangAt: 50 })
    await using api = await openApi({ storage })
    const request = http.get(`${await listen(api)}/api/v1/query`, { agent: false })
    request.on('error', () => {})
    await until(() => storage.queries.length === 1, 'the query starts')
    expect(storage.aborted).toBe(0)
    request.destroy()
    await until(() => storage.ended === 1, 'the query ends')
    expect(storage.aborted).toBe(1)
  })

  it('stops its query in the middle of a large answer', async () => {
    const storage = new FakeStorage(manyRows(20_000), { chunkRows: 500, hangAt: 15_000 })
    await using api = await openApi({ storage })
    const response = await get(`${await listen(api)}/api/v1/query?limit=20000`)
    await once(response, 'readable')
    response.destroy()
    await until(() => storage.ended === 1, 'the query ends')
    expect(storage.handedOut).toBeLessThanOrEqual(15_000)
  })

  it('stops the statement that DuckDB runs for it, and the next one gets its turn', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-api-'))
    const endless = 'SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1'
    // oxlint-disable-next-line typescript/unbound-method -- called with its own `this` below
    const run = EmbeddedStatements.prototype.run
    const outcomes: unknown[] = []
    let running = 0
    const slow = vi.spyOn(EmbeddedStatements.prototype, 'run').mockImplementation(async function (
      this: EmbeddedStatements,
      _,
      signal,
      take
    ) {
      running += 1
      await run.call(this, { sql: endless, values: {}, types: {} }, signal, take).catch((error: unknown) => {
        outcomes.push(error)
        throw error
      })
    })
    try {
      await using storage = await EmbeddedStore.open({
        folder,
        memoryBytes: 64 * 1024 ** 2,
        retentionMs: 86_400_000,
        queryTimeoutMs: 60_000,
        queuedQueries: 0,
        log: pino({ level: 'silent' })
      })
      const points = [{ source: sourceOf('oven'), timeNs: nowNs - 5n, fields: [{ name: 't', value: 181.5 }], ordinal: 0 }]
      const totals = { stored: 1, deadLettered: 0, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 }
      await storage.write({ points, fields: [], devices: [] }, async () => ({ journal, position: 1, since: 0, totals }))
      await using api = await openApi({ storage })
      const address = `${await listen(api)}/api/v1/query`
      // Both turns are taken; there is no queue.
      const requests = [1, 2].map(() => http.get(address, { agent: false }).on('error', () => {}))
      await until(() => running === 2, 'both statements run')
      const refused = await get(address)
      expect([refused.statusCode, JSON.parse(await textOf(refused))]).toMatchObject([503, { code: 'TG_QUERY_BUSY' }])
      for (const request of requests) request.destroy()
      await until(() => outcomes.length === 3, 'both statements end')
      expect(outcomes.slice(1)).toMatchObject([{ code: 'TG_QUERY_CANCELLED' }, { code: 'TG_QUERY_CANCELLED' }])
      slow.mockRestore()
      expect(JSON.parse(await textOf(await get(address)))).toMatchObject({ items: [{ device: 'oven', fields: { t: 181.5 } }] })
    } finally {
      slow.mockRestore()
      await rm(folder, { recursive: true, force: true })
    }
  })

  it('stops waiting for its record', async () => {
    let aborted = 0
    await using api = await openApi({
      storage: new FakeStorage(),
      waitFor: async (_ordinal, signal) => {
        await once(signal, 'abort')
        aborted++
        throw signal.reason
      }
    })
    const request = http.get(`${await listen(api)}/api/v1/query?after=${journal}:5&timeout=60s`, { agent: false })
    request.on('error', () => {})
    await once(request, 'socket')
    await until(() => request.socket?.connecting === false && request.writableFinished, 'the request is sent')
    await new Promise(resolve => setTimeout(resolve, 50))
    request.destroy()
    await until(() => aborted === 1, 'the wait ends')
  })

  it('does not count as gone when it has everything', async () => {
    const storage = new FakeStorage(manyRows(20_000), { chunkRows: 500 })
    await using api = await openApi({ storage })
    await textOf(await get(`${await listen(api)}/api/v1/query?limit=100000`))
    await until(() => storage.ended === 1, 'the query ends')
    expect(storage.aborted).toBe(0)
  })
})
