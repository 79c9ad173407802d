import type { Metrics } from '../metrics.ts'
import type { LiveStream } from './live-stream.ts'

/** Binds the metrics of the live stream. */
export function bindStreamMetrics(metrics: Metrics, stream: LiveStream): void {
  metrics.bind('tidegate_stream_clients', () => stream.clients)
  metrics.bind('tidegate_stream_ring_bytes', () => stream.ringBytes)
  metrics.bind('tidegate_stream_events_total', () => stream.sentEvents)
  metrics.bind('tidegate_stream_ended_clients_total', () => stream.endedClients)
}
