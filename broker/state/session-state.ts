/**
 * What survives of sessions and retained messages: a log of entries (entry.ts) in a folder of its own, which holds a snapshot
 * and the changes since. It stands at an ordinal of the journal: opening it applies the journal's records from there on.
 *
 * Changes that a client is answered for (its session, its subscriptions, its PUBRELs) are written at once, and answered when
 * they are as durable as a publish. What became of messages sent to it is written every second: what of that is lost is sent
 * again, with DUP.
 *
 * A new snapshot follows when 32 MiB were added to the journal, or the changes have grown larger than the snapshot, or the
 * journal needs the space that is held for it. Where nothing was retained or queued meanwhile, an entry says so instead.
 *
 * A log that takes no entry, because its disk is full or fails, leaves what is connected working; answers wait, those to CONNECT
 * too, as those of publishes do. What it missed is made up by a whole snapshot as soon as it takes entries again.
 */
import type { JournalState } from '../../journal/record.ts'
import { Repeating } from '../../journal/repeating.ts'
import type { KeptSessions, SessionJournal, SessionOrigin } from '../routing/kept-sessions.ts'
import type { ChangedSession, ReplyHost } from '../routing/session-changes.ts'
import type { Subscription } from '../routing/subscription.ts'
import { DurableReplies } from './durable-replies.ts'
import type { ChangeEntry, SessionEntry } from './entry.ts'
import { JournalReplay } from './journal-replay.ts'
import { ProgressWriting } from './progress-writing.ts'
import { restoreInto } from './restore.ts'
import { RestorationReader, type Restoration } from './restoration.ts'
import { writeSnapshot, type WrittenSnapshot } from './snapshot.ts'
import { StateLog, type StateLogOptions, type StateLoss } from './state-log.ts'
import type { StateSource } from './state-source.ts'

export interface SessionStateOptions extends StateLogOptions {
  /** Bounds of what one session, and all of them, are owed. */
  readonly limits: { readonly queuedMessages: number; readonly queuedBytes: number }
  /** Entries of a snapshot that are written in one turn of the event loop; default 256. */
  readonly sliceEntries?: number
}

/** Counters since the start, and the present sizes. */
export interface SessionStateStats {
  /** Bytes of the files. */
  readonly diskBytes: number
  readonly snapshots: number
  /** Records of the journal that a start would have to read again. */
  readonly behind: number
  /** Answers that wait for the disk. */
  readonly waitingReplies: number
  /** Entries that were damaged, missing or not understood at the start, and messages that went with them. */
  readonly lostEntries: number
}

const mebibyte = 1024 * 1024
/** Half of what the journal is to be ahead at most: as much may come while the snapshot is written, or more where the disk is slow. */
const snapshotAfterBytes = 32 * mebibyte
const leastChangeBytes = 8 * mebibyte
const mostChangeBytes = 32 * mebibyte
/** A start does not wait longer for a disk that fails. */
const longestResumeMs = 10_000
/** A bound of `journal.keep` that is passed is worth a snapshot once in this time. */
const unpressedEveryMs = 60_000
/** What a session may be owed beyond its bound while the journal is read: settled messages of the last second. */
const slackMessages = 4096
const slackBytes = 64 * mebibyte

export class SessionState implements KeptSessions, AsyncDisposable {
  readonly #options: SessionStateOptions
  readonly #log: StateLog
  readonly #replies = new DurableReplies()
  readonly #snapshots = new Repeating(async () => await this.#follow())
  /** Since when sessions have no connection. */
  readonly #offline = new Map<string, NonNullable<SessionEntry['offline']>>()
  #source: StateSource | undefined
  #journal: SessionJournal | undefined
  #detach: (() => void) | undefined
  #progress: ProgressWriting | undefined
  /** Where a start would begin to read the journal. */
  #position = 0
  #journalBytes = 0
  #changeBytes = 0
  #snapshotBytes = 0
  #snapshotCount = 0
  #lostEntries = 0
  /** The log has missed a change, which only a whole snapshot makes up for. */
  #stale = false
  /** A QoS 2 publish of a persistent session came since the last snapshot. */
  #received = false
  #unpressedMs = -Infinity

  /** @throws TidegateError TG_DATA_UNWRITABLE when the folder cannot be made, read or written */
  static async open(options: SessionStateOptions): Promise<SessionState> {
    return new SessionState(options, await StateLog.open(options))
  }

