/**
 * Rows of the store as the text of an answer. Text comes in slices of about 64 KiB; between two of them other work of the
 * process gets its turn, so that no answer holds the event loop for more than a few milliseconds, and a slice is made only
 * when the one before was taken, so that a large answer needs no more memory than a small one.
 */
import { Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'

const sliceChars = 64 * 1_024
/** What is held back before the headers are sent: an error up to here is still a problem answer. */
const heldChars = 256 * 1_024

/** How rows become an answer of one format. */
export interface RowFormat<Row> {
  readonly head: string
  /** Between two rows. */
  readonly separator: string
  encode(row: Row): string
  tail(nextCursor: string | undefined): string
}

export interface RowTextOptions<Row> {
  readonly rows: AsyncIterable<readonly Row[]>
  /** Called once the first rows are there: what a format looks up then is as new as they are. */
  format(): Promise<RowFormat<Row>>
  /** Rows of this answer. The store is asked for one more, which tells whether there is a next page. */
  readonly limit: number
  cursorBehind(row: Row): string
}

/** The text of an answer, and afterwards the cursor of the next page. */
export class RowText<Row> {
  readonly #options: RowTextOptions<Row>
  #nextCursor: string | undefined

  constructor(options: RowTextOptions<Row>) {
    this.#options = options
  }

  /** Cursor of the next page; known once `slices` has ended. Undefined: this was the last page. */
  get nextCursor(): string | undefined {
    return this.#nextCursor
  }

  /** The text in slices. Ends the store's query when it is left early. */
  async *slices(): AsyncGenerator<string, void, void> {
    const { rows, limit } = this.#options
    let format: RowFormat<Row> | undefined
    let text = ''
    let count = 0
    let last: Row | undefined
    paging: for await (const chunk of rows) {
      if (format === undefined) {
        format = await this.#options.format()
        text = format.head
      }
      for (const row of chunk) {
        if (count === limit) {
          this.#nextCursor = last === undefined ? undefined : this.#options.cursorBehind(last)
          break paging
        }
        text += count === 0 ? format.encode(row) : format.separator + format.encode(row)
        last = row
        count++
        if (text.length < sliceChars) continue
        yield text
        text = ''
        await nextTurn()
      }
    }
    if (format === undefined) {
      format = await this.#options.format()
      text = format.head
    }
    yield text + format.tail(this.#nextCursor)
  }
}

/** An answer whose end is known, or the stream of one that is still going on. */
export type HeldText = { readonly whole: string } | { readonly stream: Readable }

export interface HoldOptions {
  /** Longest time that a slice may wait to be taken, ms. */
  readonly stallMs: number
  /** Nobody took a slice for that long. */
  onStall(): void
  /** The rows ended with an error after the headers were sent; the stream ends with it too. */
  onFault(error: unknown): void
}

/**
 * Takes an answer's slices up to a bound: a small answer comes back whole, with its length known and every error seen before
 * the first byte; a larger one as a stream.
 */
export async function holdText(slices: AsyncGenerator<string, void, void>, options: HoldOptions): Promise<HeldText> {
  let held = ''
  for (;;) {
    const next = await slices.next()
    if (next.done === true) return { whole: held }
    held += next.value
    if (held.length >= heldChars)
      return { stream: Readable.from(watched(held, slices, options), { objectMode: false, highWaterMark: sliceChars }) }
  }
}

async function* watched(
  held: string,
  slices: AsyncGenerator<string, void, void>,
  options: HoldOptions
): AsyncGenerator<Buffer, void, void> {
  let timer: NodeJS.Timeout | undefined
  const arm = (): void => {
    timer = setTimeout(() => options.onStall(), options.stallMs).unref()
  }
  try {
    arm()
    yield Buffer.from(held)
    clearTimeout(timer)
    for await (const slice of slices) {
      arm()
      yield Buffer.from(slice)
      clearTimeout(timer)
    }
  } catch (error) {
    options.onFault(error)
    throw error
  } finally {
    clearTimeout(timer)
    await slices.return()
  }
}
