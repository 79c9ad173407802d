/**
 * Requests to one InfluxDB, over the client's transport: one call is one attempt and one request, with a deadline that
 * destroys it. Nothing is retried or buffered here; the journal is the only retry buffer.
 */
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { Socket } from 'node:net'
import { StringDecoder } from 'node:string_decoder'
import { HttpError, InfluxDB } from '@influxdata/influxdb-client'
import { TidegateError } from '../errors.ts'

export interface InfluxConnectionOptions {
  readonly url: string
  readonly org: string
  readonly bucket: string
  readonly token: string
  /** Longest that one write may take. */
  readonly timeoutMs: number
  /** Longest that one query may take. */
  readonly queryTimeoutMs: number
}

/** Lines that the server will never take as they are. */
export interface Refusal {
  /** The server's own words. */
  readonly reason: string
  /** How many lines the server says it left out; the others are stored. Undefined: it does not say. */
  readonly dropped: number | undefined
}

/** A part of a query's answer. Whole numbers of 16 digits and more come as text, so that they stay exact. */
export interface InfluxSeries {
  /** Which of the statements, from 0. */
  readonly statement: number
  readonly tags: Readonly<Record<string, string>>
  readonly columns: readonly string[]
  readonly values: readonly (readonly unknown[])[]
  /** Length of the answer so far, in characters. */
  readonly read: number
}

/** Rows that the server puts into one piece of an answer. */
const chunkRows = 500
/** Longest piece of an answer, in characters. */
const maxPieceLength = 64 * 1024 ** 2
const maxReasonLength = 500
/** Longest that the server may take to say when it started, and most that it may say. */
const readyTimeoutMs = 5000
const maxReadyLength = 64 * 1024

/** A server that may be down; constructing never connects. */
export class InfluxConnection implements Disposable {
  /** Called when the server ends a connection on which nothing is asked: it may have died. */
  onLost: () => void = () => undefined
  readonly #transport: InfluxDB['transport']
  readonly #agent: HttpAgent
  readonly #options: InfluxConnectionOptions
  readonly #writePath: string
  readonly #queryPath: string
  /** Connections that have been without a request. */
  readonly #watched = new WeakSet<Socket>()
  readonly #closing = new AbortController()

  /** @throws TidegateError TG_CONFIG_INVALID when the URL is none */
  constructor(options: InfluxConnectionOptions) {
    const { url, org, bucket, token } = options
    const protocol = URL.canParse(url) ? new URL(url).protocol : undefined
    if (protocol !== 'http:' && protocol !== 'https:') {
      throw new TidegateError('TG_CONFIG_INVALID', `store.influx.url is not an http or https address: ${url}`, {
        context: { setting: 'store.influx.url' }
      })
    }
    this.#options = options
    // Of its own, so that closing ends its sockets.
    this.#agent = protocol === 'https:' ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true })
    this.#agent.on('free', socket => this.#watchIdle(socket))
    // The transport's own timeout leaves the request running.
    this.#transport = new InfluxDB({ url, token, timeout: 0, transportOptions: { agent: this.#agent } }).transport
    const place = `org=${encodeURIComponent(org)}&bucket=${encodeURIComponent(bucket)}`
    this.#writePath = `/api/v2/write?${place}&precision=ns`
    this.#queryPath = `/query?db=${encodeURIComponent(bucket)}&org=${encodeURIComponent(org)}&epoch=ns&chunked=true&chunk_size=${chunkRows}`
  }

  /**
   * Writes lines. Resolves undefined when all are stored, a refusal when trying them again is useless. An empty text
   * writes nothing, but tells whether the server takes the token and has the bucket.
   * @throws TidegateError TG_STORE_UNAVAILABLE or TG_STORE_REFUSED: nothing is known of the lines
   */
  async send(lines: string): Promise<Refusal | undefined> {
    const { timeoutMs } = this.#options
    using deadline = new Deadline(timeoutMs, [this.#closing.signal])
    let status: number | undefined
    try {
      const headers = { 'content-type': 'text/plain; charset=utf-8' }
      await this.#transport.request(this.#writePath, lines, { method: 'POST', headers, signal: deadline.signal }, (_, code) => {
        status = code
      })
    } catch (error) {
      if (error instanceof HttpError && [400, 413, 422].includes(error.statusCode)) return refusalOf(error)
      throw this.#explain(error, deadline, `it took longer than ${timeoutMs} ms`)
    }
    if (status === 204) return undefined
    throw new TidegateError('TG_STORE_UNAVAILABLE', `${this.#options.url} answers a write with status ${status}: is it an InfluxDB?`)
  }

