/**
 * The mask of a frame (see frame.ts): a body that would hold the journal's marker is combined with four random bytes, which
 * end the frame, so that nothing a client sends can be taken for a frame.
 */
import { randomFillSync } from 'node:crypto'

/** What masking adds to a frame. */
export const maskBytes = 4
const maskedFlag = 128

/** Where in a body the flags are, and where that begins which is masked. */
export interface MaskedLayout {
  readonly flagsAt: number
  readonly clearBytes: number
}

/** Masks bytes[body … end) so that they do not hold the marker, and returns the offset behind the mask. */
export function mask(bytes: Buffer, body: number, end: number, marker: Buffer, { flagsAt, clearBytes }: MaskedLayout): number {
  bytes[body + flagsAt] = (bytes[body + flagsAt] ?? 0) | maskedFlag
  const clear = Buffer.from(bytes.subarray(body, end))
  const random = Buffer.alloc(maskBytes)
  do {
    randomFillSync(random)
    bytes.set(clear, body)
    applyMask(bytes, body + clearBytes, end, random)
    bytes.set(random, end)
  } while (bytes.subarray(body, end + maskBytes).indexOf(marker) !== -1)
  return end + maskBytes
}

/** Whether flags are those of a masked body. */
export function isMasked(flags: number | undefined): boolean {
  return ((flags ?? 0) & maskedFlag) !== 0
}

/** A copy of the masked body in bytes[body … end) as it was before. */
export function unmask(bytes: Buffer, body: number, end: number, { clearBytes }: MaskedLayout): Buffer {
  const clear = Buffer.from(bytes.subarray(body, end - maskBytes))
  applyMask(clear, clearBytes, clear.length, bytes.subarray(end - maskBytes, end))
  return clear
}

function applyMask(bytes: Buffer, from: number, to: number, random: Buffer): void {
  for (let at = from; at < to; at++) bytes[at] = (bytes[at] ?? 0) ^ (random[(at - from) % maskBytes] ?? 0)
}
