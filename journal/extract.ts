/** What a copy of a journal consists of. Nothing outside this folder knows about segments; a copy gets names and lengths. */
import { whileOpen, type FilePort } from './files.ts'
import { FrameWalker } from './frame-walker.ts'
import { frameOrdinal } from './frame.ts'
import { loadMarks, saveMarks, type Marks } from './marks.ts'
import { listSegments, type SegmentFile } from './segments.ts'

/** A file of a journal, and how many of its bytes belong to the copy. */
export interface ExtractedFile {
  readonly name: string
  readonly bytes: number
}

export interface Extract {
  readonly marks: Marks
  readonly files: readonly ExtractedFile[]
}

/**
 * The segments that hold the ordinals [from, to), oldest first, each up to the end of its last record below `to`, and the
 * marks that go with them. Pin them first where the journal is open: what goes meanwhile would be missing.
 * Undefined when the folder has no journal.
 */
export async function extractJournal(
  files: FilePort,
  folder: string,
  range: { readonly from: number; readonly to: number }
): Promise<Extract | undefined> {
  const marks = await loadMarks(files, folder)
  if (marks === undefined) return undefined
  const { from, to } = range
  const segments = (await listSegments(files, folder)).filter(segment => segment.first < to && segment.end > from)
  const extracted: ExtractedFile[] = []
  for (const segment of segments) {
    const bytes = segment === segments.at(-1) ? await bytesBelow(files, segment, marks.marker, to) : (await files.stat(segment.path))?.bytes
    if (bytes !== undefined) extracted.push({ name: segment.name, bytes })
  }
  return { marks, files: extracted }
}

/** Writes the marks of a copy that was made up to `head`. What they say of records behind it is not true of the copy. */
export async function saveExtractedMarks(
  files: FilePort,
  folder: string,
  marks: Marks,
  limits: { readonly committedBelow: number; readonly head: number }
): Promise<void> {
  const droppedBelow = Math.min(marks.droppedBelow, limits.head)
  await saveMarks(files, folder, { ...marks, droppedBelow, committedBelow: Math.min(limits.committedBelow, limits.head) })
}

/** Offset of the first record that is not below `to`; the size of the file when there is none. */
async function bytesBelow(files: FilePort, segment: SegmentFile, marker: number, to: number): Promise<number | undefined> {
  const size = (await files.stat(segment.path))?.bytes
  if (size === undefined || to === Infinity) return size
  return await whileOpen(files, segment.path, async fd => {
    const walker = new FrameWalker(files, fd, marker)
    for (;;) {
      const step = walker.step()
      if (step === 'end') return Math.max(size, walker.offset)
      if (step === 'more') await walker.fill()
      // The walker stands behind this frame; damage in front of it belongs to the copy.
      else if (frameOrdinal(walker.bytes, walker.at) >= to) return walker.offset - walker.frameBytes
    }
  })
}
