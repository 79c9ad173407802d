import type { JournalHold, JournalTail, JournalWriter, TailRecord } from '../../journal/record.ts'
import type { Message } from './message.ts'
import type { Router } from './router.ts'
import type { SessionChanges } from './session-changes.ts'

/** The journal, as far as sessions and retained messages need it. */
export type SessionJournal = Pick<JournalWriter, 'uuid' | 'head' | 'onDurable'> & JournalTail & JournalHold

/** What a start takes sessions and retained messages from. */
export interface SessionOrigin {
  readonly router: Router
  readonly journal: SessionJournal
  /** The message that a record is, with bytes of its own; `takenMs` is when it was taken, by the clock that is never set. */
  readonly messageOf: (record: TailRecord, ordinal: number, takenMs: () => number) => Message
  /** Sees the records of the journal's tail as well, so that it is read once. */
  readonly visit: (record: TailRecord) => void
}

/** What keeps sessions and retained messages over restarts (state/session-state.ts implements it). */
export interface KeptSessions extends SessionChanges {
  /** Replies that wait for the disk and will have it: a stop waits for them. 0 while nothing can be written. */
  readonly replyingSoon: number
  /** Puts into the router, which has no connections yet, what was there before; from then on changes are kept. */
  recall(origin: SessionOrigin): Promise<void>
}
