import { connectAsync, type MqttClient } from 'mqtt'
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
}

/** An item of GET /api/v1/query, as far as the comparison needs it. */
interface Item {
  readonly time: string
  readonly device: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly fields: Readonly<Record<string, unknown>>
}

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
  /** Publishes that the client still tries to deliver. */
  #open = 0
  #acknowledged = 0

  constructor(prefix: string, startMs = Date.now() - 60_000) {
    this.#prefix = prefix
    this.#startMs = startMs
  }

  /** Connects devices; the mqtt package reconnects them and resends what was not acknowledged. */
  async connect(mqttUrl: string, devices: number): Promise<void> {
    for (let index = 0; index < devices; index++) {
      const device = `${this.#prefix}-${index}`
      const client = await connectAsync(mqttUrl, {
        clientId: device,
        clean: false,
        reconnectPeriod: 50,
        connectTimeout: 2_000,
        keepalive: 30
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
        acknowledged: false
      }
      this.sent.push(reading)
      const payload = JSON.stringify({ ts: reading.tsMs, seq, temperature: reading.temperature, state: reading.state })
      this.#open++
      client.publish(`devices/${device}/telemetry`, payload, { qos: seq % 5 === 0 ? 2 : 1 }, error => {
        this.#open--
        // Without an error the PUBACK (or PUBCOMP) is there.
        reading.acknowledged = error === undefined || error === null
        if (reading.acknowledged) this.#acknowledged++
      })
    }
  }

  /**
   * Everything the API has of the fleet, compared with what was sent. Empty lists mean that each acknowledged reading is
   * there once with its values, and that nothing is there that was not sent.
   */
  async compare(
    httpUrl: string
  ): Promise<{ readonly missing: string[]; readonly duplicated: string[]; readonly wrong: string[]; readonly unknown: string[] }> {
    const found = new Map<string, Item[]>()
    for (const device of this.#clients.keys()) {
      for await (const item of itemsOf(httpUrl, device, this.#startMs)) {
        const key = `${device} ${String(item.fields['seq'])}`
        found.set(key, [...(found.get(key) ?? []), item])
      }
    }
    const missing: string[] = []
    const duplicated: string[] = []
    const wrong: string[] = []
    for (const reading of this.sent) {
      const key = `${reading.device} ${reading.seq}`
      const items = found.get(key) ?? []
      found.delete(key)
      if (items.length === 0 && reading.acknowledged) missing.push(key)
      if (items.length > 1) duplicated.push(key)
      for (const item of items) if (!matches(item, reading)) wrong.push(`${key}: ${JSON.stringify(item)}`)
    }
    return { missing, duplicated, wrong, unknown: [...found.keys()] }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#clients.values()].map(async client => await client.endAsync(true)))
  }
}

function matches(item: Item, reading: Sent): boolean {
  return (
    item.measurement === 'telemetry' &&
    item.device === reading.device &&
    Object.keys(item.tags).length === 0 &&
    item.time === `${new Date(reading.tsMs).toISOString().slice(0, -1)}000000Z` &&
    item.fields['temperature'] === reading.temperature &&
    item.fields['state'] === reading.state &&
    Object.keys(item.fields).length === 3
  )
}

/** All items of a device from a time on, page by page. */
async function* itemsOf(httpUrl: string, device: string, fromMs: number): AsyncGenerator<Item> {
  let cursor: string | null = null
  do {
    const query = new URLSearchParams({
      device,
      measurement: 'telemetry',
      from: String(fromMs),
      to: String(fromMs + 86_400_000),
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
