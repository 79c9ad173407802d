/** One bit for each of a known number of things. */
export class Bits {
  readonly size: number
  readonly #bytes: Uint8Array
  #count = 0

  constructor(size: number) {
    this.size = size
    this.#bytes = new Uint8Array(Math.ceil(size / 8))
  }

  /** How many are set. */
  get count(): number {
    return this.#count
  }

  has(index: number): boolean {
    return index >= 0 && index < this.size && ((this.#bytes[index >> 3] ?? 0) & (1 << (index & 7))) !== 0
  }

  /** Sets a bit; false when it was set before. */
  add(index: number): boolean {
    if (this.has(index)) return false
    this.#bytes[index >> 3] = (this.#bytes[index >> 3] ?? 0) | (1 << (index & 7))
    this.#count++
    return true
  }
}

/** What became of the readings of one device: two bits each. */
export interface DeviceTally {
  readonly sent: Bits
  readonly acknowledged: Bits
}
