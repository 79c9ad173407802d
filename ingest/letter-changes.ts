/**
 * Replaying and purging dead letters, page by page: however many there are, a page of them is in memory.
 *
 * Replay: the record is appended again with its received time, client id and user; when it is durable the letter gets its
 * tombstone. A crash between the two leaves the letter, and replaying it again stores the same reading in the same place. What
 * cannot be stored this time either becomes a letter of its own, of the new record; it is not among those that this call
 * found, so a call ends.
 */
import { TidegateError } from '../errors.ts'
import type { Clock } from './clock.ts'
import { realClock } from './clock.ts'
import type { DeadLetter, DeadLetters } from './dead-letters.ts'
import type { LetterSelection } from './letter-selection.ts'

/** A letter on its way back to the journal. */
export type ReplayedPublish = Pick<DeadLetter, 'clientId' | 'user' | 'topic' | 'payload'> & {
  readonly received: { readonly ms: number; readonly subNs: number }
}

export interface ReplayOptions {
  readonly deadLetters: DeadLetters
  readonly selection: LetterSelection
  /** Appends a record; resolves when it is durable. A TidegateError of outcome `retry` is tried again for a while. */
  readonly append: (publish: ReplayedPublish) => Promise<unknown>
  /** Ends the replay behind the page under way. */
  readonly signal: AbortSignal
  readonly clock?: Clock
}

/** What a replay did with the letters that were selected and kept when it began. */
export interface Replayed {
  /** Durable as new records, their tombstones too. */
  readonly replayed: number
  /** Refused for good, as they are; they are kept. */
  readonly failed: number
  /** All that are kept: those that failed, and those that it did not come to. */
  readonly remaining: number
  /** Why it ended early, or else why the first of those that failed was refused. */
  readonly error: TidegateError | undefined
}

interface SentPage {
  readonly durable: readonly DeadLetter[]
  readonly refused: number
  readonly refusal: TidegateError | undefined
  /** Why the others were given up. */
  readonly stop: TidegateError | undefined
}

const firstBackOffMs = 50
const longestBackOffMs = 2_000
/** So often in a row nothing is taken before a replay gives up: some 40 s. */
const mostFailures = 25

/**
 * Sends letters through the pipeline again. When the signal aborts it ends behind the page under way; what was replayed by
 * then has its tombstone.
 * @throws TidegateError TG_PARAMETER_INVALID when the topic is no filter, TG_DEAD_LETTERS_BUSY
 */
export async function replayLetters(options: ReplayOptions): Promise<Replayed> {
  const { deadLetters, selection, signal } = options
  return await deadLetters.change(async () => {
    let [replayed, failed, remaining] = [0, 0, 0]
    let stop: TidegateError | undefined
    let refusal: TidegateError | undefined
    for await (const page of deadLetters.pages(selection)) {
      if (signal.aborted) break
      if (stop !== undefined) {
        remaining += page.length
        continue
      }
      const sent = await sendPage(page, options)
      const unburied = sent.durable.length === 0 ? undefined : await buryPage(sent.durable, options)
      // Where the tombstones are not known to be durable the letters may be there again: they count as kept.
      const gone = unburied === undefined ? sent.durable.length : 0
      stop = sent.stop ?? unburied
      refusal ??= sent.refusal
      replayed += gone
      failed += sent.refused
      remaining += page.length - gone
    }
    return { replayed, failed, remaining, error: stop ?? refusal }
  })
}

/**
 * Gives every letter that is selected its tombstone; returns how many. When the signal aborts it ends behind the page under
 * way.
 * @throws TidegateError TG_PARAMETER_INVALID when the topic is no filter, TG_DEAD_LETTERS_BUSY; TG_JOURNAL_FULL,
 *   TG_JOURNAL_FAILING or TG_JOURNAL_CLOSED when only some were purged: the same call purges the others
 */
export async function purgeLetters(deadLetters: DeadLetters, selection: LetterSelection, signal: AbortSignal): Promise<number> {
  return await deadLetters.change(async () => {
    let purged = 0
    for await (const page of deadLetters.pages(selection)) {
      if (signal.aborted) break
      try {
        await deadLetters.bury(page, 'purged')
      } catch (error) {
        const { code, message } = knownError(error)
        throw new TidegateError(code, `${message}; ${purged} dead letters were purged before`, { cause: error })
      }
      purged += page.length
    }
    return purged
  })
}

/** Has a page appended, in its order but for what has to be tried again. */
async function sendPage(page: readonly DeadLetter[], { append, signal, clock = realClock }: ReplayOptions): Promise<SentPage> {
  const durable: DeadLetter[] = []
  let refused = 0
  let refusal: TidegateError | undefined
  let waiting = page
  for (let failures = 0; ;) {
    const answers = await Promise.allSettled(waiting.map(async letter => await append(publishOf(letter))))
    const again: DeadLetter[] = []
    let cause: TidegateError | undefined
    for (const [index, letter] of waiting.entries()) {
      const answer = answers[index]
      const error = answer?.status === 'rejected' ? knownError(answer.reason) : undefined
      if (error === undefined) durable.push(letter)
      else if (error.outcome === 'retry') {
        again.push(letter)
        cause ??= error
      } else {
        refused += 1
        refusal ??= error
      }
    }
    if (cause === undefined) return { durable, refused, refusal, stop: undefined }
    failures = again.length < waiting.length ? 1 : failures + 1
    if (isFinal(cause, failures, signal)) return { durable, refused, refusal, stop: cause }
    await clock.sleep(backOffMs(failures), signal)
    waiting = again
  }
}

/** Resolves with why the tombstones are not known to be durable, or undefined when they are. */
async function buryPage(
  letters: readonly DeadLetter[],
  { deadLetters, signal, clock = realClock }: ReplayOptions
): Promise<TidegateError | undefined> {
  for (let failures = 1; ; failures += 1) {
    try {
      await deadLetters.bury(letters, 'replayed')
      return undefined
    } catch (error) {
      const cause = knownError(error)
      if (isFinal(cause, failures, signal)) return cause
      await clock.sleep(backOffMs(failures), signal)
    }
  }
}

function publishOf({ clientId, user, topic, payload, receivedMs, receivedSubNs }: DeadLetter): ReplayedPublish {
  return { clientId, user, topic, payload, received: { ms: receivedMs, subNs: receivedSubNs } }
}

function isFinal(error: TidegateError, failures: number, signal: AbortSignal): boolean {
  return error.outcome !== 'retry' || error.code === 'TG_JOURNAL_CLOSED' || failures >= mostFailures || signal.aborted
}

function backOffMs(failures: number): number {
  return Math.min(firstBackOffMs * 2 ** (failures - 1), longestBackOffMs)
}

function knownError(error: unknown): TidegateError {
  return error instanceof TidegateError ? error : new TidegateError('TG_BUG', String(error), { cause: error })
}
