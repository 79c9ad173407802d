import { once } from 'node:events'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { pino } from 'pino'
import { buildApi } from '../../api/build-api.ts'
import { LiveStream } from '../../api/live-stream.ts'
import type { ApiOptions, ApiPorts, DeadLetter, DeadLetterPorts, DeadLetterQuery, LetterSelection, ReplayResult } from '../../api/ports.ts'
import type { Api } from '../../api/routing.ts'
import { TidegateError } from '../../errors.ts'
import type { Aggregate, AggregateRow, DeviceEntry, LatestValue, RawRow, RowQuery, Storage, StoreAccounts } from '../../storage/port.ts'
import type { FieldDefinition, FieldValue, Source } from '../../telemetry.ts'

export const journal = '0a1b2c3d-1111-4222-8333-444455556666'
export const otherJournal = 'ffffffff-1111-4222-8333-444455556666'
/** 2026-05-04T03:02:01Z. */
export const nowMs = Date.UTC(2026, 4, 4, 3, 2, 1)
export const nowNs = BigInt(nowMs) * 1_000_000n

/** A source whose key is equal exactly when what it says is. */
export function sourceOf(device: string, tags: Readonly<Record<string, string>> = {}, measurement = 'telemetry'): Source {
  return { key: JSON.stringify([measurement, device, Object.entries(tags)]), measurement, device, tags }
}

/** A raw row; fields in the order of their names, as the port has them. */
export function rowOf(source: Source, timeNs: bigint, fields: Readonly<Record<string, FieldValue>>): RawRow {
  const sorted = Object.entries(fields).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return { source, timeNs, fields: sorted.map(([name, value]) => ({ name, value })) }
}

/** What the fake store does besides answering. */
export interface FakeStorageOptions {
  /** Rows in one chunk. Default 7, so that pages and chunks never coincide. */
  readonly chunkRows?: number
  /** Throws this before the row with that index. */
  readonly failAt?: { readonly index: number; readonly error: Error }
  /** Waits forever (or until aborted) before the row with that index. */
  readonly hangAt?: number
}

/** A store in memory: rows in the port's order, the port's filters, and a note of every query and its end. */
export class FakeStorage implements Storage {
  readonly kind = 'embedded'
  readonly forgetful = false
  readonly outage = undefined
  readonly queries: (RowQuery & { readonly everyNs?: bigint; readonly aggregates?: readonly Aggregate[] })[] = []
  /** Rows handed out so far. */
  handedOut = 0
  aborted = 0
  ended = 0
  devices: DeviceEntry[] = []
  aggregateRows: AggregateRow[] = []
  latestValues: LatestValue[] = []
  readonly rows: RawRow[]
  readonly #options: FakeStorageOptions

  constructor(rows: readonly RawRow[] = [], options: FakeStorageOptions = {}) {
    this.rows = [...rows]
    this.#options = options
  }

  readonly catalogue = {
    checkpoint: () => undefined,
    fields: (): readonly FieldDefinition[] => {
      const seen = new Map<string, FieldDefinition>()
      for (const { source, fields } of [...this.rows, ...this.aggregateRows])
        for (const { name } of fields)
          seen.set(`${source.measurement}/${name}`, { measurement: source.measurement, field: name, type: 'float' })
      return [...seen.values()]
    },
    hasSeries: () => false,
    seriesCount: 0,
    seriesCountOf: () => 0,
    devices: async (page: { readonly search?: string; readonly after?: string; readonly limit: number }) =>
      this.devices
        .filter(({ device }) => device.toLowerCase().includes((page.search ?? '').toLowerCase()))
        .filter(({ device }) => page.after === undefined || device > page.after)
        .toSorted((a, b) => (a.device < b.device ? -1 : 1))
        .slice(0, page.limit),
    device: async (device: string) => this.devices.find(entry => entry.device === device)
  }

