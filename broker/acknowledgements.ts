import type { PublisherSide } from './publisher-side.ts'

/** First bytes of the acknowledgements that the gate writes. */
export const acknowledgement = { puback: 0x40, pubrec: 0x50, pubcomp: 0x70 } as const

/**
 * Acknowledgements that wait for the disk, of all connections, in the order in which they were taken, which is that of
 * the ordinals. `release` walks from the front, so that one commit costs one pass over what it made durable, and what it
 * releases to one connection leaves in one write.
 *
 * A ring of three parallel arrays instead of an object per message: 20 bytes each and nothing for the collector. It
 * doubles when it is full of what is waited for; every connection is bounded by its in-flight window.
 */
export class Acknowledgements {
  #ordinals = new Float64Array(1024)
  #packets = new Uint32Array(1024)
  #publishers: (PublisherSide | undefined)[] = Array.from({ length: 1024 })
  #front = 0
  #count = 0
  #durable = 0
  readonly #touched: PublisherSide[] = []

  /** Acknowledgements that wait. */
  get waiting(): number {
    return this.#count
  }

  /** Records below this ordinal are known to be durable. */
  get durable(): number {
    return this.#durable
  }

  /** True when something that already is durable waits, because it was pushed after its commit was told. */
  get overdue(): boolean {
    return this.#count > 0 && (this.#ordinals[this.#front] ?? 0) < this.#durable
  }

  /**
   * Queues an acknowledgement until the record with the ordinal is durable. Ordinals never fall. The type may have a reason
   * code of MQTT 5 in its second byte.
   */
  push(publisher: PublisherSide, type: number, packetId: number, ordinal: number): void {
    if (this.#count === this.#ordinals.length) this.#makeRoom()
    const at = (this.#front + this.#count) & (this.#ordinals.length - 1)
    this.#ordinals[at] = ordinal
    this.#packets[at] = (type << 16) | packetId
    this.#publishers[at] = publisher
    this.#count += 1
    publisher.unacknowledged += 1
  }

  /** Writes every acknowledgement below the ordinal. Returns how many were released. */
  release(durable: number): number {
    if (durable > this.#durable) this.#durable = durable
    const touched = this.#touched
    const mask = this.#ordinals.length - 1
    let front = this.#front
    let released = 0
    while (released < this.#count && (this.#ordinals[front] ?? 0) < this.#durable) {
      const publisher = this.#publishers[front]
      if (publisher !== undefined) {
        if (publisher.stageAcknowledgement(this.#packets[front] ?? 0)) touched.push(publisher)
        this.#publishers[front] = undefined
      }
      front = (front + 1) & mask
      released += 1
    }
    this.#front = front
    this.#count -= released
    for (const publisher of touched.splice(0)) publisher.writeAcknowledgements()
    return released
  }

  /**
   * Leaves out what nobody waits for any more, and doubles when that is less than half: while the disk fails, connections
   * that end and come again must not fill it.
   */
  #makeRoom(): void {
    const size = this.#ordinals.length
    const count = this.#count
    let live = 0
    for (let index = 0; index < count; index++) if (isLive(this.#publishers[(this.#front + index) & (size - 1)])) live += 1
    const newSize = live * 2 > size ? size * 2 : size
    const ordinals = new Float64Array(newSize)
    const packets = new Uint32Array(newSize)
    const publishers: (PublisherSide | undefined)[] = Array.from({ length: newSize })
    let next = 0
    for (let index = 0; index < count; index++) {
      const at = (this.#front + index) & (size - 1)
      const publisher = this.#publishers[at]
      if (!isLive(publisher)) continue
      ordinals[next] = this.#ordinals[at] ?? 0
      packets[next] = this.#packets[at] ?? 0
      publishers[next] = publisher
      next += 1
    }
    this.#ordinals = ordinals
    this.#packets = packets
    this.#publishers = publishers
    this.#front = 0
    this.#count = next
  }
}

function isLive(publisher: PublisherSide | undefined): boolean {
  return publisher !== undefined && !publisher.host.closed
}
