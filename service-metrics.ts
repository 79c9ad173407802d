import type { LiveStream } from './api/live-stream.ts'
import type { EdgeLink } from './channel/edge-link.ts'
import type { Metrics } from './metrics.ts'
import { bindProcessMetrics } from './process-metrics.ts'
import type { Readings } from './readings.ts'
import { outcomes } from './telemetry.ts'

/** Binds every metric of the service process to what it reads. */
export function bindServiceMetrics(
  metrics: Metrics,
  service: { readonly readings: Readings; readonly stream: LiveStream; readonly link: EdgeLink }
): void {
  const { readings, stream, link } = service
  const { storage, deadLetters } = readings
  bindProcessMetrics(metrics, 'service')
  bindIngest(metrics, readings)
  metrics.bind('tidegate_store_up', () => (storage.outage === undefined ? 1 : 0))
  metrics.bind('tidegate_store_series', () => storage.catalogue.seriesCount)
  metrics.bind('tidegate_dead_letters', () => deadLetters.kept)
  metrics.bind('tidegate_dead_letters_bytes', () => deadLetters.bytes)
  metrics.bind('tidegate_dead_letters_evicted_total', () => deadLetters.evicted)
  metrics.bind('tidegate_stream_clients', () => stream.clients)
  metrics.bind('tidegate_stream_ring_bytes', () => stream.ringBytes)
  metrics.bind('tidegate_stream_events_total', () => stream.sentEvents)
  metrics.bind('tidegate_stream_ended_total', () => stream.endedClients)
  metrics.bind('tidegate_http_pending_publishes', () => link.pendingAppends)
}

function bindIngest(metrics: Metrics, { pipeline }: Readings): void {
  metrics.bind('tidegate_ingest_records_total', () => pipeline.stats.records)
  metrics.bind('tidegate_ingest_points_total', () => pipeline.stats.points)
  metrics.bind('tidegate_ingest_batches_total', () => pipeline.stats.batches)
  metrics.bind('tidegate_ingest_retries_total', () => pipeline.stats.retries)
  metrics.bind('tidegate_ingest_decode_seconds_total', () => pipeline.stats.decodeMs / 1000)
  metrics.bind('tidegate_ingest_wait_seconds_total', () => pipeline.stats.waitMs / 1000)
  metrics.bind('tidegate_ingest_write_seconds_total', () => pipeline.stats.writeMs / 1000)
  metrics.bind('tidegate_ingest_lag_records', () => pipeline.stats.lag)
  metrics.bind('tidegate_ingest_checkpoint_position', () => pipeline.position.position)
  metrics.bind('tidegate_ingest_outcomes_total', () =>
    outcomes.map(outcome => ({ labels: { outcome }, value: pipeline.position.totals[outcome] }))
  )
  metrics.bind('tidegate_ingest_device_time_unused_total', () => [
    { labels: { cause: 'outside-window' }, value: pipeline.stats.timeOutside },
    { labels: { cause: 'not-a-time' }, value: pipeline.stats.timeUnusable }
  ])
}
