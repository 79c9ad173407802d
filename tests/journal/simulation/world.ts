import { TidegateError } from '../../../errors.ts'
import { Journal } from '../../../journal/journal.ts'
import { saveMarks } from '../../../journal/marks.ts'
import { listSegments } from '../../../journal/segments.ts'
import { silent } from '../fixture.ts'
import { SimulatedCatalogue } from './catalogue.ts'
import { Dice } from './dice.ts'
import { check, JournalModel } from './journal-model.ts'
import { Machine } from './machine.ts'
import { SimulatedDisk } from './simulated-disk.ts'
import type { SimulatedProcess } from './simulated-process.ts'
import { journalFolder, openReader, SimulatedService, type ReadLimits } from './simulated-service.ts'
import { SimulatedTime } from './simulated-time.ts'
import type { Ending, Setting, Step, Story } from './steps.ts'

/** Whatever the disk does, what is asked of the journal ends within this time. */
const longestMs = 60_000
/** A disk that works again is noticed within this time. */
const recoveryMs = 10_000

interface Edge {
  readonly process: SimulatedProcess
  readonly journal: Journal
}

/** What an append throws in each state. */
const refusals = {
  accepting: '',
  behind: 'TG_JOURNAL_BEHIND',
  full: 'TG_JOURNAL_FULL',
  failing: 'TG_JOURNAL_FAILING',
  closed: 'TG_JOURNAL_CLOSED'
} as const

/**
 * An edge that appends and a service that reads, on a machine that fails: the journal and its reader as they are, all
 * around them simulated. What is promised is checked as the story goes on, and everything at each opening.
 */
export class World implements Disposable {
  readonly #setting: Setting
  readonly #time = new SimulatedTime()
  readonly #dice: Dice
  readonly #disk: SimulatedDisk
  readonly #machine: Machine
  readonly #model: JournalModel
  readonly #catalogue: SimulatedCatalogue
  readonly #trace: ((line: string) => void) | undefined
  #edge: Edge | undefined
  #service: SimulatedService | undefined
  /** The checkpoint went back: more is uncommitted than the journal let in. */
  #forgot = false
  #clockSet = false
  #broken: Error | undefined

  /** Plays a story to its end and reads everything. Throws where a promise is broken. */
  static async play(story: Story, trace?: (line: string) => void): Promise<void> {
    using world = new World(story, trace)
    await world.#play(story.steps)
  }

