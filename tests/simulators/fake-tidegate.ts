import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { Received } from '../harness/mqtt-sink.ts'

export interface FakeRow {
  time: string
  device: string
  measurement: string
  tags: Record<string, string>
  fields: Record<string, unknown>
}

/** What a correct Tidegate stores of the publishes of a verifiable home, written without the simulator's own code. */
export function rowsOf(received: readonly Received[]): FakeRow[] {
  const rows = new Map<string, FakeRow>()
  for (const { topic, payload } of received) {
    const device = /^devices\/([^/]+)\/telemetry$/.exec(topic)?.[1] ?? ''
    const { ts, time, values, ...flat }: Record<string, unknown> = JSON.parse(payload)
    const ms = typeof ts === 'number' ? ts : Date.parse(String(time))
    const fields = typeof values === 'object' ? { ...values } : flat
    rows.set(`${device} ${ms}`, { time: `${ms}000000`, device, measurement: 'telemetry', tags: {}, fields })
  }
  return [...rows.values()]
}

export interface FakeTidegateOptions {
  /** Called for every page; what it throws is a 503. */
  readonly rows: () => readonly FakeRow[]
  readonly inJournal?: () => number
  /** Rows in a page at most, below what is asked for. */
  readonly pageRows?: number
}

/** An HTTP server with the two routes that verification asks; rows are what the test says. */
export class FakeTidegate implements AsyncDisposable {
  readonly requests: string[] = []
  readonly #rows: () => readonly FakeRow[]
  readonly #inJournal: () => number
  readonly #pageRows: number
  readonly #server: Server

  private constructor(options: FakeTidegateOptions) {
    this.#rows = options.rows
    this.#inJournal = options.inJournal ?? (() => 0)
    this.#pageRows = options.pageRows ?? 7
    this.#server = createServer((request, response) => {
      const url = new URL(request.url ?? '/', 'http://localhost')
      this.requests.push(`${url.pathname}${url.search}`)
      try {
        const body = this.#answer(url)
        response.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' }).end(JSON.stringify(body ?? {}))
      } catch {
        response.writeHead(503, { 'content-type': 'application/problem+json' }).end('{"code":"TG_STORE_UNAVAILABLE"}')
      }
    })
  }

  static async open(options: FakeTidegateOptions): Promise<FakeTidegate> {
    const fake = new FakeTidegate(options)
    await new Promise<void>(resolve => fake.#server.listen(0, '127.0.0.1', resolve))
    return fake
  }

  get url(): string {
    const address = this.#server.address()
    return typeof address === 'object' ? `http://127.0.0.1:${address?.port}` : ''
  }

  #answer({ pathname, searchParams }: URL): unknown {
    if (pathname === '/api/v1/ledger') return { inJournal: this.#inJournal() }
    if (pathname !== '/api/v1/query') return undefined
    const from = BigInt(searchParams.get('from') ?? '0') * 1_000_000n
    const to = BigInt(searchParams.get('to') ?? '0') * 1_000_000n
    const rows = this.#rows()
      .filter(row => row.device === searchParams.get('device') && BigInt(row.time) >= from && BigInt(row.time) < to)
      .toSorted((a, b) => (BigInt(a.time) < BigInt(b.time) ? -1 : 1))
    const start = Number(searchParams.get('cursor') ?? '0')
    const end = start + Math.min(this.#pageRows, Number(searchParams.get('limit')))
    return { items: rows.slice(start, end), nextCursor: end < rows.length ? String(end) : null }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise(resolve => this.#server.close(resolve))
  }
}
