import type { TailRecord } from '../../journal/record.ts'
import { utf8 } from '../byte-views.ts'
import type { Message } from '../routing/message.ts'
import { SubscriptionTrie } from '../routing/subscription-trie.ts'
import type { Subscription } from '../routing/subscription.ts'
import type { PlacedChange, Restoration } from './restoration.ts'
import { RestoredSession } from './restored-session.ts'

export interface JournalReplayOptions {
  /** Bounds of what a session, and all of them, are owed. */
  readonly queuedMessages: number
  readonly queuedBytes: number
  /** The message that a record is, with bytes of its own. */
  readonly messageOf: (record: TailRecord) => Message
}

/** A subscription as the index finds it. */
interface Subscriber {
  readonly session: RestoredSession
  readonly subscription: Subscription
}

/** What a session gets of the record at hand. */
interface Match {
  qos: 0 | 1 | 2
  retainAsPublished: boolean
  readonly identifiers: number[]
}

/**
 * Applies the records of the journal behind a snapshot, and between them the changes, in the order of ordinals: retains,
 * queues for the sessions that subscribe, and notes the QoS 2 ids of publishers.
 */
export class JournalReplay {
  /** Messages that found no room. */
  dropped = 0
  readonly #restoration: Restoration
  readonly #options: JournalReplayOptions
  readonly #index = new SubscriptionTrie<Subscriber>()
  readonly #indexed = new Map<RestoredSession, Map<string, Subscriber>>()
  readonly #settled = new Map<string, ReadonlySet<number>>()
  readonly #matches = new Map<RestoredSession, Match>()
  #nextChange = 0
  #bytes = 0

  constructor(restoration: Restoration, options: JournalReplayOptions) {
    this.#restoration = restoration
    this.#options = options
    for (const session of restoration.sessions.values()) {
      for (const subscription of session.subscriptions.values()) this.#addSubscriber(session, subscription)
      for (const { message } of session.owed) this.#bytes += message?.payload.length ?? 0
    }
    for (const [clientId, { progress }] of restoration.progress)
      this.#settled.set(clientId, new Set(progress.sent.flatMap(({ ordinal, retained }) => (retained ? [] : [ordinal]))))
  }

