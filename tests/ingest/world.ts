import type { Config } from '../../config.ts'
import { DeadLetters } from '../../ingest/dead-letters.ts'
import { Pipeline } from '../../ingest/pipeline.ts'
import type { Committed, PipelineOptions } from '../../ingest/pipeline.ts'
import { startingCheckpoint } from '../../ingest/settlement.ts'
import type { JournalGap, JournalRecord } from '../../journal/record.ts'
import { FakeBoundFile, FakeJournal, FakeSource, FakeStorage, ImpatientClock, decoderConfig, journalUuid, silent } from './fakes.ts'

const limits: Config['limits'] = {
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
  ...decoderConfig.limits
}

/** All that outlives a pipeline: journal, store, dead letters. */
export interface World {
  readonly records: (JournalRecord | JournalGap['kind'])[]
  readonly storage: FakeStorage
  readonly letterJournal: FakeJournal
  readonly letterBound: FakeBoundFile
  readonly committed: Committed[]
  readonly clock: ImpatientClock
}

export function worldOf(records: (JournalRecord | JournalGap['kind'])[]): World {
  return {
    records,
    storage: new FakeStorage(),
    letterJournal: new FakeJournal(),
    letterBound: new FakeBoundFile(),
    committed: [],
    clock: new ImpatientClock()
  }
}

/** Opens a pipeline as the service does, on what the world holds. */
export async function openPipeline(
  world: World,
  options: Partial<PipelineOptions> & {
    readonly batchPoints?: number
    readonly chunk?: number
    readonly limits?: Partial<Config['limits']>
    readonly routes?: Config['routes']
  } = {}
) {
  const { letterJournal, letterBound, records, committed, clock } = world
  const storage = options.storage ?? world.storage
  const journal = options.journal ?? { uuid: journalUuid, oldest: 0, durable: records.length }
  const { checkpoint } = startingCheckpoint(storage.catalogue.checkpoint(), journal)
  const deadLetters = await DeadLetters.open({
    journal: letterJournal,
    scan: letterJournal.scan,
    bound: letterBound,
    maxBytes: 10_000_000,
    records: { ...checkpoint, lostFrom: journal.checkpointAtMost ?? journal.durable },
    log: silent
  })
  return await Pipeline.open({
    openSource: from => new FakeSource(records, from, options.chunk ?? 10),
    storage,
    deadLetters,
    config: {
      routes: options.routes ?? [],
      limits: { ...limits, ...options.limits },
      ingest: { batchPoints: options.batchPoints ?? 25, batchBytes: 1_000_000, batchDelay: 250, window: decoderConfig.window }
    },
    onCommitted: each => committed.push(each),
    log: silent,
    clock,
    ...options,
    journal
  })
}
