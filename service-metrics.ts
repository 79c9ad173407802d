import type { LiveStream } from './api/live-stream.ts'
import { bindStreamMetrics } from './api/stream-metrics.ts'
import type { EdgeLink } from './channel/edge-link.ts'
import { bindIngestMetrics } from './ingest/ingest-metrics.ts'
import type { Metrics } from './metrics.ts'
import { bindProcessMetrics } from './process-metrics.ts'
import type { Readings } from './readings.ts'

/** Binds every metric of the service process to what it reads. */
export function bindServiceMetrics(
  metrics: Metrics,
  service: { readonly readings: Readings; readonly stream: LiveStream; readonly link: EdgeLink }
): void {
  const { readings, stream, link } = service
  const { storage } = readings
  bindProcessMetrics(metrics, 'service')
  bindIngestMetrics(metrics, readings)
  bindStreamMetrics(metrics, stream)
  metrics.bind('tidegate_ingest_checkpoint_position', () => readings.pipeline.position.position)
  metrics.bind('tidegate_store_up', () => (storage.outage === undefined ? 1 : 0))
  metrics.bind('tidegate_store_series', () => storage.catalogue.seriesCount)
  metrics.bind('tidegate_http_pending_publishes', () => link.pendingAppends)
}
