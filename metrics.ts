import { Counter, Gauge, Registry } from 'prom-client'

/**
 * Every metric of both processes. docs/metrics.md lists exactly these; a test holds both together.
 * Hot paths count in plain numbers; a metric reads them when it is scraped.
 */
export const metricTable = {
  // journal
  tidegate_journal_head_position: { type: 'gauge', process: 'edge', help: 'Ordinal that the next record gets.' },
  tidegate_journal_durable_position: {
    type: 'gauge',
    process: 'edge',
    help: 'Every record below this ordinal is as durable as journal.sync promises.'
  },
  tidegate_journal_accepting: {
    type: 'gauge',
    process: 'edge',
    help: '1 while the journal takes records, 0 while it is full, failing, behind or closed.'
  },
  tidegate_journal_appended_records_total: { type: 'counter', process: 'edge', help: 'Records appended.' },
  tidegate_journal_appended_bytes_total: { type: 'counter', process: 'edge', help: 'Bytes appended, frames included.' },
  tidegate_journal_groups_total: { type: 'counter', process: 'edge', help: 'Group commits.' },
  tidegate_journal_syncs_total: { type: 'counter', process: 'edge', help: 'Calls of fdatasync.' },
  tidegate_journal_sync_seconds_total: { type: 'counter', process: 'edge', help: 'Time spent in fdatasync.' },
  tidegate_journal_segments: { type: 'gauge', process: 'edge', help: 'Segment files.' },
  tidegate_journal_pins: { type: 'gauge', process: 'edge', help: 'Who keeps segments from being removed, for a backup for example.' },
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
  tidegate_journal_damaged_records_total: {
    type: 'counter',
    process: 'edge',
    help: 'Records found damaged or missing at the start, in the newest 64 MiB.'
  },
  tidegate_journal_damaged_bytes_total: {
    type: 'counter',
    process: 'edge',
    help: 'Bytes found damaged at the start, in the newest 64 MiB.'
  },
  tidegate_journal_cut_bytes_total: { type: 'counter', process: 'edge', help: 'Bytes of a torn tail that were cut at the start.' },
  tidegate_journal_quarantined_files_total: {
    type: 'counter',
    process: 'edge',
    help: 'Files of the journal that were moved to quarantine at the start.'
  },
  tidegate_journal_read_damaged_records_total: {
    type: 'counter',
    process: 'service',
    help: 'Records that ingest found damaged or missing since the start of the service; those found at the start are in it again.'
  },
  tidegate_journal_read_damaged_bytes_total: {
    type: 'counter',
    process: 'service',
    help: 'Damaged bytes that ingest passed over since the start of the service.'
  },

  // mqtt
  tidegate_mqtt_connections: { type: 'gauge', process: 'edge', help: 'MQTT clients that are connected.' },
  tidegate_mqtt_sockets: { type: 'gauge', process: 'edge', help: 'Open MQTT sockets, with those that have not said who they are.' },
  tidegate_mqtt_sockets_paused: { type: 'gauge', process: 'edge', help: 'MQTT sockets that are not read because their next packet waits.' },
  tidegate_mqtt_held_bytes: { type: 'gauge', process: 'edge', help: 'Bytes read on behind waiting publishes, and of unfinished packets.' },
  tidegate_mqtt_sockets_waiting: {
    type: 'gauge',
    process: 'edge',
    help: 'MQTT sockets that wait for limits.acceptsPerSecond, or for the start, before they are served.'
  },
  tidegate_mqtt_blocked: {
    type: 'gauge',
    process: 'edge',
    help: 'MQTT connections whose next packet waits, by what for.',
    labels: ['reason']
  },
  tidegate_mqtt_unread_bytes: {
    type: 'gauge',
    process: 'edge',
    help: 'Bytes that wait for MQTT clients to read them, bounded by limits.unreadBytesTotal.'
  },
  tidegate_mqtt_rates_remembered: {
    type: 'gauge',
    process: 'edge',
    help: 'Clients that left over limits.messagesPerSecond or limits.bytesPerSecond and are remembered, bounded at 10,000.'
  },
  tidegate_mqtt_wills_waiting: {
    type: 'gauge',
    process: 'edge',
    help: 'Wills that are due and wait for the journal, bounded at 10,000; more are dropped, counted.'
  },
  tidegate_mqtt_wills_waiting_bytes: { type: 'gauge', process: 'edge', help: 'Their bytes, bounded at 16 MiB.' },
  tidegate_mqtt_foreign_publishes_waiting: {
    type: 'gauge',
    process: 'edge',
    help: 'Publishes by HTTP and replays that wait for the disk, bounded at 10,000.'
  },
  tidegate_mqtt_refusals_kept: { type: 'gauge', process: 'edge', help: 'Refusals kept for operators to see, the last 256.' },
  tidegate_mqtt_received_ids: {
    type: 'gauge',
    process: 'edge',
    help: 'QoS 2 publishes of all sessions whose PUBREL has not come, bounded at 4,096 a session or four times limits.inFlight.'
  },
  tidegate_mqtt_topic_alias_bytes: {
    type: 'gauge',
    process: 'edge',
    help: 'Bytes of topics behind the topic aliases of MQTT 5 clients, bounded at 16 MiB.'
  },
  tidegate_mqtt_wills_delayed: {
    type: 'gauge',
    process: 'edge',
    help: 'Wills of MQTT 5 clients whose delay is not over, bounded at 10,000 and 16 MiB; over that the oldest is published early.'
  },
  tidegate_mqtt_unacknowledged: { type: 'gauge', process: 'edge', help: 'Acknowledgements that wait for the disk.' },
  tidegate_mqtt_subscriptions: { type: 'gauge', process: 'edge', help: 'Subscriptions of connected clients.' },
  tidegate_mqtt_retained: { type: 'gauge', process: 'edge', help: 'Retained messages.' },
  tidegate_mqtt_retained_bytes: { type: 'gauge', process: 'edge', help: 'Their bytes, bounded by limits.retainedBytes.' },
  tidegate_mqtt_queued: {
    type: 'gauge',
    process: 'edge',
    help: 'Messages kept for sessions: those that wait, and those that were sent and are not acknowledged.'
  },
  tidegate_mqtt_queued_bytes: {
    type: 'gauge',
    process: 'edge',
    help: 'Their bytes; nothing waits above limits.queuedBytes, and what is not acknowledged may be as much again.'
  },
  tidegate_mqtt_sessions: { type: 'gauge', process: 'edge', help: 'Persistent sessions, connected or not.' },
  tidegate_mqtt_route_queue: {
    type: 'gauge',
    process: 'edge',
    help: 'Messages that wait for the disk or their turn to reach subscribers.'
  },
  tidegate_mqtt_connects_total: { type: 'counter', process: 'edge', help: 'Connections accepted with CONNACK 0.' },
  tidegate_mqtt_connects_refused_total: { type: 'counter', process: 'edge', help: 'Connections refused, by reason.', labels: ['reason'] },
  tidegate_mqtt_violations_total: { type: 'counter', process: 'edge', help: 'Connections closed for what their client did.' },
  tidegate_mqtt_publishes_total: { type: 'counter', process: 'edge', help: 'Publishes taken, by QoS.', labels: ['qos'] },
  tidegate_mqtt_acknowledgements_total: { type: 'counter', process: 'edge', help: 'Acknowledgements written after the group commit.' },
  tidegate_mqtt_publishes_shed_total: { type: 'counter', process: 'edge', help: 'QoS 0 publishes dropped because the journal took none.' },
  tidegate_mqtt_publishes_resent_total: {
    type: 'counter',
    process: 'edge',
    help: 'Publishes of QoS 1 and 2 recognised as sent again; they are not stored twice.'
  },
  tidegate_mqtt_remembered: {
    type: 'gauge',
    process: 'edge',
    help: 'Publishes remembered to recognise those that are sent again, bounded by limits.remembered.'
  },
  tidegate_mqtt_remembered_bytes: { type: 'gauge', process: 'edge', help: 'Their memory, bounded by limits.rememberedBytes.' },
  tidegate_mqtt_remembered_evicted_total: {
    type: 'counter',
    process: 'edge',
    help: 'Publishes forgotten because of these bounds within ten minutes; one that was sent again after that was stored twice.'
  },
  tidegate_mqtt_publishes_refused_total: {
    type: 'counter',
    process: 'edge',
    help: 'Publishes against the rules; each closed its connection or was answered with a reason code.'
  },
  tidegate_mqtt_wills_total: { type: 'counter', process: 'edge', help: 'Wills published.' },
  tidegate_mqtt_received_bytes_total: { type: 'counter', process: 'edge', help: 'Bytes read from MQTT sockets.' },
  tidegate_mqtt_sent_bytes_total: { type: 'counter', process: 'edge', help: 'Bytes written to MQTT sockets.' },
  tidegate_mqtt_routed_total: { type: 'counter', process: 'edge', help: 'Messages handed to subscribers.' },
  tidegate_mqtt_dropped_total: {
    type: 'counter',
    process: 'edge',
    help: 'Messages that subscribers did not get (offline, slow, expired, oversized) or that were not retained, and wills not published, by kind.',
    labels: ['kind']
  },

  // what survives of sessions and retained messages
  tidegate_sessions_disk_bytes: { type: 'gauge', process: 'edge', help: 'Bytes of the files of sessions and retained messages.' },
  tidegate_sessions_behind_records: {
    type: 'gauge',
    process: 'edge',
    help: 'Records of the journal behind them, which a start would read again; they are kept for that.'
  },
  tidegate_sessions_accepting: {
    type: 'gauge',
    process: 'edge',
    help: '1 while changes of sessions can be written, 0 while their disk is full, fails or has far too much to write.'
  },
  tidegate_sessions_waiting_replies: {
    type: 'gauge',
    process: 'edge',
    help: 'CONNACK, SUBACK, UNSUBACK and PUBCOMP that wait until what they answer is durable.'
  },
  tidegate_sessions_snapshots_total: { type: 'counter', process: 'edge', help: 'Snapshots of sessions and retained messages written.' },
  tidegate_sessions_lost_entries_total: {
    type: 'counter',
    process: 'edge',
    help: 'Entries of sessions and retained messages that were damaged, missing or not understood at the start.'
  },

  // processes and the channel between them
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
  tidegate_http_pending_publishes: { type: 'gauge', process: 'service', help: 'Publishes by HTTP that wait for the edge.' },

  // ingest
  tidegate_ingest_records_total: {
    type: 'counter',
    process: 'service',
    help: 'Records that got their outcome, by outcome, since the totals of the checkpoint began.',
    labels: ['outcome']
  },
  tidegate_ingest_points_total: { type: 'counter', process: 'service', help: 'Points written since the start of the service.' },
  tidegate_ingest_batches_total: { type: 'counter', process: 'service', help: 'Batches written since the start of the service.' },
  tidegate_ingest_write_retries_total: { type: 'counter', process: 'service', help: 'Writes of a batch that failed and were tried again.' },
  tidegate_ingest_lag_records: { type: 'gauge', process: 'service', help: 'Durable records that have no outcome yet.' },
  tidegate_ingest_seconds_total: {
    type: 'counter',
    process: 'service',
    help: 'Time spent, by stage: decode, wait (for the write before), write.',
    labels: ['stage']
  },
  tidegate_ingest_device_time_unused_total: {
    type: 'counter',
    process: 'service',
    help: 'Readings whose own time was not used, by reason: outside (the window), unusable.',
    labels: ['reason']
  },
  tidegate_ingest_rewritten_records_total: {
    type: 'counter',
    process: 'service',
    help: 'Records read again to write them into the store again, which changes no outcome, by cause: start, outage, replay.',
    labels: ['cause']
  },
  tidegate_ingest_rewriting: {
    type: 'gauge',
    process: 'service',
    help: '1 while records are written into the store again, or wait for the store.'
  },
  tidegate_dead_letters: { type: 'gauge', process: 'service', help: 'Dead letters kept.' },
  tidegate_dead_letters_bytes: {
    type: 'gauge',
    process: 'service',
    help: 'Bytes of the dead letters on the disk, with those that have their tombstone and are not freed yet.'
  },
  tidegate_dead_letters_evicted_total: { type: 'counter', process: 'service', help: 'Dead letters evicted because of their cap.' },
  tidegate_dead_letters_replayed_total: {
    type: 'counter',
    process: 'service',
    help: 'Dead letters that were sent through the pipeline again.'
  },
  tidegate_dead_letters_purged_total: { type: 'counter', process: 'service', help: 'Dead letters that were purged.' },
  tidegate_dead_letters_damaged_records_total: {
    type: 'counter',
    process: 'service',
    help: 'Dead letters found damaged or missing at the start of the service, in the newest 64 MiB.'
  },
  tidegate_dead_letters_damaged_bytes_total: {
    type: 'counter',
    process: 'service',
    help: 'Bytes of the dead letters found damaged at the start of the service, in the newest 64 MiB.'
  },
  tidegate_dead_letters_quarantined_files_total: {
    type: 'counter',
    process: 'service',
    help: 'Files of the dead letters that were moved to quarantine at the start of the service.'
  },
  tidegate_ingest_checkpoint_position: { type: 'gauge', process: 'service', help: 'Every record below this ordinal has its outcome.' },

  tidegate_ledger_balanced: {
    type: 'gauge',
    process: 'service',
    help: '1 while the independent counts of the ledger agree, 0 while they do not; absent until they were first taken.'
  },

  // store
  tidegate_store_up: { type: 'gauge', process: 'service', help: '1 while the store answers.' },
  tidegate_store_series: { type: 'gauge', process: 'service', help: 'Series known, bounded by limits.series.' },

  // backup
  tidegate_backup_running: { type: 'gauge', process: 'service', help: '1 while a backup is being made.' },
  tidegate_backups_total: { type: 'counter', process: 'service', help: 'Backups made since the start of the service.' },
  tidegate_backup_failures_total: { type: 'counter', process: 'service', help: 'Backups that failed since the start of the service.' },
  tidegate_backup_held_seconds: {
    type: 'gauge',
    process: 'service',
    help: 'How long the last backup kept writes to the database waiting.'
  },

  // stream
  tidegate_stream_clients: { type: 'gauge', process: 'service', help: 'Clients that follow the live stream.' },
  tidegate_stream_ring_bytes: {
    type: 'gauge',
    process: 'service',
    help: 'Memory of the messages kept for clients that resume, estimated.'
  },
  tidegate_stream_events_total: { type: 'counter', process: 'service', help: 'Events sent to clients of the live stream since the start.' },
  tidegate_stream_ended_clients_total: {
    type: 'counter',
    process: 'service',
    help: 'Clients of the live stream ended because they did not read, since the start.'
  }
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
