import type { Broker } from './broker/broker.ts'
import { bindBrokerMetrics } from './broker/metrics.ts'
import type { SessionState } from './broker/state/session-state.ts'
import type { Supervisor } from './channel/supervisor.ts'
import type { Journal } from './journal/journal.ts'
import type { Metrics } from './metrics.ts'
import { bindProcessMetrics } from './process-metrics.ts'

/** Binds every metric of the edge process to what it reads. */
export function bindEdgeMetrics(
  metrics: Metrics,
  edge: { readonly broker: Broker; readonly sessions: SessionState; readonly journal: Journal; readonly supervisor: Supervisor }
): void {
  const { broker, sessions, journal, supervisor } = edge
  bindProcessMetrics(metrics, 'edge')
  metrics.bind('tidegate_service_restarts_total', () => supervisor.restarts)
  metrics.bind('tidegate_channel_waiting', () => supervisor.waiting)
  bindJournal(metrics, journal)
  bindBrokerMetrics(metrics, broker)
  bindSessions(metrics, sessions)
}

function bindSessions(metrics: Metrics, sessions: SessionState): void {
  metrics.bind('tidegate_sessions_disk_bytes', () => sessions.stats.diskBytes)
  metrics.bind('tidegate_sessions_behind_records', () => sessions.stats.behind)
  metrics.bind('tidegate_sessions_accepting', () => (sessions.state === 'accepting' ? 1 : 0))
  metrics.bind('tidegate_sessions_waiting_replies', () => sessions.stats.waitingReplies)
  metrics.bind('tidegate_sessions_snapshots_total', () => sessions.stats.snapshots)
  metrics.bind('tidegate_sessions_lost_entries_total', () => sessions.stats.lostEntries)
}

function bindJournal(metrics: Metrics, journal: Journal): void {
  metrics.bind('tidegate_journal_head_position', () => journal.head)
  metrics.bind('tidegate_journal_durable_position', () => journal.durable)
  metrics.bind('tidegate_journal_accepting', () => (journal.state === 'accepting' ? 1 : 0))
  metrics.bind('tidegate_journal_appended_records_total', () => journal.stats.appendedRecords)
  metrics.bind('tidegate_journal_appended_bytes_total', () => journal.stats.appendedBytes)
  metrics.bind('tidegate_journal_groups_total', () => journal.stats.groups)
  metrics.bind('tidegate_journal_syncs_total', () => journal.stats.syncs)
  metrics.bind('tidegate_journal_sync_seconds_total', () => journal.stats.syncMs / 1000)
  metrics.bind('tidegate_journal_segments', () => journal.stats.segments)
  metrics.bind('tidegate_journal_pins', () => journal.stats.pins)
  metrics.bind('tidegate_journal_disk_bytes', () => journal.stats.diskBytes)
  metrics.bind('tidegate_journal_uncommitted_bytes', () => journal.stats.uncommittedBytes)
  metrics.bind('tidegate_journal_pending_bytes', () => journal.stats.pendingBytes)
  metrics.bind('tidegate_journal_write_failures_total', () => journal.stats.writeFailures)
  metrics.bind('tidegate_journal_remove_failures_total', () => journal.stats.removeFailures)
  metrics.bind('tidegate_journal_dropped_records_total', () => journal.stats.droppedRecords)
  metrics.bind('tidegate_journal_damaged_records_total', () => journal.stats.damagedRecords)
  metrics.bind('tidegate_journal_damaged_bytes_total', () => journal.stats.damagedBytes)
  metrics.bind('tidegate_journal_cut_bytes_total', () => journal.stats.cutBytes)
  metrics.bind('tidegate_journal_quarantined_files_total', () => journal.stats.quarantinedFiles)
}
