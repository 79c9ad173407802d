import { TidegateError } from '../errors.ts'
import type { JournalState } from './record.ts'

/** Why a journal in this state takes no record; `failure` is what writing failed with, if it did. */
export function refusalOf(state: Exclude<JournalState, 'accepting'>, maxBytes: number, failure: unknown): TidegateError {
  switch (state) {
    case 'closed':
      return new TidegateError('TG_JOURNAL_CLOSED', 'the journal is closed')
    case 'failing':
      return new TidegateError('TG_JOURNAL_FAILING', 'the journal cannot be written', { cause: failure })
    case 'full':
      return new TidegateError('TG_JOURNAL_FULL', 'the journal or its disk is full', { context: { maxBytes }, cause: failure })
  }
}