  private constructor(options: SessionStateOptions, log: StateLog) {
    this.#options = options
    this.#log = log
    log.onDurable(durable => {
      this.#replies.release(durable)
      const bound = Math.min(mostChangeBytes, Math.max(leastChangeBytes, this.#snapshotBytes))
      if (log.appendedBytes - this.#changeBytes > bound) this.#snapshots.run()
    })
    log.onState(state => {
      if (state === 'accepting' && this.#stale) this.#snapshots.run()
    })
  }

  /** Whether changes are taken. */
  get state(): JournalState {
    return this.#log.state
  }

  get replyingSoon(): number {
    return this.#stale || this.#log.state !== 'accepting' ? 0 : this.#replies.size
  }

  onState(listener: (state: JournalState) => void): void {
    this.#log.onState(listener)
  }

  get stats(): SessionStateStats {
    return {
      diskBytes: this.#log.diskBytes,
      snapshots: this.#snapshotCount,
      behind: this.#journal === undefined ? 0 : this.#journal.head - this.#position,
      waitingReplies: this.#replies.size,
      lostEntries: this.#lostEntries
    }
  }

  /** A journal that cannot be read costs what only it has; the edge serves all the same. */
  async recall(origin: SessionOrigin): Promise<void> {
    const { log, clock, monotonic } = this.#options
    const { router, journal } = origin
    const startMs = monotonic()
    const { restoration, rebased } = await this.#restore(origin)
    this.#position = restoration.position
    journal.hold(this.#position)
    const counts = restoreInto(router, restoration, clock())
    for (const { clientId, offline } of restoration.sessions.values())
      this.#offline.set(clientId, offline ?? { position: journal.head, sinceMs: clock() })
    if (counts.refusedSessions > 0) log.warn(counts, 'there are more sessions than limits.sessions: some do not come back')
    log.info(
      { ...counts, retained: router.retained.size, tookMs: Math.round(monotonic() - startMs) },
      'sessions and retained messages are back'
    )
    if (rebased) await this.#resume(journal)
    this.#begin(router, journal)
  }

  /** The journal could go on, or remove what `keep` does not want, but for what is held for the next start. */
  press(pressed: boolean): void {
    const now = this.#options.monotonic()
    if (!pressed && now - this.#unpressedMs < unpressedEveryMs) return
    this.#unpressedMs = now
    this.#snapshots.run()
  }

  opened({ clientId, expirySeconds }: ChangedSession): void {
    this.#offline.delete(clientId)
    this.#append({ kind: 'opened', clientId, position: this.#head, expirySeconds })
  }

  detached({ clientId, expirySeconds }: ChangedSession): void {
    this.#offline.set(clientId, { position: this.#head, sinceMs: this.#options.clock() })
    this.#append({ kind: 'detached', clientId, position: this.#head, expirySeconds })
  }

  ended(clientId: string): void {
    this.#offline.delete(clientId)
    this.#progress?.delete(clientId)
    this.#append({ kind: 'ended', clientId, position: this.#head })
  }

  subscribed(clientId: string, subscription: Subscription): void {
    this.#append({ kind: 'subscribed', clientId, position: this.#head, subscription })
  }

  unsubscribed(clientId: string, filter: string): void {
    this.#append({ kind: 'unsubscribed', clientId, position: this.#head, filter })
  }

  sent(clientId: string): void {
    this.#progress?.add(clientId)
  }

  releasing(clientId: string): void {
    this.#progress?.add(clientId)
  }

  settled(clientId: string): void {
    this.#progress?.add(clientId)
  }

  received(): void {
    this.#received = true
  }

  released(clientId: string, packetId: number): void {
    this.#append({ kind: 'released', clientId, position: this.#head, packetId })
  }

  whenDurable(reply: () => void, host?: ReplyHost): void {
    const { head, durable } = this.#log
    if (this.#source === undefined || (this.#replies.size === 0 && !this.#stale && durable >= head)) reply()
    else this.#replies.add(this.#stale ? Infinity : head, reply, host)
  }

  /** Writes what is not written, with one last attempt when the disk fails. Idempotent. */
  async close(): Promise<void> {
    this.#detach?.()
    await this.#progress?.stop()
    await this.#log.close()
    await this.#snapshots.stop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  get #head(): number {
    return this.#journal?.head ?? 0
  }

  /** Before the journal gives an ordinal again, it is written that what is said of it counts no more. */
  async #resume({ uuid, head }: SessionJournal): Promise<void> {
    const { log } = this.#options
    const written = this.#log.append({ kind: 'resumed', journal: uuid, position: head }) !== undefined && this.#log.written()
    const late = new Promise<false>(resolve => {
      setTimeout(() => resolve(false), longestResumeMs).unref()
    })
    const inTime = await Promise.race([written, late])
    if (!inTime) log.error({ code: 'TG_JOURNAL_FAILING' }, 'sessions cannot be written: another crash may cost what is queued from now on')
  }

  async #restore({ journal, messageOf, visit }: SessionOrigin): Promise<{ readonly restoration: Restoration; readonly rebased: boolean }> {
    const { log, limits, clock, monotonic } = this.#options
    const restoration = await this.#read()
    const rebased = restoration.rebase(journal.uuid, journal.head)
    if (rebased) log.warn({ journal: journal.uuid, head: journal.head }, 'sessions were ahead of the journal, or are of another one')
    const queuedMessages = limits.queuedMessages + slackMessages
    const queuedBytes = limits.queuedBytes + slackBytes
    const wallOffsetMs = clock() - monotonic()
    const replay = new JournalReplay(restoration, {
      queuedMessages,
      queuedBytes,
      messageOf: record => messageOf(record, record.ordinal, () => record.receivedMs - wallOffsetMs)
    })
    try {
      // Without a snapshot the newest 64 MiB say which messages are retained.
      await journal.readTail(restoration.begin === undefined ? Infinity : restoration.position, record => {
        visit(record)
        replay.take(record)
      })
    } catch (error) {
      log.warn(
        { code: 'TG_JOURNAL_FAILING', err: error },
        'the newest records cannot be read: what is sent again is stored twice, and what they say of sessions is lost'
      )
    }
    replay.finish()
    return { restoration, rebased }
  }

  async #read(): Promise<Restoration> {
    const loss: StateLoss = { damagedEntries: 0, unknownEntries: 0 }
    const reader = new RestorationReader()
    try {
      for await (const entry of this.#log.read(loss)) reader.take(entry)
    } catch (error) {
      this.#options.log.error({ code: 'TG_JOURNAL_FAILING', err: error }, 'sessions and retained messages cannot be read to their end')
    }
    const { restoration } = reader
    const { lostMessages, sessions, retained } = restoration
    this.#lostEntries = loss.damagedEntries + loss.unknownEntries + lostMessages
    if (this.#lostEntries > 0) {
      this.#options.log.warn(
        { code: 'TG_JOURNAL_DAMAGED', ...loss, lostMessages, sessions: sessions.size, retained: retained.size },
        'a part of the sessions and retained messages is damaged; the rest is used'
      )
    }
    return restoration
  }

  #begin(source: StateSource, journal: SessionJournal): void {
    this.#source = source
    this.#journal = journal
    this.#journalBytes = journal.appendedBytes
    this.#detach = journal.onDurable(() => {
      if (journal.appendedBytes - this.#journalBytes > snapshotAfterBytes) this.#snapshots.run()
    })
    this.#progress = new ProgressWriting({ log: this.#log, source, head: () => journal.head })
    this.#snapshots.run()
  }

  #append(change: ChangeEntry): void {
    // What it missed makes up for what it misses until then: so nothing keeps the snapshot from the disk.
    if (this.#source === undefined || this.#stale || this.#log.appendChange(change) !== undefined) return
    this.#stale = true
    this.#snapshots.run()
  }

  /** Lets the log follow the journal: by a snapshot or, where it would be the same as the last, by saying so. */
  async #follow(): Promise<void> {
    const source = this.#source
    const journal = this.#journal
    if (source === undefined || journal === undefined || this.#log.state !== 'accepting') return
    const changed = this.#log.appendedBytes - this.#changeBytes > leastChangeBytes
    const bytes = journal.appendedBytes
    if (this.#snapshotCount > 0 && !this.#stale && !changed && !this.#received && source.newestKept < this.#position) {
      const position = source.position ?? journal.head
      if (position === this.#position || this.#log.append({ kind: 'stands', position }) === undefined) return
      if (await this.#log.written()) this.#stand(journal, position, bytes)
      return
    }
    const repliesBefore = this.#replies.next
    const logBytes = this.#log.appendedBytes
    this.#stale = this.#received = false
    const snapshot = await this.#takeSnapshot(source, journal)
    if (snapshot === undefined) {
      this.#stale = this.#received = true
      // It accepts again by now: that was told before there was anything to make up for.
      if (this.#log.state === 'accepting') this.#snapshots.run()
      return
    }
    // A change that the log refused meanwhile may be in it or not: nobody was answered for it, and the next one has it.
    this.#replies.settle(repliesBefore, snapshot.end)
    if (!(await this.#log.written())) return
    this.#replies.release(this.#log.durable)
    this.#snapshotCount += 1
    this.#changeBytes = this.#log.appendedBytes
    this.#snapshotBytes = this.#changeBytes - logBytes
    this.#log.forgetBelow(snapshot.begin)
    this.#stand(journal, snapshot.position, bytes)
  }

  #stand(journal: SessionJournal, position: number, bytes: number): void {
    this.#position = position
    this.#journalBytes = bytes
    journal.hold(position)
  }

  async #takeSnapshot(source: StateSource, journal: SessionJournal): Promise<WrittenSnapshot | undefined> {
    const { sliceEntries } = this.#options
    const offlineOf = (clientId: string): SessionEntry['offline'] => this.#offline.get(clientId)
    return await writeSnapshot({ log: this.#log, source, journal, offlineOf, sliceEntries })
  }
}
