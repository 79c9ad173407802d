import { TidegateError } from '../errors.ts'
import type { JournalState } from './record.ts'

/** Why a journal in this state takes no record; `cause` is what writing failed with, if it did. */
export function refusalOf(state: JournalState, details: { readonly maxBytes?: number; readonly cause?: unknown } = {}): TidegateError {
  const { maxBytes, cause } = details
  switch (state) {
    case 'closed':
      return new TidegateError('TG_JOURNAL_CLOSED', 'the journal is closed')
    case 'behind':
      return new TidegateError('TG_JOURNAL_BEHIND', 'more waits for the disk of the journal than is held in memory')
    case 'full':
      return new TidegateError('TG_JOURNAL_FULL', 'the journal or its disk is full', { context: { maxBytes }, cause })
    // Whoever asks has been refused: where it accepts again by now, it failed a moment ago.
    case 'failing':
    case 'accepting':
      return new TidegateError('TG_JOURNAL_FAILING', 'the journal cannot be written', { cause })
  }
}
