import { BoundedCache } from './bounded-cache.ts'
import type { Source } from '../telemetry.ts'
import { buildSource } from '../telemetry.ts'

/** Where values of one field of one source go, for each type of value that was admitted already. */
export interface Slot {
  float: string | undefined
  integer: string | undefined
  /** Integers become floats on the way. */
  integerIsFloat: boolean
  boolean: string | undefined
  string: string | undefined
}

/** A source and what was decided about its fields, so that a known field of a known source costs one Map lookup. */
export interface SourceState {
  readonly source: Source
  /** By the name before types are applied. Bounded by the series of the source. */
  readonly slots: Map<string, Slot>
}

/** Answers the same object for the same source. Bounded: sources that were not used lately are forgotten and made again. */
export class SourceInterner {
  readonly #states: BoundedCache<SourceState>

  constructor(capacity: number) {
    this.#states = new BoundedCache(capacity)
  }

  intern(measurement: string, device: string, tags: Iterable<readonly [string, string]>): SourceState {
    const source = buildSource(measurement, device, tags)
    const known = this.#states.get(source.key)
    if (known !== undefined) return known
    const state: SourceState = { source, slots: new Map() }
    this.#states.set(source.key, state)
    return state
  }
}
