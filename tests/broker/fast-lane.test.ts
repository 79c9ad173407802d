import { expect, test } from 'vitest'
import { Random } from '../fuzz/random.ts'
import { FakeJournal } from './fake-journal.ts'
import type { KeptRecord } from './fake-journal.ts'
import {
  RawClient,
  connect,
  disconnect,
  pingreq,
  publish,
  pubrel,
  serveBroker,
  subscribe,
  until,
  packet,
  text,
  uint16
} from './raw-client.ts'

/**
 * A PUBLISH that nobody wants goes to the journal and no further. From outside that is not to be seen: a session with
 * everything in it gives the same bytes on every connection, the same records and the same deliveries when nobody else is
 * there, when somebody subscribes to another topic, and when somebody subscribes to all, so that every message is routed.
 * Only a message that waits for the disk while a subscription to it comes may go either way, as MQTT allows.
 */
const bystanders = { nobody: undefined, elsewhere: 'elsewhere/+', everybody: '#' } as const

interface Told {
  /** Everything that each connection received, in the order in which they were opened. */
  readonly received: readonly (readonly string[])[]
  readonly records: readonly KeptRecord[]
  readonly routed: number
}

const seeds = Array.from({ length: 4 }, (_, index) => index + 1)
const steps = 120
const publishers = 4

test.each(seeds)('the same session is the same whether its publishes are routed or not (seed %i)', async seed => {
  const alone = await run(seed, bystanders.nobody)
  const beside = await run(seed, bystanders.elsewhere)
  const routed = await run(seed, bystanders.everybody)
  expect(alone.records.length).toBeGreaterThan(50)
  // The ways differ, or nothing is compared.
  expect(alone.routed).toBeLessThan(routed.routed)
  expect(beside.routed).toBe(alone.routed)
  expect(routed.routed).toBe(alone.records.length)
  expect(beside.records).toEqual(alone.records)
  expect(routed.records).toEqual(alone.records)
  expect(beside.received).toEqual(alone.received)
  expect(routed.received).toEqual(alone.received)
})

async function run(seed: number, bystander: string | undefined): Promise<Told> {
  const journal = new FakeJournal({ auto: false })
  await using served = await serveBroker({ journal, limits: { inFlight: 12 } })
  using looker = await RawClient.connect(served.port, 'bystander')
  if (bystander !== undefined) {
    looker.send(subscribe(1, [bystander, 0]))
    await looker.received(2)
  }
  const script = new Script({ seed, served, journal })
  for (let step = 0; step < steps; step++) await script.step()
  await script.end()
  const { routed } = served.broker.stats
  return { received: script.received, records: journal.records, routed }
}

/** What clients do, each step when the one before has come to rest. */
class Script {
  readonly #random: Random
  readonly #served: Awaited<ReturnType<typeof serveBroker>>
  readonly #journal: FakeJournal
  readonly #opened: RawClient[] = []
  readonly #publishers: (RawClient | undefined)[] = []
  readonly #sent: Buffer[][] = []
  #subscriber: RawClient | undefined
  #id = 0

  constructor(options: { readonly seed: number; readonly served: Awaited<ReturnType<typeof serveBroker>>; readonly journal: FakeJournal }) {
    this.#random = new Random(options.seed)
    this.#served = options.served
    this.#journal = options.journal
  }

  /** All bytes but the packet ids of messages, which the server chooses. */
  get received(): readonly (readonly string[])[] {
    return this.#opened.map(client => client.packets)
  }

  async step(): Promise<void> {
    const random = this.#random
    const choice = random.below(20)
    if (choice < 12) await this.#publish(random.below(publishers))
    else if (choice < 15) this.#sync(random.oneIn(2))
    else if (choice < 18) await this.#come()
    else await this.#leave(random.below(publishers))
    await this.#rest()
  }

  async end(): Promise<void> {
    await this.#settle()
    for (const client of this.#opened) {
      if (client.closed) continue
      await this.#send(client, pingreq)
      client.socket.destroy()
    }
  }

