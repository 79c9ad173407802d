import { TidegateError } from '../errors.ts'
import type { EdgeCounts, ForwardedPublish, ToEdge, ToService } from './messages.ts'
import { Outbox } from './outbox.ts'

/** Bounds of what the service asks the edge for at one time. */
export const appendBound = { requests: 1_000, bytes: 8 * 1024 * 1024 } as const
/** Pins at one time; each is a backup or the like. */
export const pinBound = 8

/** Records of the journal that stay until the pin is released. */
export interface JournalPin {
  /** Everything acknowledged before the pin was asked for lies below, and can be read from the files. */
  readonly readable: number
  /** Idempotent. */
  release(): void
}

/** The part of `process` that a forked child talks through. */
export interface ChannelEnd {
  send?(message: ToEdge, handle: undefined, options: undefined, done: (error: Error | null) => void): boolean
  on(event: 'message', listener: (message: ToService) => void): unknown
  on(event: 'disconnect', listener: () => void): unknown
}

interface Pending<Answer> {
  readonly bytes: number
  resolve(answer: Answer): void
  reject(error: Error): void
}

/**
 * The service's end of the channel: asks the edge to append and to count, and tells it about the checkpoint.
 * At most `appendBound` publishes wait at one time; beyond that append refuses with TG_EDGE_BUSY.
 */
export class EdgeLink {
  readonly #outbox: Outbox<ToEdge>
  readonly #appends = new Map<number, Pending<number>>()
  readonly #counts = new Map<number, Pending<EdgeCounts>>()
  readonly #pins = new Map<number, Pending<number>>()
  /** Pins asked for and not released. */
  readonly #pinned = new Set<number>()
  #pendingBytes = 0
  #nextRequest = 1
  #checkpoint = { position: 0, keepFrom: 0 }

  constructor(end: ChannelEnd, onMessage: (message: ToService) => void, onDisconnect: () => void) {
    this.#outbox = new Outbox<ToEdge>((message, done) => {
      if (end.send === undefined) done(new Error('not started by an edge'))
      else end.send(message, undefined, undefined, done)
    })
    end.on('message', message => {
      if (!this.#answer(message)) onMessage(message)
    })
    end.on('disconnect', onDisconnect)
  }

  /** Publishes that wait for the edge, for the gauge. */
  get pendingAppends(): number {
    return this.#appends.size
  }

  /** Says something that needs no answer. */
  post(message: ToEdge): void {
    this.#outbox.post(message)
  }

  /** Tells the edge the newest checkpoint, and from where on records below it may be read again. */
  checkpoint(position: number, keepFrom: number): void {
    this.#checkpoint = { position, keepFrom }
    this.#outbox.postNewest('checkpoint', () => ({ type: 'checkpoint', ...this.#checkpoint }))
  }

  /**
   * Has the edge append a publish; resolves with its ordinal when it is durable.
   * @throws TidegateError TG_EDGE_BUSY at the bound, or what the edge answers
   */
  append(publish: ForwardedPublish): Promise<number> {
    const bytes = publish.payload.byteLength + publish.topic.length + publish.clientId.length + (publish.user?.length ?? 0)
    if (this.#appends.size >= appendBound.requests || this.#pendingBytes + bytes > appendBound.bytes) {
      return Promise.reject(new TidegateError('TG_EDGE_BUSY', `${this.#appends.size} publishes wait already: try again in a second`))
    }
    this.#pendingBytes += bytes
    return this.#ask(this.#appends, bytes, request => ({ type: 'append', request, publish }))
  }

  /** The edge's counters and metrics text. */
  counts(): Promise<EdgeCounts> {
    if (this.#counts.size >= appendBound.requests) return Promise.reject(new TidegateError('TG_EDGE_BUSY', 'the edge does not answer'))
    return this.#ask(this.#counts, 0, request => ({ type: 'count', request }))
  }

  /**
   * Has the edge keep every record from the ordinal on.
   * @throws TidegateError TG_EDGE_BUSY at the bound, or what the edge answers
   */
  async pin(from: number): Promise<JournalPin> {
    if (this.#pinned.size >= pinBound) throw new TidegateError('TG_EDGE_BUSY', `the journal is pinned ${pinBound} times already`)
    const request = this.#nextRequest++
    this.#pinned.add(request)
    const release = (): void => {
      if (this.#pinned.delete(request)) this.#outbox.post({ type: 'unpin', request })
    }
    try {
      const readable = await this.#await(this.#pins, 0, { type: 'pin', request, from })
      return { readable, release }
    } catch (error) {
      release()
      throw error
    }
  }

  #ask<Answer>(
    waiting: Map<number, Pending<Answer>>,
    bytes: number,
    make: (request: number) => ToEdge & { readonly request: number }
  ): Promise<Answer> {
    return this.#await(waiting, bytes, make(this.#nextRequest++))
  }

  #await<Answer>(waiting: Map<number, Pending<Answer>>, bytes: number, message: ToEdge & { readonly request: number }): Promise<Answer> {
    return new Promise((resolve, reject) => {
      waiting.set(message.request, { bytes, resolve, reject })
      this.#outbox.post(message)
    })
  }

  #answer(message: ToService): boolean {
    switch (message.type) {
      case 'appended':
        this.#take(this.#appends, message.request)?.resolve(message.ordinal)
        return true
      case 'appendRefused':
        this.#take(this.#appends, message.request)?.reject(new TidegateError(message.code, message.message))
        return true
      case 'counts':
        this.#take(this.#counts, message.request)?.resolve(message.counts)
        return true
      case 'pinned':
        this.#take(this.#pins, message.request)?.resolve(message.readable)
        return true
      case 'pinRefused':
        this.#take(this.#pins, message.request)?.reject(new TidegateError(message.code, message.message))
        return true
      case 'ping':
        this.#outbox.postNewest('pong', () => ({ type: 'pong' }))
        return true
      default:
        return false
    }
  }

  #take<Answer>(waiting: Map<number, Pending<Answer>>, request: number): Pending<Answer> | undefined {
    const pending = waiting.get(request)
    waiting.delete(request)
    this.#pendingBytes -= pending?.bytes ?? 0
    return pending
  }
}
