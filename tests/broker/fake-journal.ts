import { TidegateError } from '../../errors.ts'
import type { AppendRecord, JournalHold, JournalState, JournalTail, JournalWriter, TailRecord } from '../../journal/record.ts'

/** A record as the fake keeps it, decoded. */
export interface KeptRecord {
  readonly ordinal: number
  readonly clientId: string
  readonly user: string | undefined
  readonly topic: string
  readonly payload: string
  readonly qos: number
  readonly retain: boolean
  readonly dup: boolean
  readonly will: boolean
  readonly packetId: number
  readonly received: { readonly ms: number; readonly subNs: number } | undefined
}

/**
 * A journal in memory. With `auto` records are durable after 2 ms, with `immediate` before append returns (as with
 * `sync: none`), else when the test calls `sync`.
 */
export class FakeJournal implements JournalWriter, JournalTail, JournalHold {
  readonly uuid = '00000000-0000-4000-8000-000000000000'
  readonly records: KeptRecord[] = []
  durable: number
  state: JournalState = 'accepting'
  /** Takes that many records more, then it is full. */
  room = Number.POSITIVE_INFINITY
  /** What readTail hands over; a test may put records there, or take some away. */
  readonly tail: TailRecord[] = []
  readonly #clock: () => number
  readonly #first: number
  readonly #auto: boolean
  readonly #keep: boolean
  readonly #immediate: boolean
  #head: number
  #scheduled = false
  readonly #durableListeners = new Set<(durable: number) => void>()
  readonly #stateListeners = new Set<(state: JournalState) => void>()

  constructor(
    options: {
      readonly auto?: boolean
      readonly first?: number
      readonly keep?: boolean
      readonly immediate?: boolean
      readonly clock?: () => number
    } = {}
  ) {
    this.#clock = options.clock ?? Date.now
    this.#auto = options.auto ?? true
    this.#keep = options.keep ?? true
    this.#immediate = options.immediate ?? false
    this.#first = options.first ?? 0
    this.#head = this.#first
    this.durable = this.#first
  }

  get head(): number {
    return this.#head
  }

  get listeners(): number {
    return this.#durableListeners.size + this.#stateListeners.size
  }

  append(record: AppendRecord): number {
    if (this.state !== 'accepting') throw new TidegateError('TG_JOURNAL_FULL', 'full')
    const ordinal = this.#head
    this.#head += 1
    if (this.#keep) this.#keepRecord(ordinal, record)
    this.room -= 1
    if (this.room <= 0) this.become('full')
    if (this.#immediate) this.sync()
    else if (this.#auto && !this.#scheduled) {
      this.#scheduled = true
      setTimeout(() => {
        this.#scheduled = false
        this.sync()
      }, 2)
    }
    return ordinal
  }

  /** Makes records below the ordinal durable, all by default. */
  sync(below = this.#head): void {
    this.durable = Math.max(this.durable, below)
    for (const listener of this.#durableListeners) listener(this.durable)
  }

  become(state: JournalState): void {
    this.state = state
    for (const listener of this.#stateListeners) listener(state)
  }

  onDurable(listener: (durable: number) => void): () => void {
    this.#durableListeners.add(listener)
    return () => this.#durableListeners.delete(listener)
  }

  onState(listener: (state: JournalState) => void): () => void {
    this.#stateListeners.add(listener)
    return () => this.#stateListeners.delete(listener)
  }

  commit(): void {}

  readonly appendedBytes = 0

  hold(): void {}

  async readTail(_from: number, visit: (record: TailRecord) => void): Promise<void> {
    for (const record of this.tail) visit(record)
  }

  /** What is not durable is gone, as after a loss of power. */
  crash(): void {
    const lost = this.#head - this.durable
    this.records.splice(this.records.length - lost)
    this.tail.splice(this.tail.length - lost)
    this.#head = this.durable
    this.#durableListeners.clear()
    this.#stateListeners.clear()
  }

  #keepRecord(ordinal: number, record: AppendRecord): void {
    this.records.push(decode(ordinal, record))
    const { clientId, user, topic, payload, qos, retain, packetId, properties } = record
    this.tail.push({
      ordinal,
      receivedMs: record.received?.ms ?? this.#clock(),
      clientId: Buffer.from(clientId),
      user: user === undefined ? undefined : Buffer.from(user),
      topic: Buffer.from(topic),
      payload: Buffer.from(payload),
      qos,
      retain,
      packetId,
      properties: properties === undefined ? undefined : Buffer.from(properties)
    })
  }
}

function decode(ordinal: number, record: AppendRecord): KeptRecord {
  const { qos, retain, dup, will, packetId, received } = record
  const user = record.user === undefined ? undefined : text(record.user)
  return {
    ordinal,
    clientId: text(record.clientId),
    user,
    topic: text(record.topic),
    payload: text(record.payload),
    qos,
    retain,
    dup,
    will,
    packetId,
    received
  }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8')
}
