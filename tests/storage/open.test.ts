import { expect, test } from 'vitest'
import type { Config } from '../../config.ts'
import { openStorage } from '../../storage/open.ts'
import { log, makeFolder } from './embedded-fixture.ts'

function config(data: string, kind: 'embedded' | 'influx'): Config {
  const store: Config['store'] = {
    kind,
    queryTimeout: 1000,
    embedded: { memory: 64 * 1024 ** 2, retention: 86_400_000 },
    // Port 9 (discard): nothing answers there.
    influx: { url: 'http://127.0.0.1:9', org: 'o', bucket: 'b', token: 't', timeout: 500 }
  }
  return {
    data,
    mqtt: { host: '127.0.0.1', port: 0, maxPacketBytes: 1, maxKeepAlive: 65_535_000 },
    http: { host: '127.0.0.1', port: 0, hosts: [] },
    access: { anonymous: 'loopback' },
    limits: {
      connections: 1,
      connectionsPerAddress: 1,
      acceptsPerSecond: 1,
      inFlight: 1,
      messagesPerSecond: 0,
      bytesPerSecond: 0,
      heldBytes: 1,
      heldBytesTotal: 1,
      unreadBytesTotal: 16_777_216,
      sendWindow: 10_000,
      subscriptions: 1,
      retained: 1,
      sessions: 1,
      retainedBytes: 1,
      remembered: 1,
      rememberedBytes: 1,
      queuedMessages: 1,
      queuedBytes: 1,
      series: 1,
      seriesPerDevice: 1,
      payloadDepth: 1,
      payloadFields: 1
    },
    journal: { sync: 'fsync', syncDelay: 2, segmentBytes: 1, maxBytes: 1, reserve: 1, whenFull: 'reject-new', keep: { time: 1, bytes: 1 } },
    deadLetters: { maxBytes: 1 },
    ingest: { batchPoints: 1, batchBytes: 1, batchDelay: 1, window: { past: 1, future: 1 } },
    store,
    stream: { ringBytes: 1, clients: 1 },
    routes: [],
    log: { level: 'fatal' }
  }
}

for (const kind of ['embedded', 'influx'] as const) {
  test(`the configuration's store is opened with its catalogue, whether a server answers or not: ${kind}`, async () => {
    await using folder = await makeFolder()
    await using storage = await openStorage(config(folder.path, kind), log)
    expect(storage.kind).toBe(kind)
    expect(storage.catalogue.checkpoint()).toBeUndefined()
  })
}
