import { Counter, Gauge, Registry } from 'prom-client'

/**
 * Every metric of both processes. docs/metrics.md lists exactly these; a test holds both together.
 * Hot paths count in plain numbers; a metric reads them when it is scraped.
 */
export const metricTable = {
  tidegate_journal_appended_records_total: { type: 'counter', process: 'edge', help: 'Records appended to the journal since the start.' },
  tidegate_journal_head_position: { type: 'gauge', process: 'edge', help: 'Ordinal that the next record gets.' },

  // MQTT
  tidegate_mqtt_connections: { type: 'gauge', process: 'edge', help: 'MQTT clients that are connected.' },
  tidegate_mqtt_sockets: { type: 'gauge', process: 'edge', help: 'Open MQTT sockets, with those that have not said who they are.' },
  tidegate_mqtt_sockets_paused: { type: 'gauge', process: 'edge', help: 'MQTT sockets that are not read because their publishes wait.' },
  tidegate_mqtt_held_bytes: { type: 'gauge', process: 'edge', help: 'Bytes read on behind waiting publishes.' },
  tidegate_mqtt_unacknowledged: { type: 'gauge', process: 'edge', help: 'Acknowledgements that wait for the disk.' },
  tidegate_mqtt_subscriptions: { type: 'gauge', process: 'edge', help: 'Subscriptions of connected clients.' },
  tidegate_mqtt_retained: { type: 'gauge', process: 'edge', help: 'Retained messages.' },
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
  tidegate_mqtt_publishes_resent_total: { type: 'counter', process: 'edge', help: 'QoS 2 publishes recognised as sent again.' },
  tidegate_mqtt_publishes_refused_total: {
    type: 'counter',
    process: 'edge',
    help: 'Publishes against the rules; each closed its connection.'
  },
  tidegate_mqtt_wills_total: { type: 'counter', process: 'edge', help: 'Wills published.' },
  tidegate_mqtt_received_bytes_total: { type: 'counter', process: 'edge', help: 'Bytes read from MQTT sockets.' },
  tidegate_mqtt_sent_bytes_total: { type: 'counter', process: 'edge', help: 'Bytes written to MQTT sockets.' },
  tidegate_mqtt_routed_total: { type: 'counter', process: 'edge', help: 'Messages handed to subscribers.' },
  tidegate_mqtt_dropped_total: {
    type: 'counter',
    process: 'edge',
    help: 'Messages not kept for subscribers, and wills not published, because a bound was reached, by kind.',
    labels: ['kind']
  }
} as const satisfies Record<
  string,
  { type: 'counter' | 'gauge'; process: 'edge' | 'service' | 'both'; help: string; labels?: readonly string[] }
>

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
