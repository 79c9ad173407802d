import { Counter, Gauge, Registry } from 'prom-client'

/**
 * Every metric of both processes. docs/metrics.md lists exactly these; a test holds both together.
 * Hot paths count in plain numbers; a metric reads them when it is scraped.
 */
export const metricTable = {
  tidegate_journal_appended_records_total: { type: 'counter', process: 'edge', help: 'Records appended to the journal since the start.' },
  tidegate_journal_head_position: { type: 'gauge', process: 'edge', help: 'Ordinal that the next record gets.' },

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
  tidegate_dead_letters: { type: 'gauge', process: 'service', help: 'Dead letters kept.' },
  tidegate_dead_letters_bytes: { type: 'gauge', process: 'service', help: 'Bytes of the dead letters kept.' },
  tidegate_dead_letters_evicted_total: { type: 'counter', process: 'service', help: 'Dead letters evicted because of their cap.' }
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
