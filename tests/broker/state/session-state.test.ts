import { expect, test } from 'vitest'
import { recordedMessage } from '../../../broker/recorded-message.ts'
import { Router } from '../../../broker/routing/router.ts'
import { neverExpires } from '../../../broker/packets/connect-properties.ts'
import { plainSubscription } from '../../../broker/routing/subscription.ts'
import { SessionState } from '../../../broker/state/session-state.ts'
import { buildStatistics } from '../../../broker/statistics.ts'
import { Journal } from '../../../journal/journal.ts'
import { blankRecord } from '../../../journal/record.ts'
import { silent } from '../../journal/fixture.ts'
import { MemoryFiles } from '../../journal/memory-files.ts'
import { limits, until } from '../raw-client.ts'

const clients = Array.from({ length: 10 }, (_, index) => `client-${index}`)

interface Edge extends AsyncDisposable {
  readonly router: Router
  readonly journal: Journal
  readonly state: SessionState
}

async function start(files: MemoryFiles, options: { readonly nowMs?: number; readonly journal?: string } = {}): Promise<Edge> {
  const { nowMs = 1_700_000_000_000, journal: name = 'journal' } = options
  const shared = { sync: 'fsync', syncDelayMs: 0, log: silent, files: files.port, clock: () => nowMs, monotonic: () => 1000 } as const
  const state = await SessionState.open({ ...shared, folder: '/data/sessions', limits })
  const bounds = { segmentBytes: 100_000, maxBytes: 1e9, reserveBytes: 0, whenFull: 'reject-new', keep: { timeMs: 0, bytes: 0 } } as const
  const journal = await Journal.open({ ...shared, ...bounds, folder: `/data/${name}`, heldFrom: 0 })
  const router = new Router({ limits, maxPacketBytes: 10_000, statistics: buildStatistics(), monotonic: shared.monotonic, changes: state })
  await state.recall({ router, journal, messageOf: recordedMessage, visit: () => undefined })
  journal.onDurable(durable => router.release(durable))
  router.release(journal.durable)
  const close = async (): Promise<void> => {
    await state.close()
    await journal.close()
  }
  return { router, journal, state, [Symbol.asyncDispose]: close }
}

/** Ten sessions that subscribe to their own topic, and two messages for each of them, one of them retained. */
async function fill({ router, journal, state }: Edge, expirySeconds = neverExpires): Promise<void> {
  for (const clientId of clients) {
    const opened = router.sessions.open({ clientId, clean: false, expirySeconds }, { takeOver: () => undefined })
    if (opened === undefined) throw new Error('no room')
    router.subscribe(opened.session, plainSubscription(clientId, 1))
    router.sessions.detach(opened.session)
  }
  await new Promise<void>(resolve => {
    state.whenDurable(resolve)
  })
  for (const [index, topic] of [...clients, ...clients].entries()) {
    const retain = index < clients.length
    const payload = Buffer.from(`${index}`)
    const ordinal = journal.append({ ...blankRecord(), topic: Buffer.from(topic), payload, qos: 1, retain, packetId: 1 })
    router.push({ ordinal, topic, payload, qos: 1, retain, clientId: '', properties: undefined, expiry: undefined })
  }
  await journal.drain()
}

/** What a router has, as text: per session its filters and what it is owed; and what is retained. */
function contentOf(router: Router): readonly string[] {
  const sessions = clients.flatMap(clientId => {
    const session = router.sessions.get(clientId)
    if (session === undefined) return []
    const owed = [...session.deliveries].map(({ delivery }) => delivery?.message.payload.toString())
    return [`${clientId} ${[...session.subscriptions.keys()].join()} ${owed.join()}`]
  })
  return [...sessions, ...[...router.retained].map(({ topic, payload }) => `${topic} is ${payload.toString()}`).toSorted()]
}

const whole = [
  ...clients.map((clientId, index) => `${clientId} ${clientId} ${index},${index + 10}`),
  ...clients.map((topic, index) => `${topic} is ${index}`)
]

/** A folder that was filled and written down in a snapshot, which the journal is not needed for. */
async function filled(expirySeconds?: number): Promise<MemoryFiles> {
  const files = new MemoryFiles()
  {
    await using edge = await start(files)
    await fill(edge, expirySeconds)
    edge.state.press(true)
    await until(() => edge.state.stats.snapshots >= 2 && edge.state.stats.behind === 0, 'a snapshot has everything')
    expect(contentOf(edge.router)).toEqual(whole)
  }
  return files
}

test('a snapshot alone has everything, and so has the journal behind an older one', async () => {
  const files = await filled()
  {
    await using edge = await start(files)
    expect(contentOf(edge.router)).toEqual(whole)
    expect(edge.state.stats.lostEntries).toBe(0)
  }
  const killed = new MemoryFiles()
  const edge = await start(killed)
  await fill(edge)
  // As its files are: nothing is closed, and no snapshot has the messages.
  await using again = await start(killed.copy())
  expect(contentOf(again.router)).toEqual(whole)
  await edge[Symbol.asyncDispose]()
})

test('whatever byte is damaged, the start goes on, says how much is lost, and has the rest', async () => {
  const files = await filled()
  const names = files.names('/data/sessions').filter(name => name.endsWith('.seg'))
  let damages = 0
  for (const name of names) {
    const size = files.get(`/data/sessions/${name}`)?.length ?? 0
    for (let at = 64; at < size; at += 61) {
      const damaged = files.copy()
      const bytes = damaged.get(`/data/sessions/${name}`)
      if (bytes === undefined) throw new Error('no such file')
      bytes[at] = (bytes[at] ?? 0) ^ 0x55
      await using edge = await start(damaged)
      const missing = whole.filter(line => !contentOf(edge.router).includes(line))
      // One record is hit: a session, what belongs to it, or a retained message; or the snapshot's frame, and then all is there.
      expect([name, at, missing.length <= 1]).toEqual([name, at, true])
      damages += 1
    }
  }
  expect(damages).toBeGreaterThan(30)
})

test('of another journal sessions, subscriptions and retained messages stay, and what was queued does not', async () => {
  const files = await filled()
  const expected = [...clients.map(clientId => `${clientId} ${clientId} `), ...clients.map((topic, index) => `${topic} is ${index}`)]
  {
    await using edge = await start(files, { journal: 'other' })
    expect(contentOf(edge.router)).toEqual(expected)
  }
  await using edge = await start(files, { journal: 'other' })
  expect(contentOf(edge.router)).toEqual(expected)
})

test('a session whose expiry passed while nobody ran is gone, and what is retained stays', async () => {
  const files = await filled(60)
  {
    await using edge = await start(files, { nowMs: 1_700_000_059_000 })
    expect(edge.router.sessions.persistent).toBe(10)
  }
  await using edge = await start(files, { nowMs: 1_700_000_061_000 })
  expect([edge.router.sessions.persistent, edge.router.retained.size]).toEqual([0, 10])
})
