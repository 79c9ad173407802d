import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { expect, it } from 'vitest'
import { InfluxRestarts } from '../../storage/influx-restarts.ts'
import { InfluxStore } from '../../storage/influx-store.ts'
import { contractBatch, contractCheckpoint, contractPoint, contractQuery, contractSource, t0 } from '../contract/readings.ts'
import { ForgetfulInflux } from '../harness/forgetful-influx.ts'
import { InfluxServer } from '../harness/influx.ts'
import { describeWith } from '../harness/servers.ts'
import { eventually } from '../harness/tidegate.ts'

interface Watched extends AsyncDisposable {
  readonly store: InfluxStore
  /** Times that the store came back. */
  returns(): number
  write(): Promise<void>
}

async function watch(
  url: string,
  part: { readonly org?: string; readonly bucket?: string; readonly token?: string } = {}
): Promise<Watched> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-restarts-'))
  const store = await InfluxStore.open({
    folder,
    url,
    org: 'o',
    bucket: 'b',
    token: 't',
    timeoutMs: 3000,
    queryTimeoutMs: 5000,
    queuedQueries: 10,
    memoryBytes: 64 * 1024 ** 2,
    log: pino({ level: 'silent' }),
    probe: { idleMs: 60_000, outageMs: 20 },
    ...part
  })
  let returns = 0
  let position = 0
  store.onReturn(() => (returns += 1))
  return {
    store,
    returns: () => returns,
    write: async () => {
      position += 1
      const point = contractPoint(contractSource('watched'), t0 + BigInt(position), { level: position })
      await store.write(contractBatch([point]), async () => contractCheckpoint(position))
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    }
  }
}

/** Writes until the store takes it. */
async function writeAgain(watched: Watched): Promise<void> {
  await eventually('a write', async () => {
    await watched.write()
    return true
  })
}

/** Resolves when a question that was asked afterwards would have been answered before. */
async function judged(watched: Watched): Promise<void> {
  for (let writes = 0; writes < 3; writes++) {
    await watched.write()
    await new Promise(resolve => setImmediate(resolve))
  }
}

it.each([false, true])(
  'a server that dies and is back before anybody asks it is noticed (it says when it started: %s)',
  async tellsStart => {
    await using server = await ForgetfulInflux.start({ tellsStart })
    await using watched = await watch(server.url)
    await watched.write()
    await judged(watched)
    for (let deaths = 1; deaths < 4; deaths++) {
      await server.kill()
      await server.start()
      // Nothing is written: the lost connection alone says it.
      await eventually('the return', () => (watched.returns() === deaths ? true : undefined))
      await judged(watched)
      expect(watched.returns()).toBe(deaths)
    }
  }
)

it('a server that is away and comes is no return before it has acknowledged anything, and is one afterwards', async () => {
  await using server = await ForgetfulInflux.start()
  await server.kill()
  await using watched = await watch(server.url)
  await expect(watched.write()).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
  await server.start()
  await writeAgain(watched)
  await judged(watched)
  expect(watched.returns()).toBe(0)
  await server.kill()
  await expect(watched.write()).rejects.toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
  await server.start()
  await eventually('the return', () => (watched.returns() === 1 ? true : undefined))
})

it.each([
  { status: 429, tellsStart: false, returns: 0 },
  { status: 503, tellsStart: false, returns: 0 },
  { status: 401, tellsStart: false, returns: 0 },
  { status: 500, tellsStart: true, returns: 0 },
  { status: 500, tellsStart: false, returns: 1 },
  { status: 502, tellsStart: false, returns: 1 }
])(
  'status $status of a server that says when it started: $tellsStart, is a return $returns times',
  async ({ status, tellsStart, returns }) => {
    await using server = await ForgetfulInflux.start({ tellsStart })
    await using watched = await watch(server.url)
    await watched.write()
    await judged(watched)
    let refusals = 0
    server.interfere = (request, response) => {
      if (request.url?.startsWith('/api/v2/write') !== true || refusals >= 3) return false
      refusals += 1
      response.writeHead(status).end('{}')
      return true
    }
    await expect(watched.write()).rejects.toMatchObject({ outcome: 'retry' })
    await writeAgain(watched)
    if (returns > 0) await eventually('the return', () => (watched.returns() === returns ? true : undefined))
    await judged(watched)
    expect(watched.returns()).toBe(returns)
  }
)

it('what is heard while the server is judged is judged again', async () => {
  const started: ((time: string | undefined) => void)[] = []
  const restarts = new InfluxRestarts(async () => await new Promise(resolve => started.push(resolve)))
  let returns = 0
  restarts.onRestart = () => (returns += 1)
  restarts.answered()
  // The one that answered dies; the one behind it says when it started.
  restarts.doubt()
  started.shift()?.('second')
  await new Promise(resolve => setImmediate(resolve))
  restarts.answered()
  started.shift()?.('second')
  await new Promise(resolve => setImmediate(resolve))
  expect([returns, restarts.doubtful]).toEqual([1, false])
})

describeWith(['influxd'], 'a real InfluxDB', () => {
  it('is seen to have restarted after a kill, and not to have after a query that was left', async () => {
    await using server = await InfluxServer.open()
    const bucket = await server.makeBucket()
    await using watched = await watch(server.url, { org: server.org, bucket, token: server.token })
    await watched.write()
    await judged(watched)
    // We end that connection ourselves.
    const leaving = new AbortController()
    const rows = watched.store.raw({ ...contractQuery(), signal: leaving.signal })
    for await (const _ of rows) {
      leaving.abort()
      break
    }
    await server.pause()
    const late = watched.write().catch((error: unknown) => error)
    expect(await late).toMatchObject({ code: 'TG_STORE_UNAVAILABLE' })
    server.resume()
    await writeAgain(watched)
    await eventually('the judgement', () => (watched.store.outage === undefined ? true : undefined))
    await judged(watched)
    expect(watched.returns()).toBe(0)
    await server.stop('SIGKILL')
    await server.start()
    await eventually('the return', () => (watched.returns() === 1 ? true : undefined))
  })
})
