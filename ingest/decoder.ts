/**
 * From a journal record to points. Decoding never throws for what a client sent, and the same record gives the same points
 * whenever it is decoded, as long as the records before it were the same.
 */
import type { Config } from '../config.ts'
import type { JournalRecord } from '../journal/record.ts'
import type { Catalogue } from '../storage/port.ts'
import type { Field, Outcome, Point } from '../telemetry.ts'
import { Admission } from './admission.ts'
import { BoundedCache } from './bounded-cache.ts'
import { decodePayload } from './codecs/detect.ts'
import { isObject } from './codecs/json.ts'
import type { Line } from './codecs/line-protocol.ts'
import { eventTime, exactStamps, parseTime } from './event-time.ts'
import { FieldTypes } from './field-types.ts'
import { flatten, timeKeys, valuesOf } from './flatten.ts'
import type { FlatReading } from './flatten.ts'
import type { Refusal } from './refusals.ts'
import { Refusals, summarize } from './refusals.ts'
import { Routes, internNamed } from './routes.ts'
import type { TopicPlan } from './routes.ts'
import { SeriesBudget } from './series-budget.ts'
import type { SeriesWarning } from './series-budget.ts'
import { SourceInterner } from './source-interner.ts'
import type { SourceState } from './source-interner.ts'

/** What one record says. Stored: points and no refusals. Dead-lettered: refusals, and points as far as it has good ones. */
export interface Decoded {
  readonly outcome: Extract<Outcome, 'stored' | 'ignored' | 'deadLettered'>
  /** Pattern of the route that it took. */
  readonly route: string
  readonly points: readonly Point[]
  readonly refusals: readonly Refusal[]
  /** Line protocol names its devices itself, so they say nothing about the client. */
  readonly kind: 'json' | 'scalar' | 'line' | undefined
}

/** What decoding needs of the configuration. */
export interface DecoderConfig {
  readonly routes: Config['routes']
  readonly window: Config['ingest']['window']
  readonly limits: Pick<Config['limits'], 'series' | 'seriesPerDevice' | 'payloadDepth' | 'payloadFields'>
}

/** Answer of POST /api/v1/mappings/test. */
export interface MappingTest {
  readonly outcome: Decoded['outcome']
  readonly route: string
  readonly points: readonly Point[]
  readonly reason?: Refusal['reason']
  readonly detail?: string
}

/** Readings whose time was not used: outside the window, or not readable. Since the decoder was made. */
export interface TimeCounts {
  outside: number
  unusable: number
}

const cachedSources = 65_536
const cachedHeads = 16_384
const readingsPerStep = 128
const noPoints: readonly Point[] = []
const dryRecord = {
  ordinal: 0,
  user: undefined,
  qos: 1,
  retain: false,
  dup: false,
  will: false,
  packetId: 0,
  properties: undefined
} as const

export class Decoder {
  readonly types: FieldTypes
  readonly budget: SeriesBudget
  readonly times: TimeCounts = { outside: 0, unusable: 0 }
  readonly #config: DecoderConfig
  readonly #admission: Admission
  readonly #interner = new SourceInterner(cachedSources)
  readonly #routes: Routes
  /** Sources of line protocol by measurement and tags as they were written. */
  readonly #heads = new BoundedCache<SourceState>(cachedHeads)

  /**
   * Learns from the catalogue what is known. `dryOf` and `againOf` are for decoders that change nothing: one for what did not
   * happen, one for records that had their outcome already.
   */
  constructor(
    config: DecoderConfig,
    catalogue: Catalogue,
    options: { readonly warn?: SeriesWarning; readonly dryOf?: Decoder; readonly againOf?: Decoder } = {}
  ) {
    const { dryOf, againOf } = options
    const other = dryOf ?? againOf
    this.#config = config
    this.types = other?.types ?? new FieldTypes(catalogue.fields())
    this.budget = other?.budget ?? new SeriesBudget(catalogue, config.limits, options.warn)
    if (dryOf !== undefined) this.#admission = dryOf.#admission.dry()
    else if (againOf !== undefined) this.#admission = againOf.#admission.known(catalogue)
    else this.#admission = new Admission(this.types, this.budget)
    this.#routes = new Routes(config.routes, this.#interner)
  }

