const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Reads the data types of §1.5 one after another; what is not well-formed is an error. */
export class Reader {
  readonly bytes: Buffer
  at: number

  constructor(bytes: Buffer, at = 0) {
    this.bytes = bytes
    this.at = at
  }

  get done(): boolean {
    return this.at >= this.bytes.length
  }

  unsigned(length: 1 | 2 | 4): number {
    return this.#take(length).readUIntBE(0, length)
  }

  /** A variable byte integer, in as few bytes as it needs [MQTT-1.5.5-1]. */
  variable(): number {
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.unsigned(1)
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) {
        if (byte === 0 && shift > 0) throw new Error('a variable byte integer has more bytes than it needs')
        return value
      }
    }
    throw new Error('a variable byte integer has more than four bytes')
  }

  binary(): Buffer {
    return this.#take(this.unsigned(2))
  }

  string(): string {
    const value = utf8.decode(this.binary())
    if (value.includes('\0')) throw new Error('a string holds U+0000')
    return value
  }

  rest(): Buffer {
    return this.#take(this.bytes.length - this.at)
  }

  #take(length: number): Buffer {
    if (this.at + length > this.bytes.length) throw new Error('the packet ends too early')
    this.at += length
    return this.bytes.subarray(this.at - length, this.at)
  }
}
