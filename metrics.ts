import { Counter, Gauge, Registry } from 'prom-client'

/**
 * Every metric of both processes. docs/metrics.md lists exactly these; a test holds both together.
 * Hot paths count in plain numbers; a metric reads them when it is scraped.
 */
export const metricTable = {
  tidegate_journal_appended_records_total: { type: 'counter', process: 'edge', help: 'Records appended to the journal since the start.' },
  tidegate_journal_head_position: { type: 'gauge', process: 'edge', help: 'Ordinal that the next record gets.' },

  // the live stream
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