  /** What a raw query has to answer, by the port's words. */
  select(query: RowQuery): readonly RawRow[] {
    const { selection, order, after } = query
    const selected = this.rows
      .filter(({ source }) => selection.measurement === undefined || source.measurement === selection.measurement)
      .filter(({ source }) => selection.devices.length === 0 || selection.devices.includes(source.device))
      .filter(({ source }) => selection.tags.every(tag => source.tags[tag.name] === tag.value))
      .filter(({ timeNs }) => timeNs >= selection.fromNs && timeNs < selection.toNs)
      .map(row => ({ ...row, fields: row.fields.filter(field => selection.fields.length === 0 || selection.fields.includes(field.name)) }))
      .filter(({ fields }) => fields.length > 0)
    return sortedPage(selected, order, after).slice(0, query.limit)
  }

  raw(query: RowQuery): AsyncIterable<readonly RawRow[]> {
    this.queries.push(query)
    return this.#chunks(this.select(query), query.signal)
  }

  aggregate(
    query: RowQuery & { readonly everyNs: bigint; readonly aggregates: readonly Aggregate[] }
  ): AsyncIterable<readonly AggregateRow[]> {
    this.queries.push(query)
    return this.#chunks(sortedPage(this.aggregateRows, query.order, query.after).slice(0, query.limit), query.signal)
  }

  async *#chunks<Row>(rows: readonly Row[], signal: AbortSignal): AsyncGenerator<readonly Row[]> {
    const { chunkRows = 7, failAt, hangAt } = this.#options
    const onAbort = (): void => void this.aborted++
    signal.addEventListener('abort', onAbort)
    try {
      for (let start = 0; start < rows.length; start += chunkRows) {
        if (failAt !== undefined && start + chunkRows > failAt.index) throw failAt.error
        if (hangAt !== undefined && start + chunkRows > hangAt && !signal.aborted) await once(signal, 'abort')
        if (signal.aborted) throw new TidegateError('TG_QUERY_CANCELLED', 'the query was cancelled')
        const chunk = rows.slice(start, start + chunkRows)
        this.handedOut += chunk.length
        yield chunk
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
      this.ended++
    }
  }

  async latest(device: string, fields: readonly string[]): Promise<readonly LatestValue[]> {
    return this.latestValues.filter(value => value.source.device === device && (fields.length === 0 || fields.includes(value.field)))
  }

  async countPoints(): Promise<number> {
    return this.rows.length
  }

  async hold(): Promise<never> {
    throw new Error('no database here')
  }

  async accounts(): Promise<StoreAccounts> {
    return { checkpoint: undefined, points: undefined }
  }

  async write(): Promise<void> {}

  onReturn(): void {}

  async [Symbol.asyncDispose](): Promise<void> {}
}

function sortedPage<Row extends { readonly timeNs: bigint; readonly source: Source }>(
  rows: readonly Row[],
  order: 'asc' | 'desc',
  after: RowQuery['after']
): readonly Row[] {
  const direction = order === 'asc' ? 1 : -1
  const compare = (a: { timeNs: bigint; key: string }, b: { timeNs: bigint; key: string }): number =>
    a.timeNs === b.timeNs ? (a.key < b.key ? -1 : a.key > b.key ? 1 : 0) : a.timeNs < b.timeNs ? -direction : direction
  const place = (row: Row): { timeNs: bigint; key: string } => ({ timeNs: row.timeNs, key: row.source.key })
  return rows
    .toSorted((a, b) => compare(place(a), place(b)))
    .filter(row => after === undefined || compare(place(row), { timeNs: after.timeNs, key: after.sourceKey }) > 0)
}

export function deviceOf(device: string, more: Partial<DeviceEntry> = {}): DeviceEntry {
  return {
    device,
    firstSeenMs: nowMs - 60_000,
    lastSeenMs: nowMs - 1,
    clientId: undefined,
    measurements: ['telemetry'],
    fields: [{ measurement: 'telemetry', name: 'temperature', type: 'float' }],
    messages: 3,
    points: 4,
    ...more
  }
}

