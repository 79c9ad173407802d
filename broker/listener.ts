import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { TidegateError } from '../errors.ts'
import { readShared } from './shared-read-socket.ts'
import type { BrokerStatistics } from './statistics.ts'

export interface ListenerOptions {
  readonly host: string
  /** 0 takes a free port. */
  readonly port: number
  readonly connections: number
  readonly connectionsPerAddress: number
  readonly acceptsPerSecond: number
  readonly statistics: BrokerStatistics
  readonly onRefused: (address: string, reason: string) => void
}

const backlog = 4096
const turnMs = 20

/**
 * The TCP side: binds a port and hands sockets on. A socket over the caps is closed with a reason; one over the rate
 * waits unread for its turn, and all wait until `open`.
 */
export class Listener {
  readonly #options: ListenerOptions
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #perAddress = new Map<string, number>()
  readonly #waiting: { readonly socket: Socket; readonly address: string }[] = []
  #onSocket: ((socket: Socket, address: string) => void) | undefined
  #tokens: number
  #timer: NodeJS.Timeout | undefined

  private constructor(options: ListenerOptions) {
    this.#options = options
    this.#tokens = this.#burst
    this.#server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, socket => this.#onConnection(socket))
  }

  /** Binds. @throws TidegateError TG_PORT_TAKEN when the address cannot be bound */
  static async bind(options: ListenerOptions): Promise<Listener> {
    const listener = new Listener(options)
    const { host, port } = options
    await new Promise<void>((resolve, reject) => {
      listener.#server.once('error', (error: NodeJS.ErrnoException) => reject(bindFailure(error, host, port)))
      listener.#server.listen({ host, port, backlog }, resolve)
    })
    listener.#server.removeAllListeners('error')
    // Running out of file descriptors while accepting is not the end: the kernel keeps the others waiting.
    listener.#server.on('error', error => options.onRefused('', `accept failed: ${error.message}`))
    return listener
  }

  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : this.#options.port
  }

  /** Sockets that exist, with those that wait for their turn. */
  get sockets(): number {
    return this.#sockets.size
  }

  /** Begins to hand sockets on, in the order of arrival, each when its turn has come. */
  open(onSocket: (socket: Socket, address: string) => void): void {
    this.#onSocket = onSocket
    this.#admit()
  }

  /** Takes no new sockets; those that still wait are closed. */
  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#onSocket = undefined
    this.#server.close()
    for (const { socket } of this.#waiting.splice(0)) socket.destroy()
  }

  /** Resolves when every socket is closed; at the deadline they are destroyed. */
  async close(deadlineMs: number): Promise<void> {
    if (this.#server.listening) this.stop()
    if (this.#sockets.size === 0) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(() => {
        for (const socket of this.#sockets) socket.destroy()
      }, deadlineMs)
      for (const socket of this.#sockets) {
        socket.once('close', () => {
          if (this.#sockets.size > 0) return
          clearTimeout(timer)
          resolve()
        })
      }
    })
  }

  get #burst(): number {
    return Math.max(1, Math.ceil((this.#options.acceptsPerSecond * turnMs) / 1000))
  }

  #onConnection(accepted: Socket): void {
    const { options, perAddress } = { options: this.#options, perAddress: this.#perAddress }
    const address = (accepted.remoteAddress ?? '').replace(/^::ffff:/, '')
    accepted.on('error', () => accepted.destroy())
    const fromThere = perAddress.get(address) ?? 0
    const reason =
      this.#sockets.size >= options.connections
        ? 'too many connections'
        : fromThere >= options.connectionsPerAddress
          ? 'too many connections from this address'
          : undefined
    if (reason !== undefined) {
      options.onRefused(address, reason)
      accepted.destroy()
      return
    }
    const socket = readShared(accepted)
    socket.on('error', () => socket.destroy())
    this.#sockets.add(socket)
    perAddress.set(address, fromThere + 1)
    options.statistics.sockets = this.#sockets.size
    socket.once('close', () => this.#onClose(socket, address))
    this.#waiting.push({ socket, address })
    this.#admit()
  }

  #onClose(socket: Socket, address: string): void {
    this.#sockets.delete(socket)
    this.#options.statistics.sockets = this.#sockets.size
    const left = (this.#perAddress.get(address) ?? 1) - 1
    if (left > 0) this.#perAddress.set(address, left)
    else this.#perAddress.delete(address)
  }

  #admit(): void {
    const onSocket = this.#onSocket
    if (onSocket === undefined) return
    const turn = this.#waiting.splice(0, Math.floor(this.#tokens))
    this.#tokens -= turn.length
    for (const { socket, address } of turn) if (!socket.destroyed) onSocket(socket, address)
    if (this.#timer !== undefined || this.#tokens >= this.#burst) return
    this.#timer = setInterval(() => {
      this.#tokens = Math.min(this.#burst, this.#tokens + (this.#options.acceptsPerSecond * turnMs) / 1000)
      if (this.#tokens >= this.#burst && this.#waiting.length === 0) {
        clearInterval(this.#timer)
        this.#timer = undefined
      } else this.#admit()
    }, turnMs)
  }
}

function bindFailure(error: NodeJS.ErrnoException, host: string, port: number): TidegateError {
  const why =
    error.code === 'EADDRINUSE'
      ? 'is taken; choose another port with mqtt.port or --mqtt-port'
      : error.code === 'EACCES'
        ? 'may not be used by this user'
        : `cannot be bound (${error.message})`
  // An address that this machine does not have is no matter of the port.
  const setting = error.code === 'EADDRNOTAVAIL' || error.syscall === 'getaddrinfo' ? 'mqtt.host' : 'mqtt.port'
  return new TidegateError('TG_PORT_TAKEN', `${setting}: ${host}:${port} ${why}`, {
    context: { setting, host, port },
    cause: error
  })
}
