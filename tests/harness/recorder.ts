import { connectAsync, type MqttClient } from 'mqtt'
import { DupStore } from './dup-store.ts'
import { eventually } from './tidegate.ts'

/** A reading as a device sent it. */
export interface Sent {
  readonly device: string
  /** Unique within the device; the reading's name in every comparison. */
  readonly seq: number
  readonly tsMs: number
  readonly temperature: number
  readonly state: string
  acknowledged: boolean
  /** The client gave it up: it may be there or not. */
  failed: boolean
}

/** An item of GET /api/v1/query, as far as the comparison needs it. */
interface Item {
  readonly time: string
  readonly device: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly fields: Readonly<Record<string, unknown>>
}

/** What a comparison found, by name of the reading. */
export interface Comparison {
  /** Acknowledged and not there. */
  readonly missing: string[]
  /** There more than once. */
  readonly duplicated: string[]
  /** There with other values, another time or anything besides. */
  readonly wrong: string[]
  /** Never sent. */
  readonly unknown: string[]
}

/**
 * With clocks that were set, a reading whose own time lay outside of the window around its receipt has the time of that,
 * and its own as device_time.
 */
type Clocks = 'right' | 'stepped'

/**
 * A fleet that is not the project's simulator: it writes down each value when it is sent and marks it when the broker's
 * acknowledgement comes, and later compares that with what the API answers, row by row.
 */
export class Recorder implements AsyncDisposable {
  readonly #clients = new Map<string, MqttClient>()
  readonly #seqs = new Map<string, number>()
  readonly #prefix: string
  readonly #startMs: number
  readonly sent: Sent[] = []
  /** How often a connection ended, and a reconnect failed. */
  disconnects = 0
  /** What the client said of publishes that it gave up, and how often. */
  readonly failures = new Map<string, number>()
  /** Publishes that the client still tries to deliver. */
  #open = 0
  #acknowledged = 0
  /** Readings, from the first on, that compareNew needs not look at again. */
  #verified = 0

  constructor(prefix: string, startMs = Date.now() - 60_000) {
    this.#prefix = prefix
    this.#startMs = startMs
  }

  /** Connects devices; the mqtt package reconnects them and resends what was not acknowledged, with DUP if it is told to. */
  async connect(mqttUrl: string, devices: number, { dup = false }: { readonly dup?: boolean } = {}): Promise<void> {
    for (let index = 0; index < devices; index++) {
      const device = `${this.#prefix}-${index}`
      const client = await connectAsync(mqttUrl, {
        clientId: device,
        clean: false,
        reconnectPeriod: 50,
        connectTimeout: 2_000,
        keepalive: 30,
        ...(dup ? { outgoingStore: new DupStore() } : {})
      })
      client.on('close', () => this.disconnects++)
      client.on('error', () => undefined) // a refused reconnect: the client tries again by itself
      this.#clients.set(device, client)
    }
  }

  get acknowledged(): number {
    return this.#acknowledged
  }

  get unanswered(): number {
    return this.#open
  }

  /** Readings that `compareNew` has not seen acknowledged and compared. */
  get unverified(): number {
    return this.sent.length - this.#verified
  }

