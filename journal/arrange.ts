/**
 * Puts the files of a journal in order before it is read. A segment stands by its header, whatever its name is: one that was
 * renamed gets its name back; a copy, a segment of another journal or of a later format and a file without a frame go to
 * quarantine. Afterwards names can be trusted: sequences and first ordinals ascend together, so that no file hides the
 * records of another. Nothing is ever written over.
 */
import { leastFrameBytes, segmentHeaderBytes, segmentName } from './frame.ts'
import type { FoundSegment, JournalFolder, Place } from './identify.ts'
import type { Marks } from './marks.ts'
import { quarantineFile } from './quarantine.ts'
import { surveySegment, type Survey } from './survey.ts'

/** Arranges the segments of a journal; see above. Returns how many files went to quarantine. */
export async function arrangeSegments(journal: JournalFolder, found: readonly FoundSegment[], marks: Marks): Promise<number> {
  const arranging = new Arranging(journal, marks.marker)
  const own = found.filter(({ header }) => header?.uuid === marks.uuid)
  const unknown = found.filter(({ header, newer, named }) => header === undefined && newer === undefined && named !== undefined)
  for (const { name, named, header, newer } of found) {
    if (named === undefined) continue
    if (newer !== undefined) await arranging.putAway(name, { version: newer }, 'a segment of a later version of Tidegate')
    else if (header !== undefined && header.uuid !== marks.uuid)
      await arranging.putAway(name, { journal: header.uuid }, 'a segment of another journal')
  }
  const ill = new Map<string, Place>()
  for (const { name, named } of unknown) if (named !== undefined) ill.set(name, named)
  await arranging.placeByHeader(own, ill)
  await arranging.placeByFrames(ill)
  await arranging.end()
  return arranging.quarantinedFiles
}

class Arranging {
  quarantinedFiles = 0
  readonly #journal: JournalFolder
  readonly #marker: number
  readonly #placed: Place[] = []
  #renamed = 0

  constructor(journal: JournalFolder, marker: number) {
    this.#journal = journal
    this.#marker = marker
  }

