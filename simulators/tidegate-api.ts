import { setTimeout as delay } from 'node:timers/promises'
import { SimulationFault } from './simulation-fault.ts'

/** A row of a raw query as the API sends it with epoch=ns. */
export interface Row {
  readonly time: string
  readonly device: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, unknown>>
  readonly fields: Readonly<Record<string, unknown>>
}

const pageRows = 5000
const requestTimeoutMs = 60_000
/** Long enough for a service that is being restarted. */
const reachMs = 5000

/** The few questions that verification asks a running Tidegate, over HTTP. */
export class TidegateApi {
  readonly #base: string
  readonly #signal: AbortSignal
  /** How long a server that is away is waited for. */
  readonly #patienceMs: number

  constructor(base: string, options: { readonly signal: AbortSignal; readonly patienceMs: number }) {
    this.#base = base.replace(/\/+$/, '')
    this.#signal = options.signal
    this.#patienceMs = options.patienceMs
  }

  /** Every row of a device in [fromMs, toMs), in the order of time, page by page. */
  async *rows(device: string, fromMs: number, toMs: number): AsyncGenerator<readonly Row[]> {
    let cursor: string | null = null
    do {
      const search = new URLSearchParams({
        device,
        from: String(fromMs),
        to: String(toMs),
        order: 'asc',
        limit: String(pageRows),
        epoch: 'ns'
      })
      if (cursor !== null) search.set('cursor', cursor)
      const page = await this.#get(`/api/v1/query?${search.toString()}`)
      if (!isPage(page)) throw new SimulationFault(`${this.#base} answers /api/v1/query in a form that is not a list of readings`)
      yield page.items
      cursor = page.nextCursor
    } while (cursor !== null)
  }

  /** How many records are accepted and have no outcome yet. */
  async inJournal(): Promise<number> {
    const ledger = await this.#get('/api/v1/ledger')
    if (typeof ledger === 'object' && ledger !== null && 'inJournal' in ledger && typeof ledger.inJournal === 'number')
      return ledger.inJournal
    throw new SimulationFault(`${this.#base} answers /api/v1/ledger without inJournal`)
  }

  /** Rejects unless a Tidegate answers soon: what is to be read back later needs somebody to ask. */
  async reach(): Promise<void> {
    const patient = new TidegateApi(this.#base, { signal: this.#signal, patienceMs: Math.min(this.#patienceMs, reachMs) })
    await patient.inJournal().catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error)
      throw new SimulationFault(`--http: no Tidegate answers for --verify: ${reason}`, { cause: error })
    })
  }

  async #get(path: string): Promise<unknown> {
    const untilMs = performance.now() + this.#patienceMs
    for (;;) {
      const answer = await this.#try(path)
      if ('body' in answer) return answer.body
      if (this.#signal.aborted) throw new SimulationFault('stopped before everything was read back')
      if (!answer.again || performance.now() > untilMs) throw new SimulationFault(`${this.#base}${path}: ${answer.reason}`)
      await delay(250, undefined, { signal: this.#signal }).catch(() => undefined)
    }
  }

  async #try(path: string): Promise<{ readonly body: unknown } | { readonly reason: string; readonly again: boolean }> {
    try {
      const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(requestTimeoutMs)])
      const response = await fetch(this.#base + path, { signal })
      const text = await response.text()
      if (response.ok) return { body: JSON.parse(text) as unknown }
      return { reason: `HTTP ${response.status} ${text.slice(0, 300)}`, again: response.status >= 500 || response.status === 429 }
    } catch (error) {
      // A service that restarts refuses or cuts connections for a moment; what it sent till then is asked for again.
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
      return { reason: cause instanceof Error ? cause.message : String(cause), again: true }
    }
  }
}

function isPage(value: unknown): value is { readonly items: readonly Row[]; readonly nextCursor: string | null } {
  if (typeof value !== 'object' || value === null || !('items' in value) || !('nextCursor' in value)) return false
  return Array.isArray(value.items) && value.items.every(isRow) && (value.nextCursor === null || typeof value.nextCursor === 'string')
}

function isRow(value: unknown): value is Row {
  if (typeof value !== 'object' || value === null) return false
  if (!('time' in value && 'device' in value && 'measurement' in value && 'tags' in value && 'fields' in value)) return false
  const { time, device, measurement, tags, fields } = value
  return typeof time === 'string' && typeof device === 'string' && typeof measurement === 'string' && isObject(tags) && isObject(fields)
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}
