import type { JournalRecord } from '../journal/record.ts'
import type { Batch, DeviceSighting } from '../storage/port.ts'
import type { Field, FieldDefinition, Point } from '../telemetry.ts'
import type { Decoded } from './decoder.ts'

/** A record that is neither ignored nor lost, and what it says. Kept until it is settled: the store may refuse its points. */
export interface BatchEntry {
  readonly record: JournalRecord
  readonly decoded: Decoded
}

/** A run of the journal, [from, to), with all that is needed to write and to settle it, as often as it takes. */
export interface SealedBatch {
  readonly from: number
  readonly to: number
  readonly write: Batch
  readonly entries: readonly BatchEntry[]
  readonly ignored: number
  readonly damaged: number
  readonly dropped: number
  /** Points of records that became one point of the batch, where that were several. */
  readonly mergedFrom: ReadonlyMap<Point, readonly Point[]>
  /** To be called when the batch is in the store. */
  readonly settled: () => void
}

interface SourceRun {
  latestNs: bigint
  readonly indices: number[]
  byTime: Map<bigint, number> | undefined
}

type Sighting = { -readonly [Key in keyof DeviceSighting]: DeviceSighting[Key] } & { ordinal: number }

/** Client id of publishes that come by HTTP; they say nothing about an MQTT client. */
const httpClient = 'http'
/** What a record costs beside its payload, roughly; so that many small records also fill a batch. */
const recordBytes = 100

/** Collects decoded records, in order, into one batch. Points of the same source and time are merged, field by field. */
export class BatchBuilder {
  readonly from: number
  #to: number
  #bytes = 0
  readonly #points: Point[] = []
  readonly #entries: BatchEntry[] = []
  readonly #runs = new Map<string, SourceRun>()
  readonly #mergedFrom = new Map<Point, readonly Point[]>()
  readonly #sightings = new Map<string, Sighting>()
  #ignored = 0
  #damaged = 0
  #dropped = 0

  constructor(from: number) {
    this.from = from
    this.#to = from
  }

  /** Ordinal that comes next. */
  get to(): number {
    return this.#to
  }

  get empty(): boolean {
    return this.#to === this.from
  }

  /** Points after merging, and bytes of the records that are held. */
  get points(): number {
    return this.#points.length
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Records that are held. */
  get entries(): number {
    return this.#entries.length
  }

  add(record: JournalRecord, decoded: Decoded): void {
    this.#to = record.ordinal + 1
    if (decoded.outcome === 'ignored') {
      this.#ignored += 1
      return
    }
    this.#bytes += recordBytes + record.payload.byteLength + record.topic.length
    this.#entries.push({ record, decoded })
    const clientId = decoded.kind === 'line' || record.clientId === httpClient ? undefined : record.clientId
    for (const point of decoded.points) {
      this.#place(point)
      this.#see(point.source.device, record, clientId)
    }
  }

  /** Ordinals up to `to` that no one can read any more. */
  addGap(to: number, kind: 'damaged' | 'dropped'): void {
    if (kind === 'damaged') this.#damaged += to - this.#to
    else this.#dropped += to - this.#to
    this.#to = to
  }

  seal(fields: readonly FieldDefinition[], settled: () => void): SealedBatch {
    return {
      from: this.from,
      to: this.#to,
      write: { points: this.#points, fields, devices: [...this.#sightings.values()].map(sightingOf) },
      entries: this.#entries,
      ignored: this.#ignored,
      damaged: this.#damaged,
      dropped: this.#dropped,
      mergedFrom: this.#mergedFrom,
      settled
    }
  }

  /** Times of a source mostly rise; only a step back or a repetition has to look for its equal. */
  #place(point: Point): void {
    const { key } = point.source
    const run = this.#runs.get(key)
    if (run === undefined) {
      this.#runs.set(key, { latestNs: point.timeNs, indices: [this.#points.length], byTime: undefined })
      this.#points.push(point)
      return
    }
    if (point.timeNs > run.latestNs) {
      run.latestNs = point.timeNs
    } else {
      run.byTime ??= new Map(run.indices.map(index => [this.#points[index]?.timeNs ?? 0n, index]))
      const index = run.byTime.get(point.timeNs)
      const earlier = index === undefined ? undefined : this.#points[index]
      if (index !== undefined && earlier !== undefined) {
        this.#points[index] = this.#merge(earlier, point)
        return
      }
    }
    run.byTime?.set(point.timeNs, this.#points.length)
    run.indices.push(this.#points.length)
    this.#points.push(point)
  }

  #merge(earlier: Point, later: Point): Point {
    const merged: Point = { ...later, fields: mergeFields(earlier.fields, later.fields) }
    this.#mergedFrom.set(merged, [...(this.#mergedFrom.get(earlier) ?? [earlier]), later])
    this.#mergedFrom.delete(earlier)
    return merged
  }

  #see(device: string, { ordinal, receivedMs }: JournalRecord, clientId: string | undefined): void {
    const sighting = this.#sightings.get(device)
    if (sighting === undefined) {
      this.#sightings.set(device, {
        device,
        firstSeenMs: receivedMs,
        lastSeenMs: receivedMs,
        clientId,
        messages: 1,
        points: 1,
        ordinal
      })
      return
    }
    sighting.firstSeenMs = Math.min(sighting.firstSeenMs, receivedMs)
    sighting.lastSeenMs = Math.max(sighting.lastSeenMs, receivedMs)
    sighting.clientId = clientId
    sighting.points += 1
    if (sighting.ordinal !== ordinal) sighting.messages += 1
    sighting.ordinal = ordinal
  }
}

function sightingOf({ device, firstSeenMs, lastSeenMs, clientId, messages, points }: Sighting): DeviceSighting {
  return { device, firstSeenMs, lastSeenMs, clientId, messages, points }
}

function mergeFields(earlier: readonly Field[], later: readonly Field[]): readonly Field[] {
  const names = new Set(later.map(field => field.name))
  return [...earlier.filter(field => !names.has(field.name)), ...later]
}
