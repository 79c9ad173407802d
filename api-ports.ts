import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import type { LiveStream } from './api/live-stream.ts'
import type {
  ApiPorts,
  BackupDone,
  BackupTarget,
  DeadLetterPage,
  DeadLetterPorts,
  DeadLetterQuery,
  Ledger,
  Readiness
} from './api/ports.ts'
import type { Backups } from './backup/backups.ts'
import type { EdgeLink } from './channel/edge-link.ts'
import type { Config } from './config.ts'
import { TidegateError } from './errors.ts'
import { purgeLetters, replayLetters } from './ingest/letter-changes.ts'
import { nodeFiles } from './journal/files.ts'
import type { Metrics } from './metrics.ts'
import type { Readings } from './readings.ts'

/** Client id of publishes that come by HTTP. */
const httpClientId = 'http'

/** What the service has, or has opened so far. */
export interface ServiceParts {
  readonly config: Config
  readonly log: Logger
  readonly link: EdgeLink
  readonly metrics: Metrics
  readonly backups: Backups
  readonly journal: () => { readonly uuid: string; readonly timeline: string } | undefined
  readonly stream: () => LiveStream | undefined
  readonly readings: () => Readings | undefined
  readonly isOnline: (clientId: string) => boolean
  readonly readiness: () => Readiness
  /** Aborts when the service ends. */
  readonly closing: AbortSignal
}

/** The service as the API sees it. What was asked for before it is open answers 503. */
export function buildApiPorts(parts: ServiceParts): ApiPorts {
  const { config, log, link, metrics, stream, isOnline, readiness } = parts
  const readings = (): Readings => opened(parts.readings())
  const timeline = (): string => opened(parts.journal()).timeline
  return {
    options: {
      anonymous: config.access.anonymous,
      hosts: config.http.hosts,
      dashboardFolder: fileURLToPath(new URL('dashboard/', import.meta.url)),
      maxBodyBytes: config.mqtt.maxPacketBytes,
      futureMs: config.ingest.window.future,
      connections: config.limits.connections
    },
    log: log.child({ room: 'api' }),
    get journal() {
      return timeline()
    },
    stream,
    storage: () => parts.readings()?.storage,
    waitFor: async (ordinal, signal) => await readings().pipeline.waitFor(ordinal, signal),
    append: async publish => await link.append({ clientId: httpClientId, ...publish }),
    testMapping: message => readings().pipeline.testMapping(message),
    deadLetters: buildLetterPorts(parts),
    replay: async (range, signal, onProgress) => await readings().pipeline.replay(range, signal, onProgress),
    backup: async (target, signal) => await backUp(parts, target, signal),
    isOnline,
    ledger: async () => await readLedger(readings(), link),
    readiness,
    metrics: async () => {
      const [edge, own] = await Promise.all([link.counts(), metrics.render()])
      return `${edge.metrics}\n${own}`
    }
  }
}

/** What changes dead letters ends with the service too: the rest is there for the next call. */
function buildLetterPorts({ link, closing, ...parts }: ServiceParts): DeadLetterPorts {
  const letters = (): Readings['deadLetters'] => opened(parts.readings()).deadLetters
  const untilClosing = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, closing])
  return {
    list: async query => await listLetters(letters(), query),
    replay: async (selection, signal) =>
      await replayLetters({
        deadLetters: letters(),
        selection,
        append: async ({ user, ...publish }) => await link.append({ ...publish, ...(user === undefined ? {} : { user }), unrouted: true }),
        signal: untilClosing(signal)
      }),
    purge: async (selection, signal) => await purgeLetters(letters(), selection, untilClosing(signal))
  }
}

/** A letter is shown at the position of the record that it was. */
async function listLetters(letters: Readings['deadLetters'], query: DeadLetterQuery): Promise<DeadLetterPage> {
  const page = await letters.list(query)
  return { ...page, items: page.items.map(letter => ({ ...letter, ordinal: letter.recordOrdinal })) }
}

async function backUp(
  { config, log, link, backups, ...parts }: ServiceParts,
  target: BackupTarget,
  signal: AbortSignal
): Promise<BackupDone> {
  const readings = opened(parts.readings())
  const { uuid } = opened(parts.journal())
  const { storage, pipeline } = readings
  const report = await backups.make(
    target,
    either => ({
      files: nodeFiles,
      data: config.data,
      store: storage.kind,
      reserveBytes: config.journal.reserve,
      settledBelow: pipeline.settledBelow,
      running: {
        journal: uuid,
        pinJournal: async from => await link.pin(from),
        pinLetters: async () => await readings.pinLetters()
      },
      hold: async work => await storage.hold(work, either),
      now: Date.now
    }),
    signal
  )
  const { folder, created, checkpoint, head, store, heldMs, tookMs, files } = report
  log.info({ folder, checkpoint, head, heldMs, tookMs }, 'a backup was made')
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  return { folder, created, checkpoint, head, store, heldMs, tookMs, files: files.length, bytes }
}

/** Outcomes are read before the head, so that a record that comes meanwhile is in the journal, never missing. */
async function readLedger({ pipeline, ledger }: Readings, link: EdgeLink): Promise<Ledger> {
  const { since, position, totals } = pipeline.ledger()
  const { head, shed, resends, refused } = await link.counts()
  return {
    since,
    accepted: head - since,
    ...totals,
    inJournal: head - position,
    check: ledger.newest,
    sinceStart: { shed, resends, refused }
  }
}

function opened<Part>(part: Part | undefined): Part {
  if (part === undefined) throw new TidegateError('TG_STORE_UNAVAILABLE', 'the store is being opened: try again in a second')
  return part
}
