import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { generate, parser, type Packet } from 'mqtt-packet'

export interface FloodOptions {
  readonly port: number
  readonly clientId: string
  readonly qos: 0 | 1
  readonly publishes: number
  /** Least bytes of a payload. */
  readonly payloadBytes: number
}

/** A client that writes its publishes as fast as the socket takes them, whatever is acknowledged, and then pings. */
export class Flood implements AsyncDisposable {
  readonly #socket: Socket
  readonly #options: FloodOptions
  #unwritten: number
  #pings: NodeJS.Timeout | undefined
  acknowledged = 0
  pingResponses = 0
  /** True when the server ended the connection. */
  disconnected = false

  constructor(options: FloodOptions) {
    this.#options = options
    this.#unwritten = options.publishes
    this.#socket = connect(options.port, '127.0.0.1')
    const packets = parser({ protocolVersion: 4 })
    packets.on('packet', (packet: Packet) => this.#take(packet))
    this.#socket.on('data', chunk => packets.parse(chunk))
    this.#socket.on('error', () => undefined)
    this.#socket.on('close', () => {
      this.disconnected = true
      clearInterval(this.#pings)
    })
    this.#socket.write(generate({ cmd: 'connect', clientId: options.clientId, protocolVersion: 4, clean: true, keepalive: 5 }))
  }

  /** True when all publishes were given to the system. */
  get written(): boolean {
    return this.#unwritten === 0 && this.#socket.writableLength === 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy()
    if (!this.#socket.closed) await once(this.#socket, 'close')
  }

  #take(packet: Packet): void {
    if (packet.cmd === 'puback') this.acknowledged++
    if (packet.cmd === 'pingresp') this.pingResponses++
    if (packet.cmd !== 'connack') return
    this.#pings = setInterval(() => {
      if (this.written) this.#socket.write(generate({ cmd: 'pingreq' }))
    }, 1000)
    this.#socket.on('drain', () => this.#write())
    this.#write()
  }

  #write(): void {
    const { clientId, qos, publishes, payloadBytes } = this.#options
    while (this.#unwritten > 0) {
      const number = publishes - this.#unwritten--
      const payload = JSON.stringify({ n: number, text: `${number} `.padEnd(payloadBytes, 'x') })
      const topic = `devices/${clientId}/telemetry`
      const id = qos === 1 ? { messageId: (number % 65_535) + 1 } : {}
      if (!this.#socket.write(generate({ cmd: 'publish', topic, payload, qos, dup: false, retain: false, ...id }))) return
    }
  }
}
