import type { Point, StoredMessage } from '../telemetry.ts'

/**
 * The newest stored messages, bounded in bytes. Messages have a sequence number here (0 for the first one pushed), so that
 * a reader keeps its place with one number. `oldest` is the ordinal from which on nothing that was stored is missing.
 */
export class MessageRing {
  readonly #maxBytes: number
  #messages: (StoredMessage | undefined)[] = []
  #costs: number[] = []
  /** Index in the arrays of the oldest message kept. */
  #start = 0
  /** Sequence number of the message at index 0. */
  #base = 0
  #bytes = 0
  #oldest: number
  #next: number

  /** `position` is the checkpoint: everything before it was stored earlier and is not in the ring. */
  constructor(position: number, maxBytes: number) {
    this.#maxBytes = maxBytes
    this.#oldest = position
    this.#next = position
  }

  get oldest(): number {
    return this.#oldest
  }

  /** One above the newest ordinal pushed. */
  get next(): number {
    return this.#next
  }

  /** Memory that the messages take, estimated. */
  get bytes(): number {
    return this.#bytes
  }

  get firstSequence(): number {
    return this.#base + this.#start
  }

  get endSequence(): number {
    return this.#base + this.#messages.length
  }

  /** Adds a message with a higher ordinal than all before; the oldest go while the bound is passed, the newest stays. */
  push(message: StoredMessage): void {
    const cost = costOf(message.points)
    this.#messages.push(message)
    this.#costs.push(cost)
    this.#bytes += cost
    this.#next = message.ordinal + 1
    while (this.#bytes > this.#maxBytes && this.#start < this.#messages.length - 1) this.#dropOldest()
    if (this.#start > 1_024 && this.#start * 2 > this.#messages.length) this.#compact()
  }

  /** The message with a sequence number; undefined when it is gone or not there yet. */
  at(sequence: number): StoredMessage | undefined {
    return sequence < this.firstSequence ? undefined : this.#messages[sequence - this.#base]
  }

  /** Sequence number of the first message with an ordinal of at least this one. */
  sequenceOf(ordinal: number): number {
    let low = this.#start
    let high = this.#messages.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#messages[middle]?.ordinal ?? 0) < ordinal) low = middle + 1
      else high = middle
    }
    return this.#base + low
  }

  #dropOldest(): void {
    this.#bytes -= this.#costs[this.#start] ?? 0
    this.#oldest = (this.#messages[this.#start]?.ordinal ?? this.#oldest) + 1
    this.#messages[this.#start] = undefined
    this.#start++
  }

  #compact(): void {
    this.#messages = this.#messages.slice(this.#start)
    this.#costs = this.#costs.slice(this.#start)
    this.#base += this.#start
    this.#start = 0
  }
}

/** An estimate of the heap that a message's points take; their sources are interned and belong to others. */
function costOf(points: readonly Point[]): number {
  let bytes = 120
  for (const { fields } of points) {
    bytes += 120
    for (const { value } of fields) bytes += typeof value === 'string' ? 64 + value.length * 2 : 64
  }
  return bytes
}
