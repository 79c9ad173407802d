/** A view without Buffer's methods, which is made in half the time of a Buffer's. */
export function viewOf(buffer: Buffer, from: number, to: number): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset + from, to - from)
}

/** The text that bytes known to be UTF-8 are. */
export function utf8(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}
