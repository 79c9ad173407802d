import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { RememberedPublishes, none, type RememberedClient } from '../../broker/remembered-publishes.ts'
import { FakeJournal } from './fake-journal.ts'
import { disconnect, publish, pubrel, RawClient, serveBroker, until } from './raw-client.ts'

/** A publish as a client says it. */
interface Said {
  readonly client: number
  readonly id: number
  readonly qos: 1 | 2
  readonly dup: boolean
  readonly retain: boolean
  readonly topic: string
  readonly payload: string
}

type Step =
  | { readonly kind: 'connect'; readonly client: number; readonly user: string | undefined; readonly clean: boolean }
  | ({ readonly kind: 'publish' } & Said)
  | ({ readonly kind: 'publishWhileFull' } & Said)
  | { readonly kind: 'repeat'; readonly client: number; readonly back: number }
  | { readonly kind: 'release'; readonly client: number; readonly id: number }
  | { readonly kind: 'disconnect' | 'lose'; readonly client: number }
  | { readonly kind: 'wait'; readonly minutes: number }
  | { readonly kind: 'restart'; readonly clockStepMinutes: number }

const client = fc.integer({ min: 0, max: 1 })
const id = fc.integer({ min: 1, max: 3 })
/** Few values of everything, so that publishes are often the same. */
const said = {
  client,
  id,
  qos: fc.constantFrom(1 as const, 1 as const, 2 as const),
  dup: fc.boolean(),
  retain: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  topic: fc.constantFrom('t', 't', 't', 'tt'),
  payload: fc.constantFrom('a', 'a', 'b')
}
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('connect' as const),
        client,
        user: fc.constantFrom(undefined, undefined, 'anna'),
        clean: fc.boolean()
      })
    },
    { weight: 10, arbitrary: fc.record({ kind: fc.constant('publish' as const), ...said }) },
    {
      weight: 12,
      arbitrary: fc.record({ kind: fc.constant('repeat' as const), client, back: fc.constantFrom(1, 1, 1, 2, 3) })
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('publishWhileFull' as const), ...said }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('release' as const), client, id }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('disconnect' as const, 'lose' as const), client }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), minutes: fc.constantFrom(1, 4, 9) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), clockStepMinutes: fc.constantFrom(0, 0, 5, -60, 60) }) }
  ),
  { minLength: 5, maxLength: 40 }
)

/** What was read of a client under a packet id. */
interface Event extends Said {
  readonly what: 'journaled' | 'not taken' | 'released'
  readonly user: string | undefined
  /** Number of the connection; 0 for those before a restart. */
  readonly connection: number
  atMs: number
  readonly receivedMs: number
}

/** The rule, over everything that was read in its order. */
class Model {
  events: Event[] = []
  readonly records: string[] = []
  resends = 0
  nowMs = 0
  clockMs = 1_700_000_000_000
  readonly #journal: Event[] = []
  readonly #left = new Set<number>()
  readonly #openIds = new Map<number, { readonly clean: boolean; readonly ids: Set<number> }>()

  connect(client: number, clean: boolean): void {
    const known = this.#openIds.get(client)
    if (clean || known === undefined || known.clean) this.#openIds.set(client, { clean, ids: new Set() })
  }

  /** Whether it is a message that was journaled before. */
  recognises(said: Said, user: string | undefined): boolean {
    if (said.qos === 2 && this.#openIds.get(said.client)?.ids.has(said.id) === true) return true
    const last = this.events.findLast(event => event.client === said.client && event.id === said.id)
    if (!said.dup || last?.what !== 'journaled' || this.#left.has(last.connection)) return false
    return this.nowMs - last.atMs < 600_000 && partsOf(last, last.user) === partsOf(said, user)
  }

  take(said: Said, user: string | undefined, connection: number, journaled: boolean): void {
    const event = { ...said, user, connection, atMs: this.nowMs, receivedMs: this.clockMs }
    this.events.push({ ...event, what: journaled ? 'journaled' : 'not taken' })
    if (!journaled) return
    this.#journal.push({ ...event, what: 'journaled', connection: 0 })
    this.records.push(`${said.client} ${said.id} ${said.dup} ${partsOf(said, user)}`)
  }

  open(said: Said): void {
    if (said.qos === 2) this.#openIds.get(said.client)?.ids.add(said.id)
  }

  release(client: number, id: number): void {
    this.#openIds.get(client)?.ids.delete(id)
    const released: Said = { client, id, qos: 2, dup: false, retain: false, topic: '', payload: '' }
    this.events.push({ ...released, what: 'released', user: undefined, connection: 0, atMs: this.nowMs, receivedMs: 0 })
  }

  leave(connection: number): void {
    this.#left.add(connection)
  }

  /** Only the journal is left; the other clock begins somewhere else. */
  restart(clockStepMinutes: number): void {
    this.clockMs += clockStepMinutes * 60_000
    this.nowMs = 5_000
    let { nowMs: atMs } = this
    let later: number | undefined
    this.events = this.#journal.toReversed().map(event => {
      atMs -= Math.max(0, (later ?? event.receivedMs) - event.receivedMs)
      later = event.receivedMs
      return { ...event, atMs }
    })
    this.events.reverse()
    this.#openIds.clear()
  }
}

