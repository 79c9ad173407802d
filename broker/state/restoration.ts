/**
 * What the log says, put together: the last snapshot that is whole, and the changes behind its beginning, which are applied
 * in the order of the journal's ordinals while its records are read again (`JournalReplay`).
 *
 * A snapshot is written while things change. Each session's entries stand for the moment at which they were written: what
 * the log says of it before is part of them. A retained message yields to one of a greater ordinal.
 *
 * Where no snapshot is whole, because it is damaged or was never written, everything that can be read counts.
 */
import type { Message } from '../routing/message.ts'
import type { BeginEntry, ChangeEntry, DeliveryProgress, QueuedDelivery, SnapshotEntry } from './entry.ts'
import { stateVersion } from './entry.ts'
import type { ReadEntry } from './state-log.ts'
import { RestoredSession } from './restored-session.ts'

/** A change in its place. */
export interface PlacedChange {
  readonly at: number
  readonly receivedMs: number
  readonly change: ChangeEntry
}

/** What is restored. */
export class Restoration {
  /** Undefined when no snapshot is whole. */
  readonly begin: BeginEntry | undefined
  /** Place of the snapshot, −1 without one. */
  readonly at: number
  readonly sessions = new Map<string, RestoredSession>()
  readonly retained = new Map<string, Message>()
  readonly changes: PlacedChange[] = []
  /** The last word on the messages of each session. */
  readonly progress = new Map<string, { readonly at: number; readonly progress: DeliveryProgress }>()
  /** Records of the journal below say nothing new. */
  position: number
  /** Messages of a session whose content is missing. */
  lostMessages = 0
  readonly #messages = new Map<number, Message>()
  /** UUID of the journal that ordinals count in; undefined when nothing says it. */
  #journal: string | undefined

  constructor(begin: BeginEntry | undefined, at: number) {
    this.begin = begin
    this.#journal = begin?.journal
    this.at = at
    this.position = begin?.position ?? 0
  }

  /** Takes an entry of the snapshot. */
  addPart(entry: Exclude<SnapshotEntry, { readonly kind: 'begin' | 'end' }>, at: number): void {
    switch (entry.kind) {
      case 'session':
        this.sessions.set(entry.clientId, new RestoredSession(at, entry))
        break
      case 'subscriptions': {
        const session = this.sessions.get(entry.clientId)
        for (const subscription of entry.subscriptions) session?.subscriptions.set(subscription.filter, subscription)
        break
      }
      case 'message':
        this.#messages.set(entry.message.ordinal, entry.message)
        break
      case 'queued':
        for (const delivery of entry.deliveries) this.#queue(entry.clientId, delivery)
        break
      case 'retained':
        this.retain(entry.message)
    }
  }

  addChange(change: ChangeEntry, at: number, receivedMs: number): void {
    if (change.kind === 'progress') {
      this.progress.set(change.clientId, { at, progress: change.progress })
      return
    }
    if (change.kind === 'ended') this.progress.delete(change.clientId)
    this.changes.push({ at, receivedMs, change })
  }

  /** Keeps a retained message unless there is a later one. */
  retain(message: Message): void {
    if ((this.retained.get(message.topic)?.ordinal ?? -1) <= message.ordinal) this.retained.set(message.topic, message)
  }

  /**
   * The journal has this UUID and head. One that lost its end, which nobody was answered for, gives those ordinals to other
   * records: nothing may speak of them. Of another journal no ordinal counts: sessions, subscriptions and retained messages
   * stay, what was owed goes. Returns true when anything changed.
   */
  rebase(journal: string, head: number): boolean {
    const own = this.#journal === undefined || this.#journal === journal
    this.#journal = journal
    // What lies below is known; for another journal nothing is, and nothing of it is applied.
    const known = own ? head : 0
    let changed = !own || this.position > head
    this.position = own ? Math.min(this.position, head) : head
    for (const session of this.sessions.values()) {
      changed = session.forgetFrom(known) || changed
      if (!own) session.routed = session.head = head
    }
    for (const [topic, message] of this.retained) {
      if (message.ordinal < known) continue
      changed = true
      this.retained.set(topic, { ...message, ordinal: Math.max(0, known - 1) })
    }
    for (const [index, { change, ...place }] of this.changes.entries()) {
      if (change.position <= known) continue
      changed = true
      this.changes[index] = { ...place, change: { ...change, position: known } }
    }
    for (const [clientId, { at, progress }] of this.progress) {
      if (progress.sentBelow <= known) continue
      changed = true
      const sent = progress.sent.filter(({ ordinal }) => ordinal < known)
      this.progress.set(clientId, { at, progress: { ...progress, sent, sentBelow: known } })
    }
    return changed
  }

  #queue(clientId: string, delivery: QueuedDelivery): void {
    const message = this.#messages.get(delivery.ordinal)
    if (message === undefined && !delivery.released) this.lostMessages += 1
    else this.sessions.get(clientId)?.owed.push({ ...delivery, message: delivery.released ? undefined : message })
  }
}

/** Puts together what is read, entry by entry. */
export class RestorationReader {
  #current = new Restoration(undefined, -1)
  #unfinished: Restoration | undefined
  /** Snapshots of a later version were passed over. */
  laterVersion = false

  /** What counts, when everything was taken. */
  get restoration(): Restoration {
    return this.#current
  }

  take({ entry, at, receivedMs }: ReadEntry): void {
    switch (entry.kind) {
      case 'begin':
        this.#unfinished = entry.version === stateVersion ? new Restoration(entry, at) : undefined
        this.laterVersion ||= entry.version > stateVersion
        break
      case 'end':
        if (this.#unfinished?.at === entry.begin) this.#current = this.#unfinished
        this.#unfinished = undefined
        break
      case 'resumed':
        // The process that wrote it is gone.
        this.#unfinished = undefined
        this.#current.rebase(entry.journal, entry.position)
        break
      case 'stands':
        for (const restoration of this.#all) restoration.position = Math.max(restoration.position, entry.position)
        break
      case 'session':
      case 'subscriptions':
      case 'message':
      case 'queued':
      case 'retained':
        this.#unfinished?.addPart(entry, at)
        // Half of a snapshot changes nothing of a whole one.
        if (this.#current.begin === undefined) this.#current.addPart(entry, at)
        break
      default:
        for (const restoration of this.#all) restoration.addChange(entry, at, receivedMs)
    }
  }

  get #all(): readonly Restoration[] {
    return this.#unfinished === undefined ? [this.#current] : [this.#current, this.#unfinished]
  }
}
