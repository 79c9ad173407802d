import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { against } from '../served.ts'
import type { Served } from '../served.ts'
import { connect, pingreq, puback, pubcomp, publish, pubrec, pubrel, subscribe } from './packets.ts'
import type { ConnectOptions, Filter, PublishOptions } from './packets.ts'
import { decode, describePacket } from './received.ts'
import type { Received } from './received.ts'
import { Rules } from './rules.ts'
import type { statements5 } from './statements.ts'

/** What shows that a statement holds, in a world of its own. */
export type Check = (world: World) => Promise<void>

/** The checks of some statements. */
export type Checks = Partial<Record<keyof typeof statements5, Check>>

type Message = readonly [topic: string, payload: string | Buffer, options?: PublishOptions]

/** Longest that a test waits for what must come. */
const deadlineMs = 10_000

const windowSize = 10

/** A client that writes bytes and reads packets of MQTT 5.0. */
export class Client {
  readonly socket: net.Socket
  readonly packets: Received[] = []
  /** The packets, described. */
  readonly seen: string[] = []
  /** When each came, in monotonic milliseconds. */
  readonly arrivals: number[] = []
  /** What came that no server may send. */
  readonly faults: string[] = []
  closed = false
  /** What the server must keep to here. */
  rules = new Rules()
  #acknowledges = false
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

  get connack(): Received | undefined {
    return this.packets[0]
  }

  /** The PUBLISHes that came. */
  get publishes(): readonly Received[] {
    return this.packets.filter(({ type }) => type === 'publish')
  }

  send(...packets: readonly Buffer[]): void {
    for (const packet of packets) this.rules.sent(packet)
    this.socket.write(Buffer.concat(packets))
  }

  /** From now on PUBLISH is answered with PUBACK or PUBREC, PUBREC with PUBREL, PUBREL with PUBCOMP; what has come is, too. */
  acknowledge(): void {
    this.#acknowledges = true
    for (const packet of this.packets) this.#acknowledge(packet)
  }

  /** Waits until so many packets have come, or the end. */
  async received(count: number): Promise<readonly string[]> {
    await this.until(() => this.seen.length >= count || this.closed, `${count} packets came`)
    return this.seen
  }

  /** Sends the packets, waits for so many answers, and describes them. */
  async ask(count: number, ...packets: readonly Buffer[]): Promise<readonly string[]> {
    const before = this.seen.length
    this.send(...packets)
    await this.received(before + count)
    return this.seen.slice(before)
  }

  /** Waits until a packet that is described so has come, and answers it. */
  async sees(described: string): Promise<Received> {
    await this.until(() => this.seen.includes(described) || this.closed, `${described} came`)
    const packet = this.packets[this.seen.indexOf(described)]
    if (packet === undefined) throw new Error(`the connection ended before ${described} came: ${this.seen.join(' ')}`)
    return packet
  }

  /** Polls until the condition holds; fails with what it was waiting for, and what came. */
  async until(condition: () => boolean, what: string): Promise<void> {
    const end = performance.now() + deadlineMs
    while (!condition()) {
      if (performance.now() > end) throw new Error(`timed out waiting until ${what}: ${[...this.seen, ...this.faults].join(' ')}`)
      await delay(2)
    }
  }

  /** Forgets what came until now. */
  forget(): void {
    this.packets.length = 0
    this.seen.length = 0
    this.arrivals.length = 0
  }

  /** Waits for the end of the connection; `what` was to bring it about. */
  async untilClosed(what = ''): Promise<void> {
    await this.until(() => this.closed, `the connection ends ${what}`)
  }

