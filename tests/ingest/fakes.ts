import { pino } from 'pino'
import { isObject } from '../../ingest/codecs/json.ts'
import type { Clock } from '../../ingest/clock.ts'
import type { DecoderConfig } from '../../ingest/decoder.ts'
import type { LetterBound, LetterBoundFile } from '../../ingest/letter-bound.ts'
import type {
  AppendRecord,
  JournalBatch,
  JournalGap,
  JournalRecord,
  JournalSource,
  JournalState,
  JournalWriter
} from '../../journal/record.ts'
import type { Batch, Catalogue, DeviceSighting, RejectedPoint, Storage, StoreAccounts } from '../../storage/port.ts'
import type { Checkpoint, FieldDefinition, FieldValue, Point, Source } from '../../telemetry.ts'

export const silent = pino({ level: 'silent' })
export const journalUuid = '0b0e7a3c-1111-4222-8333-944445555666'
export const receivedMs = Date.UTC(2026, 4, 17, 9, 30)

export const decoderConfig: DecoderConfig = {
  routes: [],
  window: { past: 400 * 86_400_000, future: 600_000 },
  limits: { series: 10_000, seriesPerDevice: 1000, payloadDepth: 4, payloadFields: 20 }
}

/** A record with distinct defaults; text payloads become bytes. */
export function recordOf(part: Partial<Omit<JournalRecord, 'payload'>> & { readonly payload?: string | Uint8Array }): JournalRecord {
  const { payload = '', ...rest } = part
  const ordinal = rest.ordinal ?? 7
  return {
    ordinal,
    receivedMs: receivedMs + ordinal,
    receivedSubNs: ordinal % 1_000_000,
    clientId: 'client-a',
    user: undefined,
    topic: 'devices/boiler/telemetry',
    qos: 1,
    retain: false,
    dup: false,
    will: false,
    packetId: 1,
    properties: undefined,
    ...rest,
    payload: typeof payload === 'string' ? Buffer.from(payload) : payload
  }
}

/** A promise and the function that resolves it. */
export function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: (() => void) | undefined
  const promise = new Promise<void>(done => {
    resolve = done
  })
  return { promise, resolve: () => resolve?.() }
}

/** Fields of a point as an object. */
export function fieldsOf(point: Point | undefined): Record<string, FieldValue> {
  return Object.fromEntries((point?.fields ?? []).map(field => [field.name, field.value]))
}

export class FakeCatalogue implements Catalogue {
  readonly series = new Map<string, { readonly source: Source; readonly fields: Set<string> }>()
  readonly definitions: FieldDefinition[] = []
  readonly sightings: DeviceSighting[] = []
  seriesCount = 0
  stored: Checkpoint | undefined

  checkpoint(): Checkpoint | undefined {
    return this.stored
  }

  fields(): readonly FieldDefinition[] {
    return this.definitions
  }

  hasSeries(source: Source, field: string): boolean {
    return this.series.get(source.key)?.fields.has(field) ?? false
  }

  seriesCountOf(device: string): number {
    let count = 0
    for (const { source, fields } of this.series.values()) if (source.device === device) count += fields.size
    return count
  }

  learn(batch: Batch, points: readonly Point[]): void {
    this.definitions.push(...batch.fields)
    this.sightings.push(...batch.devices)
    for (const { source, fields } of points) {
      let known = this.series.get(source.key)
      if (known === undefined) this.series.set(source.key, (known = { source, fields: new Set() }))
      for (const { name } of fields) {
        if (!known.fields.has(name)) this.seriesCount += 1
        known.fields.add(name)
      }
    }
  }

  devices(): Promise<never[]> {
    return Promise.resolve([])
  }

  device(): Promise<undefined> {
    return Promise.resolve(undefined)
  }
}

