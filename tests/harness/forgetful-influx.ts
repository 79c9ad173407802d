import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { freePort } from './influx.ts'

export interface ForgetfulInfluxOptions {
  /** What was acknowledged so long before its end is lost with it. Default 5,000. */
  readonly losesMs?: number
  /** The clock by which it loses, ms. Default performance.now. */
  readonly clock?: () => number
  /** Says when it started, as InfluxDB 2 does at /ready. Default false: then a restart cannot be told from its absence. */
  readonly tellsStart?: boolean
}

/** Fields by name, as line protocol has them, by measurement, tags and time. */
export type ForgetfulRows = ReadonlyMap<string, Readonly<Record<string, string>>>

/**
 * A server that speaks as much of InfluxDB 2 as Tidegate needs to write, answers 204 at once, and loses its last seconds when
 * it is killed, as a server does that writes its log late. It comes back on the same port.
 */
export class ForgetfulInflux implements AsyncDisposable {
  readonly port: number
  readonly #options: Required<ForgetfulInfluxOptions>
  #server: Server | undefined
  #starts = 0
  /** Lines in the order in which they came. */
  #written: { readonly atMs: number; readonly line: string }[] = []
  /** Requests that were acknowledged, and lines that were lost. */
  acknowledged = 0
  lost = 0
  /** Answers a request instead of the server when it returns true. */
  interfere: (request: IncomingMessage, response: ServerResponse) => boolean = () => false

  private constructor(port: number, options: ForgetfulInfluxOptions) {
    this.port = port
    this.#options = { losesMs: 5_000, clock: () => performance.now(), tellsStart: false, ...options }
  }

  static async start(options: ForgetfulInfluxOptions = {}): Promise<ForgetfulInflux> {
    const server = new ForgetfulInflux(await freePort(), options)
    await server.start()
    return server
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Starts it again; what it lost stays lost. */
  async start(): Promise<void> {
    this.#starts += 1
    const server = createServer((request, response) => this.#answer(request, response))
    this.#server = server
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(this.port, '127.0.0.1', resolve))
  }

  /** Ends it in the middle of whatever it does. */
  async kill(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    const closed = new Promise(resolve => server.close(resolve))
    server.closeAllConnections()
    await closed
    const { clock, losesMs } = this.#options
    const kept = this.#written.filter(({ atMs }) => atMs <= clock() - losesMs)
    this.lost += this.#written.length - kept.length
    this.#written = kept
  }

  /** Loses everything it has, as a bucket does that is deleted and made again. */
  empty(): void {
    this.#written = []
  }

  /** What it holds; later wins, field by field. */
  rows(): ForgetfulRows {
    const rows = new Map<string, Record<string, string>>()
    for (const { line } of this.#written) {
      const { key, fields } = parseLine(line)
      rows.set(key, { ...rows.get(key), ...fields })
    }
    return rows
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      if (this.interfere(request, response)) return
      const path = request.url?.split('?')[0]
      if (path === '/health') response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"pass"}')
      else if (path === '/ready' && this.#options.tellsStart)
        response.writeHead(200, { 'content-type': 'application/json' }).end(`{"status":"ready","started":"start ${this.#starts}"}`)
      else if (path === '/api/v2/write') this.#write(Buffer.concat(parts).toString(), response)
      else response.writeHead(404, { 'content-type': 'application/json' }).end('{"code":"not found","message":"no such route"}')
    })
  }

  #write(text: string, response: ServerResponse): void {
    const atMs = this.#options.clock()
    for (const line of text.split('\n')) if (line !== '') this.#written.push({ atMs, line })
    this.acknowledged += 1
    response.writeHead(204).end()
  }
}

/** The parts of a line without line feeds in strings, which is what the tests send. */
function parseLine(line: string): { readonly key: string; readonly fields: Readonly<Record<string, string>> } {
  const [head = '', fields = '', time = ''] = line.match(/(?:\\.|"(?:\\.|[^"\\])*"|[^ \\"])+/g) ?? []
  const pairs = fields.match(/(?:\\.|"(?:\\.|[^"\\])*"|[^,\\"])+/g) ?? []
  const entries = pairs.map(pair => {
    const equals = /(?<!\\)=/.exec(pair)?.index ?? pair.length
    return [pair.slice(0, equals), pair.slice(equals + 1)]
  })
  return { key: `${head} ${time}`, fields: Object.fromEntries(entries) }
}
