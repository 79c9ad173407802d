import { TidegateError } from '../../errors.ts'
import type { AppendRecord, JournalState, JournalWriter } from '../../journal/record.ts'

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

/** A journal in memory. With `auto` records are durable within a turn, else when the test calls `sync`. */
export class FakeJournal implements JournalWriter {
  readonly uuid = '00000000-0000-4000-8000-000000000000'
  readonly records: KeptRecord[] = []
  durable: number
  state: JournalState = 'accepting'
  /** Takes that many records more, then it is full. */
  room = Number.POSITIVE_INFINITY
  readonly #first: number
  readonly #auto: boolean
  readonly #keep: boolean
  #head: number
  #scheduled = false
  readonly #durableListeners = new Set<(durable: number) => void>()
  readonly #stateListeners = new Set<(state: JournalState) => void>()

  constructor(options: { readonly auto?: boolean; readonly first?: number; readonly keep?: boolean } = {}) {
    this.#auto = options.auto ?? true
    this.#keep = options.keep ?? true
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
    if (this.#keep) this.records.push(decode(ordinal, record))
    this.room -= 1
    if (this.room <= 0) this.become('full')
    if (this.#auto && !this.#scheduled) {
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
    this.durable = below
    for (const listener of this.#durableListeners) listener(below)
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
}

function decode(ordinal: number, record: AppendRecord): KeptRecord {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8')
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
