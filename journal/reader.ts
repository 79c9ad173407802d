import type { Logger } from 'pino'
import { JournalCursor, type CursorCounts } from './cursor.ts'
import { nodeFiles, type FilePort } from './files.ts'
import type { JournalBatch, JournalSource } from './record.ts'

export interface JournalReaderOptions {
  /** Folder of the segments. */
  readonly folder: string
  /** Ordinal of the first record to read. */
  readonly from: number
  /** How far records can be read, as the writer says. */
  readonly durable: number
  readonly log: Logger
  /** Default: the disk. */
  readonly files?: FilePort
}

/** The reading side of a journal that another process writes. One read at a time. */
export class JournalReader implements JournalSource, AsyncDisposable {
  readonly #cursor: JournalCursor
  #durable: number
  #wake: (() => void) | undefined
  #reading: Promise<unknown> | undefined
  #closed = false

  /** Opens the reading side at an ordinal; touches no file yet. */
  static open(options: JournalReaderOptions): Promise<JournalReader> {
    return Promise.resolve(new JournalReader(options))
  }

  private constructor(options: JournalReaderOptions) {
    const { folder, from, durable, log } = options
    this.#cursor = new JournalCursor({ files: options.files ?? nodeFiles, folder, from, log })
    this.#durable = durable
  }

  /** Ordinal at which the next read begins. */
  get position(): number {
    return this.#cursor.position
  }

  /** Damage and drops that were met since the reader was opened. */
  get stats(): Readonly<CursorCounts> {
    return this.#cursor.counts
  }

  advance(durable: number): void {
    if (durable <= this.#durable) return
    this.#durable = durable
    this.#wake?.()
  }

  async read(limits: { readonly maxRecords: number; readonly maxBytes: number; readonly signal?: AbortSignal }): Promise<JournalBatch> {
    const { signal } = limits
    const ended = (): boolean => this.#closed || signal?.aborted === true
    if (this.#cursor.position >= this.#durable) {
      const wake = (): void => this.#wake?.()
      signal?.addEventListener('abort', wake)
      while (this.#cursor.position >= this.#durable && !ended()) {
        await new Promise<void>(resolve => {
          this.#wake = resolve
        })
      }
      this.#wake = undefined
      signal?.removeEventListener('abort', wake)
    }
    const { position } = this.#cursor
    if (ended()) return { from: position, to: position, records: [], gaps: [] }
    const reading = this.#cursor.next(this.#durable, limits.maxRecords, limits.maxBytes)
    this.#reading = reading
    return await reading
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#wake?.()
    await this.#reading?.catch(() => undefined)
    await this.#cursor.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
