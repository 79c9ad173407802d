import { TidegateError } from '../errors.ts'
import type { JournalRecord } from '../journal/record.ts'
import { receivedNs } from '../journal/record.ts'
import type { RewriteCounts } from './rewrite-pass.ts'
import { patternFault, TopicPattern } from './topic-pattern.ts'

/** An end of a range: an ordinal, or a received time in ns since 1970. */
export type ReplayEnd = { readonly ordinal: number } | { readonly timeNs: bigint }

/** What to replay; what is left out means everything that is kept and has its outcome. */
export interface ReplayRange {
  /** Inclusive. */
  readonly from?: ReplayEnd
  /** Exclusive. */
  readonly to?: ReplayEnd
  /** An MQTT topic filter. */
  readonly topic?: string
}

/** What a replay did so far, or in all. */
export interface ReplayReport extends Omit<RewriteCounts, 'first' | 'behind'> {
  /** Ordinals [from, to) of what was looked at and is in the range. */
  readonly from: number
  readonly to: number
  /** Ordinal that is looked at next, and the one at which the replay has looked at everything. */
  readonly position: number
  readonly end: number
  /** The range that was asked for begins before the oldest record that is kept. */
  readonly beyondKept: boolean
}

/** A range as a rewrite takes it. */
export interface ReplayPlan {
  readonly from: number
  readonly to: number
  readonly inRange: (record: JournalRecord) => boolean
  readonly selects: (record: JournalRecord) => boolean
  report(counts: RewriteCounts, position: number): ReplayReport
}

/** @throws TidegateError TG_PARAMETER_INVALID when the topic is no filter */
export function checkTopic({ topic }: ReplayRange): void {
  const fault = topic === undefined ? undefined : patternFault(topic)
  if (fault !== undefined) throw new TidegateError('TG_PARAMETER_INVALID', `topic: ${fault}`, { context: { parameter: 'topic' } })
}

/**
 * Cuts a range to what is kept and has its outcome: what lies above the position is written by ingest itself. Received
 * times need not rise with the ordinals, so a range of times is looked for in all that is kept. The topic is a filter.
 */
export function planReplay(range: ReplayRange, kept: { readonly oldest: number; readonly position: number }): ReplayPlan {
  const filter = range.topic === undefined ? undefined : new TopicPattern(range.topic)
  const fromNs = timeOf(range.from)
  const toNs = timeOf(range.to)
  const to = Math.max(kept.oldest, Math.min(ordinalOf(range.to) ?? kept.position, kept.position))
  const from = Math.min(to, Math.max(ordinalOf(range.from) ?? kept.oldest, kept.oldest))
  let beyondKept = (ordinalOf(range.from) ?? Infinity) < kept.oldest
  let seen = false
  const timed = fromNs !== undefined || toNs !== undefined
  return {
    from,
    to,
    inRange: record => {
      if (fromNs === undefined && toNs === undefined) return true
      const timeNs = receivedNs(record)
      // Older ones were there and are not any more.
      if (!seen && from > 0 && fromNs !== undefined && timeNs > fromNs) beyondKept = true
      seen = true
      return (fromNs === undefined || timeNs >= fromNs) && (toNs === undefined || timeNs < toNs)
    },
    selects: record => filter === undefined || filter.match(record.topic.split('/')) !== undefined,
    report: ({ first, behind, ...counts }, position) => ({
      from: timed ? (first ?? from) : from,
      to: timed ? Math.max(behind, first ?? from) : position,
      position,
      end: to,
      beyondKept,
      ...counts
    })
  }
}

function ordinalOf(end: ReplayEnd | undefined): number | undefined {
  return end !== undefined && 'ordinal' in end ? end.ordinal : undefined
}

function timeOf(end: ReplayEnd | undefined): bigint | undefined {
  return end !== undefined && 'timeNs' in end ? end.timeNs : undefined
}
