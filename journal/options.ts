import type { Logger } from 'pino'
import type { FilePort } from './files.ts'

/** How a journal is opened. */
export interface JournalOptions {
  /** Folder of the segments; made when missing. */
  readonly folder: string
  /** fsync: durable after fdatasync. os: after the write. none: at once. */
  readonly sync: 'fsync' | 'os' | 'none'
  /** Longest wait of a group's first record before the group is written. */
  readonly syncDelayMs: number
  readonly segmentBytes: number
  /** Bound of what is not committed. */
  readonly maxBytes: number
  /** Disk space left free. */
  readonly reserveBytes: number
  readonly whenFull: 'reject-new' | 'drop-oldest'
  /** How long and how much of what is committed stays; and for how long in any case, default a minute, unless the disk is full. */
  readonly keep: { readonly timeMs: number; readonly bytes: number; readonly leastMs?: number }
  /** Nothing from this ordinal on is removed, whatever is passed or full, until `hold` says another; default: nothing is held. */
  readonly heldFrom?: number
  /** Called when that alone keeps a segment: with true where space is wanted, not only a bound of `keep` passed. */
  readonly onHeld?: (pressed: boolean) => void
  readonly log: Logger
  /** Default: the disk. */
  readonly files?: FilePort
  /** Wall clock in ms; default Date.now. */
  readonly clock?: () => number
  /** Clock that is never set, in ms; default performance.now. */
  readonly monotonic?: () => number
  /** Bound of what is not yet durable; default 8 MiB. */
  readonly pendingBytes?: number
}

/** Plain numbers since the start, and the present sizes. */
export interface JournalStats {
  readonly appendedRecords: number
  readonly appendedBytes: number
  readonly groups: number
  readonly syncs: number
  readonly syncMs: number
  readonly segments: number
  readonly pins: number
  readonly diskBytes: number
  readonly uncommittedBytes: number
  readonly pendingBytes: number
  readonly writeFailures: number
  readonly removeFailures: number
  readonly droppedRecords: number
  readonly damagedRecords: number
  readonly damagedBytes: number
  readonly cutBytes: number
  readonly quarantinedFiles: number
}
