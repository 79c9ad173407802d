import type { Broker } from './broker/broker.ts'
import type { Supervisor } from './channel/supervisor.ts'
import type { Journal } from './journal/journal.ts'
import type { Metrics } from './metrics.ts'
import { bindProcessMetrics } from './process-metrics.ts'

/** Binds every metric of the edge process to what it reads. */
export function bindEdgeMetrics(
  metrics: Metrics,
  edge: { readonly broker: Broker; readonly journal: Journal; readonly supervisor: Supervisor }
): void {
  const { broker, journal, supervisor } = edge
  bindProcessMetrics(metrics, 'edge')
  metrics.bind('tidegate_service_restarts_total', () => supervisor.restarts)
  metrics.bind('tidegate_channel_waiting', () => supervisor.waiting)
  bindJournal(metrics, journal)
  bindMqtt(metrics, broker)
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
  metrics.bind('tidegate_journal_disk_bytes', () => journal.stats.diskBytes)
  metrics.bind('tidegate_journal_uncommitted_bytes', () => journal.stats.uncommittedBytes)
  metrics.bind('tidegate_journal_pending_bytes', () => journal.stats.pendingBytes)
  metrics.bind('tidegate_journal_write_failures_total', () => journal.stats.writeFailures)
  metrics.bind('tidegate_journal_remove_failures_total', () => journal.stats.removeFailures)
  metrics.bind('tidegate_journal_dropped_records_total', () => journal.stats.droppedRecords)
  metrics.bind('tidegate_journal_damaged_records_total', () => journal.stats.damagedRecords)
  metrics.bind('tidegate_journal_damaged_bytes_total', () => journal.stats.damagedBytes)
  metrics.bind('tidegate_journal_cut_bytes_total', () => journal.stats.cutBytes)
}

function bindMqtt(metrics: Metrics, broker: Broker): void {
  metrics.bind('tidegate_mqtt_sockets', () => broker.stats.sockets)
  metrics.bind('tidegate_mqtt_connections', () => broker.stats.connections)
  metrics.bind('tidegate_mqtt_paused_sockets', () => broker.stats.pausedSockets)
  metrics.bind('tidegate_mqtt_held_bytes', () => broker.stats.heldBytes)
  metrics.bind('tidegate_mqtt_unacknowledged', () => broker.stats.unacknowledged)
  metrics.bind('tidegate_mqtt_connects_total', () => broker.stats.connectsAccepted)
  metrics.bind('tidegate_mqtt_connects_refused_total', () =>
    [...broker.stats.refusedByReason].map(([reason, value]) => ({ labels: { reason }, value }))
  )
  metrics.bind('tidegate_mqtt_violations_total', () => broker.stats.violations)
  metrics.bind('tidegate_mqtt_publishes_total', () => broker.stats.publishes.map((value, qos) => ({ labels: { qos: String(qos) }, value })))
  metrics.bind('tidegate_mqtt_acknowledged_total', () => broker.stats.acknowledged)
  metrics.bind('tidegate_mqtt_shed_total', () => broker.stats.shed)
  metrics.bind('tidegate_mqtt_resends_total', () => broker.stats.resends)
  metrics.bind('tidegate_mqtt_publishes_refused_total', () => broker.stats.publishesRefused)
  metrics.bind('tidegate_mqtt_wills_total', () => broker.stats.wills)
  metrics.bind('tidegate_mqtt_wills_dropped_total', () => broker.stats.willsDropped)
  metrics.bind('tidegate_mqtt_received_bytes_total', () => broker.stats.bytesReceived)
  metrics.bind('tidegate_mqtt_sent_bytes_total', () => broker.stats.bytesSent)
  metrics.bind('tidegate_mqtt_routed_total', () => broker.stats.routed)
  metrics.bind('tidegate_mqtt_route_failures_total', () => broker.stats.routeFailures)
  metrics.bind('tidegate_mqtt_route_queue', () => broker.stats.routeQueue)
  metrics.bind('tidegate_mqtt_offline_dropped_total', () => broker.stats.offlineDropped)
  metrics.bind('tidegate_mqtt_retained_dropped_total', () => broker.stats.retainedDropped)
  metrics.bind('tidegate_mqtt_retained', () => broker.stats.retained)
  metrics.bind('tidegate_mqtt_subscriptions', () => broker.stats.subscriptions)
  metrics.bind('tidegate_mqtt_persistent_sessions', () => broker.stats.persistentSessions)
}
