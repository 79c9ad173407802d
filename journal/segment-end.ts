import { readFully, type FilePort } from './files.ts'
import {
  checkFrame,
  claimedFrameBytes,
  decodeSegmentHeader,
  frameHeaderBytes,
  frameIncomplete,
  leastFrameBytes,
  segmentHeaderBytes
} from './frame.ts'
import type { Survey } from './survey.ts'

/** What lies behind the last good frame of the last segment: nothing, less than a frame or zeros, or anything else. */
export interface SegmentEnd {
  readonly kind: 'clean' | 'torn' | 'damaged'
  /** Bytes behind the last good frame, and of the whole file. */
  readonly bytes: number
  readonly fileBytes: number
  /** Whether the header of the segment is good. */
  readonly header: boolean
}

/** Looks at what lies behind the last good frame of the last segment. */
export async function classifyEnd(files: FilePort, fd: number, offset: number, marker: number): Promise<SegmentEnd> {
  const start = Buffer.alloc(segmentHeaderBytes)
  const startBytes = await readFully(files, fd, start, start.length, 0)
  const header = decodeSegmentHeader(start.subarray(0, startBytes)) !== undefined
  const block = Buffer.alloc(256 * 1024)
  let bytes = 0
  let zeros = true
  let claimed = 0
  for (;;) {
    const got = await readFully(files, fd, block, block.length, offset + bytes)
    if (bytes === 0 && got >= frameHeaderBytes && checkFrame(block, 0, got, marker) === frameIncomplete)
      claimed = claimedFrameBytes(block, 0)
    bytes += got
    zeros &&= block.subarray(0, got).every(byte => byte === 0)
    if (got < block.length) break
  }
  const torn = bytes < frameHeaderBytes || claimed > bytes
  return {
    kind: bytes === 0 ? 'clean' : torn || zeros ? 'torn' : 'damaged',
    bytes,
    fileBytes: bytes > 0 ? offset + bytes : startBytes,
    header
  }
}

/**
 * Ordinal behind the last one that damage at the end of the last segment uses up: `next`, that of the next record, where
 * nothing says that records were there.
 */
export function endOfDamage({ received, claimed }: Survey, end: SegmentEnd, next: number): number {
  if (end.kind !== 'damaged' || (received === undefined && claimed < next && !end.header)) return next
  // A header can claim anything; no more ordinals than frames have room for are believed.
  return Math.max(next + 1, claimed < next + end.bytes / leastFrameBytes ? claimed + 1 : 0)
}
