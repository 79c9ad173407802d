const firstBytes = 256
const highBit = 0x80
const lowBits = 0x7f

/** Writes numbers, strings and bytes one behind the other into a buffer that grows; `ByteReader` reads them. */
export class ByteWriter {
  #bytes = Buffer.allocUnsafe(firstBytes)
  #length = 0

  /** What was written since `clear`; good until the next call. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  clear(): void {
    this.#length = 0
  }

  byte(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = value
  }

  /** A whole number from 0 to 2⁵³ − 1, in one to eight bytes. */
  number(value: number): void {
    let rest = value
    while (rest > lowBits) {
      this.byte((rest % highBit) | highBit)
      rest = Math.floor(rest / highBit)
    }
    this.byte(rest)
  }

  /** A string that must be well-formed UTF-16. */
  text(value: string): void {
    const length = Buffer.byteLength(value)
    this.number(length)
    this.#reserve(length)
    this.#bytes.write(value, this.#length)
    this.#length += length
  }

  block(value: Uint8Array): void {
    this.number(value.length)
    this.rest(value)
  }

  /** Bytes up to the end, without their length. */
  rest(value: Uint8Array): void {
    this.#reserve(value.length)
    this.#bytes.set(value, this.#length)
    this.#length += value.length
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#length + bytes, 2 * this.#bytes.length))
    this.#bytes.copy(larger, 0, 0, this.#length)
    this.#bytes = larger
  }
}
