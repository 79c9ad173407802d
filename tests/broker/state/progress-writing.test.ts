import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { ProgressWriting } from '../../../broker/state/progress-writing.ts'
import { StateLog } from '../../../broker/state/state-log.ts'
import type { FilePort } from '../../../journal/files.ts'
import { silent } from '../../journal/fixture.ts'
import { MemoryFiles } from '../../journal/memory-files.ts'
import { RoutingWorld } from '../fake-subscriber.ts'
import { fakeIntervals, until } from '../raw-client.ts'

const clients = Array.from({ length: 20 }, (_, index) => `client-${index}`)
const sentToEach = 30_000

/** Sessions of which each has been sent a lot, and acknowledged nothing but as far as PUBREC. */
function busyRouter(): RoutingWorld['router'] {
  const { router } = new RoutingWorld()
  const listed = Array.from({ length: sentToEach }, (_, at) => ({
    packetId: at + 1,
    released: true,
    kept: { ordinal: at, qos: 2, retained: false } as const,
    delivery: undefined
  }))
  for (const clientId of clients) {
    router.sessions.restore({ clientId, expirySeconds: 60, leftMs: 60_000 }, session => session.deliveries.restore(listed, sentToEach))
  }
  return router
}

test('progress is written in bounded parts, and waits for a disk that does not keep up', async () => {
  using time = fakeIntervals()
  const files = new MemoryFiles()
  let release = (): void => undefined
  let held = Promise.resolve()
  const port: FilePort = {
    ...files.port,
    datasync: async fd => {
      await held
      await files.port.datasync(fd)
    }
  }
  const options = { folder: '/log', sync: 'fsync', syncDelayMs: 0, log: silent, clock: () => 0, monotonic: () => 0 } as const
  const log = await StateLog.open({ ...options, files: port })
  held = new Promise(resolve => {
    release = resolve
  })
  const progress = new ProgressWriting({ log, source: busyRouter(), head: () => sentToEach })
  for (const clientId of clients) progress.add(clientId)
  time.advance(1000)
  const ofOne = 200_000
  expect(log.pendingBytes).toBeLessThan(256 * 1024 + ofOne)
  for (let turn = 0; turn < 100; turn++) await nextTurn()
  expect(log.pendingBytes).toBeGreaterThan(1024 * 1024)
  expect(log.pendingBytes).toBeLessThan(1024 * 1024 + ofOne)
  expect(log.head).toBeLessThan(clients.length)
  release()
  await until(() => log.pendingBytes === 0, 'the disk goes on')
  time.advance(1000)
  for (let turn = 0; turn < 3; turn++) await nextTurn()
  // What is left at a stop is written whole.
  await progress.stop()
  expect(log.head).toBe(clients.length)
  await log.close()
  const again = await StateLog.open({ ...options, files: files.port })
  const written: string[] = []
  for await (const { entry } of again.read({ damagedEntries: 0, unknownEntries: 0 })) {
    if (entry.kind === 'progress') written.push(`${entry.clientId} ${entry.progress.sent.length}`)
  }
  await again.close()
  expect(written).toEqual(clients.map(clientId => `${clientId} ${sentToEach}`))
})