  /** Takes the next record. */
  take(record: TailRecord): void {
    const { ordinal, qos, packetId, retain } = record
    if (ordinal < this.#restoration.position) return
    this.#applyChanges(ordinal)
    if (qos === 2 && packetId > 0) this.#receive(record)
    const wanted = qos > 0 && this.#match(record)
    if (!wanted && !retain) return
    const message = this.#options.messageOf(record)
    if (wanted) this.#queue(message)
    if (!retain) return
    if (message.payload.length > 0) this.#restoration.retain(message)
    else if ((this.#restoration.retained.get(message.topic)?.ordinal ?? Infinity) < ordinal)
      this.#restoration.retained.delete(message.topic)
  }

  /** All records were taken: the changes behind them, and what is settled. */
  finish(): void {
    this.#applyChanges(Infinity)
    const { sessions, progress, retained } = this.#restoration
    let byOrdinal: Map<number, Message> | undefined
    const retainedOf = (ordinal: number): Message | undefined => {
      byOrdinal ??= new Map([...retained.values()].map(message => [message.ordinal, message]))
      return byOrdinal.get(ordinal)
    }
    for (const session of sessions.values()) {
      const last = progress.get(session.clientId)
      if (last !== undefined && last.at > session.at) session.settle(last.progress, retainedOf)
      session.nameSent()
    }
  }

  #applyChanges(ordinal: number): void {
    for (;;) {
      const next = this.#restoration.changes[this.#nextChange]
      if (next === undefined || next.change.position > ordinal) return
      this.#nextChange += 1
      this.#apply(next)
    }
  }

  #apply({ change, at, receivedMs }: PlacedChange): void {
    const { sessions } = this.#restoration
    const { clientId, position } = change
    const session = sessions.get(clientId)
    // Its snapshot is later than the change.
    if (session !== undefined && at < session.at) return
    switch (change.kind) {
      case 'opened': {
        const { expirySeconds } = change
        if (session === undefined) {
          const fresh = { clientId, routed: 0, head: 0, expirySeconds, offline: undefined, lastPacketId: 0, receivedIds: [] }
          sessions.set(clientId, new RestoredSession(-1, fresh))
          return
        }
        session.expirySeconds = expirySeconds
        session.offline = undefined
        return
      }
      case 'detached':
        if (session === undefined) return
        session.expirySeconds = change.expirySeconds
        session.offline = { position, sinceMs: receivedMs }
        return
      case 'ended':
        if (session === undefined) return
        for (const filter of session.subscriptions.keys()) this.#removeSubscriber(session, filter)
        for (const { message } of session.owed) this.#bytes -= message?.payload.length ?? 0
        sessions.delete(clientId)
        return
      case 'subscribed':
        session?.subscriptions.set(change.subscription.filter, change.subscription)
        if (session !== undefined) this.#addSubscriber(session, change.subscription)
        return
      case 'unsubscribed':
        session?.subscriptions.delete(change.filter)
        if (session !== undefined) this.#removeSubscriber(session, change.filter)
        return
      case 'released':
        session?.receivedIds.delete(change.packetId)
        return
      case 'progress':
        return
    }
  }

  #receive({ ordinal, packetId, clientId }: TailRecord): void {
    if (this.#restoration.sessions.size === 0) return
    const session = this.#restoration.sessions.get(utf8(clientId))
    if (session !== undefined && ordinal >= session.head) session.receivedIds.set(packetId, ordinal)
  }

  /** Finds who gets the record, and how; false when nobody does. */
  #match(record: TailRecord): boolean {
    if (this.#index.size === 0) return false
    const matches = this.#matches
    matches.clear()
    const found: Subscriber[] = []
    this.#index.match(utf8(record.topic), found)
    if (found.length === 0) return false
    const publisher = utf8(record.clientId)
    for (const { session, subscription } of found) {
      const { qos, noLocal, retainAsPublished, identifier } = subscription
      if ((noLocal && session.clientId === publisher) || this.#knows(session, record.ordinal)) continue
      let match = matches.get(session)
      if (match === undefined) {
        match = { qos, retainAsPublished, identifiers: [] }
        matches.set(session, match)
      }
      if (qos > match.qos) match.qos = qos
      if (retainAsPublished) match.retainAsPublished = true
      if (identifier !== undefined) match.identifiers.push(identifier)
    }
    return matches.size > 0
  }

  /** True when the message is in the session's snapshot, or was settled since: what is settled at the end is not queued first. */
  #knows({ clientId, routed, at }: RestoredSession, ordinal: number): boolean {
    if (ordinal < routed) return true
    const last = this.#restoration.progress.get(clientId)
    if (last === undefined || last.at < at || ordinal >= last.progress.sentBelow) return false
    return this.#settled.get(clientId)?.has(ordinal) !== true
  }

  #queue(message: Message): void {
    const { queuedMessages, queuedBytes } = this.#options
    for (const [session, match] of this.#matches) {
      const qos = match.qos < message.qos ? match.qos : message.qos
      if (qos === 0) continue
      if (session.owed.length >= queuedMessages || this.#bytes + message.payload.length > queuedBytes) {
        this.dropped += 1
        continue
      }
      this.#bytes += message.payload.length
      session.owed.push({
        ordinal: message.ordinal,
        qos,
        packetId: 0,
        released: false,
        retained: false,
        retain: message.retain && match.retainAsPublished,
        identifiers: match.identifiers,
        message
      })
    }
  }

  #addSubscriber(session: RestoredSession, subscription: Subscription): void {
    this.#removeSubscriber(session, subscription.filter)
    const subscriber = { session, subscription }
    let own = this.#indexed.get(session)
    if (own === undefined) {
      own = new Map()
      this.#indexed.set(session, own)
    }
    own.set(subscription.filter, subscriber)
    this.#index.add(subscription.filter, subscriber)
  }

  #removeSubscriber(session: RestoredSession, filter: string): void {
    const own = this.#indexed.get(session)
    const subscriber = own?.get(filter)
    if (subscriber === undefined) return
    own?.delete(filter)
    this.#index.remove(filter, subscriber)
  }
}
