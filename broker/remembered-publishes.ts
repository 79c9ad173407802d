/**
 * The store behind `Resends`: publishes by client and packet id, in two orders of age, of all and of each client.
 *
 * One array of 32-bit numbers for all, eleven a publish, and a table of buckets; no object, closure or string for a
 * publish, so that hundreds of thousands of them cost the collector nothing. The memory is taken once and becomes
 * resident as it is used. Links are indices; `none` ends a list.
 */
export const none = -1

/** Bytes that a publish takes, its share of the buckets included. */
export const publishBytes = 52
/** Bytes that a client takes besides its id while it has publishes or a connection: object, entry of the map and slot. */
export const clientBytes = 256

/** A client, for all its connections. */
export interface RememberedClient {
  readonly clientId: string
  readonly slot: number
  connections: number
  publishes: number
  /** Its newest publish, or none. */
  newest: number
}

const words = 11
const word = {
  digestLow: 0,
  digestHigh: 1,
  ordinalLow: 2,
  /** Upper 16 bits of the ordinal, and the packet id below them. */
  ordinalHighAndId: 3,
  /** Tenths of a second. */
  time: 4,
  client: 5,
  /** The next publish of the same bucket; of a free place the next free one. */
  chain: 6,
  older: 7,
  newer: 8,
  olderOfClient: 9,
  newerOfClient: 10
} as const

/** What is kept of a publish. */
export interface RememberedPublish {
  readonly packetId: number
  readonly ordinal: number
  readonly digestLow: number
  readonly digestHigh: number
  readonly time: number
}

/** Publishes by client and packet id. The caller keeps the number below `capacity`. */
export class RememberedPublishes {
  readonly capacity: number
  /** The publish that was added first, or none. */
  oldest = none
  count = 0
  readonly #cells: Int32Array
  readonly #buckets: Int32Array
  readonly #shift: number
  readonly #byId = new Map<string, RememberedClient>()
  readonly #clients: (RememberedClient | undefined)[] = []
  readonly #freeSlots: number[] = []
  #newest = none
  #free = none
  /** Places that were used at some time. */
  #used = 0
  #clientsBytes = 0

  constructor(capacity: number) {
    this.capacity = capacity
    this.#cells = new Int32Array(capacity * words)
    const bits = Math.ceil(Math.log2(Math.max(2, capacity)))
    this.#buckets = new Int32Array(2 ** bits).fill(none)
    this.#shift = 32 - bits
  }

  get bytes(): number {
    return this.count * publishBytes + this.#clientsBytes
  }

  /** The client of this id; without publishes and connections it is forgotten by `release`. */
  client(clientId: string): RememberedClient {
    const known = this.#byId.get(clientId)
    if (known !== undefined) return known
    const slot = this.#freeSlots.pop() ?? this.#clients.length
    const client: RememberedClient = { clientId, slot, connections: 0, publishes: 0, newest: none }
    this.#clients[slot] = client
    this.#byId.set(clientId, client)
    this.#clientsBytes += clientBytes + clientId.length
    return client
  }

  release(client: RememberedClient): void {
    if (client.connections > 0 || client.publishes > 0) return
    this.#byId.delete(client.clientId)
    this.#clients[client.slot] = undefined
    this.#freeSlots.push(client.slot)
    this.#clientsBytes -= clientBytes + client.clientId.length
  }

  /** The publish under this packet id, or none. */
  find(client: RememberedClient, packetId: number): number {
    const cells = this.#cells
    let index = this.#buckets[this.#bucketOf(client.slot, packetId)] ?? none
    while (index !== none) {
      const at = index * words
      if (cells[at + word.client] === client.slot && ((cells[at + word.ordinalHighAndId] ?? 0) & 0xffff) === packetId) return index
      index = cells[at + word.chain] ?? none
    }
    return none
  }

  ordinalOf(index: number): number {
    const at = index * words
    const high = (this.#cells[at + word.ordinalHighAndId] ?? 0) >>> 16
    return high * 0x1_0000_0000 + ((this.#cells[at + word.ordinalLow] ?? 0) >>> 0)
  }

  timeOf(index: number): number {
    return this.#cells[index * words + word.time] ?? 0
  }

  hasDigest(index: number, low: number, high: number): boolean {
    const at = index * words
    return this.#cells[at + word.digestLow] === low && this.#cells[at + word.digestHigh] === high
  }

  /** Adds the newest publish of all. There must be none under its packet id, and room. */
  add(client: RememberedClient, { packetId, ordinal, digestLow, digestHigh, time }: RememberedPublish): void {
    const cells = this.#cells
    const index = this.#take()
    const at = index * words
    const bucket = this.#bucketOf(client.slot, packetId)
    cells[at + word.digestLow] = digestLow
    cells[at + word.digestHigh] = digestHigh
    cells[at + word.ordinalLow] = ordinal | 0
    cells[at + word.ordinalHighAndId] = (Math.floor(ordinal / 0x1_0000_0000) << 16) | packetId
    cells[at + word.time] = time
    cells[at + word.client] = client.slot
    cells[at + word.chain] = this.#buckets[bucket] ?? none
    this.#buckets[bucket] = index
    this.#link(index, word.older, word.newer, this.#newest)
    if (this.#newest === none) this.oldest = index
    this.#newest = index
    this.#link(index, word.olderOfClient, word.newerOfClient, client.newest)
    client.newest = index
    client.publishes += 1
    this.count += 1
  }

  remove(index: number): void {
    const cells = this.#cells
    const at = index * words
    const client = this.#clients[cells[at + word.client] ?? none]
    if (client === undefined) return
    this.#unchain(index, this.#bucketOf(client.slot, (cells[at + word.ordinalHighAndId] ?? 0) & 0xffff))
    const newer = cells[at + word.newer] ?? none
    if (newer === none) this.#newest = cells[at + word.older] ?? none
    if (this.oldest === index) this.oldest = newer
    this.#unlink(index, word.older, word.newer)
    if (client.newest === index) client.newest = cells[at + word.olderOfClient] ?? none
    this.#unlink(index, word.olderOfClient, word.newerOfClient)
    cells[at + word.chain] = this.#free
    this.#free = index
    this.count -= 1
    client.publishes -= 1
    this.release(client)
  }

  #take(): number {
    const free = this.#free
    if (free === none) return this.#used++
    this.#free = this.#cells[free * words + word.chain] ?? none
    return free
  }

  #link(index: number, older: number, newer: number, before: number): void {
    const at = index * words
    this.#cells[at + older] = before
    this.#cells[at + newer] = none
    if (before !== none) this.#cells[before * words + newer] = index
  }

  #unlink(index: number, older: number, newer: number): void {
    const cells = this.#cells
    const at = index * words
    const before = cells[at + older] ?? none
    const behind = cells[at + newer] ?? none
    if (before !== none) cells[before * words + newer] = behind
    if (behind !== none) cells[behind * words + older] = before
  }

  #unchain(index: number, bucket: number): void {
    const cells = this.#cells
    const next = cells[index * words + word.chain] ?? none
    let before = this.#buckets[bucket] ?? none
    if (before === index) {
      this.#buckets[bucket] = next
      return
    }
    while (before !== none && cells[before * words + word.chain] !== index) before = cells[before * words + word.chain] ?? none
    if (before !== none) cells[before * words + word.chain] = next
  }

  #bucketOf(slot: number, packetId: number): number {
    return Math.imul((Math.imul(slot, 0x85ebca6b) + packetId) | 0, 0x9e3779b1) >>> this.#shift
  }
}
