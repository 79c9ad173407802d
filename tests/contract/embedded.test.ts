import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { EmbeddedStore } from '../../storage/embedded-store.ts'
import { contractQueuedQueries, type OpenStorage, storageContract } from './storage.ts'

async function openEmbedded(): Promise<OpenStorage> {
  const folder = await mkdtemp(join(tmpdir(), 'tidegate-contract-'))
  const openStore = async (): Promise<EmbeddedStore> =>
    await EmbeddedStore.open({
      folder,
      memoryBytes: 64 * 1024 ** 2,
      retentionMs: 400 * 86_400_000,
      queryTimeoutMs: 5000,
      queuedQueries: contractQueuedQueries,
      log: pino({ level: 'silent' })
    })
  let storage = await openStore()
  return {
    storage,
    async reopen() {
      await storage[Symbol.asyncDispose]()
      storage = await openStore()
      return storage
    },
    async [Symbol.asyncDispose]() {
      await storage[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    }
  }
}

storageContract('embedded', openEmbedded)
