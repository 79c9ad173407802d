import type { AppendRecord, JournalTail, JournalWriter } from '../../journal/record.ts'
import { recordText } from './reference.ts'

/** A journal in memory that keeps what each client published; what was appended in one turn is durable in the next. */
export class KeptJournal implements JournalWriter, JournalTail {
  readonly uuid = '00000000-0000-4000-8000-000000000000'
  readonly state = 'accepting'
  head = 0
  durable = 0
  /** Topic and payload of every record, in order, when somebody wants to compare them. */
  all: string[] | undefined
  readonly #byClient = new Map<string, string[]>()
  readonly #listeners = new Set<(durable: number) => void>()
  #scheduled = false

  get listeners(): number {
    return this.#listeners.size
  }

  append(record: AppendRecord): number {
    const clientId = Buffer.from(record.clientId.buffer, record.clientId.byteOffset, record.clientId.byteLength).toString('latin1')
    const kept = this.#byClient.get(clientId)
    if (kept === undefined) this.#byClient.set(clientId, [recordText(record)])
    else kept.push(recordText(record))
    this.all?.push(messageText(record.topic, record.payload))
    if (!this.#scheduled) {
      this.#scheduled = true
      setImmediate(() => this.#sync())
    }
    return this.head++
  }

  /** How many records of a client there are. */
  count(clientId: string): number {
    return this.#byClient.get(clientId)?.length ?? 0
  }

  /** Takes the records of a client away, in order. */
  take(clientId: string): readonly string[] {
    const records = this.#byClient.get(clientId) ?? []
    this.#byClient.delete(clientId)
    return records
  }

  /** Clients with records that nobody took. */
  get clients(): readonly string[] {
    return [...this.#byClient.keys()]
  }

  onDurable(listener: (durable: number) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  onState(): () => void {
    return () => {}
  }

  commit(): void {}

  readonly appendedBytes = 0

  hold(): void {}

  async readTail(): Promise<void> {}

  #sync(): void {
    this.#scheduled = false
    this.durable = this.head
    for (const listener of this.#listeners) listener(this.durable)
  }
}

/** A message as a subscriber sees it, every byte of it. */
export function messageText(topic: Uint8Array, payload: Uint8Array): string {
  return `${Buffer.from(topic).toString('latin1')}\n${Buffer.from(payload).toString('latin1')}`
}