  /** Decodes a record. Registers the types and series of what it admits: they belong to the batch that takes the points. */
  decode(record: JournalRecord): Decoded {
    const steps = this.decodeInSteps(record)
    for (;;) {
      const step = steps.next()
      if (step.done === true) return step.value
    }
  }

  /** The same in steps of a millisecond or so, however long the payload is; no other record may be decoded in between. */
  *decodeInSteps(record: JournalRecord): Generator<void, Decoded, void> {
    const plan = this.#routes.plan(record.topic)
    if (plan.ignored) return { outcome: 'ignored', route: plan.route, points: noPoints, refusals: [], kind: undefined }
    const points: Point[] = []
    const refusals = new Refusals()
    const decoded = yield* decodePayload(record.payload, plan.payload, refusals)
    switch (decoded?.kind) {
      case undefined:
        break
      case 'json':
        yield* this.#json(record, plan, decoded.value, decoded.text, points, refusals)
        break
      case 'scalar':
        this.#scalar(record, plan, decoded.value, points, refusals)
        break
      case 'line':
        yield* this.#lines(record, decoded.lines, points, refusals)
        break
    }
    if (points.length === 0 && !refusals.any) refusals.add('no-fields', 'no field in the payload')
    return {
      outcome: refusals.any ? 'deadLettered' : 'stored',
      route: plan.route,
      points,
      refusals: refusals.list(),
      kind: decoded?.kind
    }
  }

  /** Says what would become of a publish, and changes nothing: no type, no series, no count. */
  testMapping(
    publish: { readonly topic: string; readonly payload: Uint8Array; readonly clientId?: string },
    catalogue: Catalogue,
    nowMs = Date.now()
  ): MappingTest {
    const dry = new Decoder(this.#config, catalogue, { dryOf: this })
    const { outcome, route, points, refusals } = dry.decode({
      ...dryRecord,
      topic: publish.topic,
      payload: publish.payload,
      clientId: publish.clientId ?? 'http',
      receivedMs: nowMs,
      receivedSubNs: 0
    })
    const refusal = summarize(refusals)
    return { outcome, route, points, ...refusal }
  }

  /** A decoder for records that had their outcome already: the same points again, and nothing is learnt. */
  again(catalogue: Catalogue): Decoder {
    return new Decoder(this.#config, catalogue, { againOf: this })
  }

  *#json(
    record: JournalRecord,
    plan: TopicPlan,
    value: unknown,
    text: string,
    points: Point[],
    refusals: Refusals
  ): Generator<void, void, void> {
    const exact = exactStamps(text)
    if (isObject(value)) {
      this.#object(record, plan, value, exact, points, refusals, '')
    } else if (Array.isArray(value)) {
      if (!value.some(isObject)) return this.#list(record, plan, value, points, refusals)
      for (const [index, element] of value.entries()) {
        if (isObject(element)) this.#object(record, plan, element, exact, points, refusals, `element ${index}: `)
        else refusals.add('not-a-reading', () => `element ${index} is no object`)
        if (index % readingsPerStep === readingsPerStep - 1) yield
      }
    } else if (value === null) {
      refusals.add('null-value', 'the payload is null')
    } else if (typeof value === 'number' && !Number.isFinite(value)) {
      refusals.add('non-finite-number', 'the payload is no finite number')
    } else if (typeof value === 'number' || typeof value === 'string' || typeof value === 'boolean') {
      this.#scalar(record, plan, value, points, refusals)
    }
  }

  #object(
    record: JournalRecord,
    plan: TopicPlan,
    reading: Record<string, unknown>,
    exact: (said: unknown) => unknown,
    points: Point[],
    refusals: Refusals,
    where: string
  ): void {
    const { scalarKey } = plan
    if (scalarKey !== undefined && Object.hasOwn(reading, scalarKey)) {
      const value = reading[scalarKey]
      if (typeof value === 'string' || typeof value === 'boolean') return this.#scalar(record, plan, value, points, refusals)
    }
    const state = plan.object.source(record.clientId, refusals)
    if (state === undefined) return
    const values = valuesOf(reading)
    const flat = flatten(
      values ?? reading,
      this.#flattening(plan, plan.prefix, values === undefined ? plan.omit : undefined),
      refusals,
      where
    )
    if (flat === undefined) return
    this.#add(record, state, flat, exact(timeIn(reading)), points, refusals, where)
  }

