import { TidegateError } from '../errors.ts'
import type { DeadLetter } from './letter-entry.ts'
import { isReason, refusalReasons } from './refusals.ts'
import { TopicPattern, patternFault } from './topic-pattern.ts'

/** Which letters something is about; undefined means all. */
export interface LetterSelection {
  readonly reason?: string
  /** An MQTT topic filter. */
  readonly topic?: string
  /** Received time: from (inclusive) to (exclusive), ns. */
  readonly fromNs?: bigint
  readonly toNs?: bigint
}

/**
 * The test whether a letter is selected.
 * @throws TidegateError TG_PARAMETER_INVALID when the topic is no filter, or the reason none of ours
 */
export function buildLetterTest(selection: LetterSelection): (letter: DeadLetter) => boolean {
  const { reason, topic, fromNs, toNs } = selection
  const fault = topic === undefined ? undefined : patternFault(topic)
  if (fault !== undefined) throw new TidegateError('TG_PARAMETER_INVALID', `topic: ${fault}`, { context: { parameter: 'topic' } })
  if (reason !== undefined && !isReason(reason)) {
    const known = Object.keys(refusalReasons).join(', ')
    throw new TidegateError('TG_PARAMETER_INVALID', `reason: there is no such reason; there are ${known}`, {
      context: { parameter: 'reason' }
    })
  }
  const filter = topic === undefined ? undefined : new TopicPattern(topic)
  return letter => {
    if (reason !== undefined && letter.reason !== reason) return false
    if (fromNs !== undefined && letter.receivedNs < fromNs) return false
    if (toNs !== undefined && letter.receivedNs >= toNs) return false
    return filter === undefined || filter.match(letter.topic.split('/')) !== undefined
  }
}
