import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { TidegateError } from '../errors.ts'
import { ConnectionChanges, type ConnectionsChange } from './connection-changes.ts'
import type { EdgeCounts, EdgeState, ForwardedPublish, ToEdge, ToService } from './messages.ts'
import type { Outbox } from './outbox.ts'
import { ServicePins } from './service-pins.ts'
import { ServiceProcess } from './service-process.ts'

/** What the supervisor asks of the edge it serves. */
export interface SupervisorPorts {
  readonly config: Config
  readonly log: Logger
  /** The module that runs in the child. */
  readonly modulePath: string
  /** Appends and routes a publish that came by HTTP; resolves with its ordinal when durable. */
  append(publish: ForwardedPublish): Promise<number>
  counts(): Promise<EdgeCounts>
  /** The service's checkpoint moved: every record below the position has its outcome; those from keepFrom on may be read again. */
  onCheckpoint(position: number, keepFrom: number): void
  /**
   * Keeps every record from the ordinal on until the function is called; resolves once everything acknowledged before can
   * be read, below `readable`.
   */
  pin(from: number): Promise<{ readonly readable: number; readonly release: () => void }>
  /** Client ids connected now, for a service that starts anew. */
  connectedClientIds(): readonly string[]
  /** A service that has not answered for so long is killed and started again; in milliseconds, default 30 s. */
  readonly hangsAfterMs?: number
}

/** What a service needs to know of the journal before it reads it. */
interface JournalIdentity {
  readonly uuid: string
  readonly timeline: string
  /** Ordinal of the oldest kept record, asked again for each new service. */
  oldest(): number
}

const firstBackoffMs = 50
/** Deaths in a row without any work between them that are taken for accidents; more are taken for a fault that will be back. */
const accidents = 5
const longestBackoffMs = 5_000
/** A service that ran for so long starts again at once when it dies, also when there was nothing to do. */
const steadyAfterMs = 10_000
const hangsAfterMs = 30_000
/** Client ids that may change before the service is told all of them instead. */
const changedClientIds = 10_000
/** How often the service learns how far the journal is durable (at most every 20 ms) and who is connected. */
const durableEveryMs = 20
const connectionsEveryMs = 200

/**
 * Keeps one service process running: starts it, tells it about the edge, answers it, and starts it again with back-off
 * when it dies. States: starting (until the first `listening`), running, waiting (between two processes), closed.
 * Invariant: `start` and `journal` are the first two messages that a new process gets, in that order.
 */
export class Supervisor implements AsyncDisposable {
  readonly #ports: SupervisorPorts
  readonly #stop = new AbortController()
  readonly #changes = new ConnectionChanges(changedClientIds)
  #process: ServiceProcess | undefined
  #httpPort: number
  #journal: JournalIdentity | undefined
  #state: EdgeState | undefined
  #durable = 0
  /** How far the journal was durable when it was opened: a checkpoint of before lies below. */
  #openedAt = 0
  /** Whether a service of this edge has told its checkpoint. */
  #checkpointTold = false
  #durableTimer: NodeJS.Timeout | undefined
  #connectionsTimer: NodeJS.Timeout | undefined
  #supervising: Promise<void> | undefined
  #onDrained: (() => void) | undefined
  #restarts = 0
  /** The checkpoint that the service which runs now began with. */
  #firstCheckpoint: number | undefined
  /** Whether it has moved on from there: one that works starts again at once when it dies. */
  #worked = false

  private constructor(ports: SupervisorPorts) {
    this.#ports = ports
    this.#httpPort = ports.config.http.port
  }

