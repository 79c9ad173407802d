import { crc32 } from 'node:zlib'
import { loadFile, replaceFile, type FilePort } from './files.ts'

/** What a journal keeps of itself beside its segments, in the file `marks`: one line of JSON and its CRC-32. */
export interface Marks {
  readonly uuid: string
  /** What every frame of the journal begins with. */
  readonly marker: number
  /** Every missing record below this ordinal was dropped because the journal was full. */
  readonly droppedBelow: number
  /** Records below had their outcome when this was written; a hint for the space count, at times behind. */
  readonly committedBelow: number
  /** The UUID that positions name, where it is not that of the journal: each restore of a backup begins a timeline of its own. */
  readonly timeline?: string
}

const marksName = 'marks'

/** Reads the marks of a journal. Undefined when they are missing or damaged. */
export async function loadMarks(files: FilePort, folder: string): Promise<Marks | undefined> {
  const bytes = await loadFile(files, `${folder}/${marksName}`, 4096)
  if (bytes === undefined) return undefined
  const match = /^(\{.*\}) ([0-9a-f]{8})\n$/.exec(bytes.toString('latin1'))
  if (match?.[1] === undefined || match[2] === undefined || checksum(match[1]) !== match[2]) return undefined
  const parsed: unknown = JSON.parse(match[1])
  return isMarks(parsed) ? parsed : undefined
}

/** Replaces the marks; when it returns they survive a loss of power. */
export async function saveMarks(files: FilePort, folder: string, marks: Marks): Promise<void> {
  const text = JSON.stringify(marks)
  await replaceFile(files, folder, marksName, Buffer.from(`${text} ${checksum(text)}\n`))
}

/**
 * Gives a journal that is not open the timeline that its positions name from now on.
 * @throws Error when the folder has no marks
 */
export async function beginTimeline(files: FilePort, folder: string, timeline: string): Promise<void> {
  const marks = await loadMarks(files, folder)
  if (marks === undefined) throw new Error(`there are no marks in ${folder}`)
  await saveMarks(files, folder, { ...marks, timeline })
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0')
}

function isMarks(value: unknown): value is Marks {
  return (
    typeof value === 'object' &&
    value !== null &&
    'uuid' in value &&
    typeof value.uuid === 'string' &&
    'marker' in value &&
    Number.isSafeInteger(value.marker) &&
    'droppedBelow' in value &&
    Number.isSafeInteger(value.droppedBelow) &&
    'committedBelow' in value &&
    Number.isSafeInteger(value.committedBelow) &&
    (!('timeline' in value) || typeof value.timeline === 'string')
  )
}
