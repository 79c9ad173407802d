/**
 * What opening finds counts as durable from then on, so it must be on the disk, and not only in the system's cache, where
 * a process that was killed may have left it. A sync alone proves nothing: after an fdatasync that failed, the cache may
 * hold pages that count as written and are not. So the bytes that can be of that kind are written again, as they are. They
 * are those of the last group at most, since nothing is written to a segment after a failure.
 */
import type { Logger } from 'pino'
import { isNoSpace, writeFully, type FilePort } from './files.ts'

const firstBackOffMs = 50
const attempts = 7

export interface TailOptions {
  readonly files: FilePort
  readonly fd: number
  readonly log: Logger
  readonly segment: string
  /** Offsets in the file: where the last group may begin, and behind its last good frame. */
  readonly from: number
  readonly to: number
}

/** Returns when the end of a segment is on the disk. Throws what the file port throws when the disk does not take it. */
export async function proveTail({ files, fd, log, segment, from, to }: TailOptions): Promise<void> {
  const bytes = await readTail(files, fd, Math.max(0, from), to)
  await insist(log, segment, async () => {
    try {
      await writeFully(files, fd, bytes, bytes.length, to - bytes.length)
    } catch (error) {
      // A full disk that writes everything to a new place takes nothing, and must not keep the process from starting.
      if (!isNoSpace(error)) throw error
    }
    await files.datasync(fd)
  })
}

/** Returns when the segments that were found are in their folder for good, and those that were removed are not. */
export async function proveFolder(files: FilePort, folder: string, log: Logger): Promise<void> {
  await insist(log, folder, async () => await files.syncFolder(folder))
}

/** Empty where the disk cannot read it: what would be written instead is damage. */
async function readTail(files: FilePort, fd: number, from: number, to: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(to - from)
  try {
    for (let got = 0; got < bytes.length;) {
      const more = await files.read(fd, bytes, got, bytes.length - got, from + got)
      if (more === 0) return bytes.subarray(0, 0)
      got += more
    }
    return bytes
  } catch {
    return bytes.subarray(0, 0)
  }
}

/** A few attempts, some seconds in all: a disk may be away for a moment. */
async function insist(log: Logger, path: string, attempt: () => Promise<void>): Promise<void> {
  for (let left = attempts, backOffMs = firstBackOffMs; ; left--, backOffMs *= 2) {
    try {
      await attempt()
      return
    } catch (error) {
      if (left === 1) throw error
      if (left === attempts) log.error({ code: 'TG_JOURNAL_FAILING', err: error, path }, 'what the journal holds cannot be synced')
      await new Promise(resolve => {
        setTimeout(resolve, backOffMs)
      })
    }
  }
}
