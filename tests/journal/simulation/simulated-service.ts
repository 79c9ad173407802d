import type { Journal } from '../../../journal/journal.ts'
import { JournalReader } from '../../../journal/reader.ts'
import { silent } from '../fixture.ts'
import type { Outcome, SimulatedCatalogue } from './catalogue.ts'
import type { JournalModel } from './journal-model.ts'
import type { SimulatedProcess } from './simulated-process.ts'

/** The journal's folder on the simulated disk. */
export const journalFolder = '/data/journal'

/** How much one read takes at most. */
export interface ReadLimits {
  readonly maxRecords: number
  readonly maxBytes: number
}

export interface ServiceOptions {
  readonly process: SimulatedProcess
  readonly journal: Journal
  readonly catalogue: SimulatedCatalogue
  readonly model: JournalModel
  /** Called with what is broken. */
  readonly onBroken: (error: unknown) => void
}

/** What ingest is to the journal: it reads a batch, commits what became of each record, and tells the edge how far it is. */
export class SimulatedService {
  readonly #options: ServiceOptions
  #reader: JournalReader | undefined
  #working = false
  #killed = false

  constructor(options: ServiceOptions) {
    this.#options = options
  }

  /** Begins to read on, unless it is at it or there is nothing to read. */
  read(limits: ReadLimits): void {
    const { journal, catalogue, onBroken } = this.#options
    if (this.#working || catalogue.position >= journal.readable) return
    this.#working = true
    this.#ingest(limits).catch(onBroken)
  }

  /** SIGKILL. */
  kill(): void {
    this.#killed = true
    this.#options.process.kill()
  }

  async #ingest(limits: ReadLimits): Promise<void> {
    const { process, journal, catalogue, model } = this.#options
    const from = catalogue.position
    this.#reader ??= await openReader(process, from, journal.readable)
    this.#reader.advance(journal.readable)
    const batch = await this.#reader.read(limits)
    if (this.#killed) return
    model.check(batch, from)
    const outcomes = new Map<number, Outcome>(batch.records.map(({ ordinal }) => [ordinal, 'stored']))
    for (const { from, to, kind } of batch.gaps) for (let ordinal = from; ordinal < to; ordinal++) outcomes.set(ordinal, kind)
    await catalogue.commit(outcomes, batch.to)
    if (this.#killed) return
    journal.commit(batch.to)
    this.#working = false
  }
}

/** A reader in a process of its own. */
export async function openReader(process: SimulatedProcess, from: number, durable: number): Promise<JournalReader> {
  return await JournalReader.open({ folder: journalFolder, from, durable, log: silent, files: process.port })
}
