import { setMaxListeners } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { connectPacket, field, openClient, packet, remainingLength } from './clients.ts'

/** How long a socket stays away that the broker has closed. */
const awayMs = 1_000
const slowByteMs = 400
/** What a socket with a huge packet sends of it, if it is let. */
const hugeContent = Buffer.alloc(4 * 1024 ** 2, 'x')
const hugeDeclared = 256 * 1024 ** 2 - 1
/** With it a publish is just below the largest packet that Tidegate takes by default; its last byte is not sent. */
const unfinishedContent = Buffer.alloc(250 * 1024, 'x')
const retainedCount = 32
const retainedBytes = 120 * 1024

const kinds = ['halfConnect', 'slowConnect', 'hugeFirstPacket', 'unfinishedPublish', 'frozenSubscriber'] as const
type Kind = (typeof kinds)[number]
/** Of a hundred. */
const shares: Readonly<Record<Kind, number>> = {
  halfConnect: 30,
  slowConnect: 20,
  hugeFirstPacket: 10,
  unfinishedPublish: 30,
  frozenSubscriber: 10
}

/**
 * Sockets that mean no good, all of them all the time: who is closed comes back after a second. Half a CONNECT and
 * silence; a CONNECT of a byte every 400 ms; a first packet that declares 256 MB and brings 4; a publish of 250 KiB without its
 * last byte; a subscriber of 4 MB of retained messages that reads nothing.
 */
export class HostileCrowd implements AsyncDisposable {
  readonly #port: number
  readonly #stop = new AbortController()
  readonly #open = new Set<Socket>()
  readonly #members: readonly Promise<void>[]
  /** How often the broker closed one of them. */
  closed = 0

  constructor(port: number, size: number) {
    this.#port = port
    setMaxListeners(size, this.#stop.signal)
    const of = (kind: Kind): Kind[] => Array.from({ length: Math.round((size * shares[kind]) / 100) }, () => kind)
    this.#members = kinds.flatMap(of).map(async (kind, number) => await this.#live(kind, number))
  }

  /** Sockets that are open now. */
  get size(): number {
    return this.#open.size
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    for (const socket of this.#open) socket.destroy()
    await Promise.all(this.#members)
  }

  async #live(kind: Kind, number: number): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.#attack(kind, `hostile-${number}`).catch(() => undefined)
      if (!this.#stop.signal.aborted) this.closed += 1
      await delay(awayMs, undefined, { signal: this.#stop.signal }).catch(() => undefined)
    }
  }

  /** Resolves when the socket is closed. */
  async #attack(kind: Kind, clientId: string): Promise<void> {
    const loggedIn = kind === 'unfinishedPublish' || kind === 'frozenSubscriber'
    const socket = loggedIn ? await openClient(this.#port, { clientId }) : connect({ host: '127.0.0.1', port: this.#port })
    const closed = new Promise<void>(resolve => socket.once('close', () => resolve()))
    socket.on('error', () => undefined)
    if (this.#stop.signal.aborted) socket.destroy()
    this.#open.add(socket)
    try {
      misbehave[kind](socket, clientId)
      await closed
    } finally {
      this.#open.delete(socket)
    }
  }
}

const misbehave: Readonly<Record<Kind, (socket: Socket, clientId: string) => void>> = {
  halfConnect: (socket, clientId) => {
    const whole = connectPacket({ clientId })
    socket.resume().write(whole.subarray(0, whole.length / 2))
  },
  slowConnect: (socket, clientId) => {
    const whole = connectPacket({ clientId: clientId.padEnd(100, 'x') })
    let at = 0
    const timer = setInterval(() => {
      if (at < whole.length) socket.write(whole.subarray(at, ++at))
    }, slowByteMs)
    socket.resume().once('close', () => clearInterval(timer))
  },
  hugeFirstPacket: socket => {
    socket.resume().write(Buffer.concat([Buffer.from([0x10]), remainingLength(hugeDeclared), field('MQTT'), Buffer.from([4, 2, 0, 0])]))
    socket.write(hugeContent)
  },
  unfinishedPublish: (socket, clientId) => {
    const start = Buffer.concat([field(`hostile/${clientId}`), Buffer.from([0, 1])])
    socket.resume().write(Buffer.concat([Buffer.from([0x32]), remainingLength(start.length + unfinishedContent.length), start]))
    socket.write(unfinishedContent.subarray(1))
  },
  frozenSubscriber: socket => {
    // Reads as much as the system does by itself, and no more.
    socket.pause()
    socket.write(packet(0x82, Buffer.from([0, 1]), field('bench-retained/#'), Buffer.from([1])))
  }
}

/** Publishes what the frozen subscribers then ask for. */
export async function retainForSubscribers(port: number): Promise<void> {
  const socket = await openClient(port, { clientId: 'bench-retainer' })
  let acknowledged = 0
  const all = new Promise<void>((resolve, reject) => {
    socket.once('close', () => reject(new Error('closed before all was retained')))
    socket.on('data', (bytes: Buffer) => {
      acknowledged += bytes.length / 4
      if (acknowledged >= retainedCount) resolve()
    })
  })
  for (let number = 1; number <= retainedCount; number++)
    socket.write(packet(0x33, field(`bench-retained/${number}`), Buffer.from([0, number]), Buffer.alloc(retainedBytes, 'r')))
  await all
  socket.end(Buffer.from([0xe0, 0]))
}
