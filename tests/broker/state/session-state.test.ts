import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { recordedMessage } from '../../../broker/recorded-message.ts'
import { Router } from '../../../broker/routing/router.ts'
import { neverExpires } from '../../../broker/packets/connect-properties.ts'
import type { Session } from '../../../broker/routing/session.ts'
import { plainSubscription } from '../../../broker/routing/subscription.ts'
import { SessionState } from '../../../broker/state/session-state.ts'
import { buildStatistics } from '../../../broker/statistics.ts'
import type { FilePort } from '../../../journal/files.ts'
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

interface StartOptions {
  readonly nowMs?: number
  readonly journal?: string
  /** Of the state alone; default: the same as the journal's. */
  readonly port?: FilePort
  readonly sliceEntries?: number
}

async function start(files: MemoryFiles, options: StartOptions = {}): Promise<Edge> {
  const { nowMs = 1_700_000_000_000, journal: name = 'journal', port = files.port, sliceEntries = 256 } = options
  const shared = { sync: 'fsync', syncDelayMs: 0, log: silent, files: files.port, clock: () => nowMs, monotonic: () => 1000 } as const
  const state = await SessionState.open({ ...shared, folder: '/data/sessions', limits, files: port, sliceEntries })
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
  await durable(state)
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

/** Resolves when what was told is durable. */
async function durable(state: SessionState): Promise<void> {
  await new Promise<void>(resolve => {
    state.whenDurable(resolve)
  })
}

/** Each change of this session is 60 KB in the log. */
function connectLarge({ router }: Edge): Session {
  const opened = router.sessions.open(
    { clientId: 'x'.repeat(60_000), clean: false, expirySeconds: neverExpires },
    { takeOver: () => undefined }
  )
  if (opened === undefined) throw new Error('no room')
  return opened.session
}

test('a wait for the disk refuses no change, and costs no snapshot', async () => {
  const files = new MemoryFiles()
  const held = { until: Promise.resolve() }
  const port: FilePort = {
    ...files.port,
    datasync: async fd => {
      await held.until
      await files.port.datasync(fd)
    }
  }
  await using edge = await start(files, { port })
  await until(() => edge.state.stats.snapshots === 1, 'the first snapshot is there')
  const states: string[] = []
  edge.state.onState(state => states.push(state))
  const session = connectLarge(edge)
  let release = (): void => undefined
  held.until = new Promise(resolve => {
    release = resolve
  })
  for (let at = 0; at < 160; at++) edge.router.subscribe(session, plainSubscription('a', at % 2 === 0 ? 0 : 1))
  const { diskBytes } = edge.state.stats
  const answered = durable(edge.state)
  release()
  await answered
  expect([states, Math.floor((edge.state.stats.diskBytes - diskBytes) / 9_000_000)]).toEqual([[], 1])
})

test('however many changes come, a snapshot ends, and those who wait for it are answered', async () => {
  const files = await filled()
  await using edge = await start(files, { sliceEntries: 1 })
  await until(() => edge.state.stats.snapshots === 1, 'the first snapshot is there')
  const session = connectLarge(edge)
  const told = { answers: 0 }
  let floods = 0
  const flood = (): void => {
    floods += 1
    for (let at = 0; at < 600; at++) edge.router.subscribe(session, plainSubscription('a', at % 2 === 0 ? 0 : 1))
  }
  flood()
  edge.state.whenDurable(() => {
    told.answers += 1
  })
  expect(told.answers).toBe(0)
  const end = performance.now() + 30_000
  while (told.answers === 0 && performance.now() < end) {
    await nextTurn()
    flood()
  }
  expect([told.answers, floods > 5]).toEqual([1, true])
})
