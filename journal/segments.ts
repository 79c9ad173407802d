import { isMissing, type FilePort } from './files.ts'
import { parseSegmentName } from './frame.ts'

/** A segment file and the ordinals [first, end) that it answers for; what it has beyond is void. */
export interface SegmentFile {
  readonly name: string
  readonly path: string
  readonly sequence: number
  readonly first: number
  /** Infinity for the last one. */
  readonly end: number
}

/** The segments in a folder, oldest first. Other files are left out; a missing folder has none. */
export async function listSegments(files: FilePort, folder: string): Promise<SegmentFile[]> {
  let names: string[]
  try {
    names = await files.list(folder)
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
  const found = names.flatMap(name => {
    const parsed = parseSegmentName(name)
    return parsed === undefined ? [] : [{ name, path: `${folder}/${name}`, ...parsed }]
  })
  found.sort((a, b) => b.sequence - a.sequence)
  let end = Infinity
  const segments = found.map(segment => {
    const range = { ...segment, end: Math.max(segment.first, end) }
    end = Math.min(end, segment.first)
    return range
  })
  return segments.toReversed()
}

/** The segment that answers for an ordinal, or undefined when none does. */
export function segmentFor(segments: readonly SegmentFile[], ordinal: number): SegmentFile | undefined {
  return segments.findLast(segment => segment.first <= ordinal && ordinal < segment.end)
}

/** The nearest ordinal above this one at which a segment begins, or Infinity. Segments that are void answer for nothing. */
export function nextFirst(segments: readonly SegmentFile[], ordinal: number): number {
  return segments.reduce((next, { first, end }) => (first > ordinal && end > first ? Math.min(next, first) : next), Infinity)
}
