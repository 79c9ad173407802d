import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { InfluxStore, type InfluxStoreOptions } from '../../storage/influx-store.ts'
import type { RejectedPoint } from '../../storage/port.ts'
import type { Point } from '../../telemetry.ts'
import { StoreModel } from '../contract/model.ts'
import {
  collectRows,
  contractBatch,
  contractCheckpoint,
  contractPoint,
  contractQuery,
  contractSource,
  expectRows,
  t0
} from '../contract/readings.ts'
import { freePort, InfluxServer } from '../harness/influx.ts'
import { describeWith } from '../harness/servers.ts'

/** A store in a folder of its own, removed with it. */
async function openStore(
  part: Partial<InfluxStoreOptions> & Pick<InfluxStoreOptions, 'url'>
): Promise<{ readonly store: InfluxStore } & AsyncDisposable> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-influx-'))
  const store = await InfluxStore.open({
    folder,
    org: 'tidegate-tests',
    bucket: 'first',
    token: 'token-of-the-tests',
    timeoutMs: 3000,
    queryTimeoutMs: 5000,
    queuedQueries: 10,
    memoryBytes: 64 * 1024 ** 2,
    log: pino({ level: 'silent' }),
    probe: { idleMs: 50, outageMs: 50 },
    ...part
  }).catch(async (error: unknown) => {
    await rm(folder, { recursive: true, force: true })
    throw error
  })
  return {
    store,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    }
  }
}

async function write(store: InfluxStore, points: readonly Point[], position = 1): Promise<readonly RejectedPoint[]> {
  let refused: readonly RejectedPoint[] = []
  await store.write(contractBatch(points), async rejected => {
    refused = rejected
    return contractCheckpoint(position)
  })
  return refused
}

function readings(device: string, count: number, from = t0): Point[] {
  const source = contractSource(device)
  return Array.from({ length: count }, (_, at) => contractPoint(source, from + BigInt(at), { reading: at + 0.5, name: `${device} ${at}` }))
}

async function expectOutage(store: InfluxStore, words: RegExp): Promise<void> {
  await vi.waitFor(() => expect(store.outage).toMatch(words), { timeout: 5000, interval: 10 })
}

async function expectAnswering(store: InfluxStore): Promise<void> {
  await vi.waitFor(() => expect(store.outage).toBeUndefined(), { timeout: 5000, interval: 10 })
}

