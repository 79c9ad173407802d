import { connect, publish, subscribe, pingreq } from '../broker/raw-client.ts'
import { Corpus } from './corpus.ts'
import { messageText } from './kept-journal.ts'
import { mutate } from './mutations.ts'
import { Peer } from './peer.ts'
import { Random } from './random.ts'
import { perhaps, recordText } from './reference.ts'
import type { Verdict } from './reference.ts'
import type { World } from './world.ts'

const connectionsPerRound = 250
const lanes = 8
const deadlineMs = 20_000

/** What a round was. */
export interface Tally {
  /** Complete packets that had to be judged: what lies behind a violation is not counted. */
  packets: number
  connections: number
  violations: number
  bytes: number
}

/** One connection: the bytes of a client, how they are cut, and how it goes. */
interface Visit {
  readonly number: number
  readonly segments: readonly Buffer[]
  readonly stream: Buffer
  /** Without a word at the end of the bytes: a reset instead of FIN. */
  readonly resets: boolean
}

/**
 * One round against the world: mutated sessions, several at once, beside a client that does everything right. Throws
 * when anything is other than the reference says.
 */
export async function playRound(world: World, seed: number): Promise<Tally> {
  const random = new Random(seed)
  const tally: Tally = { packets: 0, connections: 0, violations: 0, bytes: 0 }
  const before = refusals(world)
  const witness = await Witness.open(world, random.oneIn(3))
  const queues: Visit[][] = Array.from({ length: lanes }, () => [])
  for (let number = 0; number < connectionsPerRound; number++) {
    const visit = buildVisit(number, random)
    queues[laneOf(visit.stream)]?.push(visit)
  }
  await Promise.all(
    queues.map(async queue => {
      for (const visit of queue) {
        await pay(world, visit, tally)
        witness.publish()
      }
    })
  )
  await witness.leave()
  await turns(() => world.broker.stats.sockets === 0, 'all sockets are closed')
  const { sockets, connections, pausedSockets, heldBytes, unacknowledged, routeQueue, subscriptions } = world.broker.stats
  expectSame('gauges', { sockets, connections, pausedSockets, heldBytes, unacknowledged, routeQueue, subscriptions }, nothing)
  expectSame('clients with records that nobody expected', world.journal.clients, [])
  expectSame('refusals and violations', refusals(world) - before, tally.violations)
  return tally
}

const nothing = { sockets: 0, connections: 0, pausedSockets: 0, heldBytes: 0, unacknowledged: 0, routeQueue: 0, subscriptions: 0 }

function refusals({ broker: { stats } }: World): number {
  return stats.violations + stats.connectsRefused
}

function buildVisit(number: number, random: Random): Visit {
  const corpus = new Corpus(random)
  const packets = corpus.session()
  const rarely = random.pick([8, 40, 150, 1_000])
  // A CONNECT that is refused ends everything, so it is damaged less often than the packets behind it.
  const mutated = packets.map((packet, index) => (random.oneIn(index === 0 ? 12 : rarely) ? mutate(packet, random, corpus) : packet))
  let stream = Buffer.concat([...mutated, pingreq])
  const levelAt = afterName(stream)
  // The reference is one of 3.x: a CONNECT that was changed so that it asks for 5.0 asks for another level.
  if (stream[levelAt] === 5) stream[levelAt] = 6
  if (random.oneIn(6)) stream = stream.subarray(0, random.between(1, stream.length))
  return { number, stream, segments: cutStream(stream, random), resets: random.oneIn(4) }
}

/** All at once, in a few pieces, or byte by byte. */
function cutStream(stream: Buffer, random: Random): readonly Buffer[] {
  const kind = random.below(8)
  if (kind < 4) return [stream]
  const pieces = kind === 7 ? Math.min(stream.length, 300) : random.between(2, 12)
  const borders =
    kind === 7 ? Array.from({ length: pieces }, (_, index) => index) : Array.from({ length: pieces }, () => random.below(stream.length))
  const sorted = [...new Set([0, ...borders])].sort((a, b) => a - b)
  return sorted.map((from, index) => stream.subarray(from, sorted[index + 1]))
}

/** Connections of one client come one after another; so do all of those that leave the choice of an id to the server. */
function laneOf(stream: Buffer): number {
  // Behind the protocol name: level, flags and keep alive.
  const id = stream.subarray(afterName(stream) + 4)
  const length = id.length < 2 ? 0 : id.readUInt16BE(0)
  return id.subarray(2, 2 + length).reduce((hash, byte) => (hash * 31 + byte) % 65_521, length === 0 ? 0 : 1) % lanes
}

