import type { Metrics } from '../metrics.ts'
import { outcomes } from '../telemetry.ts'
import type { DeadLetters } from './dead-letters.ts'
import type { Ledger } from './ledger.ts'
import type { Pipeline } from './pipeline.ts'
import { rewriteCauses } from './rewriting.ts'

/** Binds the metrics of ingest: everything is read when it is scraped. */
export function bindIngestMetrics(
  metrics: Metrics,
  ingest: { readonly pipeline: Pipeline; readonly deadLetters: DeadLetters; readonly ledger: Pick<Ledger, 'newest'> }
): void {
  const { pipeline, deadLetters, ledger } = ingest
  metrics.bind('tidegate_ingest_records_total', () => {
    const { totals } = pipeline.ledger()
    return outcomes.map(outcome => ({ labels: { outcome }, value: totals[outcome] }))
  })
  metrics.bind('tidegate_ingest_points_total', () => pipeline.stats.points)
  metrics.bind('tidegate_ingest_batches_total', () => pipeline.stats.batches)
  metrics.bind('tidegate_ingest_write_retries_total', () => pipeline.stats.retries)
  metrics.bind('tidegate_ingest_lag_records', () => pipeline.stats.lag)
  metrics.bind('tidegate_ingest_seconds_total', () => {
    const { decodeMs, waitMs, writeMs } = pipeline.stats
    return Object.entries({ decode: decodeMs, wait: waitMs, write: writeMs }).map(([stage, ms]) => ({
      labels: { stage },
      value: ms / 1000
    }))
  })
  metrics.bind('tidegate_ingest_device_time_unused_total', () => {
    const { timeOutside, timeUnusable } = pipeline.stats
    return Object.entries({ outside: timeOutside, unusable: timeUnusable }).map(([reason, value]) => ({ labels: { reason }, value }))
  })
  metrics.bind('tidegate_ingest_rewritten_records_total', () => {
    const { rewritten } = pipeline.stats
    return rewriteCauses.map(cause => ({ labels: { cause }, value: rewritten[cause] }))
  })
  metrics.bind('tidegate_ingest_rewriting', () => (pipeline.stats.rewriting ? 1 : 0))
  metrics.bind('tidegate_ledger_balanced', () =>
    ledger.newest === undefined ? [] : [{ labels: {}, value: ledger.newest.faults.length === 0 ? 1 : 0 }]
  )
  metrics.bind('tidegate_dead_letters', () => deadLetters.kept)
  metrics.bind('tidegate_dead_letters_bytes', () => deadLetters.bytes)
  metrics.bind('tidegate_dead_letters_evicted_total', () => deadLetters.evicted)
  metrics.bind('tidegate_dead_letters_replayed_total', () => deadLetters.replayed)
  metrics.bind('tidegate_dead_letters_purged_total', () => deadLetters.purged)
}