/** Ports over a fake store; what a test is about is given. */
export function fakePorts(
  given: Omit<Partial<ApiPorts>, 'storage' | 'options'> & { readonly storage?: Storage; readonly options?: Partial<ApiOptions> } = {}
): ApiPorts {
  const { storage, options, ...rest } = given
  const stream = new LiveStream({ journal, position: 0, ringBytes: 1_024 * 1_024, clients: 4 })
  return {
    log: pino({ level: 'silent' }),
    journal,
    storage: () => storage,
    waitFor: async () => {},
    append: async () => 7,
    testMapping: () => ({ outcome: 'ignored', route: null, points: [] }),
    deadLetters: fakeDeadLetters([]),
    replay: async () => {
      throw new Error('no replay here')
    },
    backup: async () => {
      throw new Error('no backup here')
    },
    isOnline: () => false,
    ledger: async () => {
      throw new Error('no ledger here')
    },
    readiness: () => ({ ready: true, mqttPort: 1883, reasons: [] }),
    metrics: async () => '',
    stream: () => stream,
    options: {
      anonymous: 'loopback',
      hosts: [],
      dashboardFolder: '/nonexistent',
      maxBodyBytes: 256 * 1_024,
      futureMs: 600_000,
      connections: 100,
      now: () => nowMs,
      ...options
    },
    ...rest
  }
}

/** An API over fake ports that is closed at the end of the block. */
export async function openApi(given: Parameters<typeof fakePorts>[0] = {}): Promise<Api & AsyncDisposable> {
  const api = buildApi(fakePorts(given))
  await api.ready()
  return api
}

/** The base address of an API that really listens. */
export async function listen(api: Api): Promise<string> {
  await api.listen({ host: '127.0.0.1', port: 0 })
  const address = api.server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : address}`
}

/** Dead letters in memory, newest last, by the port's words; those of the topic `refused` cannot be replayed. */
export function fakeDeadLetters(
  initial: readonly DeadLetter[]
): DeadLetterPorts & { readonly queries: DeadLetterQuery[]; readonly signals: AbortSignal[] } {
  const queries: DeadLetterQuery[] = []
  const signals: AbortSignal[] = []
  let letters = initial
  const select = ({ reason, topic, fromNs, toNs }: LetterSelection): readonly DeadLetter[] =>
    letters.filter(
      letter =>
        (reason === undefined || letter.reason === reason) &&
        (topic === undefined || letter.topic === topic) &&
        (fromNs === undefined || letter.receivedNs >= fromNs) &&
        (toNs === undefined || letter.receivedNs < toNs)
    )
  const remove = (gone: readonly DeadLetter[]): number => {
    letters = letters.filter(letter => !gone.includes(letter))
    return gone.length
  }
  return {
    queries,
    signals,
    replay: async (selection, signal): Promise<ReplayResult> => {
      signals.push(signal)
      const selected = select(selection)
      const refused = selected.filter(letter => letter.topic === 'refused')
      const replayed = remove(selected.filter(letter => !refused.includes(letter)))
      const error = refused.length === 0 ? undefined : { code: 'TG_BODY_TOO_LARGE', message: 'too large' }
      return { replayed, failed: refused.length, remaining: refused.length, error }
    },
    purge: async (selection, signal) => {
      signals.push(signal)
      return remove(select(selection))
    },
    list: async query => {
      queries.push(query)
      const { after = -1, limit } = query
      const selected = select(query).filter(letter => letter.ordinal > after)
      const items = selected.slice(0, limit)
      const counts: Record<string, number> = {}
      for (const letter of letters) counts[letter.reason] = (counts[letter.reason] ?? 0) + 1
      return { items, next: selected.length > limit ? items.at(-1)?.ordinal : undefined, counts }
    }
  }
}

/** Resolves when the condition holds; fails after the deadline. */
export async function until(condition: () => boolean, what: string, deadlineMs = 5_000): Promise<void> {
  const endMs = performance.now() + deadlineMs
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`not within ${deadlineMs} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

/** The JSON of a text, as the type that the test goes on to hold against something. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- a check of every shape would be longer than the tests
export function parseJson<T>(text: string): T {
  const parsed: T = JSON.parse(text)
  return parsed
}

/** The response to a request, as soon as its head is there. */
export async function responseOf(request: ClientRequest): Promise<IncomingMessage> {
  const [response] = await once(request, 'response')
  return response
}