/** Where the protocol level of the first packet is, if that is a CONNECT. */
function afterName(stream: Buffer): number {
  let at = 1
  while (at < 4 && (stream[at] ?? 0) > 127) at += 1
  return at + 3 + (stream[at + 2] ?? 0)
}

async function pay(world: World, visit: Visit, tally: Tally): Promise<void> {
  const verdict = world.reference.sit(visit.stream)
  tally.packets += verdict.packets
  tally.connections += 1
  tally.bytes += visit.stream.length
  if (verdict.end === 'violated') tally.violations += 1
  const peer = await Peer.open(world.broker.port)
  try {
    for (const [index, segment] of visit.segments.entries()) {
      if (peer.closed) break
      if (index > 0) await new Promise(resolve => setImmediate(resolve))
      peer.socket.write(segment)
    }
    await settle(world, visit, peer, verdict)
  } catch (error) {
    const bytes = visit.stream.length > 1000 ? `${visit.stream.toString('hex', 0, 1000)}…` : visit.stream.toString('hex')
    const cause = error instanceof Error ? error.message : String(error)
    throw new Error(
      `connection ${visit.number}, in ${visit.segments.length} pieces (${verdict.end} ${verdict.reason}): ${cause}\n${bytes}`,
      { cause: error }
    )
  } finally {
    peer.socket.destroy()
  }
}

async function settle(world: World, { resets }: Visit, peer: Peer, verdict: Verdict): Promise<void> {
  if (verdict.end === 'open') {
    await peer.until(() => hasAll(peer, verdict), `every reply has come: ${describe(peer, verdict)}`)
    if (verdict.clientId !== undefined)
      await turns(() => recordsOf(world, verdict) >= surely(verdict.records), 'the journal has everything')
    if (peer.closed) throw new Error(`the server closed a good connection, after ${describe(peer, verdict)}`)
    if (resets) peer.socket.resetAndDestroy()
    else peer.socket.end()
  }
  await peer.untilClosed('the connection ends')
  const records = [...verdict.records, ...(verdict.will === undefined ? [] : [verdict.will])]
  if (verdict.clientId !== undefined) {
    await turns(() => recordsOf(world, verdict) >= surely(records), `the journal has ${surely(records)} records`)
    const kept = world.journal.take(journalId(world, verdict))
    expectSame('journal', kept, decided(records, kept))
  }
  expectSame('nonsense', peer.nonsense, [])
  expectSame('CONNACK', peer.connack, verdict.connack)
  // A connection that was to be closed may lose what waited for the disk; never its order, and never anything else.
  const whole = verdict.end === 'open'
  expectSame('acknowledgements', peer.acknowledgements, begun(verdict.acknowledgements, whole ? undefined : peer.acknowledgements))
  const missing = missingReplies(verdict.subscriptionReplies, peer.subscriptionReplies)
  if (missing === undefined || (whole && missing > 0)) {
    expectSame('SUBACK and UNSUBACK, in any order', peer.subscriptionReplies.toSorted(), verdict.subscriptionReplies.toSorted())
  }
  // Of a connection that is blocked PINGREQs further behind are answered, whatever lies before them.
  if (whole) expectSame('PINGRESP', peer.pings, verdict.pings)
}

function surely(records: readonly string[]): number {
  return records.filter(record => !record.startsWith(perhaps)).length
}

/** The expected records, without those that may be missing and are. */
function decided(records: readonly string[], kept: readonly string[]): readonly string[] {
  const expected: string[] = []
  for (const record of records) {
    if (!record.startsWith(perhaps)) expected.push(record)
    else if (kept[expected.length] === record.slice(perhaps.length)) expected.push(record.slice(perhaps.length))
  }
  return expected
}

function begun<Item>(items: readonly Item[], got: readonly Item[] | undefined): readonly Item[] {
  return got === undefined ? items : items.slice(0, got.length)
}

/**
 * How many of the expected SUBACKs and UNSUBACKs have not come, or undefined when others came. Their order is free, and so
 * is which is which when a client uses a packet id again before it is answered.
 */
function missingReplies(wanted: readonly string[], got: readonly string[]): number | undefined {
  const idOf = (reply: string): string => {
    const body = Number.parseInt(reply.slice(2, 4), 16) < 0x80 ? 4 : 6
    return reply.slice(0, 2) + reply.slice(body, body + 4)
  }
  const twice = new Set(wanted.map(idOf).filter((id, index, ids) => ids.indexOf(id) < index))
  const left = new Map<string, number>()
  const keyOf = (reply: string): string => (twice.has(idOf(reply)) ? idOf(reply) : reply)
  for (const reply of wanted) left.set(keyOf(reply), (left.get(keyOf(reply)) ?? 0) + 1)
  for (const reply of got) {
    const count = left.get(keyOf(reply)) ?? 0
    if (count === 0) return undefined
    left.set(keyOf(reply), count - 1)
  }
  return wanted.length - got.length
}

