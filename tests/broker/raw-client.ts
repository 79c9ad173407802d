import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import { vi } from 'vitest'
import type { Config } from '../../config.ts'
import { Broker } from '../../broker/broker.ts'
import type { BrokerOptions } from '../../broker/broker.ts'
import { FakeJournal } from './fake-journal.ts'

export const limits: Config['limits'] = {
  connections: 1000,
  connectionsPerAddress: 1000,
  acceptsPerSecond: 10_000,
  inFlight: 1000,
  messagesPerSecond: 0,
  bytesPerSecond: 0,
  heldBytes: 65_536,
  heldBytesTotal: 1_048_576,
  unreadBytesTotal: 16_777_216,
  sendWindow: 10_000,
  subscriptions: 50,
  retained: 100,
  retainedBytes: 1_048_576,
  remembered: 10_000,
  rememberedBytes: 1_048_576,
  sessions: 100,
  queuedMessages: 1000,
  queuedBytes: 16_777_216,
  series: 1000,
  seriesPerDevice: 1000,
  payloadDepth: 8,
  payloadFields: 100
}

/** A broker on a free port with its fake journal, serving. */
export async function serveBroker(
  options: Partial<Omit<BrokerOptions, 'limits'>> & { readonly limits?: Partial<Config['limits']>; readonly journal?: FakeJournal } = {}
): Promise<{ readonly broker: Broker; readonly journal: FakeJournal; readonly port: number } & AsyncDisposable> {
  const { journal = new FakeJournal(), limits: changed, ...rest } = options
  const broker = await Broker.bind({
    host: '127.0.0.1',
    port: 0,
    maxPacketBytes: 262_144,
    anonymous: 'loopback',
    log: pino({ level: 'silent' }),
    ...rest,
    limits: { ...limits, ...changed }
  })
  await broker.serve(journal)
  return { broker, journal, port: broker.port, [Symbol.asyncDispose]: () => broker.close(500) }
}

/** Polls until the condition holds; fails with what it was waiting for. */
export async function until(condition: () => boolean, what: string, deadlineMs = 5000): Promise<void> {
  const end = performance.now() + deadlineMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`timed out waiting until ${what}`)
    await delay(2)
  }
}

/** Intervals (the keep-alive round) run only when the test says so; everything else keeps real time. */
export function fakeIntervals(): { advance(milliseconds: number): void } & Disposable {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  return { advance: milliseconds => vi.advanceTimersByTime(milliseconds), [Symbol.dispose]: () => vi.useRealTimers() }
}

export function varint(length: number): Buffer {
  const bytes: number[] = []
  let rest = length
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
    rest >>= 7
  } while (rest > 0)
  return Buffer.from(bytes)
}

export function packet(header: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([header]), varint(body.length), body])
}

export function text(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([uint16(bytes.length), bytes])
}

export function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff])
}

export function connect(
  clientId: string | Buffer,
  options: { clean?: boolean; keepAlive?: number; level?: number; name?: string; will?: Will; user?: string; flags?: number } = {}
): Buffer {
  const { clean = true, keepAlive = 0, level = 4, name = level === 3 ? 'MQIsdp' : 'MQTT', will, user } = options
  const willFlags = will === undefined ? 0 : 4 | ((will.qos ?? 0) << 3) | (will.retain === true ? 0x20 : 0)
  const flags = options.flags ?? (clean ? 2 : 0) | willFlags | (user === undefined ? 0 : 0x80)
  return packet(
    0x10,
    text(name),
    Buffer.from([level, flags]),
    uint16(keepAlive),
    text(clientId),
    ...(will === undefined ? [] : [text(will.topic), text(will.payload)]),
    ...(user === undefined ? [] : [text(user)])
  )
}

export interface Will {
  readonly topic: string
  readonly payload: string
  readonly qos?: number
  readonly retain?: boolean
}

export function publish(
  topic: string | Buffer,
  payload: string | Buffer,
  options: { qos?: number; id?: number; dup?: boolean; retain?: boolean } = {}
): Buffer {
  const { qos = 0, id = 0, dup = false, retain = false } = options
  const header = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0)
  return packet(header, text(topic), ...(qos > 0 ? [uint16(id)] : []), Buffer.from(payload))
}

