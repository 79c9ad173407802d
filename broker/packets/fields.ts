import { isMqttString } from './topics.ts'

/** Reads the fields of a packet one after another; undefined says that the packet ends before the field does. */
export class Fields {
  readonly #buffer: Buffer
  readonly #end: number
  #at: number

  constructor(buffer: Buffer, start: number, end: number) {
    this.#buffer = buffer
    this.#at = start
    this.#end = end
  }

  get atEnd(): boolean {
    return this.#at === this.#end
  }

  /** Where the next field begins; whoever reads some on its own sets it behind them. */
  get at(): number {
    return this.#at
  }

  set at(position: number) {
    this.#at = position
  }

  byte(): number | undefined {
    return this.#at < this.#end ? this.#buffer[this.#at++] : undefined
  }

  uint16(): number | undefined {
    if (this.#end - this.#at < 2) return undefined
    this.#at += 2
    return this.#buffer.readUInt16BE(this.#at - 2)
  }

  /** A copy. */
  bytes(): Buffer | undefined {
    const length = this.uint16()
    if (length === undefined || this.#end - this.#at < length) return undefined
    this.#at += length
    return Buffer.from(this.#buffer.subarray(this.#at - length, this.#at))
  }

  string(): Buffer | undefined {
    const bytes = this.bytes()
    return bytes !== undefined && isMqttString(bytes, 0, bytes.length) ? bytes : undefined
  }
}
