/**
 * The live stream: what was stored, sent to whoever follows it (Server-Sent Events, HTML Living Standard §9.2).
 *
 * A message comes in once its commit is done and goes into a ring. Each client has its place in the ring and is sent from
 * there as fast as it reads, so a client costs one place and what its socket buffers (one slice), never a queue. A client
 * that falls out of the ring, or takes nothing for `stallMs`, is ended: it comes back with Last-Event-ID. Nothing is
 * encoded while nobody follows.
 *
 * The event id is the position of the message. Last-Event-ID resumes behind it while the ring reaches back that far. An id
 * that is older, of another journal or not reached yet gets one `gap` event, then live events: `from` is the first position
 * that the client may have missed, `to` the first one that it will not miss.
 */
import type { Writable } from 'node:stream'
import { TidegateError } from '../errors.ts'
import { decodePosition, encodePosition } from '../telemetry.ts'
import type { StoredMessage } from '../telemetry.ts'
import { rawItemToJson } from './items.ts'
import { MessageRing } from './message-ring.ts'
import type { TimeFormat } from './times.ts'

const sliceChars = 64 * 1_024
const sliceMessages = 500
const textsBytes = 1_024 * 1_024

export interface LiveStreamOptions {
  /** UUID of the journal. */
  readonly journal: string
  /** The checkpoint when the service starts: the ring's first position. */
  readonly position: number
  readonly ringBytes: number
  /** Clients at most; a further one is refused with TG_STREAM_BUSY. */
  readonly clients: number
  /** Between two signs of life to an idle client, ms. Default 10,000. */
  readonly heartbeatMs?: number
  /** Longest time that a client may take nothing, ms. Default 30,000. */
  readonly stallMs?: number
}

/** What a client wants to see; empty sets mean everything. */
export interface StreamFilter {
  readonly devices: ReadonlySet<string>
  readonly measurement: string | undefined
  readonly fields: ReadonlySet<string>
  readonly epoch: TimeFormat
}

interface Client {
  readonly sink: Writable
  readonly filter: StreamFilter
  /** Sequence number in the ring of what comes next. */
  sequence: number
  scheduled: boolean
  /** When the sink stopped taking, ms; undefined while it takes. */
  blockedSinceMs: number | undefined
}

export class LiveStream implements AsyncDisposable {
  readonly #journal: string
  readonly #maxClients: number
  readonly #heartbeatMs: number
  readonly #stallMs: number
  readonly #ring: MessageRing
  readonly #clients = new Set<Client>()
  /** Events without a filter, by sequence number: encoded once for all clients. */
  readonly #texts = new Map<number, string>()
  #textsBytes = 0
  #timer: NodeJS.Timeout | undefined
  #sent = 0
  #ended = 0
  #closed = false

  constructor(options: LiveStreamOptions) {
    this.#journal = options.journal
    this.#maxClients = options.clients
    this.#heartbeatMs = options.heartbeatMs ?? 10_000
    this.#stallMs = options.stallMs ?? 30_000
    this.#ring = new MessageRing(options.position, options.ringBytes)
  }

  /** Clients that follow at the moment. */
  get clients(): number {
    return this.#clients.size
  }

  /** Memory that the ring takes, estimated, bytes. */
  get ringBytes(): number {
    return this.#ring.bytes
  }

  /** Events sent since the start. */
  get sentEvents(): number {
    return this.#sent
  }

  /** Clients ended because they did not read. */
  get endedClients(): number {
    return this.#ended
  }

