import { receivedNs } from '../journal/record.ts'
import type { RejectedPoint } from '../storage/port.ts'
import type { Checkpoint, OutcomeTotals, Point, StoredMessage } from '../telemetry.ts'
import type { BatchEntry, SealedBatch } from './batch-builder.ts'
import type { DeadLetters } from './dead-letters.ts'
import type { Refusal } from './refusals.ts'
import { summarize } from './refusals.ts'

export interface Settlement {
  readonly checkpoint: Checkpoint
  /** Records of the batch with at least one point that the store took. */
  readonly messages: readonly StoredMessage[]
}

/** Letters that may wait for the disk together. */
const unsyncedBytes = 1024 * 1024

/**
 * Gives every ordinal of a batch exactly one outcome. Resolves when the dead letters are durable, with the checkpoint that
 * follows `base`. May be called again for the same batch, also after a crash: a record gets one letter, and once it has
 * one it is dead-lettered, whatever the store, the routes or the journal say later.
 */
export async function settleBatch(
  batch: SealedBatch,
  rejected: readonly RejectedPoint[],
  base: Checkpoint,
  deadLetters: DeadLetters
): Promise<Settlement> {
  const refusedPoints = new Set<Point>()
  const refusals = new Map<number, Refusal[]>()
  for (const { point, reason } of rejected) {
    for (const part of batch.mergedFrom.get(point) ?? [point]) {
      refusedPoints.add(part)
      refusals.set(part.ordinal, [...(refusals.get(part.ordinal) ?? []).slice(0, 7), { reason: 'store-rejected', detail: reason }])
    }
  }
  let deadLettered = 0
  let unsynced = 0
  for (const { record, decoded } of batch.entries) {
    const own = refusals.size === 0 ? undefined : refusals.get(record.ordinal)
    const refused = decoded.refusals.length > 0 || own !== undefined
    if (!refused && !deadLetters.has(record.ordinal, receivedNs(record))) continue
    deadLettered += 1
    const refusal = summarize([...decoded.refusals, ...(own ?? [])])
    if (refusal !== undefined) unsynced += deadLetters.append(record, refusal.reason, refusal.detail)
    if (unsynced < unsyncedBytes) continue
    await deadLetters.durable()
    unsynced = 0
  }
  if (deadLettered > 0) await deadLetters.durable()
  return {
    checkpoint: { ...base, position: batch.to, totals: totalsAfter(base.totals, batch, deadLettered) },
    messages: messagesOf(batch.entries, refusedPoints)
  }
}

function totalsAfter(totals: OutcomeTotals, batch: SealedBatch, deadLettered: number): OutcomeTotals {
  return {
    ...totals,
    stored: totals.stored + batch.entries.length - deadLettered,
    deadLettered: totals.deadLettered + deadLettered + batch.lettered,
    ignored: totals.ignored + batch.ignored,
    dropped: totals.dropped + batch.dropped,
    damaged: totals.damaged + batch.damaged
  }
}

function messagesOf(entries: readonly BatchEntry[], refused: ReadonlySet<Point>): readonly StoredMessage[] {
  const messages: StoredMessage[] = []
  for (const { record, decoded } of entries) {
    const points = refused.size === 0 ? decoded.points : decoded.points.filter(point => !refused.has(point))
    if (points.length > 0) messages.push({ ordinal: record.ordinal, points })
  }
  return messages
}

const noTotals: OutcomeTotals = { stored: 0, deadLettered: 0, ignored: 0, deduplicated: 0, dropped: 0, damaged: 0 }

export interface JournalExtent {
  readonly uuid: string
  /** Oldest ordinal that is kept, and the one behind the last that is durable. */
  readonly oldest: number
  readonly durable: number
  /**
   * Highest position that a checkpoint of this journal can have; its dead letters are of records below. Default `durable`. What
   * was durable when the edge opened the journal, until a service has begun from there: ordinals above may be of records that
   * came after those that it knew were lost.
   */
  readonly checkpointAtMost?: number
}

/**
 * Where to go on: at the catalogue's checkpoint if it is of this journal and not ahead of it, else anew at the oldest
 * record, with `anew` saying why.
 */
export function startingCheckpoint(
  known: Checkpoint | undefined,
  journal: JournalExtent
): { readonly checkpoint: Checkpoint; readonly anew: string | undefined } {
  const anew =
    known === undefined
      ? 'the catalogue has no checkpoint'
      : known.journal !== journal.uuid
        ? 'the checkpoint is of another journal'
        : known.position > (journal.checkpointAtMost ?? journal.durable)
          ? 'the checkpoint is ahead of the journal'
          : undefined
  if (known !== undefined && anew === undefined) return { checkpoint: known, anew }
  const { uuid, oldest } = journal
  return { checkpoint: { journal: uuid, position: oldest, since: oldest, totals: noTotals }, anew }
}