describeWith(['influxd'], 'the InfluxDB store and a real server', () => {
  let server: InfluxServer
  beforeAll(async () => {
    server = await InfluxServer.open()
  })
  afterAll(async () => await server[Symbol.asyncDispose]())

  it('opens while the server is down, says why, and works when it comes', async () => {
    await server.stop()
    try {
      await using opened = await openStore({ url: server.url })
      const { store } = opened
      await expectOutage(store, /ECONNREFUSED/)
      await expect(write(store, readings('early', 3))).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE', outcome: 'retry' })
      await expect(collectRows(store.raw(contractQuery()))).resolves.toEqual([])
      await expect(store.latest('early', [], new AbortController().signal)).resolves.toEqual([])
      expect(store.catalogue.checkpoint()).toBeUndefined()
      await server.start()
      await expectAnswering(store)
      expect(await write(store, readings('early', 3))).toEqual([])
      expect(await store.countPoints()).toBe(6)
    } finally {
      await server.stop()
      await server.start()
    }
  })

  it.each(['SIGTERM', 'SIGKILL'] as const)('misses and doubles nothing when the server is stopped by %s in the middle', async signal => {
    const bucket = await server.makeBucket()
    await using opened = await openStore({ url: server.url, bucket })
    const { store } = opened
    const model = new StoreModel()
    const batches = Array.from({ length: 8 }, (_, at) => [
      ...readings(`north ${signal}`, 50, t0 + BigInt(at) * 1000n),
      ...readings(`south ${signal}`, 50, t0 + BigInt(at) * 1000n)
    ])
    let failures = 0
    for (const [at, points] of batches.entries()) {
      // What the server said it stored stays; 2.x writes its log before it answers.
      if (at === 3) await server.stop(signal)
      for (;;) {
        try {
          expect(await write(store, points, at + 1)).toEqual([])
          break
        } catch (error) {
          expect(error).toMatchObject({ outcome: 'retry' })
          expect(store.catalogue.checkpoint()).toEqual(contractCheckpoint(at))
          expect(store.outage).toBeDefined()
          failures += 1
          if (failures === 3) await server.start()
        }
      }
      model.write(points)
    }
    expect(failures).toBe(3)
    expectRows(await collectRows(store.raw(contractQuery())), model.raw(contractQuery()))
    expect(await store.countPoints()).toBe(model.size)
    expect(store.catalogue.checkpoint()).toEqual(contractCheckpoint(8))
  })

  it('finds the bad lines among good ones by the server’s own words, and stores the others', async () => {
    const bucket = await server.makeBucket(3600)
    await using opened = await openStore({ url: server.url, bucket })
    const { store } = opened
    const model = new StoreModel()
    const nowNs = BigInt(Date.now()) * 1_000_000n
    expect(await server.writeLines(bucket, `telemetry,device=mixed reading="text" ${nowNs - 1n}`)).toBe(204)
    const good = readings('good', 300, nowNs).map(({ source, timeNs }, at) =>
      contractPoint(source, timeNs, { level: at + 0.25, name: `at ${timeNs}` })
    )
    const conflict = contractPoint(contractSource('mixed'), nowNs + 7n, { reading: 4.5 })
    const old = contractPoint(contractSource('good'), nowNs - 86_400_000_000_000n, { level: 1.5 })
    const long = contractPoint(contractSource('x'.repeat(70_000)), nowNs, { level: 2.5 })
    const trap = contractPoint(contractSource('ends in \\'), nowNs, { level: 3.5 })
    const points = [...good.slice(0, 10), conflict, ...good.slice(10, 150), old, long, ...good.slice(150), trap]
    const rejected = await write(store, points)
    expect(rejected.map(one => one.point)).toEqual([conflict, old, long, trap])
    expect(rejected.map(one => one.reason)).toEqual([
      expect.stringContaining('field type conflict'),
      expect.stringContaining('retention'),
      expect.stringContaining('max key length exceeded'),
      expect.stringContaining('backslash')
    ])
    model.write(good)
    expectRows(await collectRows(store.raw(contractQuery())), model.raw(contractQuery()))
    expect(store.catalogue.hasSeries(conflict.source, 'reading')).toBe(false)
    expect(store.outage).toBeUndefined()
  })

  it('keeps strings over 64 KiB', async () => {
    await using opened = await openStore({ url: server.url, bucket: await server.makeBucket() })
    const text = Array.from({ length: 20_000 }, (_, at) => `${at},`).join('')
    const point = contractPoint(contractSource('novelist'), t0, { text })
    expect(await write(opened.store, [point])).toEqual([])
    expect(await opened.store.latest('novelist', [], new AbortController().signal)).toEqual([
      { source: point.source, field: 'text', value: text, timeNs: t0 }
    ])
  })

  it('says that the token or the bucket is wrong, and keeps the batch for later', async () => {
    await using stranger = await openStore({ url: server.url, token: 'wrong' })
    await expectOutage(stranger.store, /401/)
    await expect(write(stranger.store, readings('refused', 2))).rejects.toMatchObject({ code: 'TG_STORE_REFUSED', outcome: 'retry' })
    expect(stranger.store.outage).not.toContain('wrong')
    await using lost = await openStore({ url: server.url, bucket: 'no such bucket' })
    await expectOutage(lost.store, /404.*no such bucket/)
    await expect(write(lost.store, readings('refused', 2))).rejects.toMatchObject({ code: 'TG_STORE_REFUSED' })
    expect(lost.store.catalogue.checkpoint()).toBeUndefined()
  })

  it('shows no rows of sources that the catalogue does not know, even where their tags look alike', async () => {
    const bucket = await server.makeBucket()
    await using opened = await openStore({ url: server.url, bucket })
    const model = new StoreModel()
    const points = readings('shared', 5)
    await write(opened.store, points)
    model.write(points)
    await server.writeLines(bucket, `telemetry,device=shared,foreign=yes reading=9 ${t0}\ntelemetry,device=other reading=9 ${t0}`)
    expectRows(await collectRows(opened.store.raw(contractQuery())), model.raw(contractQuery()))
    expect(await opened.store.latest('shared', ['reading'], new AbortController().signal)).toEqual(model.latest('shared', ['reading']))
  })
})

