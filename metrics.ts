import { Counter, Gauge, Registry } from 'prom-client'

/**
 * Every metric of both processes. docs/metrics.md lists exactly these; a test holds both together.
 * Hot paths count in plain numbers; a metric reads them when it is scraped.
 */
export const metricTable = {
  tidegate_journal_head_position: { type: 'gauge', process: 'edge', help: 'Ordinal that the next record gets.' },
  tidegate_journal_durable_position: {
    type: 'gauge',
    process: 'edge',
    help: 'Every record below this ordinal is as durable as journal.sync promises.'
  },
  tidegate_journal_accepting: {
    type: 'gauge',
    process: 'edge',
    help: '1 while the journal takes records, 0 while it is full, failing or closed.'
  },
  tidegate_journal_appended_records_total: { type: 'counter', process: 'edge', help: 'Records appended.' },
  tidegate_journal_appended_bytes_total: { type: 'counter', process: 'edge', help: 'Bytes appended, frames included.' },
  tidegate_journal_groups_total: { type: 'counter', process: 'edge', help: 'Group commits.' },
  tidegate_journal_syncs_total: { type: 'counter', process: 'edge', help: 'Calls of fdatasync.' },
  tidegate_journal_sync_seconds_total: { type: 'counter', process: 'edge', help: 'Time spent in fdatasync.' },
  tidegate_journal_segments: { type: 'gauge', process: 'edge', help: 'Segment files.' },
  tidegate_journal_disk_bytes: { type: 'gauge', process: 'edge', help: 'Bytes of all segment files.' },
  tidegate_journal_uncommitted_bytes: {
    type: 'gauge',
    process: 'edge',
    help: 'Bytes of records that have no outcome yet, bounded by journal.maxBytes.'
  },
  tidegate_journal_pending_bytes: { type: 'gauge', process: 'edge', help: 'Bytes appended and not yet durable, bounded at 8 MiB.' },
  tidegate_journal_write_failures_total: {
    type: 'counter',
    process: 'edge',
    help: 'Failed writes and syncs; the records were written again.'
  },
  tidegate_journal_remove_failures_total: { type: 'counter', process: 'edge', help: 'Segments that could not be removed.' },
  tidegate_journal_dropped_records_total: { type: 'counter', process: 'edge', help: 'Records dropped by journal.whenFull: drop-oldest.' },
  tidegate_journal_damaged_records_total: { type: 'counter', process: 'edge', help: 'Records found damaged at the start.' },
  tidegate_journal_damaged_bytes_total: { type: 'counter', process: 'edge', help: 'Bytes found damaged at the start.' },
  tidegate_journal_cut_bytes_total: { type: 'counter', process: 'edge', help: 'Bytes of a torn tail that were cut at the start.' },
  tidegate_mqtt_sockets: { type: 'gauge', process: 'edge', help: 'Open sockets, connected or not, bounded by limits.connections.' },
  tidegate_mqtt_connections: { type: 'gauge', process: 'edge', help: 'Connected MQTT clients.' },
  tidegate_mqtt_paused_sockets: {
    type: 'gauge',
    process: 'edge',
    help: 'Sockets that are not read because their client is over a window.'
  },
  tidegate_mqtt_held_bytes: {
    type: 'gauge',
    process: 'edge',
    help: 'Bytes read on behind waiting publishes, bounded by limits.heldBytesTotal.'
  },
  tidegate_mqtt_unacknowledged: { type: 'gauge', process: 'edge', help: 'Publishes that wait for their group commit.' },
  tidegate_mqtt_connects_total: { type: 'counter', process: 'edge', help: 'CONNECTs accepted.' },
  tidegate_mqtt_connects_refused_total: { type: 'counter', process: 'edge', help: 'Connections refused, by reason.', labels: ['reason'] },
  tidegate_mqtt_violations_total: {
    type: 'counter',
    process: 'edge',
    help: 'Connections closed for what the client sent, or for not reading.'
  },
  tidegate_mqtt_publishes_total: { type: 'counter', process: 'edge', help: 'Publishes taken, by QoS.', labels: ['qos'] },
  tidegate_mqtt_acknowledged_total: { type: 'counter', process: 'edge', help: 'PUBACK and PUBREC written for durable publishes.' },
  tidegate_mqtt_shed_total: { type: 'counter', process: 'edge', help: 'QoS 0 publishes not taken because the journal did not take any.' },
  tidegate_mqtt_resends_total: { type: 'counter', process: 'edge', help: 'Publishes recognised as sent again and not stored twice.' },
  tidegate_mqtt_publishes_refused_total: {
    type: 'counter',
    process: 'edge',
    help: 'Publishes against the rules; each closed its connection.'
  },
  tidegate_mqtt_wills_total: { type: 'counter', process: 'edge', help: 'Wills journaled.' },
  tidegate_mqtt_wills_dropped_total: {
    type: 'counter',
    process: 'edge',
    help: 'Wills not journaled because the journal did not take any.'
  },
  tidegate_mqtt_received_bytes_total: { type: 'counter', process: 'edge', help: 'Bytes received.' },
  tidegate_mqtt_sent_bytes_total: { type: 'counter', process: 'edge', help: 'Bytes sent.' },
  tidegate_mqtt_routed_total: { type: 'counter', process: 'edge', help: 'Messages handed to the side of the subscribers.' },
  tidegate_mqtt_route_failures_total: { type: 'counter', process: 'edge', help: 'Messages that could not be handed to subscribers.' },
  tidegate_mqtt_route_queue: { type: 'gauge', process: 'edge', help: 'Messages that wait for their turn to reach subscribers.' },
  tidegate_mqtt_offline_dropped_total: {
    type: 'counter',
    process: 'edge',
    help: 'Messages not queued for an offline session at limits.queuedMessages.'
  },
  tidegate_mqtt_retained_dropped_total: {
    type: 'counter',
    process: 'edge',
    help: 'Retained messages not kept because of limits.retained.'
  },
  tidegate_mqtt_retained: { type: 'gauge', process: 'edge', help: 'Retained messages, bounded by limits.retained.' },
  tidegate_mqtt_subscriptions: { type: 'gauge', process: 'edge', help: 'Subscriptions of connected clients.' },
  tidegate_mqtt_persistent_sessions: { type: 'gauge', process: 'edge', help: 'Persistent sessions, bounded by limits.sessions.' },
  tidegate_service_restarts_total: { type: 'counter', process: 'edge', help: 'Times that the service ended without being asked to.' },
  tidegate_channel_waiting: { type: 'gauge', process: 'edge', help: 'Messages that wait to be sent to the service.' },
  tidegate_edge_cpu_seconds_total: { type: 'counter', process: 'edge', help: 'CPU time of the edge process.' },
  tidegate_edge_resident_memory_bytes: { type: 'gauge', process: 'edge', help: 'Resident memory of the edge process.' },
  tidegate_edge_event_loop_delay_seconds: {
    type: 'gauge',
    process: 'edge',
    help: 'Longest time that the event loop of the edge process was held since the last scrape.'
  },
  tidegate_service_cpu_seconds_total: { type: 'counter', process: 'service', help: 'CPU time of the service process.' },
  tidegate_service_resident_memory_bytes: { type: 'gauge', process: 'service', help: 'Resident memory of the service process.' },
  tidegate_service_event_loop_delay_seconds: {
    type: 'gauge',
    process: 'service',
    help: 'Longest time that the event loop of the service process was held since the last scrape.'
  },
  tidegate_ingest_records_total: {
    type: 'counter',
    process: 'service',
    help: 'Records that got their outcome since the start of the service.'
  },
  tidegate_ingest_points_total: { type: 'counter', process: 'service', help: 'Points written since the start of the service.' },
  tidegate_ingest_batches_total: { type: 'counter', process: 'service', help: 'Batches written.' },
  tidegate_ingest_retries_total: {
    type: 'counter',
    process: 'service',
    help: 'Writes that were tried again because the store did not answer.'
  },
  tidegate_ingest_decode_seconds_total: { type: 'counter', process: 'service', help: 'Time spent decoding.' },
  tidegate_ingest_wait_seconds_total: { type: 'counter', process: 'service', help: 'Time in which decoding waited for the store.' },
  tidegate_ingest_write_seconds_total: { type: 'counter', process: 'service', help: 'Time spent writing.' },
  tidegate_ingest_lag_records: { type: 'gauge', process: 'service', help: 'Durable records without an outcome.' },
  tidegate_ingest_checkpoint_position: { type: 'gauge', process: 'service', help: 'Every record below this ordinal has its outcome.' },
  tidegate_ingest_outcomes_total: {
    type: 'counter',
    process: 'service',
    help: 'Records by outcome since the ledger began; survives restarts.',
    labels: ['outcome']
  },
  tidegate_ingest_device_time_unused_total: {
    type: 'counter',
    process: 'service',
    help: 'Readings whose own time was not used, by cause.',
    labels: ['cause']
  },
  tidegate_store_up: { type: 'gauge', process: 'service', help: '1 while the store answers.' },
  tidegate_store_series: { type: 'gauge', process: 'service', help: 'Series known, bounded by limits.series.' },
  tidegate_dead_letters: { type: 'gauge', process: 'service', help: 'Dead letters kept.' },
  tidegate_dead_letters_bytes: { type: 'gauge', process: 'service', help: 'Bytes of dead letters kept, bounded by deadLetters.maxBytes.' },
  tidegate_dead_letters_evicted_total: { type: 'counter', process: 'service', help: 'Dead letters that went because of the cap.' },
  tidegate_stream_clients: { type: 'gauge', process: 'service', help: 'Clients of the live stream, bounded by stream.clients.' },
  tidegate_stream_ring_bytes: {
    type: 'gauge',
    process: 'service',
    help: 'Bytes in the ring of the live stream, bounded by stream.ringBytes.'
  },
  tidegate_stream_events_total: { type: 'counter', process: 'service', help: 'Events sent to clients of the live stream.' },
  tidegate_stream_ended_total: { type: 'counter', process: 'service', help: 'Clients of the live stream ended because they did not read.' },
  tidegate_http_pending_publishes: { type: 'gauge', process: 'service', help: 'Publishes by HTTP that wait for the edge.' }
} as const satisfies Record<string, { type: 'counter' | 'gauge'; process: 'edge' | 'service'; help: string; labels?: readonly string[] }>

export type MetricName = keyof typeof metricTable
/** One value, or one value for each set of labels. */
export type MetricReading = number | readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[]

/** The metrics of one process: each name of the table that it serves is bound to a function that reads it. */
export class Metrics {
  readonly #registry = new Registry()

  /** Binds a metric. `read` is called at each scrape and must not block. */
  bind(name: MetricName, read: () => MetricReading): void {
    const entry: { type: 'counter' | 'gauge'; help: string; labels?: readonly string[] } = metricTable[name]
    const options = { name, help: entry.help, labelNames: [...(entry.labels ?? [])], registers: [this.#registry] }
    if (entry.type === 'gauge') {
      new Gauge({
        ...options,
        collect() {
          this.reset()
          for (const { labels, value } of labelled(read())) this.set(labels, value)
        }
      })
    } else {
      new Counter({
        ...options,
        collect() {
          this.reset()
          for (const { labels, value } of labelled(read())) this.inc(labels, value)
        }
      })
    }
  }

  /** The exposition text (Prometheus text format 0.0.4). */
  async render(): Promise<string> {
    return await this.#registry.metrics()
  }
}

function labelled(reading: MetricReading): readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[] {
  return typeof reading === 'number' ? [{ labels: {}, value: reading }] : reading
}
