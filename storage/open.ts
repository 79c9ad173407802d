import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { EmbeddedStore } from './embedded-store.ts'
import { InfluxStore } from './influx-store.ts'
import type { Storage } from './port.ts'

/** Statements that wait while two run; each waits for seconds at most, so more would only time out later. */
const queuedQueries = 32

/**
 * Opens the store that the configuration names. The catalogue is in the data folder either way.
 * @throws TidegateError TG_DATA_IN_USE, TG_DATA_UNWRITABLE, TG_STORE_UNREADABLE; an InfluxDB that is down is no reason
 */
export async function openStorage(config: Config, log: Logger): Promise<Storage> {
  const { kind, queryTimeout, embedded, influx } = config.store
  const options = { folder: config.data, queryTimeoutMs: queryTimeout, queuedQueries, memoryBytes: embedded.memory, log }
  if (kind === 'embedded') return await EmbeddedStore.open({ ...options, retentionMs: embedded.retention })
  const { url, org, bucket, token, timeout } = influx
  return await InfluxStore.open({ ...options, url, org, bucket, token, timeoutMs: timeout })
}
