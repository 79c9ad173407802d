import { existsSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { checkRestored } from './backup/restore.ts'
import { Broker } from './broker/broker.ts'
import { SessionState } from './broker/state/session-state.ts'
import type { EdgeState } from './channel/messages.ts'
import { Supervisor } from './channel/supervisor.ts'
import type { Config } from './config.ts'
import { bindEdgeMetrics } from './edge-metrics.ts'
import { TidegateError } from './errors.ts'
import { nodeFiles } from './journal/files.ts'
import { Journal } from './journal/journal.ts'
import { FolderLock } from './journal/lock.ts'
import { Metrics } from './metrics.ts'

/** How long a stop waits for pending acknowledgements, then for the service. Running out of time loses nothing. */
const acknowledgeDeadlineMs = 5_000
const drainDeadlineMs = 10_000
/** How long a pin waits until what is acknowledged from memory (journal.sync: none) can be read from the files. */
const writtenDeadlineMs = 5_000

/** An edge that serves, with its service. */
export interface RunningEdge extends AsyncDisposable {
  readonly mqttPort: number
  readonly httpPort: number
  /** Stops in order (design: no new sockets, acknowledgements, clients, service, journal). Idempotent. */
  close(): Promise<void>
}

/**
 * Starts the edge and its service: lock, ports (the service binds HTTP), journal, then MQTT is served.
 * @throws TidegateError TG_DATA_UNWRITABLE, TG_DATA_IN_USE, TG_PORT_TAKEN; nothing is left running then
 */
export async function startEdge(config: Config, log: Logger): Promise<RunningEdge> {
  const opened: AsyncDisposable[] = []
  const own = <Resource extends AsyncDisposable>(resource: Resource): Resource => {
    opened.push(resource)
    return resource
  }
  try {
    own(await FolderLock.acquire(config.data))
    await checkRestored(nodeFiles, config.data)
    const sessions = own(await SessionState.open(sessionOptions(config, log.child({ room: 'sessions' }))))
    const broker = own(
      await Broker.bind({
        ...config.mqtt,
        anonymous: config.access.anonymous,
        limits: config.limits,
        keptSessions: sessions,
        log: log.child({ room: 'broker' })
      })
    )
    const edge: { journal?: Journal; stopping: boolean } = { stopping: false }
    const metrics = new Metrics()
    const supervisor = own(
      await Supervisor.start({
        config,
        log: log.child({ room: 'channel' }),
        modulePath: servicePath(),
        append: async publish => await broker.accept(publish),
        counts: async () => ({
          metrics: await metrics.render(),
          head: edge.journal?.head ?? 0,
          shed: broker.stats.shed,
          resends: broker.stats.resends,
          refused: broker.stats.publishesRefused
        }),
        onCheckpoint: (position, keepFrom) => edge.journal?.commit(position, keepFrom),
        pin: async from => await pinJournal(edge.journal, from),
        connectedClientIds: () => broker.connectedClientIds()
      })
    )
    const journal = own(
      await Journal.open({
        ...journalOptions(config),
        log: log.child({ room: 'journal' }),
        // All of it, until it is known from where on sessions and retained messages need it.
        heldFrom: 0,
        onHeld: pressed => sessions.press(pressed)
      })
    )
    edge.journal = journal
    supervisor.openJournal({ uuid: journal.uuid, timeline: journal.timeline, oldest: () => journal.oldest }, journal.readable)
    bindEdgeMetrics(metrics, { broker, sessions, journal, supervisor })

    const report = (): void =>
      supervisor.report({
        ...stateOf(journal),
        sessions: sessions.state,
        mqttPort: broker.port,
        stopping: edge.stopping
      })
    journal.onReadable(readable => supervisor.advance(readable))
    journal.onState(report)
    sessions.onState(report)
    broker.onConnections(change => supervisor.connections(change))
    await broker.serve(journal)
    report()

    const close = async (): Promise<void> => {
      edge.stopping = true
      report()
      log.info('stopping: no new connections, then acknowledgements, the service, the journal')
      await broker.close(acknowledgeDeadlineMs)
      const drained = await supervisor.drain(drainDeadlineMs)
      if (!drained)
        log.warn({ drainDeadlineMs }, 'the service did not finish in time; what is left in the journal is stored at the next start')
      await disposeAll(opened)
      log.info('stopped')
    }
    let closing: Promise<void> | undefined
    const closeOnce = (): Promise<void> => (closing ??= close())
    return { mqttPort: broker.port, httpPort: supervisor.httpPort, close: closeOnce, [Symbol.asyncDispose]: closeOnce }
  } catch (error) {
    await disposeAll(opened)
    throw error
  }
}

function sessionOptions(config: Config, log: Logger) {
  const { sync, syncDelay } = config.journal
  const clocks = { clock: () => Date.now(), monotonic: () => performance.now() }
  return { folder: path.join(config.data, 'sessions'), sync, syncDelayMs: syncDelay, limits: config.limits, log, ...clocks }
}

function journalOptions(config: Config) {
  const { sync, syncDelay, segmentBytes, maxBytes, reserve, whenFull, keep } = config.journal
  return {
    folder: path.join(config.data, 'journal'),
    sync,
    syncDelayMs: syncDelay,
    segmentBytes,
    maxBytes,
    reserveBytes: reserve,
    whenFull,
    keep: { timeMs: keep.time, bytes: keep.bytes }
  }
}

async function pinJournal(
  journal: Journal | undefined,
  from: number
): Promise<{ readonly readable: number; readonly release: () => void }> {
  if (journal === undefined) throw new TidegateError('TG_STARTING', 'the journal is not open yet')
  const release = await journal.pin(from)
  try {
    const goal = journal.durable
    if (journal.readable < goal)
      await Promise.race([journal.drain().catch(() => undefined), delay(writtenDeadlineMs, undefined, { ref: false })])
    if (journal.readable < goal) throw new TidegateError('TG_JOURNAL_FAILING', 'what was acknowledged cannot be written to the disk')
    return { readable: journal.readable, release }
  } catch (error) {
    release()
    throw error
  }
}

function stateOf(journal: Journal): Pick<EdgeState, 'journal' | 'damage'> {
  const { damagedRecords, damagedBytes, quarantinedFiles } = journal.stats
  return { journal: journal.state, damage: { records: damagedRecords, bytes: damagedBytes, quarantinedFiles } }
}

/** The service's module: the compiled one, also when the edge itself runs from the sources (tests). */
function servicePath(): string {
  const beside = fileURLToPath(new URL('service.js', import.meta.url))
  return existsSync(beside) ? beside : fileURLToPath(new URL('dist/service.js', import.meta.url))
}

/** Disposes in the reverse order of opening; each is idempotent. */
async function disposeAll(resources: readonly AsyncDisposable[]): Promise<void> {
  for (const resource of resources.toReversed()) await resource[Symbol.asyncDispose]()
}
