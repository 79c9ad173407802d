import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Config } from './config.ts'
import { TidegateError } from './errors.ts'
import { realClock } from './ingest/clock.ts'
import { DeadLetters } from './ingest/dead-letters.ts'
import { Ledger } from './ingest/ledger.ts'
import { countLetters } from './ingest/letter-accounts.ts'
import { Pace } from './ingest/pace.ts'
import { Pipeline, type Committed } from './ingest/pipeline.ts'
import { startingCheckpoint, type JournalExtent } from './ingest/settlement.ts'
import { Journal } from './journal/journal.ts'
import { JournalReader } from './journal/reader.ts'
import { scan } from './journal/scan.ts'
import { openStorage } from './storage/open.ts'
import type { Storage } from './storage/port.ts'

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

  private constructor(storage: Storage, letters: Journal, deadLetters: DeadLetters, pipeline: Pipeline, ledger: Ledger) {
    this.storage = storage
    this.#letters = letters
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

    async function openOnce({ config, journal, log, onCommitted, onStopped }: ReadingsOptions): Promise<Readings> {
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
          scan: range => scan({ folder: lettersFolder(config), ...range, log: lettersLog }),
          maxBytes: config.deadLetters.maxBytes,
          records: { journal: journal.uuid, position: checkpoint.position },
          log: lettersLog
        })
        const folder = path.join(config.data, 'journal')
        const pipeline = await Pipeline.open({
          openSource: async from =>
            await JournalReader.open({
              folder,
              from,
              durable: journal.durable,
              log: log.child({ room: 'journal' })
            }),
          storage,
          deadLetters,
          journal,
          config,
          onCommitted,
          onStopped,
          log: log.child({ room: 'ingest' })
        })
        const ledger = openLedger({ config, journal, log, storage, letters, deadLetters, pipeline })
        return new Readings(storage, letters, deadLetters, pipeline, ledger)
      } catch (error) {
        for (const resource of opened.toReversed()) await resource[Symbol.asyncDispose]()
        throw error
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ledger[Symbol.asyncDispose]()
    await this.pipeline.close()
    await this.storage[Symbol.asyncDispose]()
    await this.#letters.close()
  }
}

function openLedger(of: {
  readonly config: Config
  readonly journal: JournalExtent
  readonly log: Logger
  readonly storage: Storage
  readonly letters: Journal
  readonly deadLetters: DeadLetters
  readonly pipeline: Pipeline
}): Ledger {
  const { config, journal, storage, letters, deadLetters, pipeline } = of
  // What a check finds damaged is the ledger's to say, once.
  const log = of.log.child({}, { level: 'silent' })
  return Ledger.open({
    pipeline,
    storage,
    scan: range => scan({ folder: path.join(config.data, 'journal'), ...range, log }),
    letters: {
      accounts: async (below, signal) =>
        await countLetters({
          scan: range => scan({ folder: lettersFolder(config), ...range, log }),
          letters,
          records: { journal: journal.uuid, from: pipeline.position.since, to: below },
          pace: new Pace({ clock: realClock, signal, share: () => lettersShare }),
          signal
        }),
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

/** The journal of the dead letters: the oldest go at the cap, so it drops by itself and keeps nothing behind its bound. */
async function openLetters(config: Config, log: Logger): Promise<Journal> {
  const { segmentBytes, reserve } = config.journal
  return await Journal.open({
    folder: lettersFolder(config),
    sync: 'fsync',
    syncDelayMs: lettersSyncDelayMs,
    segmentBytes: Math.min(segmentBytes, Math.ceil(config.deadLetters.maxBytes / 8)),
    maxBytes: 2 * config.deadLetters.maxBytes,
    reserveBytes: Math.min(reserve, config.deadLetters.maxBytes),
    whenFull: 'drop-oldest',
    keep: { timeMs: 0, bytes: 0 },
    log
  })
}
