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
  /** Records that would be one of the three, but had become dead letters when they were read before. */
  readonly lettered: number
  /** Points of records that became one point of the batch, where that were several. */
  readonly mergedFrom: ReadonlyMap<Point, readonly Point[]>
  /** To be called when the batch is in the store. */
  readonly settled: () => void
}

/** Which records have their dead letter already: those that were read before, and not committed. */
export interface KnownLetters {
  has(recordOrdinal: number): boolean
  /** How many of [from, to) have. */
  countIn(from: number, to: number): number
}

interface SourceRun {
  latestNs: bigint
  readonly indices: number[]
  byTime: Map<bigint, number> | undefined
}

/** Points of the same source and time, and their fields so far. */
interface Merging {
  readonly fields: Map<string, Field>
  readonly from: Point[]
}

type Sighting = { -readonly [Key in keyof DeviceSighting]: DeviceSighting[Key] } & { ordinal: number }

/** Client id of publishes that come by HTTP; they say nothing about an MQTT client. */
const httpClient = 'http'
/** What a record costs beside its payload, roughly; so that many small records also fill a batch. */
const recordBytes = 100
const pointsPerStep = 512

/** Collects decoded records, in order, into one batch. Points of the same source and time are merged, field by field. */
export class BatchBuilder {
  readonly from: number
  readonly #letters: KnownLetters
  #to: number
  #bytes = 0
  #values = 0
  readonly #points: Point[] = []
  readonly #entries: BatchEntry[] = []
  readonly #runs = new Map<string, SourceRun>()
  /** By index: what becomes one point when the batch is sealed. */
  readonly #merging = new Map<number, Merging>()
  readonly #sightings = new Map<string, Sighting>()
  #ignored = 0
  #damaged = 0
  #dropped = 0
  #lettered = 0

  constructor(from: number, letters: KnownLetters) {
    this.from = from
    this.#to = from
    this.#letters = letters
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

  /** Fields of all points, before merging. */
  get values(): number {
    return this.#values
  }

  /** Records that are held. */
  get entries(): number {
    return this.#entries.length
  }

  add(record: JournalRecord, decoded: Decoded): void {
    const steps = this.addInSteps(record, decoded)
    while (steps.next().done !== true);
  }

  /** The same in steps of a millisecond or so; the batch must not be sealed before the last one. */
  *addInSteps(record: JournalRecord, decoded: Decoded): Generator<void, void, void> {
    this.#to = record.ordinal + 1
    if (decoded.outcome === 'ignored') {
      if (this.#letters.has(record.ordinal)) this.#lettered += 1
      else this.#ignored += 1
      return
    }
    this.#bytes += recordBytes + record.payload.byteLength + record.topic.length
    this.#entries.push({ record, decoded })
    const clientId = decoded.kind === 'line' || record.clientId === httpClient ? undefined : record.clientId
    for (const [index, point] of decoded.points.entries()) {
      if (index % pointsPerStep === pointsPerStep - 1) yield
      this.#values += point.fields.length
      this.#place(point)
      this.#see(point.source.device, record, clientId)
    }
  }

  /** Ordinals up to `to` that no one can read any more. */
  addGap(to: number, kind: 'damaged' | 'dropped'): void {
    const lettered = this.#letters.countIn(this.#to, to)
    const gone = to - this.#to - lettered
    if (kind === 'damaged') this.#damaged += gone
    else this.#dropped += gone
    this.#lettered += lettered
    this.#to = to
  }

  seal(fields: readonly FieldDefinition[], settled: () => void): SealedBatch {
    const mergedFrom = new Map<Point, readonly Point[]>()
    for (const [index, merging] of this.#merging) {
      const last = merging.from.at(-1)
      if (last === undefined) continue
      const merged: Point = { ...last, fields: [...merging.fields.values()] }
      this.#points[index] = merged
      mergedFrom.set(merged, merging.from)
    }
    return {
      from: this.from,
      to: this.#to,
      write: { points: this.#points, fields, devices: [...this.#sightings.values()].map(sightingOf) },
      entries: this.#entries,
      ignored: this.#ignored,
      damaged: this.#damaged,
      dropped: this.#dropped,
      lettered: this.#lettered,
      mergedFrom,
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
        this.#merge(index, earlier, point)
        return
      }
    }
    run.byTime?.set(point.timeNs, this.#points.length)
    run.indices.push(this.#points.length)
    this.#points.push(point)
  }

  #merge(index: number, earlier: Point, later: Point): void {
    let merging = this.#merging.get(index)
    if (merging === undefined) {
      merging = { fields: new Map(earlier.fields.map(field => [field.name, field])), from: [earlier] }
      this.#merging.set(index, merging)
    }
    for (const field of later.fields) merging.fields.set(field.name, field)
    merging.from.push(later)
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