  /**
   * Runs InfluxQL statements, separated by semicolons. Leaving the iteration ends the request.
   * @throws TidegateError TG_QUERY_CANCELLED, TG_QUERY_TIMEOUT, TG_QUERY_TOO_LARGE, TG_STORE_UNAVAILABLE, TG_STORE_REFUSED
   */
  async *query(statements: string, signal: AbortSignal): AsyncGenerator<InfluxSeries, void, undefined> {
    const { queryTimeoutMs } = this.#options
    using deadline = new Deadline(queryTimeoutMs, [this.#closing.signal, signal])
    const body = `q=${encodeURIComponent(statements)}`
    const headers = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' }
    let read = 0
    try {
      const answer = this.#transport.iterate(this.#queryPath, body, { method: 'POST', headers, signal: deadline.signal })
      for await (const text of documents(answer)) {
        read += text.length
        yield* seriesOf(text, read)
      }
    } catch (error) {
      if (signal.aborted) throw new TidegateError('TG_QUERY_CANCELLED', 'The query was cancelled', { cause: signal.reason })
      if (deadline.expired && !this.#closing.signal.aborted) {
        throw new TidegateError(
          'TG_QUERY_TIMEOUT',
          `The query took longer than ${queryTimeoutMs} ms; ask for a shorter time or a longer bucket`,
          {
            cause: error,
            context: { timeoutMs: queryTimeoutMs }
          }
        )
      }
      if (error instanceof HttpError && error.statusCode === 400) {
        throw new TidegateError('TG_BUG', `InfluxDB does not understand a query: ${shorten(error.message)}`, { cause: error })
      }
      throw this.#explain(error, deadline, '')
    }
  }

  /** When the server started, in its own words (GET /ready); undefined when it does not say: only InfluxDB 2 does. */
  async startTime(): Promise<string | undefined> {
    using deadline = new Deadline(readyTimeoutMs, [this.#closing.signal])
    try {
      let text = ''
      const decoder = new StringDecoder('utf8')
      const answer = this.#transport.iterate('/ready', '', {
        method: 'GET',
        headers: { accept: 'application/json' },
        signal: deadline.signal
      })
      for await (const bytes of answer) {
        text += decoder.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
        if (text.length > maxReadyLength) return undefined
      }
      const ready: unknown = JSON.parse(text)
      return isRecord(ready) && typeof ready['started'] === 'string' ? ready['started'] : undefined
    } catch {
      return undefined
    }
  }

  /** Ends every request and every socket. */
  [Symbol.dispose](): void {
    this.#closing.abort()
    this.#agent.destroy()
  }

  /** Node 24 tells only the close of a connection that ended while idle; one that we closed ourselves costs a question. */
  #watchIdle(socket: Socket): void {
    if (this.#watched.has(socket)) return
    this.#watched.add(socket)
    const lost = (): void => {
      if (!this.#closing.signal.aborted) this.onLost()
    }
    socket.once('close', lost)
  }

  #explain(error: unknown, deadline: Deadline, late: string): TidegateError {
    if (error instanceof TidegateError) return error
    const { url, org, bucket } = this.#options
    if (this.#closing.signal.aborted) return new TidegateError('TG_STORE_UNAVAILABLE', 'The store is closed', { cause: error })
    if (error instanceof HttpError && [401, 403, 404].includes(error.statusCode)) {
      const message = `InfluxDB at ${url} refuses org ${org}, bucket ${bucket} or the token: ${error.statusCode} ${shorten(error.message)}`
      return new TidegateError('TG_STORE_REFUSED', message, { cause: error, context: { status: error.statusCode } })
    }
    const reason = error instanceof HttpError ? `${error.statusCode} ${shorten(error.message)}` : deadline.expired ? late : failureOf(error)
    const context = error instanceof HttpError ? { status: error.statusCode } : {}
    return new TidegateError('TG_STORE_UNAVAILABLE', `InfluxDB at ${url} does not answer: ${reason}`, { cause: error, context })
  }
}

/** Aborts its signal when the time is over, when one of the others aborts, and when it goes out of scope. */
class Deadline implements Disposable {
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #others: readonly AbortSignal[]
  readonly #abort = (): void => this.#controller.abort()
  #expired = false

  constructor(timeoutMs: number, others: readonly AbortSignal[]) {
    this.#others = others
    this.#timer = setTimeout(() => {
      this.#expired = true
      this.#abort()
    }, timeoutMs)
    for (const other of others) {
      if (other.aborted) this.#abort()
      else other.addEventListener('abort', this.#abort, { once: true })
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get expired(): boolean {
    return this.#expired
  }

  /** Does nothing to a request that has ended. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    for (const other of this.#others) other.removeEventListener('abort', this.#abort)
    this.#abort()
  }
}

/** The lines of a chunked answer, each a JSON document. */
async function* documents(answer: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new StringDecoder('utf8')
  let parts: string[] = []
  let length = 0
  for await (const bytes of answer) {
    const text = decoder.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
    let from = 0
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', from)) {
      yield parts.join('') + text.slice(from, end)
      parts = []
      length = 0
      from = end + 1
    }
    parts.push(text.slice(from))
    length += text.length - from
    if (length > maxPieceLength)
      throw new TidegateError('TG_QUERY_TOO_LARGE', 'InfluxDB answers with more than fits into memory; ask for a shorter time')
  }
  parts.push(decoder.end())
  yield parts.join('')
}

function* seriesOf(document: string, read: number): Generator<InfluxSeries, void, undefined> {
  if (document.trim() === '') return
  // Strings are matched first, so that digits inside them stay as they are.
  const exact = document.replace(/"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g, token => (token.startsWith('"') ? token : `"${token}"`))
  const answer: unknown = JSON.parse(exact)
  if (!isRecord(answer)) return
  throwError(answer['error'])
  for (const result of listOf(answer['results'])) {
    if (!isRecord(result)) continue
    throwError(result['error'])
    const statement = Number(result['statement_id'] ?? 0)
    for (const one of listOf(result['series'])) {
      if (!isRecord(one)) continue
      const tags = isRecord(one['tags']) ? one['tags'] : {}
      yield {
        statement,
        tags: Object.fromEntries(Object.entries(tags).map(([name, value]) => [name, String(value)])),
        columns: listOf(one['columns']).map(String),
        values: listOf(one['values']).map(listOf),
        read
      }
    }
  }
}

/** An error may come within an answer of status 200. */
function throwError(error: unknown): void {
  if (typeof error !== 'string') return
  if (/database not found|bucket .* not found|unauthorized/i.test(error))
    throw new TidegateError('TG_STORE_REFUSED', `InfluxDB refuses the query: ${shorten(error)}`)
  throw new TidegateError('TG_STORE_UNAVAILABLE', `InfluxDB fails to answer a query: ${shorten(error)}`, { context: { status: 200 } })
}

function refusalOf(error: HttpError): Refusal {
  const dropped = /dropped[= ](\d+)/.exec(error.message)?.[1]
  return { reason: shorten(`${error.statusCode} ${error.message}`), dropped: dropped === undefined ? undefined : Number(dropped) }
}

function failureOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.message !== '') return error.message
  return 'code' in error ? String(error.code) : error.name
}

/** The server puts the whole line in front of what is wrong with it. */
function shorten(text: string): string {
  if (text.length <= maxReasonLength) return text
  const half = maxReasonLength / 2
  return `${text.slice(0, half)} … ${text.slice(-half)}`
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}