  /**
   * Starts the first service and resolves when it has bound its HTTP port.
   * @throws TidegateError what the service reports as `failed`, for example TG_PORT_TAKEN; TG_BUG when it dies before
   */
  static async start(ports: SupervisorPorts): Promise<Supervisor> {
    const supervisor = new Supervisor(ports)
    try {
      const first = await new Promise<ServiceProcess>((resolve, reject) => {
        const spawned = supervisor.#spawn(message => {
          if (message.type === 'listening') resolve(spawned)
          if (message.type === 'failed') reject(new TidegateError(message.code, message.message))
        })
        spawned.exited.then(how => reject(new TidegateError('TG_BUG', `the service ended before it listened (${how})`)), reject)
      })
      supervisor.#supervising = supervisor.#keepRunning(first)
      return supervisor
    } catch (error) {
      await supervisor.close()
      throw error
    }
  }

  /** Port of the HTTP server; the same one for every service of this edge. */
  get httpPort(): number {
    return this.#httpPort
  }

  /** Process id of the service that runs now. */
  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** Times that a service process ended without being asked to. */
  get restarts(): number {
    return this.#restarts
  }

  /** Messages that wait to be sent to the service. */
  get waiting(): number {
    return this.#outbox?.waiting ?? 0
  }

  /** Tells this service and every later one which journal to read. */
  openJournal(journal: JournalIdentity, durable: number): void {
    this.#journal = journal
    this.#durable = durable
    this.#openedAt = durable
    this.#sendJournal()
  }

  /** Tells how far the journal is durable; at most every 20 ms, the newest value only. */
  advance(durable: number): void {
    this.#durable = durable
    if (this.#durableTimer !== undefined) return
    this.#durableTimer = setTimeout(() => {
      this.#durableTimer = undefined
      this.#outbox?.postNewest('durable', () => ({ type: 'durable', durable: this.#durable }))
    }, durableEveryMs)
  }

  /** Tells how the edge is. */
  report(state: EdgeState): void {
    this.#state = state
    this.#outbox?.postNewest('edge', () => ({ type: 'edge', state }))
  }

  /** Tells which client ids came and went. */
  connections(change: ConnectionsChange): void {
    this.#changes.note(change)
    if (this.#connectionsTimer !== undefined) return
    this.#connectionsTimer = setTimeout(() => {
      this.#connectionsTimer = undefined
      this.#outbox?.postNewest('connections', () => this.#changes.take(() => this.#ports.connectedClientIds()))
    }, connectionsEveryMs)
  }

  /** Asks the service to finish within the deadline. Resolves when it has ended; true if it had finished by itself. */
  async drain(deadlineMs: number): Promise<boolean> {
    this.#stop.abort()
    const running = this.#process
    if (running === undefined || running.ended) return false
    let drained = false
    this.#onDrained = () => {
      drained = true
    }
    // What it was not told yet is its to store too.
    running.outbox.post({ type: 'durable', durable: this.#durable })
    running.outbox.post({ type: 'drain', deadlineMs })
    // Beyond its own deadline the service gets a second to close; then it is killed, which loses nothing.
    const killer = setTimeout(() => running.kill(), deadlineMs + 1_000)
    await running.exited
    clearTimeout(killer)
    return drained
  }

  /** Ends the service at once. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort()
    clearTimeout(this.#durableTimer)
    clearTimeout(this.#connectionsTimer)
    this.#outbox?.close()
    this.#process?.kill()
    await this.#supervising
    await this.#process?.exited
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  get #outbox(): Outbox<ToService> | undefined {
    return this.#process?.outbox
  }

  async #keepRunning(first: ServiceProcess): Promise<void> {
    const { log } = this.#ports
    let running = first
    let idleDeaths = 0
    for (;;) {
      const startedMs = performance.now()
      const how = await running.exited
      if (this.#stop.signal.aborted) return
      this.#restarts++
      const steady = this.#worked || performance.now() - startedMs > steadyAfterMs
      idleDeaths = steady ? 0 : idleDeaths + 1
      const backoffMs = Math.min(firstBackoffMs * 2 ** Math.max(0, idleDeaths - accidents), longestBackoffMs)
      log.error({ code: 'TG_BUG', how, backoffMs }, 'the service ended and is started again')
      try {
        await delay(backoffMs, undefined, { signal: this.#stop.signal })
      } catch {
        return
      }
      const next = this.#spawn(message => {
        if (message.type !== 'failed') return
        log.error({ code: message.code }, message.message)
        next.kill()
      })
      running = next
      this.#sendJournal()
    }
  }

  #spawn(onMessage: (message: ToEdge) => void): ServiceProcess {
    const { modulePath, config, log } = this.#ports
    const pins = new ServicePins(this.#ports)
    const spawned = new ServiceProcess({
      modulePath,
      onMessage: message => {
        onMessage(message)
        if (message.type === 'pin') pins.take(message, spawned.outbox)
        else if (message.type === 'unpin') pins.release(message.request)
        else this.#receive(message, spawned.outbox)
      },
      hangsAfterMs: this.#ports.hangsAfterMs ?? hangsAfterMs,
      onHang: () => log.error({ code: 'TG_BUG', pid: spawned.pid }, 'the service does not answer and is killed')
    })
    // Nobody is left to let go of them.
    void spawned.exited.then(() => pins.close())
    this.#process = spawned
    this.#worked = false
    this.#firstCheckpoint = undefined
    spawned.outbox.post({ type: 'start', config, httpPort: this.#httpPort })
    return spawned
  }

  #sendJournal(): void {
    const journal = this.#journal
    if (journal === undefined || this.#outbox === undefined) return
    const ids = this.#ports.connectedClientIds()
    this.#changes.clear()
    const durable = this.#durable
    const checkpointAtMost = this.#checkpointTold ? durable : this.#openedAt
    const { uuid, timeline } = journal
    this.#outbox.post({ type: 'journal', uuid, timeline, oldest: journal.oldest(), durable, checkpointAtMost })
    this.#outbox.post({ type: 'connections', all: true, connected: ids, disconnected: [] })
    const state = this.#state
    if (state !== undefined) this.#outbox.post({ type: 'edge', state })
  }

  #receive(message: Exclude<ToEdge, { readonly type: 'pin' | 'unpin' }>, outbox: Outbox<ToService>): void {
    switch (message.type) {
      case 'listening':
        this.#httpPort = message.port
        return
      case 'checkpoint':
        this.#firstCheckpoint ??= message.position
        this.#checkpointTold = true
        this.#worked ||= message.position > this.#firstCheckpoint
        this.#ports.onCheckpoint(message.position, message.keepFrom)
        return
      case 'append':
        this.#append(message.request, message.publish, outbox)
        return
      case 'count':
        this.#ports.counts().then(
          counts => outbox.post({ type: 'counts', request: message.request, counts }),
          (error: unknown) => this.#ports.log.error({ code: 'TG_BUG', err: error }, 'counting failed')
        )
        return
      case 'drained':
        this.#onDrained?.()
        return
      case 'failed':
      case 'pong':
        return
    }
  }

  #append(request: number, publish: ForwardedPublish, outbox: Outbox<ToService>): void {
    this.#ports.append(publish).then(
      ordinal => outbox.post({ type: 'appended', request, ordinal }),
      (error: unknown) => {
        const known = error instanceof TidegateError ? error : new TidegateError('TG_BUG', String(error))
        outbox.post({ type: 'appendRefused', request, code: known.code, message: known.message })
      }
    )
  }
}