  /** Publishes one reading of each device, QoS 1 and 2 in turn. Does not wait for the acknowledgement. */
  publishAll(): void {
    for (const [device, client] of this.#clients) {
      const seq = (this.#seqs.get(device) ?? 0) + 1
      this.#seqs.set(device, seq)
      const reading: Sent = {
        device,
        seq,
        tsMs: this.#startMs + seq,
        temperature: ((seq * 7919) % 100_000) / 1000,
        state: `state ${seq} of "${device}" \\ é`,
        acknowledged: false,
        failed: false
      }
      this.sent.push(reading)
      const payload = JSON.stringify({ ts: reading.tsMs, seq, temperature: reading.temperature, state: reading.state })
      this.#open++
      client.publish(`devices/${device}/telemetry`, payload, { qos: seq % 5 === 0 ? 2 : 1 }, error => {
        this.#open--
        // Without an error the PUBACK (or PUBCOMP) is there.
        reading.acknowledged = error === undefined || error === null
        reading.failed = !reading.acknowledged
        if (reading.failed) this.failures.set(String(error), (this.failures.get(String(error)) ?? 0) + 1)
        if (reading.acknowledged) this.#acknowledged++
      })
    }
  }

  /** What was acknowledged by now; nothing that comes later changes it. */
  get acknowledgedReadings(): ReadonlySet<Sent> {
    return new Set(this.#unverified().filter(reading => reading.acknowledged))
  }

  /**
   * Everything the API has of the fleet, compared with what was sent. Empty lists mean that each acknowledged reading is
   * there once with its values, and that nothing is there that was not sent. While publishing goes on, give what was
   * `acknowledged` some time ago (see acknowledgedReadings).
   */
  async compare(
    httpUrl: string,
    { clocks = 'right', acknowledged }: { readonly clocks?: Clocks; readonly acknowledged?: ReadonlySet<Sent> } = {}
  ): Promise<Comparison> {
    const found = new Map<string, Item[]>()
    const [fromMs, toMs] = clocks === 'right' ? [this.#startMs, this.#startMs + 86_400_000] : [0, Date.UTC(2200, 0)]
    for (const device of this.#clients.keys()) await collect(found, itemsOf(httpUrl, fromMs, toMs, device))
    return compared(this.sent, found, reading => acknowledged?.has(reading) ?? reading.acknowledged, clocks)
  }

  /**
   * The same for what was not compared by this before, while publishing goes on: of that, `acknowledged` (see
   * acknowledgedReadings) has to be there, and what is unanswered may be. Readings are published in lockstep and have their
   * own times, so that what is new is one range of time.
   */
  async compareNew(httpUrl: string, acknowledged: ReadonlySet<Sent>): Promise<Comparison> {
    const readings = this.#unverified()
    const first = readings[0]
    const last = readings.at(-1)
    if (first === undefined || last === undefined) return { missing: [], duplicated: [], wrong: [], unknown: [] }
    const found = new Map<string, Item[]>()
    await collect(found, itemsOf(httpUrl, first.tsMs, last.tsMs + 1))
    const comparison = compared(readings, found, reading => acknowledged.has(reading), 'right')
    // One that the client gave up may be there or not, and nothing will change that.
    const open = readings.findIndex(reading => !acknowledged.has(reading) && !reading.failed)
    // Never in the middle of a round of all devices: the next range begins with a whole one.
    this.#verified += Math.floor((open === -1 ? readings.length : open) / this.#clients.size) * this.#clients.size
    return comparison
  }

  #unverified(): readonly Sent[] {
    return this.sent.slice(this.#verified)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#clients.values()].map(async client => await client.endAsync(true)))
  }
}

function compared(
  readings: readonly Sent[],
  found: ReadonlyMap<string, readonly Item[]>,
  mustBeThere: (reading: Sent) => boolean,
  clocks: Clocks
): Comparison {
  const unknown = new Set(found.keys())
  const missing: string[] = []
  const duplicated: string[] = []
  const wrong: string[] = []
  for (const reading of readings) {
    const key = keyOf(reading.device, reading.seq)
    const items = found.get(key) ?? []
    unknown.delete(key)
    if (items.length === 0 && mustBeThere(reading)) missing.push(key)
    if (items.length > 1) duplicated.push(key)
    for (const item of items) if (!matches(item, reading, clocks)) wrong.push(`${key}: ${JSON.stringify(item)}`)
  }
  return { missing, duplicated, wrong, unknown: [...unknown] }
}

function keyOf(device: string, seq: unknown): string {
  return `${device} ${String(seq)}`
}

async function collect(found: Map<string, Item[]>, items: AsyncIterable<Item>): Promise<void> {
  for await (const item of items) {
    const key = keyOf(item.device, item.fields['seq'])
    const before = found.get(key)
    if (before === undefined) found.set(key, [item])
    else before.push(item)
  }
}

function matches(item: Item, reading: Sent, clocks: Clocks): boolean {
  const { seq: _, temperature, state, device_time: deviceTime, ...others } = item.fields
  const own = item.time === `${new Date(reading.tsMs).toISOString().slice(0, -1)}000000Z` && deviceTime === undefined
  return (
    item.measurement === 'telemetry' &&
    item.device === reading.device &&
    Object.keys(item.tags).length === 0 &&
    (own || (clocks === 'stepped' && deviceTime === String(reading.tsMs))) &&
    temperature === reading.temperature &&
    state === reading.state &&
    Object.keys(others).length === 0
  )
}

/** All items of a range of time, of one device or of all, page by page. */
async function* itemsOf(httpUrl: string, fromMs: number, toMs: number, device?: string): AsyncGenerator<Item> {
  let cursor: string | null = null
  do {
    const query = new URLSearchParams({
      ...(device === undefined ? {} : { device }),
      measurement: 'telemetry',
      from: String(fromMs),
      to: String(toMs),
      limit: '5000',
      order: 'asc'
    })
    if (cursor !== null) query.set('cursor', cursor)
    const response = await fetch(`${httpUrl}/api/v1/query?${query.toString()}`)
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
    const page = (await response.json()) as { readonly items: readonly Item[]; readonly nextCursor: string | null }
    yield* page.items
    cursor = page.nextCursor
  } while (cursor !== null)
}

/** What the ledger says. */
export interface Ledger {
  readonly since: number
  readonly accepted: number
  readonly stored: number
  readonly inJournal: number
  readonly deadLettered: number
  readonly ignored: number
  readonly deduplicated: number
  readonly dropped: number
  readonly damaged: number
  /** Null until the first check after a start has ended. */
  readonly balanced: boolean | null
  readonly checkedAt: string | null
  readonly checkedHead: number | null
  readonly faults: readonly { readonly count: string; readonly expected: number; readonly found: number; readonly message: string }[]
}

export async function readLedger(httpUrl: string): Promise<Ledger> {
  const response = await fetch(`${httpUrl}/api/v1/ledger`)
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  return (await response.json()) as Ledger
}

/** The ledger with the result of a check that began after the call. */
export async function readFreshLedger(httpUrl: string, deadlineMs = 90_000): Promise<Ledger> {
  const seen = new Set<string>()
  // A check that was under way at the call may be the second result; the clock of either side may be wrong.
  return await eventually(
    'a fresh check of the ledger',
    async () => {
      const ledger = await readLedger(httpUrl)
      if (ledger.checkedAt !== null) seen.add(ledger.checkedAt)
      return seen.size > 2 ? ledger : undefined
    },
    deadlineMs
  )
}