  /** An array without objects is one reading: its values by index. */
  #list(record: JournalRecord, plan: TopicPlan, values: readonly unknown[], points: Point[], refusals: Refusals): void {
    const state = plan.scalar.source(record.clientId, refusals)
    if (state === undefined) return
    const flat = flatten(values, this.#flattening(plan, plan.scalarField, undefined), refusals, '')
    if (flat !== undefined) this.#add(record, state, flat, undefined, points, refusals, '')
  }

  #scalar(record: JournalRecord, plan: TopicPlan, value: Field['value'], points: Point[], refusals: Refusals): void {
    const state = plan.scalar.source(record.clientId, refusals)
    if (state === undefined) return
    const name = plan.scalarField
    const whole = typeof value === 'number' && Number.isSafeInteger(value) && plan.integers?.has(name) === true
    const fields: Field[] = [{ name, value: whole ? BigInt(value) : value }]
    this.#add(record, state, { fields, nested: false }, undefined, points, refusals, '')
  }

  *#lines(record: JournalRecord, lines: readonly Line[], points: Point[], refusals: Refusals): Generator<void, void, void> {
    for (const [index, line] of lines.entries()) {
      if (index % readingsPerStep === readingsPerStep - 1) yield
      const where = `line ${line.number}: `
      if (line.fields.length > this.#config.limits.payloadFields) {
        refusals.add('too-many-fields', `${where}more than ${this.#config.limits.payloadFields} fields`)
        continue
      }
      const state = this.#lineSource(line, record.clientId, refusals, where)
      if (state === undefined) continue
      this.#add(record, state, { fields: line.fields, nested: true }, line.timeNs, points, refusals, where)
    }
  }

  #lineSource(line: Line, clientId: string, refusals: Refusals, where: string): SourceState | undefined {
    const known = this.#heads.get(line.head)
    if (known !== undefined) return known
    const device = line.tags.find(([name]) => name === 'device')?.[1]
    const tags = line.tags.filter(([name]) => name !== 'device')
    const state = internNamed(this.#interner, line.measurement, device ?? clientId, tags, refusals, where)
    // A head without a device means another source for every client.
    if (device !== undefined && state !== undefined && line.head.length <= 512) this.#heads.set(line.head, state)
    return state
  }

  #add(
    record: JournalRecord,
    state: SourceState,
    flat: FlatReading,
    said: unknown,
    points: Point[],
    refusals: Refusals,
    where: string
  ): void {
    if (flat.fields.length === 0) {
      if (!refusals.any || where !== '') refusals.add('no-fields', `${where}no field in it`)
      return
    }
    const { timeNs, deviceTime, origin } = eventTime(said, record, this.#config.window)
    if (origin === 'outside') this.times.outside += 1
    else if (origin === 'unusable') this.times.unusable += 1
    if (deviceTime !== undefined) flat.fields.push({ name: 'device_time', value: deviceTime })
    const mayRepeat = flat.nested || deviceTime !== undefined
    const fields = this.#admission.admit(state, flat.fields, mayRepeat, refusals, where)
    // The original time alone is no reading.
    if (fields.length === 0 || (deviceTime !== undefined && fields.length === 1 && fields[0]?.name === 'device_time')) return
    points.push({ source: state.source, timeNs, fields, ordinal: record.ordinal })
  }

  #flattening(plan: TopicPlan, prefix: string | undefined, omit: ReadonlySet<string> | undefined) {
    const { payloadDepth, payloadFields } = this.#config.limits
    return { depth: payloadDepth, fields: payloadFields, prefix, omit, integers: plan.integers }
  }
}

/** What an object says about its time: the first key that can be read, else the first that is there. */
function timeIn(reading: Record<string, unknown>): unknown {
  let said: unknown
  for (const key of timeKeys) {
    if (!Object.hasOwn(reading, key)) continue
    const value = reading[key]
    if (parseTime(value) !== undefined) return value
    said ??= value ?? 'null'
  }
  return said
}