/** A store in memory. `fail` is asked before (0) and after (1) a write took effect; a text is the error to throw there. */
export class FakeStorage implements Storage {
  readonly kind = 'embedded'
  readonly outage = undefined
  forgetful = false
  /** Says that it came back. */
  returned: () => void = () => undefined
  readonly catalogue: FakeCatalogue
  /** Value by source, field and time. */
  readonly rows = new Map<string, FieldValue>()
  /** Writes that took effect: the checkpoint that came with them, the records they had points of, and whether they said so. */
  readonly effects: { readonly position: number; readonly ordinals: readonly number[]; confirmed: boolean }[] = []
  fail: (stage: 'before' | 'settled' | 'after') => Error | undefined = () => undefined
  reject: (point: Point) => string | undefined = () => undefined
  writes = 0
  inFlight = 0
  mostInFlight = 0
  /** Waited for in each write. */
  gate: () => Promise<void> = () => Promise.resolve()

  constructor(catalogue = new FakeCatalogue()) {
    this.catalogue = catalogue
  }

  async write(batch: Batch, settle: (rejected: readonly RejectedPoint[]) => Promise<Checkpoint>): Promise<void> {
    this.writes += 1
    this.inFlight += 1
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight)
    try {
      await this.gate()
      this.#throw('before')
      const rejected = batch.points.flatMap(point => {
        const reason = this.reject(point)
        return reason === undefined ? [] : [{ point, reason }]
      })
      const refused = new Set(rejected.map(({ point }) => point))
      const points = batch.points.filter(point => !refused.has(point))
      // As InfluxDB does: the points first, whatever becomes of the rest.
      if (this.forgetful) {
        this.#put(points)
        await this.gate()
      }
      const checkpoint = await settle(rejected)
      this.#throw('settled')
      if (!this.forgetful) this.#put(points)
      this.catalogue.learn(batch, points)
      const effect = { position: checkpoint.position, ordinals: points.map(point => point.ordinal), confirmed: false }
      this.effects.push(effect)
      this.catalogue.stored = checkpoint
      this.#throw('after')
      effect.confirmed = true
    } finally {
      this.inFlight -= 1
    }
  }

  #put(points: readonly Point[]): void {
    for (const { source, fields, timeNs } of points) {
      for (const { name, value } of fields) this.rows.set(`${source.key} ${name} ${timeNs}`, value)
    }
  }

  #throw(stage: 'before' | 'settled' | 'after'): void {
    const error = this.fail(stage)
    if (error !== undefined) throw error
  }

  onReturn(listener: () => void): void {
    this.returned = listener
  }

  raw(): never {
    throw new Error('not part of these tests')
  }

  aggregate(): never {
    throw new Error('not part of these tests')
  }

  latest(): Promise<never[]> {
    return Promise.resolve([])
  }

  hold(): never {
    throw new Error('not part of these tests')
  }

  countPoints(): Promise<number> {
    return Promise.resolve(this.rows.size)
  }

  accounts(): Promise<StoreAccounts> {
    const counted = this.rows.size
    return Promise.resolve({
      checkpoint: this.catalogue.stored,
      points: { counted, tally: { inserted: counted, replaced: 0, expired: 0 } }
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** The reading side over an array; holes of the array are gaps of the kind given, undefined ones are left out silently. */
export class FakeSource implements JournalSource {
  readonly #records: readonly (JournalRecord | JournalGap['kind'])[]
  #at: number
  #durable = 0
  #wake: () => void = () => undefined
  #closed = false
  readonly #chunk: number

  constructor(records: readonly (JournalRecord | JournalGap['kind'])[], from: number, chunk = 10) {
    this.#records = records
    this.#at = from
    this.#chunk = chunk
  }

  advance(durable: number): void {
    this.#durable = Math.max(this.#durable, durable)
    this.#wake()
  }

  async read(limits: { readonly maxRecords: number; readonly maxBytes: number; readonly signal?: AbortSignal }): Promise<JournalBatch> {
    const from = this.#at
    const ended = (): boolean => this.#closed || limits.signal?.aborted === true
    while (this.#at >= this.#durable && !ended()) {
      await new Promise<void>(resolve => {
        const wake = (): void => {
          limits.signal?.removeEventListener('abort', wake)
          resolve()
        }
        this.#wake = wake
        limits.signal?.addEventListener('abort', wake)
      })
    }
    if (ended()) return { from, to: from, records: [], gaps: [] }
    const to = Math.min(this.#durable, from + Math.min(this.#chunk, limits.maxRecords))
    const records: JournalRecord[] = []
    const gaps: JournalGap[] = []
    for (let at = from; at < to; at += 1) {
      const one = this.#records[at]
      if (typeof one === 'object') records.push(one)
      else if (one !== undefined) gaps.push({ from: at, to: at + 1, kind: one })
    }
    this.#at = to
    return { from, to, records, gaps }
  }

  close(): Promise<void> {
    this.#closed = true
    this.#wake()
    return Promise.resolve()
  }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString()
}

/** What a dead letter says about itself, as the journal keeps it. */
export function whyOf(letter: JournalRecord): Record<string, unknown> {
  const why: unknown = JSON.parse(text(letter.properties ?? Buffer.alloc(0)))
  return isObject(why) ? why : {}
}

/** A journal in memory. Records become durable in a later turn; `crash` loses what is not. */
export class FakeJournal implements JournalWriter {
  readonly uuid = 'feedfeed-0000-4000-8000-000000000001'
  readonly records: JournalRecord[] = []
  state: JournalState = 'accepting'
  durable = 0
  committed = 0
  /** While true nothing becomes durable. */
  held = false
  readonly #listeners = new Set<(durable: number) => void>()
  readonly #stateListeners = new Set<(state: JournalState) => void>()

  get head(): number {
    return this.records.length
  }

  append(record: AppendRecord): number {
    const ordinal = this.records.length
    this.records.push({
      ordinal,
      receivedMs: record.received?.ms ?? 0,
      receivedSubNs: record.received?.subNs ?? 0,
      clientId: text(record.clientId),
      user: record.user === undefined ? undefined : text(record.user),
      topic: text(record.topic),
      payload: Buffer.from(record.payload),
      qos: record.qos,
      retain: record.retain,
      dup: record.dup,
      will: record.will,
      packetId: record.packetId,
      properties: record.properties === undefined ? undefined : Buffer.from(record.properties)
    })
    setImmediate(() => this.sync())
    return ordinal
  }

  sync(): void {
    if (this.held || this.durable === this.records.length) return
    this.durable = this.records.length
    for (const listener of this.#listeners) listener(this.durable)
  }

  setState(state: JournalState): void {
    this.state = state
    for (const listener of this.#stateListeners) listener(state)
  }

  crash(): void {
    this.records.length = this.durable
  }

  onDurable(listener: (durable: number) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  onState(listener: (state: JournalState) => void): () => void {
    this.#stateListeners.add(listener)
    return () => this.#stateListeners.delete(listener)
  }

  commit(ordinal: number): void {
    this.committed = ordinal
  }

  /** journal/scan.ts for this journal. */
  readonly scan = async function* (this: FakeJournal, range: { readonly from: number; readonly to: number }) {
    const step = 3
    for (let from = range.from; from < range.to; from += step) {
      const to = Math.min(range.to, from + step)
      const records = this.records.slice(from, to).filter(record => record.ordinal >= this.committed)
      yield await Promise.resolve({ from, to, records, gaps: [] })
    }
  }.bind(this)
}

/** A bound in memory. `fail` is thrown by save. */
export class FakeBoundFile implements LetterBoundFile {
  saved: LetterBound | undefined
  saves = 0
  fail: Error | undefined

  load(): Promise<LetterBound | undefined> {
    return Promise.resolve(this.saved)
  }

  async save(bound: LetterBound): Promise<void> {
    await new Promise<void>(resolve => setImmediate(resolve))
    if (this.fail !== undefined) throw this.fail
    this.saves += 1
    this.saved = bound
  }
}

/** A clock on which sleeps last one turn of the event loop, whatever they ask for; `slept` keeps what they asked. */
export class ImpatientClock implements Clock {
  readonly slept: number[] = []
  nowMs = 0

  monotonicMs(): number {
    return this.nowMs
  }

  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    this.slept.push(ms)
    if (signal.aborted) return
    await new Promise<void>(resolve => setImmediate(resolve))
  }
}