  /**
   * Gives segments with a good header the name that it says, where they lost it. Files without one (`ill`, by name) that
   * stand there make room.
   */
  async placeByHeader(own: readonly FoundSegment[], ill: Map<string, Place>): Promise<void> {
    const lost: { readonly name: string; readonly place: Place }[] = []
    for (const { name, named, header } of own) {
      if (header === undefined || (header.sequence === 0 && named === undefined)) continue
      const place = { sequence: header.sequence === 0 ? (named?.sequence ?? 0) : header.sequence, first: header.first }
      if (name === segmentName(place.sequence, place.first)) this.#placed.push(place)
      else lost.push({ name: await this.#makeWay(name), place })
    }
    for (const { name, place } of lost) {
      const right = segmentName(place.sequence, place.first)
      const there = ill.get(right)
      if (there !== undefined) {
        ill.delete(right)
        ill.set(await this.#makeWay(right), there)
      }
      if (this.#placed.some(({ sequence }) => sequence === place.sequence))
        await this.putAway(name, { sequence: place.sequence }, 'a copy of a segment')
      else await this.#place(name, place)
    }
  }

  /** Finds the places of segments whose headers are damaged: first of those whose names fit, then of those that lost their names. */
  async placeByFrames(ill: ReadonlyMap<string, Place>): Promise<void> {
    const nameless: { readonly name: string; readonly first: number }[] = []
    for (const [name, named] of ill) {
      const first = await this.#firstOrdinal(name, named.first)
      const { above, behind } = this.#neighbours(first ?? 0)
      if (first === undefined) await this.#putAwayUnplaced(name)
      else if (name !== segmentName(named.sequence, first)) nameless.push({ name, first })
      else if (above?.first === first || named.sequence <= (above?.sequence ?? 0) || named.sequence >= behind)
        nameless.push({ name, first })
      else this.#placed.push(named)
    }
    for (const { name, first } of nameless) {
      const { above, behind } = this.#neighbours(first)
      const place = { sequence: (above?.sequence ?? 0) + 1, first }
      // It must not take records away from the segment before.
      const copy = above !== undefined && (above.first === first || (await this.#hides(name, above, first)))
      if (copy || place.sequence >= behind) await this.putAway(name, { first }, 'a copy of a segment')
      else await this.#place(name, place)
    }
  }

  /** The placed segment that would be before one with this first ordinal, and the sequence of the one behind. */
  #neighbours(first: number): { readonly above: Place | undefined; readonly behind: number } {
    const before = this.#placed.filter(place => place.first <= first).toSorted((a, b) => a.sequence - b.sequence)
    const behind = this.#placed.filter(place => place.first > first).map(({ sequence }) => sequence)
    return { above: before.at(-1), behind: Math.min(Infinity, ...behind) }
  }

  async #putAwayUnplaced(name: string): Promise<void> {
    const { files, folder, log } = this.#journal
    const bytes = (await files.stat(`${folder}/${name}`))?.bytes ?? 0
    if (bytes > 0) return await this.putAway(name, { bytes }, 'a file that is no segment, or cannot be placed,')
    await files.unlink(`${folder}/${name}`).catch((error: unknown) => {
      log.error({ code: 'TG_JOURNAL_FAILING', err: error, segment: name }, 'an empty segment cannot be removed')
    })
  }

  async putAway(name: string, context: object, what: string): Promise<void> {
    const { files, folder, log } = this.#journal
    const moved = await quarantineFile(files, folder, name)
    if (moved) this.quarantinedFiles++
    log.warn({ code: 'TG_JOURNAL_DAMAGED', segment: name, ...context, moved }, `${what} was moved to quarantine`)
  }

  async end(): Promise<void> {
    const { files, folder } = this.#journal
    if (this.#renamed > 0) await files.syncFolder(folder)
  }

  async #place(name: string, place: Place): Promise<void> {
    const { files, folder, log } = this.#journal
    const right = segmentName(place.sequence, place.first)
    if ((await files.stat(`${folder}/${right}`)) !== undefined) return await this.putAway(name, place, 'a copy of a segment')
    await this.#rename(name, right)
    this.#placed.push(place)
    log.warn({ code: 'TG_JOURNAL_DAMAGED', segment: right, was: name }, 'a segment under another name got its own back')
  }

  /** Two files may have each other's name, so first all leave the names that are not theirs. */
  async #makeWay(name: string): Promise<string> {
    if (name.startsWith('moving-')) return name
    const { files, folder } = this.#journal
    let away = `moving-${name}`
    while ((await files.stat(`${folder}/${away}`)) !== undefined) away = `moving-${away}`
    await this.#rename(name, away)
    return away
  }

  async #rename(from: string, to: string): Promise<void> {
    const { files, folder } = this.#journal
    await files.rename(`${folder}/${from}`, `${folder}/${to}`)
    this.#renamed++
  }

  /** Whether a segment has more records from an ordinal on than another file, which would have them instead. */
  async #hides(name: string, { sequence, first }: Place, from: number): Promise<boolean> {
    const range = { from, below: Infinity }
    const [other, own] = [await this.#survey(name, range), await this.#survey(segmentName(sequence, first), range)]
    return own.found > other.found
  }

  /**
   * First ordinal of a segment without a header: what its name says when frames from there on are in it, else that of its
   * first frame. Undefined when neither can be.
   */
  async #firstOrdinal(name: string, named: number): Promise<number | undefined> {
    const { runs, end, behind, claimed } = await this.#survey(name, { from: 0, below: Infinity })
    const room = named + (end + behind.bytes) / leastFrameBytes
    const lowest = runs.find(run => run.end > named && run.first <= room)
    const begin = runs.find(run => run.offset === segmentHeaderBytes)
    if (lowest === undefined) return begin?.first ?? (named <= claimed && claimed <= room ? named : undefined)
    // A name that is too low would take records away from the segment before, one that is too high from this one.
    return lowest === begin ? begin.first : named
  }

  async #survey(name: string, range: { readonly from: number; readonly below: number }): Promise<Survey> {
    const { files, folder } = this.#journal
    const fd = await files.open(`${folder}/${name}`, 'read')
    try {
      return await surveySegment({ files, fd, marker: this.#marker }, range)
    } finally {
      await files.close(fd)
    }
  }
}