  #onData(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    for (;;) {
      const end = endOfPacket(this.#rest)
      if (end === undefined) return
      this.#onPacket(Buffer.from(this.#rest.subarray(0, end)))
      this.#rest = this.#rest.subarray(end)
    }
  }

  #onPacket(bytes: Buffer): void {
    try {
      const packet = decode(bytes)
      this.packets.push(packet)
      this.seen.push(describePacket(packet))
      this.arrivals.push(performance.now())
      this.rules.received(packet)
      if (this.#acknowledges) this.#acknowledge(packet)
    } catch (error) {
      this.faults.push(`${bytes.toString('hex')}: ${String(error)}`)
    }
  }

  #acknowledge({ type, qos, id, codes: [code = 0] }: Received): void {
    if (type === 'publish' && qos === 1) this.send(puback(id))
    if (type === 'publish' && qos === 2) this.send(pubrec(id))
    if (type === 'pubrec' && code < 0x80) this.send(pubrel(id))
    if (type === 'pubrel') this.send(pubcomp(id))
  }
}

const isRefusal = (described: string, prefix: string): boolean => described.startsWith(prefix) && /[89a].$/.test(described)

/** How the answers to a PUBLISH end. */
function completions({ qos = 0, id = 1 }: PublishOptions): readonly string[] {
  if (qos === 0) return []
  return [qos === 1 ? `puback:${id}` : `pubcomp:${id}`]
}

/** Where the first packet ends, once it is whole. */
function endOfPacket(bytes: Buffer): number | undefined {
  let length = 0
  for (let at = 1; at < Math.min(bytes.length, 5); at++) {
    const byte = bytes[at] ?? 0
    length += (byte & 0x7f) << (7 * (at - 1))
    if (byte < 0x80) return bytes.length >= at + 1 + length ? at + 1 + length : undefined
  }
  return undefined
}

/** A server with the clients of one test. */
export class World implements Disposable {
  readonly served: Served
  readonly clients: Client[] = []
  #number = 0

  constructor(served: Served) {
    this.served = served
  }

  /** Our own broker is held to what the specification leaves open as well, where docs/protocol.md says what it does. */
  get ours(): boolean {
    return against === undefined
  }

  /** A connected socket; nothing is sent. */
  async open(port = this.served.port): Promise<Client> {
    const socket = net.connect({ port, host: '127.0.0.1' })
    await once(socket, 'connect')
    const client = new Client(socket)
    this.clients.push(client)
    return client
  }

  /** A client that sent CONNECT, past the answer to it. */
  async connect(options: ConnectOptions, port?: number): Promise<Client> {
    const client = await this.open(port)
    if (!Buffer.isBuffer(options.properties)) client.rules = new Rules(options.properties)
    client.send(connect(options))
    await client.received(1)
    return client
  }

  /** A client past its CONNACK 0, with a client id that no other has unless one is given. */
  async join(options: ConnectOptions = {}): Promise<Client> {
    this.#number += 1
    const client = await this.connect({ clientId: `c${this.#number}`, ...options })
    expect(client.seen[0]).toMatch(/^connack:[01],00$/)
    return client
  }

  /** A client that subscribes, past its SUBACK; it acknowledges what it gets. */
  async subscriber(filters: readonly Filter[], options: ConnectOptions = {}): Promise<Client> {
    const client = await this.join(options)
    client.acknowledge()
    await client.ask(1, subscribe(1, filters))
    return client
  }

  /** Publishes as a new client, and is back when all was acknowledged. */
  async say(...messages: readonly Message[]): Promise<void> {
    await this.sayAs({}, ...messages)
  }

  /** The same as a client of these options. */
  async sayAs(options: ConnectOptions, ...messages: readonly Message[]): Promise<void> {
    const client = await this.join(options)
    client.acknowledge()
    // Never more than the least receive maximum that a server of the field has.
    for (let at = 0; at < messages.length; at += windowSize) {
      const window = messages.slice(at, at + windowSize).map(([topic, payload, rest], number) => ({
        topic,
        payload,
        options: { id: number + 1, ...rest }
      }))
      client.send(...window.map(({ topic, payload, options }) => publish(topic, payload, options)))
      for (const described of window.flatMap(({ options }) => completions(options))) await client.sees(described)
      client.forget()
    }
    await client.ask(1, publish('said', '', { qos: 1, id: 0xffff }))
    expect(client.seen.filter(seen => !seen.startsWith('publish:'))).toEqual(['puback:65535'])
    client.socket.destroy()
  }

