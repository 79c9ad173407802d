import type { Metrics } from '../metrics.ts'
import type { Broker } from './broker.ts'

/** Binds the metrics tidegate_mqtt_… to a broker's counters. */
export function bindBrokerMetrics(metrics: Metrics, broker: Broker): void {
  metrics.bind('tidegate_mqtt_connections', () => broker.stats.connections)
  metrics.bind('tidegate_mqtt_sockets', () => broker.stats.sockets)
  metrics.bind('tidegate_mqtt_sockets_paused', () => broker.stats.pausedSockets)
  metrics.bind('tidegate_mqtt_held_bytes', () => broker.stats.heldBytes)
  metrics.bind('tidegate_mqtt_topic_alias_bytes', () => broker.stats.topicAliasBytes)
  metrics.bind('tidegate_mqtt_wills_delayed', () => broker.stats.delayedWills)
  metrics.bind('tidegate_mqtt_unacknowledged', () => broker.stats.unacknowledged)
  metrics.bind('tidegate_mqtt_subscriptions', () => broker.stats.subscriptions)
  metrics.bind('tidegate_mqtt_retained', () => broker.stats.retained)
  metrics.bind('tidegate_mqtt_retained_bytes', () => broker.stats.retainedBytes)
  metrics.bind('tidegate_mqtt_queued', () => broker.stats.queued)
  metrics.bind('tidegate_mqtt_queued_bytes', () => broker.stats.queuedBytes)
  metrics.bind('tidegate_mqtt_sessions', () => broker.stats.persistentSessions)
  metrics.bind('tidegate_mqtt_route_queue', () => broker.stats.routeQueue)
  metrics.bind('tidegate_mqtt_connects_total', () => broker.stats.connectsAccepted)
  metrics.bind('tidegate_mqtt_connects_refused_total', () =>
    [...broker.stats.refusedByReason].map(([reason, value]) => ({ labels: { reason }, value }))
  )
  metrics.bind('tidegate_mqtt_violations_total', () => broker.stats.violations)
  metrics.bind('tidegate_mqtt_publishes_total', () => broker.stats.publishes.map((value, qos) => ({ labels: { qos: `${qos}` }, value })))
  metrics.bind('tidegate_mqtt_acknowledgements_total', () => broker.stats.acknowledged)
  metrics.bind('tidegate_mqtt_publishes_shed_total', () => broker.stats.shed)
  metrics.bind('tidegate_mqtt_publishes_resent_total', () => broker.stats.resends)
  metrics.bind('tidegate_mqtt_remembered', () => broker.stats.remembered)
  metrics.bind('tidegate_mqtt_remembered_bytes', () => broker.stats.rememberedBytes)
  metrics.bind('tidegate_mqtt_remembered_evicted_total', () => broker.stats.rememberedEvicted)
  metrics.bind('tidegate_mqtt_publishes_refused_total', () => broker.stats.publishesRefused)
  metrics.bind('tidegate_mqtt_wills_total', () => broker.stats.wills)
  metrics.bind('tidegate_mqtt_received_bytes_total', () => broker.stats.bytesReceived)
  metrics.bind('tidegate_mqtt_sent_bytes_total', () => broker.stats.bytesSent)
  metrics.bind('tidegate_mqtt_routed_total', () => broker.stats.routed)
  metrics.bind('tidegate_mqtt_dropped_total', () => [
    { labels: { kind: 'offline' }, value: broker.stats.offlineDropped },
    { labels: { kind: 'slow' }, value: broker.stats.slowDropped },
    { labels: { kind: 'expired' }, value: broker.stats.expiredDropped },
    { labels: { kind: 'oversized' }, value: broker.stats.oversizedDropped },
    { labels: { kind: 'retained' }, value: broker.stats.retainedDropped },
    { labels: { kind: 'will' }, value: broker.stats.willsDropped }
  ])
}
