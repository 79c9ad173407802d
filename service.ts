/**
 * The service process: reads the journal, stores, and answers HTTP. A child of the edge. It ends at once, without
 * draining, when its channel to the edge closes; signals belong to the edge.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { buildApi } from './api/build-api.ts'
import { LiveStream } from './api/live-stream.ts'
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
import { Backups } from './backup/backups.ts'
import { EdgeLink } from './channel/edge-link.ts'
import type { EdgeState, ToService } from './channel/messages.ts'
import type { Config } from './config.ts'
import { damageReasons } from './damage-reasons.ts'
import { type ErrorCode, TidegateError } from './errors.ts'
import { purgeLetters, replayLetters } from './ingest/letter-changes.ts'
import type { JournalExtent } from './ingest/settlement.ts'
import { nodeFiles } from './journal/files.ts'
import { endOnBug, openLog } from './log.ts'
import { Metrics } from './metrics.ts'
import { Readings } from './readings.ts'
import { bindServiceMetrics } from './service-metrics.ts'
import type { Checkpoint } from './telemetry.ts'

/** Client id of publishes that come by HTTP. */
const httpClientId = 'http'
/** A service whose edge was killed frees the HTTP port as soon as it notices; so long a new one tries. */
const bindForMs = 2_000
const bindRetryMs = 50

/** One service: what the edge told it, and what it has opened. */
class Service {
  readonly #config: Config
  readonly #log: Logger
  readonly #link: EdgeLink
  readonly #end: (error: unknown) => void
  readonly #closing = new AbortController()
  readonly #metrics = new Metrics()
  #connected: Set<string> = new Set()
  #edge: EdgeState | undefined
  #durable = 0
  readonly #backups: Backups
  #journal: (JournalExtent & { readonly timeline: string }) | undefined
  #stream: LiveStream | undefined
  #readings: Readings | undefined
  /** Why the readings could not be opened the last time. */
  #refusal: TidegateError | undefined
  #api: ReturnType<typeof buildApi> | undefined

  /** `end` ends the process, so that the edge starts a new one, which goes on from the checkpoint. */
  constructor(config: Config, log: Logger, link: EdgeLink, end: (error: unknown) => void) {
    this.#config = config
    this.#log = log
    this.#link = link
    this.#end = end
    this.#backups = new Backups(config.data, nodeFiles)
  }