export const subscribe = (id: number, ...filters: readonly (readonly [string | Buffer, number])[]): Buffer =>
  packet(0x82, uint16(id), ...filters.flatMap(([filter, qos]) => [text(filter), Buffer.from([qos])]))
export const pubrel = (id: number): Buffer => packet(0x62, uint16(id))
export const puback = (id: number): Buffer => packet(0x40, uint16(id))
export const pingreq = Buffer.from([0xc0, 0])
export const disconnect = Buffer.from([0xe0, 0])

/** A packet from the server as `type:id` (CONNACK: type:present,code), for comparing sequences. */
export function describePacket(bytes: Buffer): string {
  const header = bytes[0] ?? 0
  const names = ['', '', 'connack', 'publish', 'puback', 'pubrec', 'pubrel', 'pubcomp', '', 'suback', '', 'unsuback', '', 'pingresp']
  const name = names[header >> 4] ?? 'unknown'
  if (name === 'connack') return `connack:${bytes[2]},${bytes[3]}`
  if (name === 'suback') return `suback:${bytes.readUInt16BE(2)}:${[...bytes.subarray(4)].join(',')}`
  if (name === 'pingresp') return name
  if (name !== 'publish') return `${name}:${bytes.readUInt16BE(2)}`
  const qos = (header >> 1) & 3
  const lengthBytes = (bytes[1] ?? 0) < 128 ? 1 : 2
  const topicEnd = 3 + lengthBytes + bytes.readUInt16BE(1 + lengthBytes)
  const flags = `${qos}${(header & 8) === 0 ? '' : 'd'}${(header & 1) === 0 ? '' : 'r'}`
  return `publish:${flags}:${bytes.toString('utf8', 3 + lengthBytes, topicEnd)}:${bytes.toString('utf8', topicEnd + (qos > 0 ? 2 : 0))}`
}

/** A client that writes bytes and reads packets. */
export class RawClient {
  readonly socket: net.Socket
  /** Packets received, described. */
  readonly packets: string[] = []
  /** Packets received, raw. */
  readonly raw: Buffer[] = []
  /** What arrived in one read, described. */
  readonly reads: string[][] = []
  closed = false
  #rest = Buffer.alloc(0)

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', chunk => this.#onData(chunk))
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
    })
  }

  /** A connected socket; nothing is sent. */
  static async open(port: number, host = '127.0.0.1'): Promise<RawClient> {
    const socket = net.connect({ port, host })
    await once(socket, 'connect')
    return new RawClient(socket)
  }

  /** A client past its CONNACK 0. */
  static async connect(port: number, clientId: string, options: Parameters<typeof connect>[1] = {}): Promise<RawClient> {
    const client = await RawClient.open(port)
    client.send(connect(clientId, options))
    await client.received(1)
    return client
  }

  send(...packets: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(packets))
  }

  /** Waits until so many packets have arrived, and answers the descriptions of all. */
  async received(count: number, deadlineMs = 5000): Promise<readonly string[]> {
    await until(() => this.packets.length >= count || this.closed, `${count} packets arrived: ${this.packets.join(' ')}`, deadlineMs)
    return this.packets
  }

  async untilClosed(deadlineMs = 5000): Promise<void> {
    await until(() => this.closed, 'the socket is closed', deadlineMs)
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }

  #onData(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    const read: string[] = []
    for (;;) {
      let length = 0
      let at = 1
      let complete = false
      for (let shift = 0; at < this.#rest.length && !complete; shift += 7, at++) {
        const byte = this.#rest[at] ?? 0
        length += (byte & 0x7f) << shift
        complete = byte < 0x80
      }
      if (!complete || this.#rest.length < at + length) break
      const bytes = Buffer.from(this.#rest.subarray(0, at + length))
      this.raw.push(bytes)
      read.push(describePacket(bytes))
      this.#rest = this.#rest.subarray(at + length)
    }
    this.packets.push(...read)
    if (read.length > 0) this.reads.push(read)
  }
}