  async #publish(number: number): Promise<void> {
    const random = this.#random
    const client = (this.#publishers[number] ??= await this.#connect(`p${number}`, random.oneIn(2)))
    const packets: Buffer[] = []
    for (let count = random.between(1, 6); count > 0; count--) packets.push(this.#packet(number))
    const bytes = Buffer.concat(packets)
    const cut = random.oneIn(3) ? random.below(bytes.length) : 0
    await this.#send(client, bytes.subarray(0, cut))
    await this.#send(client, bytes.subarray(cut))
    if (!client.closed) return
    this.#publishers[number] = undefined
  }

  #packet(number: number): Buffer {
    const random = this.#random
    const sent = (this.#sent[number] ??= [])
    const choice = random.below(60)
    if (choice < 4) return pingreq
    if (choice < 8) return pubrel(random.between(1, 8))
    if (choice === 8)
      return random.pick([publish('a/+', 'x'), publish('', 'x'), publish('a', 'x', { qos: 1 }), packet(0x36), packet(0xc0, text('x'))])
    if (choice < 14 && sent.length > 0) {
      const again = Buffer.from(sent[random.below(sent.length)] ?? pingreq)
      again[0] = (again[0] ?? 0) | 8
      return again
    }
    const topic = random.pick([`d/${number}`, `d/${number}/ü`, 'shared', `${'deep/'.repeat(15)}x`, `d/${number}/${random.below(6)}`])
    const qos = random.below(3)
    const bytes = publish(topic, `${this.#id++}:${'x'.repeat(random.below(200))}`, {
      qos,
      id: random.between(1, 8),
      retain: random.oneIn(12)
    })
    if (qos > 0 && sent.push(bytes) > 10) sent.shift()
    return bytes
  }

  #sync(whole: boolean): void {
    const { durable, head } = this.#journal
    this.#journal.sync(whole ? head : durable + this.#random.below(head - durable + 1))
  }

  /** All that was sent is in the journal and durable: what waits for the window goes on when acknowledgements leave. */
  async #settle(): Promise<void> {
    for (let waited = -1; waited !== this.#journal.durable;) {
      waited = this.#journal.durable
      this.#sync(true)
      await this.#rest()
    }
  }

  /** The subscriber connects, subscribes or unsubscribes. */
  async #come(): Promise<void> {
    const random = this.#random
    await this.#settle()
    this.#subscriber ??= await this.#connect('subscriber', random.oneIn(2))
    const filter = random.pick(['d/+', 'd/1/#', 'shared', '#', 'd/2', '+/0/+'])
    await this.#send(this.#subscriber, random.oneIn(3) ? packet(0xa2, uint16(9), text(filter)) : subscribe(8, [filter, random.below(2)]))
  }

  /** A client goes, with DISCONNECT or without; what it was owed until now it has got. */
  async #leave(number: number): Promise<void> {
    const isSubscriber = this.#random.oneIn(2)
    const client = isSubscriber ? this.#subscriber : this.#publishers[number]
    if (client === undefined) return
    await this.#send(client, pingreq)
    if (this.#random.oneIn(2)) await this.#send(client, disconnect)
    client.socket.destroy()
    if (isSubscriber) this.#subscriber = undefined
    else this.#publishers[number] = undefined
    await until(() => this.#served.broker.stats.connections === this.#connected + 1, 'the connection has ended')
  }

  get #connected(): number {
    return [this.#subscriber, ...this.#publishers].filter(client => client !== undefined && !client.closed).length
  }

  async #connect(clientId: string, clean: boolean): Promise<RawClient> {
    const client = await RawClient.open(this.#served.port)
    this.#opened.push(client)
    await this.#send(client, connect(clientId, { clean }))
    await client.received(1)
    return client
  }

  /** Sends bytes and waits until they are handled. */
  async #send(client: RawClient, bytes: Buffer): Promise<void> {
    if (bytes.length === 0 || client.closed) return
    const { stats } = this.#served.broker
    client.socket.write(bytes)
    await until(() => this.#served.broker.stats.bytesReceived === stats.bytesReceived + bytes.length, 'the bytes are read')
    await this.#rest()
  }

  /** All that follows from what was handled has been done and is received. */
  async #rest(): Promise<void> {
    for (let quiet = 0, before = -1; quiet < 12;) {
      await new Promise(resolve => setImmediate(resolve))
      const { stats } = this.#served.broker
      const now = stats.bytesSent + stats.routed + this.#journal.head
      const all = this.#opened.every(client => client.closed || client.socket.readableLength === 0)
      quiet = now === before && all ? quiet + 1 : 0
      before = now
    }
  }
}