  /** Binds HTTP and says so to the edge, or why it cannot. */
  async listen(port: number): Promise<void> {
    const { host } = this.#config.http
    const until = performance.now() + (port === 0 ? 0 : bindForMs)
    for (;;) {
      const api = buildApi(this.#ports())
      try {
        await api.listen({ host, port })
        this.#api = api
        const address = api.server.address()
        this.#link.post({ type: 'listening', port: typeof address === 'object' && address !== null ? address.port : port })
        return
      } catch (error) {
        await api.close()
        if (performance.now() >= until) {
          this.#link.post({ type: 'failed', code: 'TG_PORT_TAKEN', message: bindFault(host, port, error) })
          return
        }
      }
      await delay(bindRetryMs)
    }
  }

  /** Opens what needs the journal. Until it is open the API answers 503. */
  async openReadings(journal: JournalExtent & { readonly timeline: string }): Promise<void> {
    this.#journal = journal
    this.#durable = Math.max(this.#durable, journal.durable)
    const readings = await Readings.open({
      config: this.#config,
      journal,
      log: this.#log,
      signal: this.#closing.signal,
      onCommitted: committed => this.#stream?.publish(committed.messages),
      onCheckpoint: checkpoint => this.#tellCheckpoint(checkpoint),
      onStopped: this.#end,
      onRefused: error => {
        this.#refusal = error
      }
    })
    const checkpoint = readings.pipeline.position
    this.#stream = new LiveStream({ journal: journal.timeline, position: checkpoint.position, ...this.#config.stream })
    this.#readings = readings
    bindServiceMetrics(this.#metrics, { readings, stream: this.#stream, link: this.#link, backups: this.#backups })
    readings.pipeline.advance(this.#durable)
    this.#tellCheckpoint(checkpoint)
  }

  #tellCheckpoint({ position, rewriteFrom = position }: Checkpoint): void {
    this.#link.checkpoint(position, rewriteFrom)
  }

  receive(message: ToService): void {
    switch (message.type) {
      case 'durable':
        this.#durable = message.durable
        this.#readings?.pipeline.advance(message.durable)
        return
      case 'edge':
        this.#edge = message.state
        return
      case 'connections':
        if (message.all) this.#connected = new Set()
        for (const clientId of message.disconnected) this.#connected.delete(clientId)
        for (const clientId of message.connected) this.#connected.add(clientId)
        return
      default:
    }
  }

  /** Writes what it can within the deadline and closes everything. */
  async drain(deadlineMs: number): Promise<void> {
    const until = performance.now() + deadlineMs
    this.#stream?.endClients()
    // It holds the store's writes.
    await this.#backups.close()
    await this.#readings?.pipeline.drain(deadlineMs)
    this.#closing.abort()
    await Promise.race([this.#api?.close(), delay(Math.max(0, until - performance.now()))])
    await this.#stream?.[Symbol.asyncDispose]()
    await this.#readings?.[Symbol.asyncDispose]()
  }

  #ports(): ApiPorts {
    const timeline = (): string => opened(this.#journal).timeline
    return {
      options: {
        anonymous: this.#config.access.anonymous,
        hosts: this.#config.http.hosts,
        dashboardFolder: fileURLToPath(new URL('dashboard/', import.meta.url)),
        maxBodyBytes: this.#config.mqtt.maxPacketBytes,
        futureMs: this.#config.ingest.window.future,
        connections: this.#config.limits.connections
      },
      log: this.#log.child({ room: 'api' }),
      get journal() {
        return timeline()
      },
      stream: () => this.#stream,
      storage: () => this.#readings?.storage,
      waitFor: async (ordinal, signal) => await opened(this.#readings).pipeline.waitFor(ordinal, signal),
      append: async publish => await this.#link.append({ clientId: httpClientId, ...publish }),
      testMapping: message => opened(this.#readings).pipeline.testMapping(message),
      deadLetters: this.#letterPorts(),
      replay: async (range, signal, onProgress) => await opened(this.#readings).pipeline.replay(range, signal, onProgress),
      backup: async (target, signal) => await this.#backup(opened(this.#readings), target, signal),
      isOnline: clientId => this.#connected.has(clientId),
      ledger: async () => await this.#ledger(opened(this.#readings)),
      readiness: () => this.#readiness(),
      metrics: async () => {
        const [edge, own] = await Promise.all([this.#link.counts(), this.#metrics.render()])
        return `${edge.metrics}\n${own}`
      }
    }
  }

  /** What changes dead letters ends with the service too: the rest is there for the next call. */
  #letterPorts(): DeadLetterPorts {
    const untilClosing = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, this.#closing.signal])
    return {
      list: async query => await this.#listLetters(query),
      replay: async (selection, signal) =>
        await replayLetters({
          deadLetters: opened(this.#readings).deadLetters,
          selection,
          append: async ({ user, ...publish }) =>
            await this.#link.append({ ...publish, ...(user === undefined ? {} : { user }), unrouted: true }),
          signal: untilClosing(signal)
        }),
      purge: async (selection, signal) => await purgeLetters(opened(this.#readings).deadLetters, selection, untilClosing(signal))
    }
  }

  async #backup(readings: Readings, target: BackupTarget, signal: AbortSignal): Promise<BackupDone> {
    const { storage, pipeline } = readings
    const report = await this.#backups.make(
      target,
      either => ({
        files: nodeFiles,
        data: this.#config.data,
        store: storage.kind,
        reserveBytes: this.#config.journal.reserve,
        position: pipeline.position.position,
        running: {
          journal: opened(this.#journal).uuid,
          pinJournal: async from => await this.#link.pin(from),
          pinLetters: async () => await readings.pinLetters()
        },
        hold: async work => await storage.hold(work, either),
        now: Date.now
      }),
      signal
    )
    const { folder, created, checkpoint, head, store, heldMs, tookMs, files } = report
    this.#log.info({ folder, checkpoint, head, heldMs, tookMs }, 'a backup was made')
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
    return { folder, created, checkpoint, head, store, heldMs, tookMs, files: files.length, bytes }
  }

  /** A letter is shown at the position of the record that it was. */
  async #listLetters(query: DeadLetterQuery): Promise<DeadLetterPage> {
    const page = await opened(this.#readings).deadLetters.list(query)
    return { ...page, items: page.items.map(letter => ({ ...letter, ordinal: letter.recordOrdinal })) }
  }

  /** Outcomes are read before the head, so that a record that comes meanwhile is in the journal, never missing. */
  async #ledger(readings: Readings): Promise<Ledger> {
    const { since, position, totals } = readings.pipeline.ledger()
    const { head, shed, resends, refused } = await this.#link.counts()
    return {
      since,
      accepted: head - since,
      ...totals,
      inJournal: head - position,
      check: readings.ledger.newest,
      sinceStart: { shed, resends, refused }
    }
  }

  #readiness(): Readiness {
    const reasons: (Readiness['reasons'][number] & { readonly code: ErrorCode })[] = []
    const edge = this.#edge
    if (edge === undefined) reasons.push({ code: 'TG_STARTING', message: 'the edge is starting' })
    if (edge?.stopping === true) reasons.push({ code: 'TG_STOPPING', message: 'Tidegate is stopping' })
    if (edge?.journal === 'full')
      reasons.push({ code: 'TG_JOURNAL_FULL', message: 'the journal or its disk is full: publishes of QoS 1 and 2 wait' })
    if (edge?.journal === 'failing')
      reasons.push({ code: 'TG_JOURNAL_FAILING', message: 'the journal cannot be written: publishes of QoS 1 and 2 wait' })
    const ready = reasons.length === 0 && edge?.journal === 'accepting'
    if (this.#readings === undefined) {
      const { code, message } = this.#refusal ?? { code: 'TG_STORE_UNAVAILABLE', message: 'the store is being opened' }
      reasons.push({ code, message })
    }
    const outage = this.#readings?.storage.outage
    if (outage !== undefined) reasons.push({ code: 'TG_STORE_UNAVAILABLE', message: outage })
    reasons.push(...damageReasons(edge?.damage, this.#readings?.damage))
    for (const { message } of this.#readings?.ledger.newest?.faults ?? [])
      reasons.push({ code: 'TG_LEDGER_UNBALANCED', message: `the ledger does not balance: ${message}` })
    return { ready, mqttPort: edge?.mqttPort, reasons }
  }
}

/** What was asked for before it is open answers 503. */
function opened<Part>(part: Part | undefined): Part {
  if (part === undefined) throw new TidegateError('TG_STORE_UNAVAILABLE', 'the store is being opened: try again in a second')
  return part
}

function bindFault(host: string, port: number, error: unknown): string {
  const { code, syscall, message }: NodeJS.ErrnoException = error instanceof Error ? error : new Error(String(error))
  if (code === 'EADDRINUSE') return `http.port: ${host}:${port} is taken; choose another port with http.port or --http-port`
  const setting = code === 'EADDRNOTAVAIL' || syscall === 'getaddrinfo' ? 'http.host' : 'http.port'
  return `${setting}: ${host}:${port} cannot be bound (${message})`
}

function main(): void {
  let service: Service | undefined
  const output = openLog('info', 'service')
  const failed = endOnBug(output)
  const end = (): void => {
    output.flush()
    process.exit(0)
  }
  const link = new EdgeLink(
    process,
    message => {
      if (message.type === 'start') {
        output.log.level = message.config.log.level
        service = new Service(message.config, output.log, link, failed)
        service.listen(message.httpPort).catch(failed)
      } else if (message.type === 'journal') service?.openReadings(message).catch(failed)
      else if (message.type === 'drain') {
        service?.drain(message.deadlineMs).then(() => process.send?.({ type: 'drained' }, end), failed)
      } else service?.receive(message)
    },
    end
  )
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => undefined)
}

main()
