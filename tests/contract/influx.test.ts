import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll } from 'vitest'
import { InfluxStore } from '../../storage/influx-store.ts'
import { InfluxServer } from '../harness/influx.ts'
import { describeWith } from '../harness/servers.ts'
import { contractQueuedQueries, type OpenStorage, storageContract } from './storage.ts'

describeWith(['influxd'], 'InfluxDB 2', () => {
  let server: InfluxServer
  beforeAll(async () => {
    server = await InfluxServer.open()
  })
  afterAll(async () => await server[Symbol.asyncDispose]())

  storageContract('influx', async (): Promise<OpenStorage> => {
    const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-influx-'))
    const bucket = await server.makeBucket()
    const openStore = async (): Promise<InfluxStore> =>
      await InfluxStore.open({
        folder,
        url: server.url,
        org: server.org,
        bucket,
        token: server.token,
        timeoutMs: 5000,
        queryTimeoutMs: 10_000,
        queuedQueries: contractQueuedQueries,
        memoryBytes: 64 * 1024 ** 2,
        log: pino({ level: 'silent' })
      })
    const first = await openStore()
    const opened = [first]
    const close = async (): Promise<void> => {
      for (const store of opened) await store[Symbol.asyncDispose]()
    }
    return {
      storage: first,
      async reopen() {
        await close()
        const store = await openStore()
        opened.push(store)
        return store
      },
      async [Symbol.asyncDispose]() {
        await close()
        await rm(folder, { recursive: true, force: true })
      }
    }
  })
})
