import { once } from 'node:events'
import net from 'node:net'
import { generate, parser } from 'mqtt-packet'
import type { IConnectPacket, Packet } from 'mqtt-packet'
import { until } from './raw-client.ts'

/** Bytes from hexadecimal digits, with spaces where they help. */
export function hex(digits: string): Buffer {
  return Buffer.from(digits.replaceAll(' ', ''), 'hex')
}

/** A packet of MQTT 5 in the bytes of the mqtt-packet package. */
export function packet5(packet: Packet): Buffer {
  return generate(packet, { protocolVersion: 5 })
}

type ConnectOptions = Partial<Omit<IConnectPacket, 'cmd' | 'clientId'>>

/** A PUBLISH with what matters in a test. */
export function publish5(
  topic: string,
  payload: string | Buffer,
  options: { qos?: 0 | 1 | 2; id?: number; dup?: boolean; retain?: boolean; properties?: object } = {}
): Buffer {
  const { qos = 0, id, dup = false, retain = false, properties } = options
  return packet5({
    cmd: 'publish',
    topic,
    payload,
    qos,
    dup,
    retain,
    ...(id === undefined ? {} : { messageId: id }),
    ...(properties === undefined ? {} : { properties })
  })
}

export function connect5(clientId: string, options: ConnectOptions = {}): Buffer {
  return packet5({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: true, keepalive: 0, ...options, clientId })
}

/** A client of MQTT 5 that writes bytes and reads packets with mqtt-packet. */
export class Client5 {
  readonly socket: net.Socket
  readonly packets: Packet[] = []
  closed = false

  private constructor(socket: net.Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    const reader = parser({ protocolVersion: 5 })
    reader.on('packet', packet => this.packets.push(packet))
    socket.on('data', chunk => reader.parse(chunk))
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
    })
  }

  /** A connected socket; nothing is sent. */
  static async open(port: number): Promise<Client5> {
    const socket = net.connect({ port, host: '127.0.0.1' })
    await once(socket, 'connect')
    return new Client5(socket)
  }

  /** A client past its CONNACK. */
  static async connect(port: number, clientId: string, options: ConnectOptions = {}): Promise<Client5> {
    const client = await Client5.open(port)
    client.send(connect5(clientId, options))
    await client.received(1)
    return client
  }

  send(...packets: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(packets))
  }

  /** The packets, when so many have arrived or the socket is closed. */
  async received(count: number): Promise<readonly Packet[]> {
    await until(() => this.packets.length >= count || this.closed, `${count} packets arrived, of which ${this.packets.length} did`)
    return this.packets
  }

  /** The packets, when the socket is closed. */
  async ended(): Promise<readonly Packet[]> {
    await until(() => this.closed, 'the socket is closed')
    return this.packets
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }
}
