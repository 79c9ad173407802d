const highBit = 0x80

/**
 * Reads what a `ByteWriter` wrote. What is not there reads as 0 or empty and makes `failed` true, so that a decoder asks once,
 * at its end; lengths are checked before anything is made, so that no bytes make it allocate more than they are.
 */
export class ByteReader {
  failed = false
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  /** True when everything was read and nothing was missing. */
  get finished(): boolean {
    return !this.failed && this.#at === this.#bytes.length
  }

  byte(): number {
    const value = this.#bytes[this.#at]
    if (value === undefined) return this.#fail()
    this.#at += 1
    return value
  }

  number(): number {
    let value = 0
    for (let scale = 1; ; scale *= highBit) {
      const byte = this.byte()
      value += (byte % highBit) * scale
      if (!Number.isSafeInteger(value)) return this.#fail()
      if (byte < highBit) return value
    }
  }

  /** How many elements follow, each of which takes `leastBytes` or more. */
  count(leastBytes: number): number {
    const count = this.number()
    return count * leastBytes <= this.#bytes.length - this.#at ? count : this.#fail()
  }

  text(): string {
    return this.block().toString('utf8')
  }

  /** A view of bytes that were written with their length. */
  block(): Buffer {
    const length = this.number()
    if (length > this.#bytes.length - this.#at) this.#fail()
    return this.#take(this.failed ? 0 : length)
  }

  /** A view of all bytes that are left. */
  rest(): Buffer {
    return this.#take(this.#bytes.length - this.#at)
  }

  #take(length: number): Buffer {
    const from = this.#at
    this.#at += length
    return this.#bytes.subarray(from, this.#at)
  }

  #fail(): 0 {
    this.failed = true
    this.#at = this.#bytes.length
    return 0
  }
}
