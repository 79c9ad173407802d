import type { JournalBatch, JournalGap, JournalRecord } from '../journal/record.ts'

/** One step through the journal: a record, or a run of ordinals that have none. */
export type Step =
  | { readonly kind: 'record'; readonly record: JournalRecord }
  | { readonly kind: 'gap'; readonly to: number; readonly why: JournalGap['kind']; readonly reported: boolean }

/**
 * Walks over what a read returned, in the order of the ordinals, so that none is passed twice and none is left out: what
 * lies below `at` is skipped, and what neither a record nor a gap covers is a gap of its own, damaged and not reported.
 */
export class RecordCursor {
  readonly #batch: JournalBatch
  readonly #gaps: readonly JournalGap[]
  #at: number
  #record = 0
  #gap = 0

  constructor(batch: JournalBatch, at: number) {
    this.#batch = batch
    this.#gaps = batch.gaps.toSorted((a, b) => a.from - b.from)
    this.#at = at
  }

  /** The next step, or undefined at the end of the batch. */
  next(): Step | undefined {
    while ((this.#batch.records[this.#record]?.ordinal ?? Infinity) < this.#at) this.#record += 1
    while ((this.#gaps[this.#gap]?.to ?? Infinity) <= this.#at) this.#gap += 1
    const record = this.#batch.records[this.#record]
    if (record?.ordinal === this.#at) {
      this.#at += 1
      return { kind: 'record', record }
    }
    const gap = this.#gaps[this.#gap]
    if (gap !== undefined && gap.from <= this.#at) return this.#pass(Math.min(gap.to, record?.ordinal ?? gap.to), gap.kind, true)
    const to = Math.min(record?.ordinal ?? this.#batch.to, gap?.from ?? this.#batch.to)
    return to > this.#at ? this.#pass(to, 'damaged', false) : undefined
  }

  #pass(to: number, why: JournalGap['kind'], reported: boolean): Step {
    this.#at = to
    return { kind: 'gap', to, why, reported }
  }
}