  /** Takes messages whose commit is done, in the order of their ordinals. Never waits and never throws for a client's sake. */
  publish(messages: readonly StoredMessage[]): void {
    if (this.#closed) return
    for (const message of messages) this.#ring.push(message)
    for (const client of this.#clients) this.#schedule(client)
  }

  /** Throws when no further client fits: TG_STREAM_BUSY. */
  admit(): void {
    if (this.#closed || this.#clients.size >= this.#maxClients) {
      throw new TidegateError('TG_STREAM_BUSY', `the stream has ${this.#maxClients} clients at most (stream.clients)`)
    }
  }

  /** Sends to the sink from now on, or from behind `lastEventId`, until the sink closes. */
  connect(sink: Writable, filter: StreamFilter, lastEventId: string | undefined): void {
    this.admit()
    const start = this.#startOf(lastEventId)
    const client: Client = { sink, filter, sequence: start.sequence, scheduled: false, blockedSinceMs: undefined }
    this.#clients.add(client)
    sink.once('close', () => this.#forget(client))
    sink.on('error', () => sink.destroy())
    this.#timer ??= setInterval(() => this.#tend(), this.#heartbeatMs).unref()
    this.#write(client, `retry: 1000\n\n${start.gap}`)
    this.#schedule(client)
  }

  /** Ends all clients, those that do not read at once; further messages still go into the ring. */
  endClients(): void {
    for (const { sink, blockedSinceMs } of this.#clients) {
      if (blockedSinceMs === undefined) sink.end()
      else sink.destroy()
    }
  }

  /** Ends all clients and takes nothing any more. */
  close(): void {
    this.#closed = true
    this.endClients()
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }

  #startOf(lastEventId: string | undefined): { readonly sequence: number; readonly gap: string } {
    const live = { sequence: this.#ring.endSequence, gap: '' }
    if (lastEventId === undefined || lastEventId === '') return live
    const position = decodePosition(lastEventId)
    const own = position?.journal === this.#journal ? position : undefined
    const behind = own === undefined ? 0 : own.ordinal + 1
    if (own !== undefined && behind >= this.#ring.oldest && behind <= this.#ring.next) {
      return { sequence: this.#ring.sequenceOf(behind), gap: '' }
    }
    // what a client of another journal, or of a part that was lost, has seen cannot be compared: all may be new to it
    const from = behind < this.#ring.next ? behind : 0
    return { ...live, gap: this.#gapEvent(from, this.#ring.next) }
  }

  #gapEvent(from: number, to: number): string {
    const event = JSON.stringify({ from: encodePosition(this.#journal, from), to: encodePosition(this.#journal, to) })
    // the id lets a client that reconnects before the next message resume from here instead of hearing of the gap again
    const id = to > 0 ? `id: ${encodePosition(this.#journal, to - 1)}\n` : ''
    return `${id}event: gap\ndata: ${event}\n\n`
  }

  #schedule(client: Client): void {
    if (client.scheduled || client.blockedSinceMs !== undefined) return
    client.scheduled = true
    setImmediate(() => {
      client.scheduled = false
      this.#send(client)
    })
  }

  /** Sends one slice, then gives way to others. */
  #send(client: Client): void {
    if (client.blockedSinceMs !== undefined || !this.#clients.has(client) || client.sink.writableEnded) return
    if (client.sequence < this.#ring.firstSequence) {
      this.#end(client)
      return
    }
    const end = Math.min(this.#ring.endSequence, client.sequence + sliceMessages)
    let text = ''
    while (client.sequence < end && text.length < sliceChars) {
      const event = this.#eventText(client.sequence, client.filter)
      if (event !== '') this.#sent++
      text += event
      client.sequence++
    }
    if (text !== '') this.#write(client, text)
    if (client.sequence < this.#ring.endSequence) this.#schedule(client)
  }

  #write(client: Client, text: string): void {
    if (client.sink.write(text) || client.sink.destroyed) return
    client.blockedSinceMs = performance.now()
    client.sink.once('drain', () => {
      client.blockedSinceMs = undefined
      this.#schedule(client)
    })
  }

  #eventText(sequence: number, filter: StreamFilter): string {
    const message = this.#ring.at(sequence)
    if (message === undefined) return ''
    const shared = filter.devices.size === 0 && filter.fields.size === 0 && filter.measurement === undefined && filter.epoch === 'iso'
    if (!shared) return this.#encode(message, filter)
    const known = this.#texts.get(sequence)
    if (known !== undefined) return known
    const text = this.#encode(message, filter)
    if (this.#clients.size > 1) this.#keepText(sequence, text)
    return text
  }

  #keepText(sequence: number, text: string): void {
    if (this.#textsBytes > textsBytes) {
      this.#texts.clear()
      this.#textsBytes = 0
    }
    this.#texts.set(sequence, text)
    this.#textsBytes += text.length * 2
  }

  #encode(message: StoredMessage, filter: StreamFilter): string {
    const wanted = filter.fields.size === 0 ? undefined : filter.fields
    let items = ''
    for (const point of message.points) {
      if (filter.devices.size > 0 && !filter.devices.has(point.source.device)) continue
      if (filter.measurement !== undefined && filter.measurement !== point.source.measurement) continue
      if (wanted !== undefined && !point.fields.some(field => wanted.has(field.name))) continue
      items += `${items === '' ? '' : ','}${rawItemToJson(point, filter.epoch, wanted)}`
    }
    if (items === '') return ''
    const position = encodePosition(this.#journal, message.ordinal)
    return `id: ${position}\ndata: {"position":"${position}","items":[${items}]}\n\n`
  }

  /** Signs of life for idle clients, the end for stalled ones. */
  #tend(): void {
    const nowMs = performance.now()
    for (const client of this.#clients) {
      if (client.blockedSinceMs === undefined) this.#write(client, ':\n\n')
      else if (nowMs - client.blockedSinceMs > this.#stallMs) this.#end(client)
    }
  }

  #end(client: Client): void {
    this.#ended++
    this.#forget(client)
    client.sink.destroy()
  }

  #forget(client: Client): void {
    this.#clients.delete(client)
    if (this.#clients.size > 0) return
    this.#texts.clear()
    this.#textsBytes = 0
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
