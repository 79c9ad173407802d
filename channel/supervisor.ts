import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Config } from '../config.ts'
import { TidegateError } from '../errors.ts'
import type { EdgeCounts, EdgeState, ForwardedPublish, ToEdge, ToService } from './messages.ts'
import { Outbox } from './outbox.ts'

/** What the supervisor asks of the edge it serves. */
export interface SupervisorPorts {
  readonly config: Config
  readonly log: Logger
  /** The module that runs in the child. */
  readonly modulePath: string
  /** Appends and routes a publish that came by HTTP; resolves with its ordinal when durable. */
  append(publish: ForwardedPublish): Promise<number>
  counts(): Promise<EdgeCounts>
  /** The service's checkpoint moved: every record below the position has its outcome. */
  onCheckpoint(position: number): void
  /** Client ids connected now, for a service that starts anew. */
  connectedClientIds(): readonly string[]
}

/** What a service needs to know of the journal before it reads it. */
interface JournalIdentity {
  readonly uuid: string
  /** Ordinal of the oldest kept record, asked again for each new service. */
  oldest(): number
}

const firstBackoffMs = 50
const longestBackoffMs = 5_000
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
  readonly #connected = new Set<string>()
  readonly #disconnected = new Set<string>()
  #child: ChildProcess | undefined
  #outbox: Outbox<ToService> | undefined
  #httpPort: number
  #journal: JournalIdentity | undefined
  #state: EdgeState | undefined
  #durable = 0
  #durableTimer: NodeJS.Timeout | undefined
  #connectionsTimer: NodeJS.Timeout | undefined
  #supervising: Promise<void> | undefined
  #onDrained: (() => void) | undefined
  #restarts = 0
  /** Whether the service that runs now has moved the checkpoint: one that works starts again at once when it dies. */
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
    await new Promise<void>((resolve, reject) => {
      const exited = supervisor.#spawn(message => {
        if (message.type === 'listening') resolve()
        if (message.type === 'failed') reject(new TidegateError(message.code, message.message))
      })
      exited.then(how => reject(new TidegateError('TG_BUG', `the service ended before it listened (${how})`)), reject)
      supervisor.#supervising = supervisor.#keepRunning(exited)
    }).catch(async (error: unknown) => {
      await supervisor.close()
      throw error
    })
    return supervisor
  }

  /** Port of the HTTP server; the same one for every service of this edge. */
  get httpPort(): number {
    return this.#httpPort
  }

  /** Process id of the service that runs now. */
  get pid(): number | undefined {
    return this.#child?.pid
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
  connections(change: { readonly connected: readonly string[]; readonly disconnected: readonly string[] }): void {
    for (const clientId of change.disconnected) {
      this.#connected.delete(clientId)
      this.#disconnected.add(clientId)
    }
    for (const clientId of change.connected) {
      this.#disconnected.delete(clientId)
      this.#connected.add(clientId)
    }
    if (this.#connectionsTimer !== undefined) return
    this.#connectionsTimer = setTimeout(() => {
      this.#connectionsTimer = undefined
      this.#outbox?.postNewest('connections', () => this.#takeConnections())
    }, connectionsEveryMs)
  }

  /** Asks the service to finish within the deadline. Resolves when it has ended; true if it had finished by itself. */
  async drain(deadlineMs: number): Promise<boolean> {
    this.#stop.abort()
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return false
    const ended = once(child, 'exit')
    let drained = false
    this.#onDrained = () => {
      drained = true
    }
    this.#outbox?.post({ type: 'drain', deadlineMs })
    // Beyond its own deadline the service gets a second to close; then it is killed, which loses nothing.
    const killer = setTimeout(() => child.kill('SIGKILL'), deadlineMs + 1_000)
    await ended
    clearTimeout(killer)
    return drained
  }

  /** Ends the service at once. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort()
    clearTimeout(this.#durableTimer)
    clearTimeout(this.#connectionsTimer)
    this.#outbox?.close()
    this.#child?.kill('SIGKILL')
    await this.#supervising
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #keepRunning(first: Promise<string>): Promise<void> {
    const { log } = this.#ports
    let exited = first
    let backoffMs = firstBackoffMs
    for (;;) {
      this.#worked = false
      const how = await exited
      if (this.#stop.signal.aborted) return
      this.#restarts++
      backoffMs = this.#worked ? firstBackoffMs : Math.min(backoffMs * 2, longestBackoffMs)
      log.error({ code: 'TG_BUG', how, backoffMs }, 'the service ended and is started again')
      try {
        await delay(backoffMs, undefined, { signal: this.#stop.signal })
      } catch {
        return
      }
      exited = this.#spawn(message => {
        if (message.type === 'failed') log.error({ code: message.code }, message.message)
      })
      this.#sendJournal()
    }
  }

  /** Starts a process and resolves with how it ended. */
  #spawn(onMessage: (message: ToEdge) => void): Promise<string> {
    const child = fork(this.#ports.modulePath, [], { serialization: 'advanced', execArgv: [...process.execArgv, '--no-warnings'] })
    const outbox = new Outbox<ToService>((message, done) => {
      if (child.connected) child.send(message, done)
      else done(new Error('the channel is closed'))
    })
    this.#child = child
    this.#outbox = outbox
    outbox.post({ type: 'start', config: this.#ports.config, httpPort: this.#httpPort })
    child.on('message', (message: ToEdge) => {
      onMessage(message)
      this.#receive(message, outbox)
    })
    return new Promise<string>(resolve => {
      const end = (how: string) => {
        outbox.close()
        resolve(how)
      }
      child.once('error', error => end(`could not start: ${error.message}`))
      child.once('exit', (code, signal) => end(signal === null ? `exit code ${code ?? 'unknown'}` : `signal ${signal}`))
    })
  }

  #sendJournal(): void {
    const journal = this.#journal
    if (journal === undefined || this.#outbox === undefined) return
    const ids = this.#ports.connectedClientIds()
    this.#connected.clear()
    this.#disconnected.clear()
    this.#outbox.post({ type: 'journal', uuid: journal.uuid, oldest: journal.oldest(), durable: this.#durable })
    this.#outbox.post({ type: 'connections', all: true, connected: ids, disconnected: [] })
    const state = this.#state
    if (state !== undefined) this.#outbox.post({ type: 'edge', state })
  }

  #takeConnections(): ToService | undefined {
    if (this.#connected.size === 0 && this.#disconnected.size === 0) return undefined
    const message: ToService = { type: 'connections', all: false, connected: [...this.#connected], disconnected: [...this.#disconnected] }
    this.#connected.clear()
    this.#disconnected.clear()
    return message
  }

  #receive(message: ToEdge, outbox: Outbox<ToService>): void {
    switch (message.type) {
      case 'listening':
        this.#httpPort = message.port
        return
      case 'checkpoint':
        this.#worked = true
        this.#ports.onCheckpoint(message.position)
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
