/**
 * How many series there may be. A series is a source and a stored field. Known ones are in the catalogue; those of batches
 * under way are pending here, and count as well. States of a pending series: open (in the batch that is being filled) →
 * sealed (its batch is being written) → settled (in the catalogue, or refused by the store and forgotten).
 */
import type { Catalogue } from '../storage/port.ts'
import type { SourceState } from './source-interner.ts'

export interface SeriesLimits {
  readonly series: number
  readonly seriesPerDevice: number
}

/** Called once when the use of a limit reaches 80 %, again only after it was below. */
export type SeriesWarning = (warning: { readonly device: string | undefined; readonly series: number; readonly limit: number }) => void

interface Pending {
  readonly state: SourceState
  readonly field: string
}

const warnedDevicesKept = 1000

export class SeriesBudget {
  readonly #catalogue: Pick<Catalogue, 'hasSeries' | 'seriesCount' | 'seriesCountOf'>
  readonly #limits: SeriesLimits
  readonly #warn: SeriesWarning
  readonly #pending = new Map<string, Pending>()
  readonly #pendingOf = new Map<string, number>()
  #open: string[] = []
  /** Size of the catalogue when the pending ones were last compared with it. */
  #comparedAt = -1
  #warned = false
  readonly #warnedDevices = new Set<string>()

  constructor(
    catalogue: Pick<Catalogue, 'hasSeries' | 'seriesCount' | 'seriesCountOf'>,
    limits: SeriesLimits,
    warn: SeriesWarning = () => undefined
  ) {
    this.#catalogue = catalogue
    this.#limits = limits
    this.#warn = warn
  }

  /** Is the series known, or is there room for it? Then, unless `dry`, it counts from now on. Else says which limit. */
  admit(state: SourceState, field: string, dry: boolean): 'admitted' | 'series' | 'seriesPerDevice' {
    const { source } = state
    const key = `${source.key}\u0000${field}`
    if (this.#pending.has(key) || this.#catalogue.hasSeries(source, field)) return 'admitted'
    if (this.#full(source.device) !== undefined) this.#forgetKnown()
    const full = this.#full(source.device)
    if (full !== undefined) return full
    if (dry) return 'admitted'
    this.#pending.set(key, { state, field })
    this.#pendingOf.set(source.device, (this.#pendingOf.get(source.device) ?? 0) + 1)
    this.#open.push(key)
    this.#watch(source.device)
    return 'admitted'
  }

  /** Ends the batch that is being filled; call the answer when that batch is in the store. */
  seal(): () => void {
    const sealed = this.#open
    this.#open = []
    return () => {
      for (const key of sealed) {
        const pending = this.#pending.get(key)
        if (pending === undefined) continue
        this.#forget(key, pending)
        // The store refused its points: decided anew when it comes again.
        if (!this.#catalogue.hasSeries(pending.state.source, pending.field)) pending.state.slots.clear()
      }
    }
  }

  #countOf(device: string): number {
    return this.#catalogue.seriesCountOf(device) + (this.#pendingOf.get(device) ?? 0)
  }

  #full(device: string): 'series' | 'seriesPerDevice' | undefined {
    if (this.#catalogue.seriesCount + this.#pending.size >= this.#limits.series) return 'series'
    return this.#countOf(device) >= this.#limits.seriesPerDevice ? 'seriesPerDevice' : undefined
  }

  /** A series may be in the catalogue already while its batch is not settled yet, and would count twice. */
  #forgetKnown(): void {
    if (this.#comparedAt === this.#catalogue.seriesCount) return
    this.#comparedAt = this.#catalogue.seriesCount
    for (const [key, pending] of this.#pending) {
      if (this.#catalogue.hasSeries(pending.state.source, pending.field)) this.#forget(key, pending)
    }
  }

  #forget(key: string, { state }: Pending): void {
    this.#pending.delete(key)
    const left = (this.#pendingOf.get(state.source.device) ?? 0) - 1
    if (left > 0) this.#pendingOf.set(state.source.device, left)
    else this.#pendingOf.delete(state.source.device)
  }

  #watch(device: string): void {
    const series = this.#catalogue.seriesCount + this.#pending.size
    const high = series >= this.#limits.series * 0.8
    if (high && !this.#warned) this.#warn({ device: undefined, series, limit: this.#limits.series })
    this.#warned = high
    const own = this.#countOf(device)
    if (own < this.#limits.seriesPerDevice * 0.8 || this.#warnedDevices.has(device)) return
    if (this.#warnedDevices.size >= warnedDevicesKept) return
    this.#warnedDevices.add(device)
    this.#warn({ device, series: own, limit: this.#limits.seriesPerDevice })
  }
}
