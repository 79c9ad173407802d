import type { Fault } from './fault.ts'
import { endToEnd, rare, simulatedStories, simulation } from './fault.ts'

/** Faults in the journal: what is acknowledged is on disk, and read back as it was. */
export const journalFaults: readonly Fault[] = [
  {
    name: 'the journal says durable before the sync',
    file: 'journal/journal.ts',
    find: 'const group = this.#pending.take()\n',
    replace: 'const group = this.#pending.take()\n      this.#durableListeners.notify(group.at(-1)?.end ?? 0)\n',
    caughtBy: ['tests/journal/group-commit.test.ts']
  },
  {
    name: 'groups are not synced',
    file: 'journal/segment-writer.ts',
    find: 'await files.datasync(this.#fd)\n',
    replace: '',
    caughtBy: ['tests/journal/group-commit.test.ts']
  },
  {
    name: 'groups are not synced, on a simulated disk',
    file: 'journal/segment-writer.ts',
    find: 'await files.datasync(this.#fd)\n',
    replace: '',
    caughtBy: [simulation]
  },
  {
    name: 'the folder of a new segment is not synced',
    file: 'journal/segment-writer.ts',
    find: 'await files.syncFolder(folder)\n',
    replace: '',
    caughtBy: ['tests/journal/group-commit.test.ts']
  },
  {
    name: 'the folder of a new segment is not synced, on a simulated disk',
    file: 'journal/segment-writer.ts',
    find: 'await files.syncFolder(folder)\n',
    replace: '',
    caughtBy: [simulation]
  },
  {
    name: 'a failed sync is taken for one',
    file: 'journal/segment-writer.ts',
    find: 'await files.datasync(this.#fd)\n',
    replace: 'await files.datasync(this.#fd).catch(() => undefined)\n',
    caughtBy: [simulation]
  },
  {
    name: 'the marks are not synced',
    file: 'journal/files.ts',
    find: 'await files.datasync(fd)\n',
    replace: '',
    caughtBy: [simulation]
  },
  {
    name: 'what opening finds in the cache is taken for written',
    file: 'journal/proof.ts',
    find: 'await writeFully(files, fd, bytes, bytes.length, to - bytes.length)\n',
    replace: '',
    caughtBy: [simulatedStories]
  },
  {
    name: 'the folder that opening finds is taken for synced',
    file: 'journal/repair.ts',
    find: '  await proveFolder(files, folder, log)\n',
    replace: '',
    caughtBy: [simulatedStories]
  },
  {
    name: 'a failed sync is tried again on the same file',
    file: 'journal/steady-writer.ts',
    find: 'await this.#options.writer.seal()\n',
    replace: '',
    caughtBy: ['tests/journal/group-commit.test.ts']
  },
  {
    name: 'the newest segment goes before the marks say where the ordinals go on',
    file: 'journal/retention.ts',
    find: 'if (this.#segments.length === 1 && end === first) await this.saveCommitted()\n',
    replace: '',
    caughtBy: [simulatedStories]
  },
  {
    name: 'segments are dropped before the marks say so',
    file: 'journal/retention.ts',
    find: 'await this.#saveMarks({ ...this.#marks, droppedBelow: Math.max(oldest.end, this.#marks.droppedBelow) })\n',
    replace: '',
    caughtBy: [simulation]
  },
  {
    name: 'committed segments go at once',
    file: 'journal/retention.ts',
    find: 'const graceMs = 60_000\n',
    replace: 'const graceMs = 0\n',
    caughtBy: [simulation]
  },
  {
    name: 'segments that are not committed are removed with the committed ones',
    file: 'journal/retention.ts',
    find: 'if (segment.end > ordinal) segment.committedAtMs = undefined\n',
    replace: 'if (segment.first > ordinal) segment.committedAtMs = undefined\n',
    caughtBy: ['tests/journal/retention.test.ts']
  },
  {
    name: 'a pin keeps nothing in the journal',
    file: 'journal/retention.ts',
    find: 'for (const { from } of this.#pins) if (segment.end > from) return true\n',
    replace: '',
    caughtBy: ['tests/backup/backup.test.ts']
  },
  {
    name: 'the journal loses one record in 100,000',
    file: 'journal/journal.ts',
    find: 'this.#pending.append(record, ordinal, time.ms, time.subNs)\n',
    replace: `if (!(${rare('ordinal')})) this.#pending.append(record, ordinal, time.ms, time.subNs)\n`,
    caughtBy: [endToEnd]
  },
  {
    name: 'the reader loses one record in 100,000',
    file: 'journal/cursor.ts',
    find: 'records.push(decodeFrame(walker.bytes, walker.at))\n',
    replace: `if (!(${rare('ordinal')})) records.push(decodeFrame(walker.bytes, walker.at))\n`,
    caughtBy: [endToEnd]
  },
  {
    name: 'a frame is trusted without its CRC',
    file: 'journal/frame.ts',
    find: 'if (crc32(viewOf(bytes, offset + 8, behind)) !== get32(bytes, offset + 4)) return frameDamaged\n',
    replace: '',
    caughtBy: ['tests/journal/model.test.ts']
  },
  {
    name: 'a body may hold the marker of its journal',
    file: 'journal/frame.ts',
    find: 'if (checked.indexOf(marker[0] ?? 0) !== -1 && checked.indexOf(marker) !== -1) {\n',
    replace: 'if (checked.length === 0) {\n',
    caughtBy: ['tests/journal/moved-blocks.test.ts', 'tests/journal/corruption.test.ts']
  },
  {
    name: 'a reader passes over records that lie behind a later one',
    file: 'journal/cursor.ts',
    find: 'surveySegment({ files, fd, marker, offset }, { from, below })\n',
    replace: 'surveySegment({ files, fd, marker, offset }, { from: ordinal === Infinity ? from : ordinal, below })\n',
    caughtBy: ['tests/journal/moved-blocks.test.ts', 'tests/journal/corruption.test.ts']
  },
  {
    name: 'files that are no segments, or copies of some, hide the records of others',
    file: 'journal/repair.ts',
    find: 'const quarantinedFiles = await arrangeSegments(options, found, marks)\n',
    replace: 'const quarantinedFiles = arrangeSegments.length * 0\n',
    caughtBy: ['tests/journal/damaged-files.test.ts', 'tests/journal/corruption.test.ts']
  },
  {
    name: 'a segment of a later format is taken for junk',
    file: 'journal/frame.ts',
    find: 'return version !== undefined && version > formatVersion ? version : undefined\n',
    replace: 'return version !== undefined && version < formatVersion ? version : undefined\n',
    caughtBy: ['tests/journal/damaged-files.test.ts']
  },
  {
    name: 'damaged bytes that a reader passes over are not counted',
    file: 'journal/cursor.ts',
    find: 'this.counts.damagedBytes += bytes - known\n',
    replace: '',
    caughtBy: ['tests/journal/damage.test.ts']
  },
  {
    name: 'a frame is trusted without its CRC, on a simulated disk',
    file: 'journal/frame.ts',
    find: 'if (crc32(viewOf(bytes, offset + 8, behind)) !== get32(bytes, offset + 4)) return frameDamaged\n',
    replace: '',
    caughtBy: [simulation]
  },
  {
    name: 'the journal removes what may have to be written again',
    file: 'journal/retention.ts',
    find: ' && oldest.end <= this.keepFrom\n',
    replace: '\n',
    caughtBy: ['tests/journal/retention.test.ts']
  }
]
