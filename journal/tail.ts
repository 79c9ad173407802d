import { whileOpen, type FilePort } from './files.ts'
import { FrameWalker } from './frame-walker.ts'
import { frameOrdinal, segmentHeaderBytes, viewFrame } from './frame.ts'
import type { TailRecord } from './record.ts'
import { listSegments, type SegmentFile } from './segments.ts'

export interface TailOptions {
  readonly files: FilePort
  readonly folder: string
  readonly marker: number
  /** Records from this ordinal on are visited although they lie before the tail. */
  readonly from: number
  /** Ordinal behind the last one. */
  readonly end: number
  /** Length of the tail; default 64 MiB. */
  readonly bytes?: number
  readonly visit: (record: TailRecord) => void
}

interface Part {
  readonly segment: SegmentFile
  /** Where in the file it begins: anywhere, the walker finds the next frame. */
  readonly offset: number
}

/**
 * Visits the records among the newest bytes of a journal, and those before from an ordinal on, in the order of their ordinals;
 * those that a block of later ones precedes in the file, since a disk mixed them up, count as damaged. The event loop gets its
 * turn with every 256 KiB: about 1,700 records of 150 bytes.
 */
export async function visitTail(options: TailOptions): Promise<void> {
  for (const part of await partsOf(options)) {
    // A segment that retention removed meanwhile is as old as what lies before the tail.
    await whileOpen(options.files, part.segment.path, async fd => await visitPart(options, part, fd))
  }
}

async function partsOf(options: TailOptions): Promise<readonly Part[]> {
  const { files, folder, from, bytes = 64 * 1024 * 1024 } = options
  const parts: Part[] = []
  let rest = bytes
  for (const segment of (await listSegments(files, folder)).toReversed()) {
    if (rest <= 0 && segment.end <= from) break
    const size = (await files.stat(segment.path))?.bytes ?? 0
    const offset = Math.max(segmentHeaderBytes, size - Math.max(0, rest))
    const whole = from < segment.end && offset > segmentHeaderBytes && !(await reaches(options, { segment, offset }))
    parts.push({ segment, offset: whole ? segmentHeaderBytes : offset })
    rest -= size
  }
  return parts.toReversed()
}

/** Whether nothing from the ordinal on lies before the part. */
async function reaches({ files, marker, from }: TailOptions, { segment, offset }: Part): Promise<boolean> {
  const first = await whileOpen(files, segment.path, async fd => {
    const walker = new FrameWalker(files, fd, marker, offset)
    for (;;) {
      const step = walker.step()
      if (step === 'end') return undefined
      if (step === 'frame') return frameOrdinal(walker.bytes, walker.at)
      await walker.fill()
    }
  })
  return first !== undefined && first <= from
}

async function visitPart({ files, marker, end, visit }: TailOptions, { segment, offset }: Part, fd: number): Promise<void> {
  const record: TailRecord = {
    ordinal: 0,
    receivedMs: 0,
    clientId: new Uint8Array(),
    user: undefined,
    topic: new Uint8Array(),
    payload: new Uint8Array(),
    qos: 0,
    retain: false,
    packetId: 0,
    properties: undefined
  }
  const behind = Math.min(end, segment.end)
  let next = segment.first
  const walker = new FrameWalker(files, fd, marker, offset)
  for (;;) {
    const step = walker.step()
    if (step === 'end') return
    if (step === 'more') {
      await walker.fill()
      continue
    }
    const ordinal = frameOrdinal(walker.bytes, walker.at)
    if (ordinal < next || ordinal >= behind) continue
    next = ordinal + 1
    viewFrame(walker.bytes, walker.at, record)
    visit(record)
  }
}
