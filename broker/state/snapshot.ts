import type { ListedDelivery } from '../routing/delivery.ts'
import type { Session } from '../routing/session.ts'
import type { QueuedDelivery, SessionEntry, StateEntry } from './entry.ts'
import { stateVersion } from './entry.ts'
import type { StateLog } from './state-log.ts'
import type { StateSource } from './state-source.ts'

export interface SnapshotOptions {
  readonly log: StateLog
  readonly source: StateSource
  /** UUID of the journal, and the ordinal of its next record. */
  readonly journal: { readonly uuid: string; readonly head: number }
  /** Since when a session has no connection. */
  readonly offlineOf: (clientId: string) => SessionEntry['offline']
  /** Entries of a slice, after which the event loop has its turn; default 256, and 64 KiB at most. */
  readonly sliceEntries?: number | undefined
}

/** A snapshot that is written, though perhaps not yet durable. */
export interface WrittenSnapshot {
  /** Places in the log of its first entry and behind its last one. */
  readonly begin: number
  readonly end: number
  /** Records of the journal below are in it. */
  readonly position: number
}

const sliceBytes = 64 * 1024
const defaultSliceEntries = 256
const listLength = 100

/** Writes a snapshot, slice by slice, while everything goes on. Undefined when the log does not take one of its entries. */
export async function writeSnapshot(options: SnapshotOptions): Promise<WrittenSnapshot | undefined> {
  const { source, journal } = options
  const writing = new SnapshotWriting(options)
  const position = source.position ?? journal.head
  const begin = writing.append({ kind: 'begin', version: stateVersion, journal: journal.uuid, position })
  if (begin === undefined) return undefined
  for (const session of source.sessions) {
    if (session.persistent && !(await writing.addSession(session))) return undefined
  }
  for (const message of source.retained) {
    if (writing.append({ kind: 'retained', message }, message.payload.length) === undefined) return undefined
    if (!(await writing.rest())) return undefined
  }
  const end = writing.append({ kind: 'end', begin })
  return end === undefined ? undefined : { begin, end: end + 1, position }
}

class SnapshotWriting {
  readonly #options: SnapshotOptions
  /** Messages that are in it. */
  readonly #messages = new Set<number>()
  #sliceBytes = 0
  #sliceEntries = 0

  constructor(options: SnapshotOptions) {
    this.#options = options
  }

  append(entry: StateEntry, bytes = 0): number | undefined {
    this.#sliceBytes += bytes
    this.#sliceEntries += 1
    return this.#options.log.append(entry)
  }

  /** Lets the event loop have its turn when it is due; false when the log was closed. */
  async rest(): Promise<boolean> {
    if (this.#sliceBytes < sliceBytes && this.#sliceEntries < (this.#options.sliceEntries ?? defaultSliceEntries)) return true
    this.#sliceBytes = 0
    this.#sliceEntries = 0
    return await this.#options.log.room()
  }

  /** The session, its subscriptions and what it is owed are of one moment, although what it is owed is written later. */
  async addSession(session: Session): Promise<boolean> {
    const { source, journal } = this.#options
    const { clientId } = session
    const routed = source.position ?? journal.head
    const owed = listOwed(session, routed)
    if (this.append(this.#entryOf(session, routed)) === undefined) return false
    const subscriptions = [...session.subscriptions.values()].map(({ subscription }) => subscription)
    for (let at = 0; at < subscriptions.length; at += listLength) {
      if (this.append({ kind: 'subscriptions', clientId, subscriptions: subscriptions.slice(at, at + listLength) }) === undefined)
        return false
    }
    for (let at = 0; at < owed.length; at += listLength) {
      const some = owed.slice(at, at + listLength)
      for (const { delivery } of some) if (!(await this.#addMessage(delivery))) return false
      if (this.append({ kind: 'queued', clientId, deliveries: some.map(queuedOf) }) === undefined) return false
    }
    return await this.rest()
  }

  #entryOf(session: Session, routed: number): SessionEntry {
    const { journal, offlineOf } = this.#options
    const { clientId, expirySeconds, connection, deliveries, receivedIds } = session
    return {
      kind: 'session',
      clientId,
      routed,
      head: journal.head,
      expirySeconds,
      offline: connection === undefined ? offlineOf(clientId) : undefined,
      lastPacketId: deliveries.lastPacketId,
      receivedIds: [...receivedIds]
    }
  }

  async #addMessage(delivery: ListedDelivery['delivery']): Promise<boolean> {
    if (delivery === undefined || this.#messages.has(delivery.message.ordinal)) return true
    const { message } = delivery
    this.#messages.add(message.ordinal)
    return this.append({ kind: 'message', message }, message.payload.length) !== undefined && (await this.rest())
  }
}

/** What the session is owed of messages below the ordinal; what nothing is kept of is not. */
function listOwed(session: Session, routed: number): readonly ListedDelivery[] {
  const owed: ListedDelivery[] = []
  for (const listed of session.deliveries) {
    const { kept, released, delivery } = listed
    if ((kept.ordinal < routed || kept.retained) && (released || delivery !== undefined)) owed.push(listed)
  }
  return owed
}

function queuedOf({ packetId, released, kept, delivery }: ListedDelivery): QueuedDelivery {
  const { ordinal, qos, retained } = kept
  return { ordinal, qos, packetId, released, retained, retain: delivery?.retain ?? false, identifiers: delivery?.identifiers ?? [] }
}
