import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { JournalDamage } from './channel/messages.ts'
import type { Config } from './config.ts'
import { TidegateError } from './errors.ts'
import { realClock } from './ingest/clock.ts'
import { DeadLetters } from './ingest/dead-letters.ts'
import { letterBoundFile } from './ingest/letter-bound.ts'
import { Ledger } from './ingest/ledger.ts'
import { Pace } from './ingest/pace.ts'
import { Pipeline, type Committed } from './ingest/pipeline.ts'
import { startingCheckpoint, type JournalExtent } from './ingest/settlement.ts'
import { nodeFiles } from './journal/files.ts'
import { Journal } from './journal/journal.ts'
import { JournalReader } from './journal/reader.ts'
import { scan } from './journal/scan.ts'
import { listSegments } from './journal/segments.ts'
import { openStorage } from './storage/open.ts'
import type { Storage } from './storage/port.ts'
import type { Checkpoint } from './telemetry.ts'

const firstRetryMs = 200
const longestRetryMs = 5_000
/** Letters are few and each waits for the disk, so they are synced at once. */
const lettersSyncDelayMs = 1
/** Share of the time that counting the letters may have. */
const lettersShare = 0.25

export interface ReadingsOptions {
  readonly config: Config
  readonly journal: JournalExtent
  readonly log: Logger
  /** Called after each commit, in order. */
  readonly onCommitted: (committed: Committed) => void
  /** Called with each checkpoint that became durable. */
  readonly onCheckpoint: (checkpoint: Checkpoint) => void
  /** Called once when ingest cannot go on by itself. */
  readonly onStopped: (error: unknown) => void
  /** Called before each new attempt to open, with why the one before failed. */
  readonly onRefused: (error: TidegateError) => void
  /** Gives up opening. */
  readonly signal: AbortSignal
}

/**
 * What stands between the journal and a query: storage, dead letters and the pipeline, opened in this order and closed in
 * the reverse one.
 */
export class Readings implements AsyncDisposable {
  readonly storage: Storage
  readonly deadLetters: DeadLetters
  readonly pipeline: Pipeline
  readonly ledger: Ledger
  readonly #letters: Journal
  readonly #reader: () => JournalReader | undefined

  private constructor(
    storage: Storage,
    letters: Journal,
    deadLetters: DeadLetters,
    pipeline: Pipeline,
    ledger: Ledger,
    reader: () => JournalReader | undefined
  ) {
    this.storage = storage
    this.#letters = letters
    this.#reader = reader
    this.deadLetters = deadLetters
    this.pipeline = pipeline
    this.ledger = ledger
  }

  /** Opens everything, trying again with back-off while a folder or database cannot be opened. */
  static async open(options: ReadingsOptions): Promise<Readings> {
    let retryMs = firstRetryMs
    let said: string | undefined
    for (;;) {
      try {
        const readings = await openOnce(options)
        if (said !== undefined) options.log.info('the readings are open')
        return readings
      } catch (error) {
        if (options.signal.aborted) throw error
        const refusal =
          error instanceof TidegateError ? error : new TidegateError('TG_BUG', 'the readings cannot be opened', { cause: error })
        // The same again would fill the log every few seconds; readiness goes on saying it.
        if (refusal.message !== said)
          options.log.error({ code: refusal.code, err: error }, 'the readings cannot be opened; the journal keeps what comes')
        said = refusal.message
        options.onRefused(refusal)
      }
      await delay(retryMs, undefined, { signal: options.signal })
      retryMs = Math.min(retryMs * 2, longestRetryMs)
    }

    async function openOnce({ config, journal, log, onCommitted, onCheckpoint, onStopped }: ReadingsOptions): Promise<Readings> {
      const opened: AsyncDisposable[] = []
      const own = <Resource extends AsyncDisposable>(resource: Resource): Resource => {
        opened.push(resource)
        return resource
      }
      try {
        const storage = own(await openStorage(config, log.child({ room: 'storage' })))
        const { checkpoint } = startingCheckpoint(storage.catalogue.checkpoint(), journal)
        const lettersLog = log.child({ room: 'dead-letters' })
        const letters = own(await openLetters(config, lettersLog))
        const deadLetters = await DeadLetters.open({
          journal: letters,
          // What is below the oldest was evicted, which is no damage.
          scan: ({ from, to }) => scan({ folder: lettersFolder(config), from: Math.max(from, letters.oldest), to, log: lettersLog }),
          bound: letterBoundFile(lettersFolder(config)),
          maxBytes: config.deadLetters.maxBytes,
          records: { ...checkpoint, lostFrom: journal.checkpointAtMost ?? journal.durable },
          log: lettersLog
        })
        const folder = path.join(config.data, 'journal')
        let reader: JournalReader | undefined
        const pipeline = await Pipeline.open({
          openSource: async from => {
            const source = await JournalReader.open({ folder, from, durable: from, log: log.child({ room: 'journal' }) })
            // The first is ingest's own; what others read again was counted then.
            reader ??= source
            return source
          },
          oldest: async () => (await listSegments(nodeFiles, folder))[0]?.first ?? journal.oldest,
          storage,
          deadLetters,
          journal,
          config,
          onCommitted,
          onCheckpoint,
          onStopped,
          log: log.child({ room: 'ingest' })
        })
        const ledger = openLedger({ config, journal, log, storage, deadLetters, pipeline })
        return new Readings(storage, letters, deadLetters, pipeline, ledger, () => reader)
      } catch (error) {
        for (const resource of opened.toReversed()) await resource[Symbol.asyncDispose]()
        throw error
      }
    }
  }