function partsOf({ qos, retain, topic, payload }: Said, user: string | undefined): string {
  return `${user} ${qos} ${retain} ${topic} ${payload}`
}

interface Connected {
  readonly raw: RawClient
  readonly user: string | undefined
  readonly number: number
}

test('whatever clients say, break off and repeat, and whenever the edge restarts: recognised is what the rule says', async () => {
  let recognised = 0
  await fc.assert(
    fc.asyncProperty(steps, async run => {
      const model = new Model()
      const journal = new FakeJournal({ clock: () => model.clockMs })
      const monotonic = (): number => model.nowMs
      let served = await serveBroker({ journal, monotonic })
      const connected = new Map<number, Connected>()
      let connections = 0

      const gone = async (client: number, how: (one: Connected) => void): Promise<void> => {
        const one = connected.get(client)
        if (one === undefined) return
        how(one)
        await until(() => !served.broker.connectedClientIds().includes(`client-${client}`), 'it is gone')
        connected.delete(client)
      }
      const connect = async (client: number, user: string | undefined, clean: boolean): Promise<Connected> => {
        model.connect(client, clean)
        const raw = await RawClient.connect(served.port, `client-${client}`, user === undefined ? { clean } : { clean, user })
        connected.get(client)?.raw.socket.destroy()
        const one = { raw, user, number: ++connections }
        connected.set(client, one)
        return one
      }
      const answer = async ({ raw }: Connected, bytes: Buffer): Promise<string | undefined> => {
        const before = raw.packets.length
        raw.send(bytes)
        return (await raw.received(before + 1))[before]
      }
      const steps: { readonly [Kind in Step['kind']]: (step: Extract<Step, { kind: Kind }>) => Promise<void> } = {
        connect: async ({ client, user, clean }) => {
          await connect(client, user, clean)
        },
        publish: async said => {
          const one = connected.get(said.client) ?? (await connect(said.client, undefined, true))
          const known = model.recognises(said, one.user)
          expect(await answer(one, publish(said.topic, said.payload, said))).toBe(`${said.qos === 1 ? 'puback' : 'pubrec'}:${said.id}`)
          if (known) model.resends++
          else model.take(said, one.user, one.number, true)
          model.open(said)
        },
        repeat: async ({ client, back }) => {
          const event = model.events.filter(({ what, client: of }) => of === client && what !== 'released').at(-back)
          if (event === undefined) return
          if (!connected.has(client)) await connect(client, event.user, false)
          await steps.publish({ ...event, kind: 'publish', dup: true })
        },
        publishWhileFull: async said => {
          const one = connected.get(said.client)
          if (one === undefined || model.recognises(said, one.user)) return
          journal.become('full')
          one.raw.send(publish(said.topic, said.payload, said))
          await until(() => served.broker.stats.heldBytes > 0, 'it waits')
          model.take(said, one.user, one.number, false)
          await gone(said.client, ({ raw }) => raw.socket.resetAndDestroy())
          journal.become('accepting')
        },
        release: async ({ client, id }) => {
          const one = connected.get(client)
          if (one === undefined) return
          model.release(client, id)
          expect(await answer(one, pubrel(id))).toBe(`pubcomp:${id}`)
        },
        lose: async ({ client }) => await gone(client, ({ raw }) => raw.socket.resetAndDestroy()),
        disconnect: async ({ client }) =>
          await gone(client, ({ raw, number }) => {
            model.leave(number)
            raw.send(disconnect)
          }),
        wait: async ({ minutes }) => {
          model.nowMs += minutes * 60_000
          model.clockMs += minutes * 60_000
          await Promise.resolve()
        },
        restart: async ({ clockStepMinutes }) => {
          await served.broker.close(500)
          connected.clear()
          model.restart(clockStepMinutes)
          recognised += served.broker.stats.resends
          expect(served.broker.stats.resends).toBe(model.resends)
          model.resends = 0
          served = await serveBroker({ journal, monotonic })
        }
      }
      const take = async <Kind extends Step['kind']>(step: Extract<Step, { kind: Kind }>): Promise<void> => await steps[step.kind](step)
      try {
        for (const step of run) await take(step)
        expect(
          journal.records.map(record => {
            const { clientId, packetId, dup, user, qos, retain, topic, payload } = record
            return `${clientId.slice(-1)} ${packetId} ${dup} ${user} ${qos} ${retain} ${topic} ${payload}`
          })
        ).toEqual(model.records)
        expect(served.broker.stats.resends).toBe(model.resends)
        recognised += model.resends
      } finally {
        await served.broker.close(500)
        for (const { raw } of connected.values()) raw.socket.destroy()
      }
    }),
    { numRuns: 120 }
  )
  // A run that recognises nothing would agree with a broker that never does.
  expect(recognised).toBeGreaterThan(100)
}, 120_000)

