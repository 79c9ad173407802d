import { BoundedCache } from './bounded-cache.ts'
import type { RouteConfig } from '../config.ts'
import type { PayloadKind } from './codecs/detect.ts'
import { builtIn } from './dialects/built-in.ts'
import type { Dialect, TopicMeaning } from './dialects/dialect.ts'
import { levelsOf } from './dialects/dialect.ts'
import { omittedKeys } from './flatten.ts'
import { nameFault } from './names.ts'
import type { Refusals } from './refusals.ts'
import type { SourceInterner, SourceState } from './source-interner.ts'
import { TopicPattern, patternFault } from './topic-pattern.ts'
import type { Captured } from './topic-pattern.ts'

/** What becomes of the records of one topic. */
export interface TopicPlan {
  /** The pattern of the route, as it was written. */
  readonly route: string
  readonly ignored: boolean
  readonly payload: PayloadKind
  readonly object: Target
  readonly scalar: Target
  readonly scalarField: string
  readonly scalarKey: string | undefined
  readonly prefix: string | undefined
  readonly omit: ReadonlySet<string>
  readonly integers: ReadonlySet<string> | undefined
}

interface CompiledRoute {
  readonly pattern: TopicPattern
  readonly meaning: Dialect['meaning']
  readonly payload: PayloadKind
  readonly integers: ReadonlySet<string> | undefined
}

/** Plans kept for topics that were seen lately. */
const cachedTopics = 65_536

/** Finds out what a topic means: the user's routes in order, then the built-in ones. A known topic costs one Map lookup. */
export class Routes {
  readonly #routes: readonly CompiledRoute[]
  readonly #interner: SourceInterner
  readonly #plans: BoundedCache<TopicPlan>

  /** @throws RangeError for a pattern that `routeFaults` complains of */
  constructor(routes: readonly RouteConfig[], interner: SourceInterner, topics = cachedTopics) {
    this.#routes = [...routes.map(compileRoute), ...builtIn.map(compileDialect)]
    this.#interner = interner
    this.#plans = new BoundedCache(topics)
  }

  plan(topic: string): TopicPlan {
    const known = this.#plans.get(topic)
    if (known !== undefined) return known
    const plan = this.#find(topic)
    this.#plans.set(topic, plan)
    return plan
  }

  #find(topic: string): TopicPlan {
    const levels = topic.split('/')
    for (const route of this.#routes) {
      const captured = route.pattern.match(levels)
      if (captured !== undefined) return this.#build(route, route.meaning(captured, topic))
    }
    // Only topics that start with $ pass all routes; the broker refuses those.
    return this.#build(unmatched, undefined)
  }

  #build(route: CompiledRoute, meaning: TopicMeaning | undefined): TopicPlan {
    const { measurement, device, tags = [], scalarDevice, scalarField = 'value' } = meaning ?? nothing
    const object = new Target(this.#interner, measurement, device, tags)
    return {
      route: route.pattern.text,
      ignored: meaning === undefined,
      payload: route.payload,
      object,
      scalar: scalarDevice === undefined ? object : new Target(this.#interner, measurement, scalarDevice.device, tags),
      scalarField,
      scalarKey: meaning?.scalarKey,
      prefix: meaning?.prefix,
      omit: meaning?.omit === undefined ? timesOnly : omittedKeys(meaning.omit),
      integers: route.integers
    }
  }
}

/** Faults of the routes in a configuration, each a line of text that names the setting; empty when all can be used. */
export function routeFaults(routes: readonly RouteConfig[]): readonly string[] {
  return routes.flatMap(({ topic, measurement }, index) => {
    const faults = [patternFault(topic), measurement === undefined ? undefined : nameFault('measurement', measurement)?.detail]
    return faults.filter(fault => fault !== undefined).map(fault => `routes[${index}] (${topic}): ${fault}`)
  })
}

/** A source of a topic; the device may be the client that publishes. */
export class Target {
  readonly #interner: SourceInterner
  readonly #measurement: string
  readonly #device: string | undefined
  readonly #tags: readonly (readonly [string, string])[]
  #lastDevice: string | undefined
  #lastState: SourceState | undefined

  constructor(interner: SourceInterner, measurement: string, device: string | undefined, tags: readonly (readonly [string, string])[]) {
    this.#interner = interner
    this.#measurement = measurement
    this.#device = device
    this.#tags = tags
  }

  /** The source for a record of that client, or undefined and a refusal where a name cannot be one. */
  source(clientId: string, refusals: Refusals): SourceState | undefined {
    const device = this.#device ?? clientId
    if (this.#lastState !== undefined && device === this.#lastDevice) return this.#lastState
    const state = internNamed(this.#interner, this.#measurement, device, this.#tags, refusals, '')
    if (state === undefined) return undefined
    this.#lastDevice = device
    this.#lastState = state
    return state
  }
}

/** Interns a source whose names come from outside; answers undefined and adds a refusal where one is not allowed. */
export function internNamed(
  interner: SourceInterner,
  measurement: string,
  device: string,
  tags: readonly (readonly [string, string])[],
  refusals: Refusals,
  where: string
): SourceState | undefined {
  let fault = nameFault('measurement', measurement) ?? nameFault('device', device)
  for (const [name, value] of tags) fault ??= nameFault('tag', name) ?? nameFault('tag value', value)
  if (fault === undefined) return interner.intern(measurement, device, tags)
  refusals.add(fault.reason, where + fault.detail)
  return undefined
}

const timesOnly = omittedKeys()
const nothing: TopicMeaning = { measurement: 'mqtt', device: undefined }
const unmatched: CompiledRoute = { pattern: new TopicPattern('#'), meaning: () => undefined, payload: 'auto', integers: undefined }

function compileDialect({ pattern, meaning }: Dialect): CompiledRoute {
  return { pattern: new TopicPattern(pattern), meaning, payload: 'auto', integers: undefined }
}

function compileRoute(route: RouteConfig): CompiledRoute {
  return {
    pattern: new TopicPattern(route.topic),
    meaning: route.ignore === true ? () => undefined : captured => meaningOf(route, captured),
    payload: route.payload ?? 'auto',
    integers: route.integers === undefined ? undefined : new Set(route.integers)
  }
}

/** Segments named device, field and measurement are those; the others become tags. Without a device it is the client. */
function meaningOf(route: RouteConfig, captured: Captured): TopicMeaning {
  const field = captured.has('field') ? levelsOf(captured, 'field', '_') : undefined
  return {
    measurement: captured.has('measurement') ? levelsOf(captured, 'measurement', '_') : (route.measurement ?? 'mqtt'),
    device: captured.has('device') ? levelsOf(captured, 'device') : undefined,
    // A tag without a value is no tag.
    tags: [...captured.keys()]
      .filter(name => !ownNames.has(name) && levelsOf(captured, name) !== '')
      .map(name => [name, levelsOf(captured, name)] as const),
    scalarField: field,
    prefix: field
  }
}

const ownNames: ReadonlySet<string> = new Set(['device', 'field', 'measurement'])