  /**
   * The PUBLISHes that a client has got when all that was published before is delivered: it subscribes to a topic of its own,
   * and what is published there now comes behind them. They must not be more than it may have unacknowledged.
   */
  async gets(client: Client): Promise<readonly string[]> {
    this.#number += 1
    const topic = `fence/${this.#number}`
    const behind = `publish:0:${topic}:`
    client.send(subscribe(0xfff0, [[topic, 0]]))
    await client.sees('suback:65520:00')
    await this.say([topic, ''])
    await client.sees(behind)
    const fences = /^publish:0r?:(?:fence\/\d+|said):/
    return client.seen.slice(0, client.seen.indexOf(behind)).filter(seen => seen.startsWith('publish:') && !fences.test(seen))
  }

  /** The connection breaks without DISCONNECT, and the server knows. */
  async vanish(client: Client): Promise<void> {
    client.socket.end()
    await client.untilClosed()
  }

  /**
   * Each of these, sent by a client of its own, is the end of its connection, and what comes behind it is not processed. A
   * DISCONNECT before the end has one of these reason codes (hexadecimal); our broker sends one, unless `-` is among them.
   */
  async closesOn(codes: string, vectors: readonly Buffer[], options: ConnectOptions = {}): Promise<void> {
    const watcher = await this.subscriber([['behind', 0]])
    await this.#expectEnds(vectors, codes, 'disconnect:', async () => {
      const client = await this.join(options)
      client.forget()
      return client
    })
    expect(await this.gets(watcher)).toEqual([])
  }

  /** Each of these as the first packet is the end, before it at most a CONNACK with one of these reason codes; ours sends it. */
  async refuses(codes: string, vectors: readonly Buffer[], port = this.served.port): Promise<void> {
    await this.#expectEnds(vectors, codes, 'connack:0,', async () => await this.open(port))
  }

  /**
   * Which reason code, and whether there is one, the specification leaves open; our broker sends one of those given, where
   * some are. The end of the connection it does not.
   */
  async #expectEnds(vectors: readonly Buffer[], codes: string, prefix: string, begin: () => Promise<Client>): Promise<void> {
    const allowed = codes.split(' ').map(code => (code === '-' ? '' : prefix + code))
    const wrong: string[] = []
    const tryOne = async (vector: Buffer): Promise<void> => {
      const client = await begin()
      client.send(vector, publish('behind', 'it', { qos: 1, id: 9 }), pingreq)
      await client.until(() => client.closed || client.seen.length > 1, `${vector.toString('hex', 0, 100)} is answered`)
      const [first] = client.seen
      const fine = this.ours ? allowed.includes(first ?? '') : first === undefined || isRefusal(first, prefix)
      if (client.seen.length > 1 || !fine || !client.closed) wrong.push(`${vector.toString('hex', 0, 100)}: ${client.seen.join(' ')}`)
      client.socket.destroy()
    }
    for (let at = 0; at < vectors.length; at += windowSize) await Promise.all(vectors.slice(at, at + windowSize).map(tryOne))
    expect(wrong, `to be answered with ${allowed.map(answer => answer || 'nothing').join(' or ')}, and the end`).toEqual([])
  }

  /** Each of these as the first packet is accepted, and the connection works. */
  async accepts(vectors: readonly Buffer[]): Promise<void> {
    const wrong: string[] = []
    for (const vector of vectors) {
      const client = await this.open()
      client.send(vector, pingreq)
      await client.received(2)
      if (client.seen.join(' ') !== 'connack:0,00 pingresp') wrong.push(`${vector.toString('hex', 0, 100)}: ${client.seen.join(' ')}`)
      client.socket.destroy()
    }
    expect(wrong).toEqual([])
  }

  /** None of them got what no server may send. */
  expectNoFaults(): void {
    expect(this.clients.flatMap(({ faults }) => faults)).toEqual([])
  }

  [Symbol.dispose](): void {
    for (const { socket } of this.clients) socket.destroy()
  }
}
