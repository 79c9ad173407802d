import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import { loadFile, type FilePort } from './files.ts'
import {
  checkFrame,
  decodeSegmentHeader,
  frameHeaderBytes,
  newerVersion,
  newMarker,
  parseSegmentName,
  segmentHeaderBytes,
  type SegmentHeader
} from './frame.ts'
import { loadMarks, type Marks } from './marks.ts'

/** The folder of a journal that is being opened. */
export interface JournalFolder {
  readonly files: FilePort
  readonly folder: string
  readonly log: Logger
}

/** Where a segment belongs: what its name says. */
export interface Place {
  readonly sequence: number
  readonly first: number
}

/** A file that is, or once was, a segment. */
export interface FoundSegment {
  readonly name: string
  /** By its name, also while it is being moved (`moving-…`); undefined when that is no segment's. */
  readonly named: Place | undefined
  /** Undefined when it is short, damaged or of a later format. */
  readonly header: SegmentHeader | undefined
  /** Version of its format, when it is a later one. */
  readonly newer: number | undefined
}

/** Every file of a folder whose name ends like that of a segment, by name. */
export async function findSegments({ files, folder }: JournalFolder): Promise<FoundSegment[]> {
  const found: FoundSegment[] = []
  for (const name of (await files.list(folder)).toSorted()) {
    if (!name.endsWith('.seg')) continue
    const bytes = (await loadFile(files, `${folder}/${name}`, segmentHeaderBytes)) ?? Buffer.alloc(0)
    found.push({
      name,
      named: parseSegmentName(name.replace(/^(moving-)+/, '')),
      header: decodeSegmentHeader(bytes),
      newer: newerVersion(bytes)
    })
  }
  return found
}

/**
 * Which journal this is: by its marks, if there is anything of that journal; else the one that most of the segments are of,
 * with a new identity when no header of it is left.
 */
export async function identifyJournal(journal: JournalFolder, found: readonly FoundSegment[]): Promise<Marks> {
  const { files, folder, log } = journal
  const marks = await loadMarks(files, folder)
  const readable = found.filter(({ newer }) => newer === undefined)
  const segments = readable.filter(({ named }) => named !== undefined)
  if (marks !== undefined && segments.some(({ header }) => header?.uuid === marks.uuid)) return marks
  const markers: number[] = []
  for (const { name, header } of segments) {
    const marker = header === undefined ? await findMarker(journal, name) : header.marker
    if (marker !== undefined) markers.push(marker)
  }
  // Files that lost their names are asked last: they may be anybody's.
  const headers = readable.flatMap(({ header }) => (header === undefined ? [] : [header]))
  const marker = mostOf(markers) ?? (marks === undefined ? headers.at(-1)?.marker : undefined)
  if (marks !== undefined && (marker === undefined || markers.includes(marks.marker))) return marks
  const { uuid = randomUUID() } = headers.findLast(header => header.marker === marker) ?? {}
  if (marks !== undefined)
    log.warn({ code: 'TG_JOURNAL_DAMAGED', marks: marks.uuid, segments: uuid }, 'the marks are of another journal than the segments')
  else if (headers.length === 0) log.info({ journal: uuid }, 'a new journal begins')
  return { uuid, marker: marker ?? newMarker(), droppedBelow: 0, committedBelow: 0 }
}

/** Bytes of a segment that are searched for a marker, and the frames that may speak for one. */
const searchedBytes = 1024 * 1024
const witnesses = 16

/** The marker of a segment whose header is damaged: what most of its frames begin with. */
async function findMarker({ files, folder }: JournalFolder, name: string): Promise<number | undefined> {
  const bytes = (await loadFile(files, `${folder}/${name}`, searchedBytes)) ?? Buffer.alloc(0)
  const heard: number[] = []
  for (let at = segmentHeaderBytes; at + frameHeaderBytes <= bytes.length && heard.length < witnesses;) {
    const marker = bytes.readUInt32LE(at)
    const length = checkFrame(bytes, at, bytes.length, marker)
    if (length > 0) heard.push(marker)
    at += Math.max(1, length)
  }
  return mostOf(heard)
}

/** The value that comes most often, and of equally many the one that comes last. */
function mostOf(values: readonly number[]): number | undefined {
  const times = new Map<number, number>()
  for (const value of values) times.set(value, (times.get(value) ?? 0) + 1)
  let most: number | undefined
  for (const value of values) if ((times.get(value) ?? 0) >= (times.get(most ?? NaN) ?? 0)) most = value
  return most
}