function hasAll(peer: Peer, verdict: Verdict): boolean {
  return (
    peer.acknowledgements.length >= verdict.acknowledgements.length &&
    peer.pings >= verdict.pings &&
    peer.subscriptionReplies.length >= verdict.subscriptionReplies.length &&
    (verdict.connack === undefined || peer.connack !== undefined)
  )
}

function describe(peer: Peer, verdict: Verdict): string {
  const of = (got: number, wanted: number): string => `${got}/${wanted}`
  return `CONNACK ${peer.connack ?? 'none'}, acknowledgements ${of(peer.acknowledgements.length, verdict.acknowledgements.length)}, SUBACK ${of(peer.subscriptionReplies.length, verdict.subscriptionReplies.length)}, PINGRESP ${of(peer.pings, verdict.pings)}`
}

/** The id under which a verdict's client is in the journal: the server chose it for one who had none. */
function journalId({ journal }: World, { clientId }: Verdict): string {
  return clientId === '' ? (journal.clients.find(id => id.startsWith('tg-')) ?? '') : (clientId ?? '')
}

function recordsOf(world: World, verdict: Verdict): number {
  return world.journal.count(journalId(world, verdict))
}

/** A client that does everything right: its publishes are acknowledged, and its subscription gets all that it asks for. */
class Witness {
  readonly #world: World
  readonly #peer: Peer
  readonly #hearsAll: boolean
  readonly #sent: string[] = []
  readonly #records: string[] = []

  private constructor(world: World, peer: Peer, hearsAll: boolean) {
    this.#world = world
    this.#peer = peer
    this.#hearsAll = hearsAll
  }

  static async open(world: World, hearsAll: boolean): Promise<Witness> {
    const peer = await Peer.open(world.broker.port, { keepsMessages: true })
    peer.socket.write(Buffer.concat([connect('witness'), subscribe(1, [hearsAll ? '#' : 'witness/#', 0])]))
    await peer.until(() => peer.subscriptionReplies.length === 1, 'the witness is subscribed')
    world.journal.all = []
    return new Witness(world, peer, hearsAll)
  }

  publish(): void {
    const number = this.#sent.length + 1
    const [topic, payload] = [Buffer.from(`witness/${number % 7}`), Buffer.from(`sentence ${number}`)]
    this.#sent.push(messageText(topic, payload))
    this.#records.push(recordText({ user: undefined, topic, payload, qos: 1, retain: false, dup: false, will: false, packetId: number }))
    this.#peer.socket.write(publish(topic, payload, { qos: 1, id: number }))
  }

  async leave(): Promise<void> {
    const { journal } = this.#world
    const acknowledged = this.#sent.map((_, index) => (0x40 << 16) | (index + 1))
    await this.#peer.until(() => this.#peer.acknowledgements.length >= acknowledged.length, 'the witness has its acknowledgements')
    const heard = this.#hearsAll ? (journal.all ?? []) : this.#sent
    await this.#peer.until(() => this.#peer.messages.length >= heard.length, `the witness heard ${heard.length} messages`)
    this.#peer.socket.end()
    await this.#peer.untilClosed('the witness leaves')
    expectSame('acknowledgements of the witness', this.#peer.acknowledgements, acknowledged)
    expectSame('messages of the witness', this.#peer.messages, heard)
    expectSame('records of the witness', journal.take('witness'), this.#records)
    journal.all = undefined
  }
}

async function turns(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + deadlineMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`timed out waiting until ${what}`)
    await new Promise(resolve => setImmediate(resolve))
  }
}

/** Throws where two values differ, with the place: the lists are too long to be printed whole. */
function expectSame(what: string, got: unknown, wanted: unknown): void {
  const [left, right] = [JSON.stringify(got) ?? 'undefined', JSON.stringify(wanted) ?? 'undefined']
  if (left === right) return
  if (Array.isArray(got) && Array.isArray(wanted)) {
    const at = got.findIndex((item: unknown, index) => item !== wanted[index])
    const place = at < 0 ? got.length : at
    throw new Error(
      `${what}: ${got.length} instead of ${wanted.length}; at ${place} ${String(got[place])} instead of ${String(wanted[place])}`
    )
  }
  throw new Error(`${what}: ${left} instead of ${right}`)
}
