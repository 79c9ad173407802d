import type { Item } from './readings.ts'
import { parseEvent } from './readings.ts'

export interface FeedListener {
  /** One message was stored. */
  message(items: readonly Item[]): void
  /** Messages were missed: what is shown may have holes. */
  gap(): void
  state(connected: boolean): void
}

/** Above this many messages a second the page follows the charted device alone. */
const floodPerSecond = 1500

/**
 * The live stream. It reconnects by itself and resumes behind the last message that it saw. Where more comes than a page
 * can draw it follows one device only, and `flooded` says so; that is tried anew with each device.
 */
export class LiveFeed {
  readonly #listener: FeedListener
  #source: EventSource | undefined
  #device = ''
  #flooded = false
  #counted = 0
  #retry: number | undefined

  constructor(listener: FeedListener) {
    this.#listener = listener
    setInterval(() => this.#watch(), 1000)
  }

  get flooded(): boolean {
    return this.#flooded
  }

  /** Follows everything, and in a flood this device. */
  follow(device: string): void {
    const changed = device !== this.#device
    this.#device = device
    if (this.#source === undefined || (changed && this.#flooded)) this.#open()
  }

  #open(): void {
    this.#source?.close()
    clearTimeout(this.#retry)
    const filter = this.#flooded && this.#device !== '' ? `&device=${encodeURIComponent(this.#device)}` : ''
    const source = new EventSource(`/api/v1/stream?epoch=ms${filter}`)
    this.#source = source
    source.addEventListener('open', () => this.#listener.state(true))
    source.addEventListener('gap', () => this.#listener.gap())
    source.addEventListener('message', event => {
      this.#counted++
      this.#listener.message(parseEvent(String(event.data)))
    })
    source.addEventListener('error', () => {
      this.#listener.state(false)
      // Closed for good (an error status): the browser does not try again, so the page does, and what it missed is a gap.
      if (source.readyState !== EventSource.CLOSED || source !== this.#source) return
      this.#retry = setTimeout(() => {
        this.#open()
        this.#listener.gap()
      }, 2000)
    })
  }

  #watch(): void {
    const counted = this.#counted
    this.#counted = 0
    if (this.#flooded || counted < floodPerSecond) return
    this.#flooded = true
    this.#open()
  }
}