test('the store of remembered publishes keeps both orders of age, whatever is added and removed', () => {
  const change = fc.record({
    client: fc.integer({ min: 0, max: 3 }),
    packetId: fc.integer({ min: 1, max: 9 }),
    remove: fc.constantFrom('no', 'no', 'this', 'oldest', 'newestOfClient')
  })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 200 }), fc.constantFrom(0, 2 ** 32 - 20, 2 ** 47), (changes, firstOrdinal) => {
      const capacity = 12
      const store = new RememberedPublishes(capacity)
      const clients = new Map<number, RememberedClient>()
      const model: { client: number; packetId: number; ordinal: number }[] = []
      const drop = (found: (one: { client: number; packetId: number }) => boolean): void => {
        const index = model.findIndex(found)
        if (index >= 0) model.splice(index, 1)
      }
      for (const [number, { client: name, packetId, remove }] of changes.entries()) {
        const client = clients.get(name) ?? store.client(`client-${name}`)
        if (!clients.has(name)) client.connections = 1
        clients.set(name, client)
        const known = store.find(client, packetId)
        expect(known === none).toBe(!model.some(one => one.client === name && one.packetId === packetId))
        if (remove === 'this' && known !== none) {
          store.remove(known)
          drop(one => one.client === name && one.packetId === packetId)
        } else if (remove === 'oldest' && store.oldest !== none) {
          store.remove(store.oldest)
          model.shift()
        } else if (remove === 'newestOfClient' && client.newest !== none) {
          store.remove(client.newest)
          const newest = model.findLastIndex(one => one.client === name)
          model.splice(newest, 1)
        } else if (remove === 'no' && known === none && store.count < capacity) {
          const ordinal = firstOrdinal + number
          store.add(client, { packetId, ordinal, digestLow: number, digestHigh: -number, time: -number })
          model.push({ client: name, packetId, ordinal })
        }
        expect(store.count).toBe(model.length)
        for (const one of model) {
          const owner = clients.get(one.client)
          const index = owner === undefined ? none : store.find(owner, one.packetId)
          const at = one.ordinal - firstOrdinal
          expect([store.ordinalOf(index), store.timeOf(index), store.hasDigest(index, at, -at)]).toEqual([one.ordinal, 0 - at, true])
        }
      }
      // Both orders, read by removing: of all from the oldest, of the rest from each client's newest.
      const half = Math.floor(model.length / 2)
      const ordinals = Array.from({ length: half }, () => {
        const ordinal = store.ordinalOf(store.oldest)
        store.remove(store.oldest)
        return ordinal
      })
      expect(ordinals).toEqual(model.splice(0, half).map(({ ordinal }) => ordinal))
      for (const [name, client] of clients) {
        for (const { ordinal } of model.filter(one => one.client === name).toReversed()) {
          expect(store.ordinalOf(client.newest)).toBe(ordinal)
          store.remove(client.newest)
        }
      }
      for (const client of clients.values()) {
        client.connections = 0
        store.release(client)
      }
      expect([store.count, store.bytes, store.oldest]).toEqual([0, 0, none])
    }),
    { numRuns: 300 }
  )
})
