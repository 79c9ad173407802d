import type { DamagedRegion } from './frame-walker.ts'
import type { FilePort } from './files.ts'
import { FrameWalker } from './frame-walker.ts'
import { frameOrdinal, frameReceived, segmentHeaderBytes } from './frame.ts'

/** Regions that are named one by one; beyond, they are only counted. */
const namedRegions = 256

/** Frames that follow each other, in bytes and in ordinals [first, end), from an offset on. */
export interface FrameRun {
  readonly offset: number
  readonly first: number
  readonly end: number
}

/** Bytes of a segment that are no frame: how many, and the first 256 regions of them. */
export interface Damage {
  readonly bytes: number
  readonly regions: readonly DamagedRegion[]
}

/** What a segment has of a range of ordinals. */
export interface Survey {
  /** By ordinal; no ordinal is in two of them, except that the frames at the start of one may be in the one before. */
  readonly runs: readonly FrameRun[]
  /** Records of the range that are there. */
  readonly found: number
  /** Damage in front of and between the frames of the range, and behind the last of them. */
  readonly between: Damage
  readonly behind: Damage
  /** Offset behind the last frame that checks, whatever its ordinal, and the length of that frame. */
  readonly end: number
  readonly lastFrameBytes: number
  /** Offset behind the highest frame of the range, and its received time; where the survey began when there is none. */
  readonly highestEnd: number
  readonly received: { readonly ms: number; readonly subNs: number } | undefined
  /** Highest ordinal that a damaged frame with a good header claims behind the last good one, or −1. */
  readonly claimed: number
}

interface Loose {
  bytes: number
  regions: DamagedRegion[]
}

/**
 * Looks through a segment from an offset to its end for the frames of [from, below), wherever they lie. It is what a
 * reader does where frames are not in order: a block that was copied over another, or moved, hides nothing behind it.
 */
export async function surveySegment(
  segment: { readonly files: FilePort; readonly fd: number; readonly marker: number; readonly offset?: number },
  range: { readonly from: number; readonly below: number }
): Promise<Survey> {
  const { files, fd, marker, offset = segmentHeaderBytes } = segment
  const walker = new FrameWalker(files, fd, marker, offset)
  const between: Loose = { bytes: 0, regions: [] }
  let behind: Loose = { bytes: 0, regions: [] }
  const inFile: { offset: number; first: number; end: number; offsetEnd: number }[] = []
  let highest = -1
  let highestEnd = offset
  let received: Survey['received']
  for (;;) {
    const step = walker.step()
    if (step === 'more') {
      await walker.fill()
      continue
    }
    if (walker.damage !== undefined) addDamage(behind, { bytes: walker.damage.bytes, regions: [walker.damage] })
    if (step === 'end') break
    const ordinal = frameOrdinal(walker.bytes, walker.at)
    // What lies among frames beyond the range is not its damage: they may be void, or half written.
    if (ordinal >= range.below) continue
    addDamage(between, behind)
    behind = { bytes: 0, regions: [] }
    if (ordinal < range.from) continue
    const at = walker.offset - walker.frameBytes
    const run = inFile.at(-1)
    if (run?.end === ordinal && run.offsetEnd === at) {
      run.end = ordinal + 1
      run.offsetEnd = walker.offset
    } else inFile.push({ offset: at, first: ordinal, end: ordinal + 1, offsetEnd: walker.offset })
    if (ordinal <= highest) continue
    highest = ordinal
    highestEnd = walker.offset
    received = frameReceived(walker.bytes, walker.at)
  }
  const runs = inOrder(inFile)
  return {
    runs,
    found: runs.reduce((sum, run) => sum + run.end - run.first, 0),
    between,
    behind,
    end: walker.offset,
    lastFrameBytes: walker.frameBytes,
    highestEnd,
    received,
    claimed: walker.damagedOrdinal
  }
}

function addDamage(to: Loose, from: Damage): void {
  to.bytes += from.bytes
  for (const region of from.regions) if (to.regions.length < namedRegions) to.regions.push(region)
}

/** Runs by ordinal, each without what the ones before have. */
function inOrder(inFile: FrameRun[]): FrameRun[] {
  inFile.sort((a, b) => a.first - b.first || b.end - a.end)
  const runs: FrameRun[] = []
  let next = 0
  for (const { offset, first, end } of inFile) {
    if (end <= next) continue
    runs.push({ offset, first: Math.max(first, next), end })
    next = end
  }
  return runs
}
