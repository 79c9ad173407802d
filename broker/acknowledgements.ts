import type { PublisherSide } from './publisher-side.ts'

/** First bytes of the acknowledgements that the gate writes. */
export const acknowledgement = { puback: 0x40, pubrec: 0x50, pubcomp: 0x70 } as const

/**
 * Acknowledgements that wait for the disk, of all connections, in the order in which they were taken, which is that of
 * the ordinals. `release` walks from the front, so that one commit costs one pass over what it made durable, and what it
 * releases to one connection leaves in one write.
 *
 * A ring of three parallel arrays instead of an object per message: 20 bytes each and nothing for the collector. It
 * doubles when full; every connection is bounded by its in-flight window.
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
    if (this.#count === this.#ordinals.length) this.#grow()
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

  #grow(): void {
    const size = this.#ordinals.length
    const ordinals = new Float64Array(size * 2)
    const packets = new Uint32Array(size * 2)
    const publishers: (PublisherSide | undefined)[] = Array.from({ length: size * 2 })
    for (let index = 0; index < this.#count; index++) {
      const at = (this.#front + index) & (size - 1)
      ordinals[index] = this.#ordinals[at] ?? 0
      packets[index] = this.#packets[at] ?? 0
      publishers[index] = this.#publishers[at]
    }
    this.#ordinals = ordinals
    this.#packets = packets
    this.#publishers = publishers
    this.#front = 0
  }
}
