/**
 * The service process: reads the journal, stores, and answers HTTP. A child of the edge. It ends at once, without
 * draining, when its channel to the edge closes; signals belong to the edge.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { buildApiPorts } from './api-ports.ts'
import { buildApi } from './api/build-api.ts'
import { LiveStream } from './api/live-stream.ts'
import type { ApiPorts } from './api/ports.ts'
import { Backups } from './backup/backups.ts'
import { EdgeLink } from './channel/edge-link.ts'
import type { EdgeState, ToService } from './channel/messages.ts'
import type { Config } from './config.ts'
import type { TidegateError } from './errors.ts'
import type { JournalExtent } from './ingest/settlement.ts'
import { nodeFiles } from './journal/files.ts'
import { endOnBug, openLog } from './log.ts'
import { Metrics } from './metrics.ts'
import { readinessOf } from './readiness.ts'
import { Readings } from './readings.ts'
import { bindServiceMetrics } from './service-metrics.ts'
import type { Checkpoint } from './telemetry.ts'

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
    const ports = this.#ports()
    const until = performance.now() + (port === 0 ? 0 : bindForMs)
    for (;;) {
      const api = buildApi(ports)
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
    const { position } = readings.pipeline.position
    this.#stream = new LiveStream({ journal: journal.timeline, position, ...this.#config.stream })
    this.#readings = readings
    bindServiceMetrics(this.#metrics, { readings, stream: this.#stream, link: this.#link, backups: this.#backups })
    readings.pipeline.advance(this.#durable)
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
    return buildApiPorts({
      config: this.#config,
      log: this.#log,
      link: this.#link,
      metrics: this.#metrics,
      backups: this.#backups,
      journal: () => this.#journal,
      stream: () => this.#stream,
      readings: () => this.#readings,
      isOnline: clientId => this.#connected.has(clientId),
      readiness: () => readinessOf({ edge: this.#edge, readings: this.#readings, refusal: this.#refusal }),
      closing: this.#closing.signal
    })
  }
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
