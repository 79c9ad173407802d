import { TidegateError } from '../errors.ts'
import type { JournalWriter } from '../journal/record.ts'

/**
 * Resolves when every letter that the journal took so far is durable.
 * @throws TidegateError TG_JOURNAL_FULL, TG_JOURNAL_FAILING or TG_JOURNAL_CLOSED when that cannot be said; they may become
 *   so later
 */
export async function untilDurable(journal: JournalWriter): Promise<void> {
  const goal = journal.head
  if (journal.durable >= goal) return
  await new Promise<void>((resolve, reject) => {
    const stop: (() => void)[] = []
    const settle = (error?: TidegateError): void => {
      for (const each of stop) each()
      if (error === undefined) resolve()
      else reject(error)
    }
    const judge = (): void => {
      if (journal.durable >= goal) settle()
      else if (journal.state === 'closed') settle(new TidegateError('TG_JOURNAL_CLOSED', 'the journal of the dead letters is closed'))
      else if (journal.state === 'full') settle(new TidegateError('TG_JOURNAL_FULL', 'the disk of the dead letters is full'))
      else if (journal.state === 'failing') {
        settle(new TidegateError('TG_JOURNAL_FAILING', 'the journal of the dead letters cannot be written'))
      }
    }
    stop.push(journal.onDurable(judge), journal.onState(judge))
    judge()
  })
}
