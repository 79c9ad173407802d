import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { EmbeddedStore } from './embedded-store.ts'
import type { Storage } from './port.ts'

/** Queries that wait for their turn; one more is TG_QUERY_BUSY. */
const queuedQueries = 100

/** Opens the store that the configuration names. */
export async function openStorage(config: Config, log: Logger): Promise<Storage> {
  const { memory, retention } = config.store.embedded
  const options = { folder: config.data, queryTimeoutMs: config.store.queryTimeout, queuedQueries, memoryBytes: memory, log }
  return await EmbeddedStore.open({ ...options, retentionMs: retention })
}
