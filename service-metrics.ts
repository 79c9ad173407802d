import type { LiveStream } from './api/live-stream.ts'
import { bindStreamMetrics } from './api/stream-metrics.ts'
import type { Backups } from './backup/backups.ts'
import type { EdgeLink } from './channel/edge-link.ts'
import { bindIngestMetrics } from './ingest/ingest-metrics.ts'
import type { Metrics } from './metrics.ts'
import { bindProcessMetrics } from './process-metrics.ts'
import type { Readings } from './readings.ts'

/** Binds every metric of the service process to what it reads. */
export function bindServiceMetrics(
  metrics: Metrics,
  service: { readonly readings: Readings; readonly stream: LiveStream; readonly link: EdgeLink; readonly backups: Backups }
): void {
  const { readings, stream, link, backups } = service
  const { storage } = readings
  bindProcessMetrics(metrics, 'service')
  bindIngestMetrics(metrics, readings)
  bindStreamMetrics(metrics, stream)
  metrics.bind('tidegate_journal_read_damaged_records_total', () => readings.damage.reading.records)
  metrics.bind('tidegate_journal_read_damaged_bytes_total', () => readings.damage.reading.bytes)
  metrics.bind('tidegate_dead_letters_damaged_records_total', () => readings.damage.letters.records)
  metrics.bind('tidegate_dead_letters_damaged_bytes_total', () => readings.damage.letters.bytes)
  metrics.bind('tidegate_dead_letters_quarantined_files_total', () => readings.damage.letters.quarantinedFiles)
  metrics.bind('tidegate_ingest_checkpoint_position', () => readings.pipeline.position.position)
  metrics.bind('tidegate_store_up', () => (storage.outage === undefined ? 1 : 0))
  metrics.bind('tidegate_store_series', () => storage.catalogue.seriesCount)
  metrics.bind('tidegate_backup_running', () => (backups.running ? 1 : 0))
  metrics.bind('tidegate_backups_total', () => backups.made)
  metrics.bind('tidegate_backup_failures_total', () => backups.failed)
  metrics.bind('tidegate_backup_held_seconds', () => backups.lastHeldMs / 1000)
  metrics.bind('tidegate_http_pending_publishes', () => link.pendingAppends)
}
