import { recordedMessage } from '../../../broker/recorded-message.ts'
import { Router } from '../../../broker/routing/router.ts'
import type { Message } from '../../../broker/routing/message.ts'
import { neverExpires } from '../../../broker/packets/connect-properties.ts'
import type { Session } from '../../../broker/routing/session.ts'
import { plainSubscription } from '../../../broker/routing/subscription.ts'
import { SessionState } from '../../../broker/state/session-state.ts'
import { buildStatistics } from '../../../broker/statistics.ts'
import { TidegateError } from '../../../errors.ts'
import { Journal } from '../../../journal/journal.ts'
import { blankRecord, type AppendRecord } from '../../../journal/record.ts'
import { limits } from '../raw-client.ts'
import { silent } from '../../journal/fixture.ts'
import { Dice } from '../../journal/simulation/dice.ts'
import { check } from '../../journal/simulation/journal-model.ts'
import { Machine } from '../../journal/simulation/machine.ts'
import { SimulatedDisk } from '../../journal/simulation/simulated-disk.ts'
import type { SimulatedProcess } from '../../journal/simulation/simulated-process.ts'
import { SimulatedTime } from '../../journal/simulation/simulated-time.ts'
import { Client } from './client.ts'
import { RetainedModel, SessionModel, type Subscribed } from './session-model.ts'
import { clients, filters, topics, type Step, type Story } from './steps.ts'

const longestMs = 60_000

interface Edge {
  readonly process: SimulatedProcess
  readonly journal: Journal
  readonly state: SessionState
  readonly router: Router
}

/**
 * Sessions and retained messages on a machine that fails: journal, router and what survives of them as they are, all around
 * them simulated. Clients remember what they were told, and each start is held against it.
 */
export class World implements Disposable {
  readonly #story: Story
  readonly #time = new SimulatedTime()
  readonly #machine: Machine
  readonly #disk: SimulatedDisk
  readonly #dice: Dice
  readonly #models = clients.map(id => new SessionModel(new Client(id)))
  readonly #retained = new RetainedModel()
  readonly #trace: ((line: string) => void) | undefined
  #edge: Edge | undefined
  #promised = 0
  #numbers = 0
  #broken: Error | undefined

  /** Plays a story to its end. Throws where a promise is broken. */
  static async play(story: Story, trace?: (line: string) => void): Promise<void> {
    using world = new World(story, trace)
    await world.#play()
  }

  private constructor(story: Story, trace: ((line: string) => void) | undefined) {
    this.#story = story
    this.#dice = new Dice(story.dice)
    this.#disk = new SimulatedDisk(this.#dice)
    this.#trace = trace && (line => trace(`${this.#time.monotonicMs.toFixed(2).padStart(10)}  ${line}`))
    this.#machine = new Machine({ time: this.#time, disk: this.#disk, dice: this.#dice, ...(this.#trace && { trace: this.#trace }) })
  }

  [Symbol.dispose](): void {
    this.#time[Symbol.dispose]()
  }

  async #play(): Promise<void> {
    await this.#open()
    for (const step of this.#story.steps) {
      this.#trace?.(`--- ${JSON.stringify(step)}`)
      await this.#take(step)
      if (this.#broken !== undefined) throw this.#broken
    }
    await this.#conclude()
  }