  private constructor(story: Story, trace: ((line: string) => void) | undefined) {
    this.#setting = story.setting
    this.#dice = new Dice(story.dice)
    this.#disk = new SimulatedDisk(this.#dice)
    this.#trace = trace && (line => trace(`${this.#time.monotonicMs.toFixed(2).padStart(10)}  ${line}`))
    this.#machine = new Machine({
      time: this.#time,
      disk: this.#disk,
      dice: this.#dice,
      ...(this.#trace && { trace: this.#trace })
    })
    this.#model = new JournalModel(story.setting)
    this.#catalogue = new SimulatedCatalogue(this.#time, this.#dice, story.setting.firstOrdinal)
  }

  [Symbol.dispose](): void {
    this.#time[Symbol.dispose]()
  }

  async #play(steps: readonly Step[]): Promise<void> {
    const { firstOrdinal } = this.#setting
    if (firstOrdinal > 0) await this.#time.settle(this.#writeMarks(firstOrdinal), longestMs, 'writing the marks')
    await this.#open()
    for (const step of steps) {
      this.#trace?.(`--- ${JSON.stringify(step)}`)
      await this.#take(step)
      this.#checkNow()
    }
    this.#trace?.('--- the end')
    await this.#conclude()
  }

  async #take(step: Step): Promise<void> {
    switch (step.kind) {
      case 'append':
        for (let index = 0; index < step.count; index++) this.#append(step.client, step.bytes)
        break
      case 'pass':
        await this.#time.pass(step.ms)
        break
      case 'read':
        this.#read(step)
        break
      case 'fault': {
        // Without fsync a sync promises nothing; that its failure costs something is not the journal's fault.
        const calls = step.calls.filter(call => call !== 'datasync' || this.#setting.sync === 'fsync')
        if (step.error === 'ENOSPC') this.#model.spaceRanOut = true
        this.#machine.faults.push({ calls, error: step.error, oneIn: step.oneIn, left: step.times })
        break
      }
      case 'slow':
        this.#machine.longestSyncMs = step.syncMs
        break
      case 'fill':
        this.#model.spaceRanOut = true
        this.#disk.capacityBytes = this.#disk.usedBytes + step.freeBytes
        break
      case 'heal':
        this.#heal()
        break
      case 'clock':
        this.#clockSet = true
        this.#time.wallOffsetMs += step.ms
        break
      case 'restartService':
        this.#stopService('nothing')
        break
      case 'end':
        await this.#end(step)
    }
  }

  #append(client: number, bytes: number): void {
    if (this.#edge === undefined) return
    const { journal } = this.#edge
    const { state } = journal
    try {
      const ordinal = journal.append(this.#model.next(client, bytes))
      check(state === 'accepting', `appended while ${state}`)
      this.#model.appended(ordinal, client, bytes, this.#time.wallMs)
    } catch (error) {
      if (!(error instanceof TidegateError)) throw error
      check(error.code === refusals[state], `refused with ${error.code} while ${state}`)
    }
  }

  #read(limits: ReadLimits): void {
    if (this.#edge === undefined) return
    this.#service ??= new SimulatedService({
      process: this.#machine.start(),
      journal: this.#edge.journal,
      catalogue: this.#catalogue,
      model: this.#model,
      onBroken: error => this.#breaks(error)
    })
    this.#service.read(limits)
  }

  async #end(ending: Ending): Promise<void> {
    await this.#wait(ending.when)
    if (this.#edge !== undefined && ending.how === 'close') {
      await this.#time.settle(this.#edge.journal.close(), longestMs, 'closing the journal')
    }
    // Where space ran out, what was committed may have gone before its minute.
    this.#stopService(this.#model.spaceRanOut && ending.forgets === 'seconds' ? 'nothing' : ending.forgets)
    if (this.#edge !== undefined) this.#kill(this.#edge.process, ending.how === 'power')
    if (ending.openingMs !== undefined) await this.#openInVain(ending.openingMs, ending.how === 'power')
    await this.#open()
  }

  async #wait(when: Ending['when']): Promise<void> {
    if (when !== 'told') return await this.#time.pass(when)
    const before = this.#model.promised
    await this.#time.passUntil(() => this.#model.promised > before, 100)
  }

  #stopService(forgets: Ending['forgets']): void {
    this.#service?.kill()
    this.#service = undefined
    this.#catalogue.stop(forgets)
    if (forgets !== 'nothing') this.#forgot = true
  }

  #kill(process: SimulatedProcess, power: boolean): void {
    this.#edge = undefined
    process.kill()
    this.#time.cancelTimers()
    if (power) {
      this.#disk.losePower()
      this.#model.lostPower()
    } else this.#model.killed(this.#disk.lostSync)
  }

  /** A process that ends while, or right after, it opens the journal. */
  async #openInVain(ms: number, power: boolean): Promise<void> {
    const process = this.#machine.start()
    void this.#openJournal(process).then(
      journal => this.#guard(() => this.#model.opened(journal.head, journal.durable)),
      () => undefined
    )
    await this.#time.pass(ms)
    this.#kill(process, power)
  }

  /** Opens the journal, which may only fail while calls of the disk do, and reads all of it. */
  async #open(): Promise<void> {
    const process = this.#machine.start()
    let journal: Journal
    try {
      journal = await this.#time.settle(this.#openJournal(process), longestMs, 'opening the journal')
    } catch (error) {
      // For want of space alone it opens; only a disk that cannot sync what was found cannot be worked with.
      const mayFail = this.#machine.faults.some(
        ({ calls, error }) => error === 'EIO' || calls.includes('datasync') || calls.includes('syncFolder')
      )
      if (!mayFail || !(error instanceof TidegateError) || error.code !== 'TG_DATA_UNWRITABLE') throw error
      this.#trace?.(`not opened: ${error.message}`)
      this.#kill(process, false)
      this.#heal()
      return await this.#open()
    }
    this.#edge = { process, journal }
    this.#trace?.(`opened, head ${journal.head}, durable ${journal.durable}`)
    this.#model.opened(journal.head, journal.durable)
    this.#listen(journal)
    const ahead = this.#catalogue.position > journal.head
    if (ahead) check(this.#setting.sync !== 'fsync', `the checkpoint ${this.#catalogue.position} is ahead of the head ${journal.head}`)
    if (ahead || this.#catalogue.lost) this.#catalogue.startAt(journal.oldest)
    await this.#readAll(journal)
    journal.commit(this.#catalogue.position)
  }

  async #openJournal(process: SimulatedProcess): Promise<Journal> {
    const { firstOrdinal: _, ...options } = this.#setting
    return await Journal.open({
      ...options,
      folder: journalFolder,
      log: silent,
      files: process.port,
      clock: () => this.#time.wallMs,
      monotonic: () => this.#time.monotonicMs
    })
  }

  #listen(journal: Journal): void {
    const told = (upTo: number): void => {
      if (this.#edge?.journal !== journal) return
      this.#trace?.(`told ${upTo}`)
      this.#guard(() => this.#model.told(upTo))
    }
    // With sync none a record is acknowledged before it is anywhere; what is written then survives its process.
    if (this.#setting.sync === 'none') journal.onReadable(told)
    else journal.onDurable(told)
  }

  /** What is kept, from the checkpoint on at least, read by a process of its own. */
  async #readAll(journal: Journal): Promise<void> {
    const process = this.#machine.start()
    let position = Math.min(journal.oldest, this.#catalogue.position)
    const reader = await openReader(process, position, journal.readable)
    while (position < journal.readable) {
      const limits = { maxRecords: this.#dice.between(1, 100), maxBytes: this.#dice.between(1, 20_000) }
      const batch = await this.#time.settle(reader.read(limits), longestMs, 'reading')
      this.#model.check(batch, position)
      position = batch.to
    }
    await this.#time.settle(reader.close(), longestMs, 'closing a reader')
    check(process.openFiles === 0, 'a reader left files open')
  }

  #heal(): void {
    this.#machine.faults = []
    this.#machine.longestSyncMs = 2
    this.#disk.capacityBytes = Number.MAX_SAFE_INTEGER
  }

  /** Checks in a callback: what is broken is thrown by the story. */
  #guard(check: () => void): void {
    try {
      check()
    } catch (error) {
      this.#breaks(error)
    }
  }

  #breaks(error: unknown): void {
    this.#broken ??= error instanceof Error ? error : new Error(String(error))
  }

  #checkNow(): void {
    if (this.#broken !== undefined) throw this.#broken
    if (this.#edge === undefined) return
    const { pendingBytes, uncommittedBytes } = this.#edge.journal.stats
    const setting = this.#setting
    const slack = this.#model.largestBytes + 1000
    check(pendingBytes <= setting.pendingBytes + slack, `${pendingBytes} bytes wait for the disk`)
    const bound = setting.maxBytes + (setting.whenFull === 'drop-oldest' ? setting.pendingBytes : 0) + slack
    check(this.#forgot || uncommittedBytes <= bound, `${uncommittedBytes} bytes are not committed`)
  }

  /** The disk works again: the journal does, too, and everything promised gets its outcome. */
  async #conclude(): Promise<void> {
    this.#heal()
    await this.#time.pass(recoveryMs)
    await this.#ingestAll()
    check(this.#edge?.journal.state === 'accepting', `${this.#edge?.journal.state} although the disk works and all is committed`)
    const how = this.#dice.pick<Ending['how']>(this.#setting.sync === 'fsync' ? ['close', 'kill', 'power'] : ['close', 'kill'])
    await this.#end({ kind: 'end', how, when: 0, openingMs: undefined, forgets: 'nothing' })
    await this.#ingestAll()
    for (let ordinal = this.#catalogue.since; ordinal < this.#model.head; ordinal++) {
      check(this.#catalogue.outcomes.has(ordinal), `ordinal ${ordinal} has no outcome`)
    }
    await this.#checkFiles()
  }

  async #ingestAll(): Promise<void> {
    const journal = this.#edge?.journal
    if (journal === undefined) throw new Error('the journal is closed')
    check(journal.state !== 'failing' && journal.state !== 'closed', `${journal.state} although the disk works`)
    await this.#time.settle(journal.drain(), longestMs, 'draining')
    while (this.#catalogue.position < journal.head) {
      this.#read({ maxRecords: 1000, maxBytes: 1_000_000 })
      await this.#time.pass(20)
      this.#checkNow()
    }
    await this.#time.pass(1)
  }

  /** With nothing to do, the disk holds what the journal says and no leavings; and what may go goes. */
  async #checkFiles(): Promise<void> {
    const journal = this.#edge?.journal
    const { keep } = this.#setting
    await this.#time.pass(62_000)
    const { diskBytes = 0, segments = 0 } = journal?.stats ?? {}
    const names = this.#disk.list(journalFolder).filter(name => name.endsWith('.seg'))
    check(names.length === segments, `${names.length} segments on the disk, ${segments} by count: ${names.join(', ')}`)
    const bytes = names.reduce((sum, name) => sum + (this.#disk.stat(`${journalFolder}/${name}`)?.bytes ?? 0), 0)
    check(bytes === diskBytes, `${bytes} bytes on the disk, ${diskBytes} by count`)
    const found = await this.#time.settle(listSegments(this.#machine.start().port, journalFolder), longestMs, 'listing')
    check(
      found.every(({ first, end }) => end > first),
      `leavings on the disk: ${names.join(', ')}`
    )
    check(bytes <= keep.bytes, `${bytes} bytes of committed segments are kept`)
    if (keep.timeMs < 60_000 && !this.#clockSet) check(segments === 0, `${segments} segments are kept too long`)
  }

  async #writeMarks(committedBelow: number): Promise<void> {
    const { port } = this.#machine.start()
    await port.makeFolder(journalFolder)
    const marks = { uuid: '0a1b2c3d-4e5f-4a6b-8c7d-8e9f0a1b2c3d', marker: 0x1234_5678, droppedBelow: 0, committedBelow }
    await saveMarks(port, journalFolder, marks)
  }
}