  /** Keeps every dead letter, and what is known of those that went, as they are on the disk until the function is called. */
  async pinLetters(): Promise<() => void> {
    const release = await this.deadLetters.pin()
    const releaseSegments = await this.#letters.pin(0)
    return () => {
      releaseSegments()
      release()
    }
  }

  /** What ingest met of damage in the journal since it began to read, and what opening the dead letters found. */
  get damage(): { readonly reading: { readonly records: number; readonly bytes: number }; readonly letters: JournalDamage } {
    const { damagedRecords = 0, damagedBytes = 0 } = this.#reader()?.stats ?? {}
    const letters = this.#letters.stats
    return {
      reading: { records: damagedRecords, bytes: damagedBytes },
      letters: { records: letters.damagedRecords, bytes: letters.damagedBytes, quarantinedFiles: letters.quarantinedFiles }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ledger[Symbol.asyncDispose]()
    await this.pipeline.close()
    await this.storage[Symbol.asyncDispose]()
    await this.deadLetters.close()
    await this.#letters.close()
  }
}

function openLedger(of: {
  readonly config: Config
  readonly journal: JournalExtent
  readonly log: Logger
  readonly storage: Storage
  readonly deadLetters: DeadLetters
  readonly pipeline: Pipeline
}): Ledger {
  const { config, journal, storage, deadLetters, pipeline } = of
  // What a check finds damaged is the ledger's to say, once.
  const log = of.log.child({}, { level: 'silent' })
  return Ledger.open({
    pipeline,
    storage,
    scan: range => scan({ folder: path.join(config.data, 'journal'), ...range, log, quarantine: false }),
    letters: {
      accounts: async (below, signal) => {
        const pace = new Pace({ clock: realClock, signal, share: () => lettersShare })
        return await deadLetters.accounts(
          { journal: journal.uuid, since: pipeline.position.since, below },
          {
            scan: range => scan({ folder: lettersFolder(config), ...range, log, quarantine: false }),
            rest: async () => await pace.rest(),
            signal
          }
        )
      },
      get unsettled() {
        return deadLetters.unsettled
      }
    },
    clock: realClock,
    log: of.log.child({ room: 'ledger' })
  })
}

function lettersFolder(config: Config): string {
  return path.join(config.data, 'dead-letters')
}

/**
 * The journal of the dead letters. It drops nothing by itself, whatever the disk says, since what goes is counted first; it
 * leaves half of the reserve to the catalogue.
 */
async function openLetters(config: Config, log: Logger): Promise<Journal> {
  const { segmentBytes, reserve } = config.journal
  return await Journal.open({
    folder: lettersFolder(config),
    sync: 'fsync',
    syncDelayMs: lettersSyncDelayMs,
    segmentBytes: Math.min(segmentBytes, Math.ceil(config.deadLetters.maxBytes / 8)),
    maxBytes: Number.MAX_SAFE_INTEGER,
    reserveBytes: Math.floor(Math.min(reserve, config.deadLetters.maxBytes) / 2),
    whenFull: 'reject-new',
    keep: { timeMs: 0, bytes: 0 },
    log
  })
}
