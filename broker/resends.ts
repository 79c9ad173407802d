/**
 * Recognises publishes that come again because their acknowledgement was lost, so that they are stored once.
 *
 * A QoS 1 or 2 publish is the one that was journaled before if all of this holds: DUP is set; client id, user, packet id,
 * QoS, retain flag, topic, properties and payload are the same; it is less than ten minutes old; it came over this
 * connection or over an earlier one of its client that ended without DISCONNECT; and no later publish under the packet id
 * was read of that client. The time is that of a clock that is never set. What a start reads from the journal is as old as
 * it was when the newest of it was received: while nothing is journaled no packet id is used again, and the wall clock may
 * have been set meanwhile. Between two received times as much has passed as they say, and nothing if it went back.
 *
 * Memory is bounded: at a bound the oldest publish is forgotten, and one that is sent again after that is a second
 * record, never a lost one.
 */
import type { AppendRecord, TailRecord } from '../journal/record.ts'
import { Digest } from './digest.ts'
import { none, publishBytes, RememberedPublishes } from './remembered-publishes.ts'
import type { RememberedClient } from './remembered-publishes.ts'

export type { RememberedClient } from './remembered-publishes.ts'

/** How long a publish can be recognised. */
export const resendWindowMs = 600_000

const tenthMs = 100
/** Publishes that one look at the oldest takes away because of their age: no turn of the event loop takes long. */
const expiredAtOnce = 5000

export interface ResendsOptions {
  /** Publishes remembered at most, and their bytes. */
  readonly limit: number
  readonly limitBytes: number
  /** Called for each publish that is forgotten because of a bound. */
  readonly onEvicted: () => void
  /** Clock that is never set, in ms. */
  readonly monotonic: () => number
}

/** The publishes that may be sent again. */
export class Resends {
  readonly #options: ResendsOptions
  readonly #publishes: RememberedPublishes
  readonly #digest = new Digest()
  /** Received time of the newest publish that was recalled, and the time from the oldest one up to it. */
  #recalledMs: number | undefined
  #spanMs = 0
  /** What the time of publishes is ahead of the clock: it goes on where that of the journal ended. */
  #ahead = 0

  constructor(options: ResendsOptions) {
    this.#options = options
    this.#publishes = new RememberedPublishes(Math.max(1, Math.min(options.limit, Math.floor(options.limitBytes / publishBytes))))
  }

  /** Publishes that are remembered. */
  get count(): number {
    return this.#publishes.count
  }

  get bytes(): number {
    return this.#publishes.bytes
  }

  /** A connection of the client begins; `detach` ends it. */
  attach(clientId: string): RememberedClient {
    const client = this.#publishes.client(clientId)
    client.connections += 1
    return client
  }

  detach(client: RememberedClient): void {
    client.connections -= 1
    this.#publishes.release(client)
  }

  /** Remembers a publish that was appended; it is a later one than any other under its packet id. */
  remember(client: RememberedClient, record: AppendRecord, ordinal: number): void {
    this.#add(client, record, ordinal, this.#now())
  }

  /** Remembers a publish of the journal, read at the start, in the order of the ordinals. The last one is received just now. */
  recall(record: TailRecord): void {
    const sinceMs = record.receivedMs - (this.#recalledMs ?? record.receivedMs)
    this.#recalledMs = record.receivedMs
    // More than the window would say no more, and a clock that leaps to and fro would leave the range of the cells.
    this.#spanMs += Math.min(Math.max(0, sinceMs), resendWindowMs)
    const time = Math.floor(this.#spanMs / tenthMs)
    this.#ahead = time - this.#clock()
    // Attached meanwhile, so that it is not let go of when its last publish makes room.
    const client = this.attach(utf8(record.clientId))
    this.#add(client, record, record.ordinal, time)
    this.detach(client)
    this.expire()
  }

  /** The ordinal of the record that this publish, which came with DUP, is the same message as, or undefined. */
  original(client: RememberedClient, record: AppendRecord): number | undefined {
    const index = this.#publishes.find(client, record.packetId)
    if (index === none || this.#expired(index)) return undefined
    const digest = this.#digest
    digest.of(record)
    return this.#publishes.hasDigest(index, digest.low, digest.high) ? this.#publishes.ordinalOf(index) : undefined
  }

  /** The publish under this packet id is over: its PUBREL came, or a later one that is not in the journal. */
  forget(client: RememberedClient, packetId: number): void {
    const index = this.#publishes.find(client, packetId)
    if (index !== none) this.#publishes.remove(index)
  }

  /** The client said DISCONNECT: what it published from this ordinal on, over that connection, will not come again. */
  forgetFrom(client: RememberedClient, ordinal: number): void {
    const publishes = this.#publishes
    while (client.newest !== none && publishes.ordinalOf(client.newest) >= ordinal) publishes.remove(client.newest)
  }

  /** Forgets what is too old to be recognised. */
  expire(): void {
    const publishes = this.#publishes
    for (let count = 0; count < expiredAtOnce && publishes.oldest !== none && this.#expired(publishes.oldest); count++) {
      publishes.remove(publishes.oldest)
    }
  }

  #add(client: RememberedClient, record: AppendRecord | TailRecord, ordinal: number, time: number): void {
    const publishes = this.#publishes
    const { packetId } = record
    const digest = this.#digest
    const known = publishes.find(client, packetId)
    if (known !== none) publishes.remove(known)
    else if (publishes.count === publishes.capacity) this.#evict()
    digest.of(record)
    publishes.add(client, { packetId, ordinal, digestLow: digest.low, digestHigh: digest.high, time })
    while (publishes.count > 0 && publishes.bytes > this.#options.limitBytes) this.#evict()
  }

  #evict(): void {
    const { oldest } = this.#publishes
    if (!this.#expired(oldest)) this.#options.onEvicted()
    this.#publishes.remove(oldest)
  }

  #now(): number {
    return this.#clock() + this.#ahead
  }

  #clock(): number {
    return Math.floor(this.#options.monotonic() / tenthMs)
  }

  #expired(index: number): boolean {
    return this.#now() - this.#publishes.timeOf(index) >= resendWindowMs / tenthMs
  }
}

function utf8(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}