/** A server that answers as the test says. */
async function fakeServer(
  answer: (request: IncomingMessage, response: ServerResponse, body: string) => void
): Promise<{ readonly url: string } & AsyncDisposable> {
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => answer(request, response, Buffer.concat(parts).toString()))
  })
  const port = await freePort()
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    }
  }
}

describe('the InfluxDB store and a server that misbehaves', () => {
  it.each([401, 403, 404, 408, 429, 500, 503, 200, 302])('keeps the batch after status %i', async status => {
    await using server = await fakeServer((_, response) =>
      response.writeHead(status, { 'retry-after': '1' }).end('{"message":"not today"}')
    )
    await using opened = await openStore({ url: server.url, probe: { idleMs: 60_000, outageMs: 60_000 } })
    let settled = 0
    const writing = opened.store.write(contractBatch(readings('kept', 2)), async () => {
      settled += 1
      return contractCheckpoint(1)
    })
    await expect(writing).rejects.toMatchObject({ outcome: 'retry' })
    expect(settled).toBe(0)
    expect(opened.store.catalogue.checkpoint()).toBeUndefined()
    expect(opened.store.outage).toBeDefined()
  })

  it('ends a request that is not answered in time, with its socket', async () => {
    let closed: Promise<unknown> | undefined
    await using server = await fakeServer((request, response, body) => {
      if (body !== '') closed = new Promise(resolve => request.socket.once('close', resolve))
      else response.writeHead(204).end()
    })
    await using opened = await openStore({ url: server.url, timeoutMs: 100 })
    await expect(write(opened.store, readings('slow', 2))).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
    await closed
  })

  it('halves a batch that is too large until it fits, and never has two requests with one device', async () => {
    const stored: string[] = []
    const inFlight = new Set<string>()
    let together = 0
    await using server = await fakeServer((_, response, body) => {
      const lines = body.split('\n').filter(line => line !== '')
      const devices = new Set(lines.map(line => /device=(\w+)/.exec(line)?.[1] ?? ''))
      for (const device of devices) {
        expect(inFlight.has(device)).toBe(false)
        inFlight.add(device)
      }
      together = Math.max(together, inFlight.size)
      setImmediate(() => {
        for (const device of devices) inFlight.delete(device)
        if (lines.length > 4) {
          response.writeHead(413, { 'content-type': 'application/json' }).end('{"code":"request too large","message":"too large"}')
          return
        }
        stored.push(...lines)
        response.writeHead(204).end()
      })
    })
    await using opened = await openStore({ url: server.url })
    const points = [...readings('one', 40), ...readings('two', 17), ...readings('three', 23)]
    expect(await write(opened.store, points)).toEqual([])
    expect(stored.length).toBe(points.length)
    expect(new Set(stored).size).toBe(points.length)
    expect(together).toBeGreaterThan(1)
  })

  it('refuses an address that is none', async () => {
    await expect(openStore({ url: 'localhost:8086' })).rejects.toMatchObject({ code: 'TG_CONFIG_INVALID' })
  })
})
