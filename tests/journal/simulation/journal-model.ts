import type { AppendRecord, JournalBatch, JournalRecord } from '../../../journal/record.ts'
import { checkBatch } from '../fixture.ts'
import { roomyBytes, type Setting } from './steps.ts'

interface Appended {
  readonly number: number
  readonly bytes: number
  readonly client: number
  readonly clockMs: number
  /** Once a reader saw it. */
  received: string | undefined
}

/**
 * What the journal promised, kept apart from it: which record has which ordinal, how far it was told to be durable, and
 * what may be missing. Every check throws.
 */
export class JournalModel {
  /** The next ordinal, as far as the test knows. */
  head: number
  /** What is below is readable whatever happens to the process; with sync fsync, to the machine. */
  promised: number
  /** The disk was full, or said so, at some time. */
  spaceRanOut = false
  numbers = 0
  largestBytes = 0
  readonly #setting: Setting
  readonly #records = new Map<number, Appended>()
  /** Records that had an ordinal before: without fsync a loss of power may bring them back. */
  readonly #former = new Map<number, Appended[]>()
  /** Never told to be durable, and hit by a loss of power or a failed sync: these may be damaged. */
  readonly #torn = new Set<number>()

  constructor(setting: Setting) {
    this.#setting = setting
    this.head = this.promised = setting.firstOrdinal
  }

  /** The next record of a client. */
  next(client: number, bytes: number): AppendRecord {
    return recordOf(this.numbers, bytes, client)
  }

  appended(ordinal: number, client: number, bytes: number, clockMs: number): void {
    check(ordinal === this.head, `ordinal ${ordinal} was given to a record, not ${this.head}`)
    this.largestBytes = Math.max(this.largestBytes, bytes)
    const former = this.#records.get(ordinal)
    if (former !== undefined) this.#former.set(ordinal, [...(this.#former.get(ordinal) ?? []), former])
    this.#records.set(ordinal, { number: this.numbers++, bytes, client, clockMs, received: undefined })
    this.#torn.delete(ordinal)
    this.head++
  }

  /** The journal said so. */
  told(upTo: number): void {
    check(upTo <= this.head, `told ${upTo}, and only ${this.head} are appended`)
    check(upTo >= this.promised, `told ${upTo} after ${this.promised}`)
    this.promised = upTo
  }

  /** A process was killed; `lostSync`: and a sync had failed. */
  killed(lostSync: boolean): void {
    if (lostSync) this.#tear(this.#setting.sync === 'fsync' ? this.promised : this.#setting.firstOrdinal)
  }

  lostPower(): void {
    if (this.#setting.sync !== 'fsync') this.promised = this.#setting.firstOrdinal
    this.#tear(this.promised)
  }

  opened(head: number, durable: number): void {
    check(head >= this.promised, `the head is ${head} after opening, and ${this.promised} were told to be durable`)
    check(head <= this.head, `the head is ${head} after opening, and ${this.head} were appended`)
    this.head = head
    this.told(durable)
  }

  /** Records are dropped only where that is chosen, and only for want of space. */
  get #dropsAllowed(): boolean {
    const { whenFull, maxBytes } = this.#setting
    return whenFull === 'drop-oldest' && (this.spaceRanOut || maxBytes < roomyBytes)
  }

  /** One read: every ordinal once; records as they were appended, and gaps only where they may be. */
  check(batch: JournalBatch, from: number): void {
    checkBatch(batch, from)
    for (const record of batch.records) this.#checkRecord(record)
    for (const gap of batch.gaps) {
      for (let ordinal = gap.from; ordinal < gap.to; ordinal++) {
        if (gap.kind === 'dropped' ? !this.#dropsAllowed : !this.#torn.has(ordinal)) {
          throw new Error(`ordinal ${ordinal} is ${gap.kind} (promised ${this.promised}, head ${this.head})`)
        }
      }
    }
  }

  #checkRecord(record: JournalRecord): void {
    const { ordinal } = record
    const current = this.#records.get(ordinal)
    const same = [...(current === undefined ? [] : [current]), ...this.#formerOf(ordinal)].find(appended => isSame(record, appended))
    if (same === undefined) throw new Error(`ordinal ${ordinal} is ${text(record)}, not record ${current?.number ?? 'never appended'}`)
    const received = `${record.receivedMs}.${record.receivedSubNs}`
    same.received ??= received
    if (same.received !== received || record.receivedSubNs !== ordinal % 1_000_000 || ![0, 1].includes(record.receivedMs - same.clockMs)) {
      throw new Error(`ordinal ${ordinal} was received at ${received}, not ${same.received} (clock ${same.clockMs})`)
    }
    this.#records.set(ordinal, same)
    // It was there and is promised: from now on it stays.
    if (ordinal < this.promised) this.#torn.delete(ordinal)
  }

  #formerOf(ordinal: number): readonly Appended[] {
    return this.#setting.sync === 'fsync' ? [] : (this.#former.get(ordinal) ?? [])
  }

  #tear(from: number): void {
    for (let ordinal = from; ordinal < this.head; ordinal++) this.#torn.add(ordinal)
  }
}

/** Throws when a promise is broken. */
export function check(holds: boolean, broken: string): asserts holds {
  if (!holds) throw new Error(broken)
}

/** A record that no other number makes. */
function recordOf(number: number, bytes: number, client: number): AppendRecord {
  const payload = Buffer.alloc(bytes, (number * 31 + 7) & 0xff)
  payload.write(`${number};`, 0)
  return {
    clientId: Buffer.from(`client-${client}`),
    user: client % 2 === 0 ? Buffer.from(`user-${client}`) : undefined,
    topic: Buffer.from(`devices/${client}/${number}`),
    payload,
    qos: number % 3 === 0 ? 0 : number % 3 === 1 ? 1 : 2,
    retain: number % 2 === 0,
    dup: number % 5 === 0,
    will: number % 7 === 0,
    packetId: number % 65_536,
    properties: number % 4 === 0 ? Buffer.from(`properties-${number}`) : undefined,
    received: undefined
  }
}

function isSame(record: JournalRecord, { number, bytes, client }: Appended): boolean {
  const expected = recordOf(number, bytes, client)
  return (
    record.topic === text(expected.topic) &&
    record.clientId === text(expected.clientId) &&
    record.user === (expected.user && text(expected.user)) &&
    Buffer.compare(record.payload, expected.payload) === 0 &&
    Buffer.compare(record.properties ?? Buffer.alloc(0), expected.properties ?? Buffer.alloc(0)) === 0 &&
    record.qos === expected.qos &&
    record.retain === expected.retain &&
    record.dup === expected.dup &&
    record.will === expected.will &&
    record.packetId === expected.packetId
  )
}

function text(value: Uint8Array | JournalRecord): string {
  return 'topic' in value ? `${value.topic} of ${value.clientId}` : Buffer.from(value).toString('utf8')
}