  async #take(step: Step): Promise<void> {
    const edge = this.#edge
    if (edge === undefined) throw new Error('there is no edge')
    switch (step.kind) {
      case 'connect':
        return this.#connect(edge, step.client, step.clean)
      case 'disconnect':
        return edge.router.sessions.get(clients[step.client] ?? '')?.connection?.takeOver()
      case 'subscribe':
        return this.#subscribe(edge, step.client, plainSubscription(filters[step.filter] ?? '', step.qos))
      case 'unsubscribe':
        return this.#unsubscribe(edge, step.client, filters[step.filter] ?? '')
      case 'acknowledge': {
        const session = this.#connected(edge, step.client)
        return session && this.#modelOf(step.client).client.acknowledge(session.deliveries, step.count)
      }
      case 'publish':
        for (let count = 0; count < step.count; count++) this.#publish(edge, step)
        return
      case 'release':
        return this.#release(edge, step.client)
      case 'press':
        return edge.state.press(true)
      case 'commit':
        return edge.journal.commit(edge.journal.durable)
      case 'pass':
        return await this.#time.pass(step.ms)
      case 'fault':
        return void this.#machine.faults.push({ calls: step.calls, error: step.error, oneIn: 1, left: step.times })
      case 'heal':
        this.#machine.faults = []
        return
      case 'end':
        await this.#time.pass(step.when)
        return await this.#end(step.how, step.openingMs)
    }
  }

  #connect({ router, state }: Edge, index: number, clean: boolean): void {
    const model = this.#modelOf(index)
    const { client } = model
    const connection = {
      takeOver: (): void => {
        client.disconnect()
        if (opened !== undefined) router.sessions.detach(opened.session)
      }
    }
    if (clean) model.ended()
    const opened = router.sessions.open({ clientId: client.id, clean, expirySeconds: neverExpires }, connection)
    check(opened !== undefined, 'there is no room for a session')
    const { session, present } = opened
    check(present === (model.session !== undefined), `the session of ${client.id} is ${present ? '' : 'not '}there`)
    const told = model.session ?? { answered: false }
    model.session = told
    state.whenDurable(
      this.#guarded(() => {
        told.answered = true
        if (session.connection !== connection) return
        session.deliveries.attach(client.connect())
        router.resume(session)
      })
    )
  }

  #subscribe(edge: Edge, index: number, subscription: ReturnType<typeof plainSubscription>): void {
    const session = this.#connected(edge, index)
    if (session === undefined) return
    const { filter, qos } = subscription
    const model = this.#modelOf(index)
    const older = model.filters.get(filter)?.subscribed
    const subscribed: Subscribed = { filter, qos, answered: false, over: false }
    const word = { subscribed, answered: false }
    model.filters.set(filter, word)
    edge.router.subscribe(session, subscription)
    if (older !== undefined) older.over = true
    edge.state.whenDurable(() => {
      subscribed.answered = word.answered = true
    })
  }

  #unsubscribe(edge: Edge, index: number, filter: string): void {
    const session = this.#connected(edge, index)
    if (session === undefined) return
    const model = this.#modelOf(index)
    const subscribed = model.filters.get(filter)?.subscribed
    if (subscribed !== undefined) {
      subscribed.over = true
      // What has not reached its session is not owed any more.
      const routed = edge.router.position ?? edge.journal.head
      model.owed = model.owed.filter(({ ordinal, because }) => ordinal < routed || because.some(other => !other.over))
    }
    const word = { subscribed: undefined, answered: false }
    model.filters.set(filter, word)
    edge.router.unsubscribe(session, filter)
    edge.state.whenDurable(() => {
      word.answered = true
    })
  }

  #publish({ router, journal }: Edge, step: Extract<Step, { readonly kind: 'publish' }>): void {
    const { qos, retain, bytes } = step
    const topic = topics[step.topic] ?? ''
    const publisher = this.#modelOf(step.client).client
    const session = router.sessions.get(publisher.id)
    const packetId = qos === 2 && session?.connection !== undefined ? publisher.newId() : undefined
    if (qos === 2 && packetId === undefined) return
    const number = this.#numbers++
    const payload = bytes === 0 ? Buffer.alloc(0) : Buffer.alloc(bytes + 10, `${number};`)
    const record: AppendRecord = {
      ...blankRecord(),
      clientId: Buffer.from(publisher.id),
      topic: Buffer.from(topic),
      payload,
      qos,
      retain,
      packetId: packetId ?? (qos === 1 ? 1 : 0)
    }
    let ordinal: number
    try {
      ordinal = journal.append(record)
    } catch (error) {
      if (!(error instanceof TidegateError)) throw error
      return
    }
    if (packetId !== undefined) {
      session?.receive(packetId, ordinal)
      publisher.published.set(packetId, { ordinal, released: 'no' })
    }
    if (retain) this.#retained.published(topic, ordinal, bytes === 0 ? -1 : number)
    if (qos > 0) this.#owe(topic, ordinal)
    if (retain || router.wants(topic, qos)) {
      router.push({ ordinal, topic, payload, qos, retain, clientId: publisher.id, properties: undefined, expiry: undefined })
    }
  }

  #owe(topic: string, ordinal: number): void {
    for (const model of this.#models) {
      const because = [...model.filters.values()].flatMap(({ subscribed }) =>
        subscribed !== undefined && !subscribed.over && subscribed.qos > 0 && matches(subscribed.filter, topic) ? [subscribed] : []
      )
      if (because.length > 0) model.owed.push({ ordinal, because })
    }
  }

  #release(edge: Edge, index: number): void {
    const session = this.#connected(edge, index)
    const { client } = this.#modelOf(index)
    for (const [packetId, published] of client.published) {
      if (session === undefined || published.released !== 'no') continue
      published.released = 'told'
      session.release(packetId)
      edge.state.whenDurable(() => {
        published.released = 'completed'
      })
      return
    }
  }

  async #end(how: 'close' | 'kill' | 'power', openingMs: number | undefined): Promise<void> {
    const edge = this.#edge
    if (edge !== undefined && how === 'close') {
      for (const id of clients) edge.router.sessions.get(id)?.connection?.takeOver()
      await this.#time.settle(edge.state.close(), longestMs, 'closing the state')
      await this.#time.settle(edge.journal.close(), longestMs, 'closing the journal')
    }
    this.#kill(how)
    if (openingMs !== undefined) {
      const process = this.#machine.start()
      void this.#openOn(process).catch(() => undefined)
      await this.#time.pass(openingMs)
      process.kill()
      this.#kill(how)
    }
    await this.#open()
  }

  #kill(how: 'close' | 'kill' | 'power'): void {
    this.#edge?.process.kill()
    this.#edge = undefined
    this.#time.cancelTimers()
    for (const { client } of this.#models) client.disconnect()
    if (how === 'power') this.#disk.losePower()
  }

  async #open(): Promise<void> {
    const process = this.#machine.start()
    try {
      this.#edge = await this.#time.settle(this.#openOn(process), longestMs, 'opening')
    } catch (error) {
      if (this.#machine.faults.length === 0 || !(error instanceof TidegateError)) throw error
      this.#trace?.(`not opened: ${error.message}`)
      process.kill()
      this.#time.cancelTimers()
      this.#machine.faults = []
      return await this.#open()
    }
    const { router, journal, state } = this.#edge
    this.#trace?.(`opened, head ${journal.head}, promised ${this.#promised}`)
    check(state.stats.lostEntries === 0 || this.#disk.usedBytes > 0, 'entries are lost')
    for (const model of this.#models) model.restored(router.sessions.get(model.client.id), this.#promised)
    this.#retained.restored(router, this.#promised, numberOf)
    this.#promised = journal.durable
    const follow = this.#guarded(() => {
      if (this.#edge?.journal !== journal) return
      this.#promised = journal.durable
      router.release(journal.durable)
    })
    journal.onDurable(follow)
    follow()
  }

  async #openOn(process: SimulatedProcess): Promise<Edge> {
    const { segmentBytes, whenFull } = this.#story
    const clocks = { clock: () => this.#time.wallMs, monotonic: () => this.#time.monotonicMs }
    const shared = { sync: 'fsync', syncDelayMs: 2, log: silent, files: process.port, ...clocks } as const
    const state = await SessionState.open({ ...shared, folder: '/data/sessions', limits, sliceEntries: this.#story.sliceEntries })
    const journal = await Journal.open({
      ...shared,
      folder: '/data/journal',
      segmentBytes,
      maxBytes: 40_000,
      pendingBytes: 20_000,
      reserveBytes: 0,
      whenFull,
      keep: { timeMs: 0, bytes: 0, leastMs: 0 },
      heldFrom: 0,
      onHeld: pressed => state.press(pressed)
    })
    const router = new Router({
      limits,
      maxPacketBytes: 10_000,
      statistics: buildStatistics(),
      monotonic: clocks.monotonic,
      changes: state
    })
    await state.recall({ router, journal, messageOf: recordedMessage, visit: () => undefined })
    return { process, journal, state, router }
  }

  /** The disk works: every client comes back and gets all that it was promised. */
  async #conclude(): Promise<void> {
    this.#machine.faults = []
    await this.#time.pass(10_000)
    await this.#end(this.#dice.pick(['kill', 'power', 'close']), undefined)
    const edge = this.#edge
    if (edge === undefined) throw new Error('there is no edge')
    const due = this.#models.map(model => model.due(this.#promised))
    for (const [index, model] of this.#models.entries()) if (model.session !== undefined) this.#connect(edge, index, false)
    for (let turn = 0; turn < 200 && this.#broken === undefined; turn++) {
      await this.#time.pass(10)
      for (const [index, { client }] of this.#models.entries()) {
        const session = this.#connected(edge, index)
        if (session !== undefined) client.acknowledge(session.deliveries, 50)
      }
    }
    if (this.#broken !== undefined) throw this.#broken
    for (const [index, ordinals] of due.entries()) {
      const { got, id } = this.#modelOf(index).client
      for (const ordinal of ordinals) check(got.has(String(ordinal)), `message ${ordinal} never reached ${id}`)
      check([...(edge.router.sessions.get(id)?.deliveries ?? [])].length === 0, `${id} is still owed something`)
    }
    check(edge.state.state === 'accepting', 'the state takes no changes although the disk works')
  }

  #connected({ router }: Edge, index: number): Session | undefined {
    const session = router.sessions.get(clients[index] ?? '')
    return session?.connection === undefined ? undefined : session
  }

  #modelOf(index: number): SessionModel {
    const model = this.#models[index]
    if (model === undefined) throw new Error('no such client')
    return model
  }

  /** What is broken in a callback is thrown by the story. */
  #guarded(run: () => void): () => void {
    return () => {
      try {
        run()
      } catch (error) {
        this.#broken ??= error instanceof Error ? error : new Error(String(error))
      }
    }
  }
}

function numberOf({ payload }: Message): number {
  return Number(payload.toString('latin1').split(';')[0])
}

function matches(filter: string, topic: string): boolean {
  return filter === '#' || filter === topic || (filter === 't/+' && topic.startsWith('t/'))
}
