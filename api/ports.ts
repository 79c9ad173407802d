/** What the HTTP API needs of the rest of the service. The entry point wires it; tests give fakes. */
import type { Logger } from 'pino'
import type { Storage } from '../storage/port.ts'
import type { Point } from '../telemetry.ts'
import type { LiveStream } from './live-stream.ts'

/** A publish as a client hands it over by HTTP. */
export interface HttpPublish {
  readonly topic: string
  readonly payload: Uint8Array
}

/** What a message would become, without storing anything. */
export interface MappingResult {
  readonly outcome: 'stored' | 'deadLettered' | 'ignored'
  /** Pattern of the route that took the topic; null when none did. */
  readonly route: string | null
  readonly points: readonly Point[]
  /** Why it would be a dead letter. */
  readonly reason?: string
  readonly detail?: string
}

/** Which dead letters something is about; undefined means all. */
export interface LetterSelection {
  readonly reason?: string
  /** An MQTT topic filter. */
  readonly topic?: string
  /** Received time, inclusive, ns since 1970. */
  readonly fromNs?: bigint
  /** Received time, exclusive, ns since 1970. */
  readonly toNs?: bigint
}

export interface DeadLetterQuery extends LetterSelection {
  /** `next` of the page before. */
  readonly after?: number
  readonly limit: number
  readonly signal: AbortSignal
}

export interface DeadLetter {
  /** Ordinal in the journal of the record that it was. */
  readonly ordinal: number
  /** Received time, ns since 1970. */
  readonly receivedNs: bigint
  readonly clientId: string
  readonly topic: string
  readonly payload: Uint8Array
  readonly reason: string
  readonly detail: string
}

export interface DeadLetterPage {
  readonly items: readonly DeadLetter[]
  /** What `after` has to be for the next page; undefined when there is none. */
  readonly next: number | undefined
  /** Dead letters kept, by reason, whatever the query selects. */
  readonly counts: Readonly<Record<string, number>>
}

/** An end of a range of the journal: an ordinal, or a received time in ns since 1970. */
export type ReplayEnd = { readonly ordinal: number } | { readonly timeNs: bigint }

/** Which kept records are written into the store again; what is left out means all. */
export interface ReplayRange {
  /** Inclusive. */
  readonly from?: ReplayEnd
  /** Exclusive. */
  readonly to?: ReplayEnd
  /** An MQTT topic filter. */
  readonly topic?: string
}

/** What a replay did so far, or in all. Ranges are ordinals. */
export interface ReplayReport {
  readonly from: number
  readonly to: number
  /** Ordinal that is looked at next, and the one at which everything has been. */
  readonly position: number
  readonly end: number
  /** The range that was asked for begins before the oldest record that is kept. */
  readonly beyondKept: boolean
  readonly records: number
  readonly ignored: number
  readonly deadLettered: number
  readonly points: number
  readonly refused: number
  readonly damaged: number
  readonly dropped: number
}

/** What became of the dead letters that were selected and kept when a replay began. */
export interface ReplayResult {
  /** Sent through the pipeline again, durably. */
  readonly replayed: number
  /** Refused for good; they are kept. */
  readonly failed: number
  /** All that are kept: those that failed and those that it did not come to. */
  readonly remaining: number
  /** Why it ended early, or else why the first of those that failed was refused. */
  readonly error: { readonly code: string; readonly message: string } | undefined
}

/** Dead letters: a page of them, and what can be done with them. Both changes end early when the signal aborts. */
export interface DeadLetterPorts {
  list(query: DeadLetterQuery): Promise<DeadLetterPage>
  replay(selection: LetterSelection, signal: AbortSignal): Promise<ReplayResult>
  /** Resolves with how many are gone. */
  purge(selection: LetterSelection, signal: AbortSignal): Promise<number>
}

/** The balance of what was accepted with what became of it (design: the ledger). */
export interface Ledger {
  /** Ordinal at which the totals start. */
  readonly since: number
  readonly accepted: number
  readonly stored: number
  readonly inJournal: number
  readonly deadLettered: number
  readonly ignored: number
  readonly deduplicated: number
  readonly dropped: number
  readonly damaged: number
  /** The newest time that independent counts were held against each other; undefined until the first has ended. */
  readonly check:
    | {
        /** When it began, ms since 1970. */
        readonly atMs: number
        /** It is about the records below this ordinal. */
        readonly head: number
        /** What disagreed; empty when nothing did. */
        readonly faults: readonly {
          readonly count: 'outcomes' | 'journal' | 'deadLetters' | 'points'
          readonly expected: number
          readonly found: number
          readonly message: string
        }[]
      }
    | undefined
  /** What never entered, counted since the edge started. */
  readonly sinceStart: { readonly shed: number; readonly resends: number; readonly refused: number }
}

export interface Readiness {
  readonly ready: boolean
  /** Where devices publish; undefined while the edge starts. */
  readonly mqttPort: number | undefined
  readonly reasons: readonly {
    readonly code: string
    readonly message: string
    /** What the message says, as numbers. */
    readonly counts?: Readonly<Record<string, number>>
  }[]
}

/** Where a backup is to be written, and what the file backup.key there holds. */
export interface BackupTarget {
  /** Absolute path on the machine of Tidegate. */
  readonly folder: string
  readonly key: string
}

/** A backup that was made. */
export interface BackupDone {
  readonly folder: string
  /** ISO 8601. */
  readonly created: string
  /** Ordinal from which on records have no outcome in the database of the backup; null when it has no checkpoint. */
  readonly checkpoint: number | null
  /** Ordinal behind the last record of the backup. */
  readonly head: number | null
  readonly store: 'embedded' | 'influx'
  readonly files: number
  readonly bytes: number
  readonly heldMs: number
  readonly tookMs: number
}

export interface ApiOptions {
  readonly anonymous: 'loopback' | 'any' | 'never'
  /** Host header values accepted besides loopback names: `name` for any port, or `name:port`. */
  readonly hosts: readonly string[]
  /** The built page: index.html and what it loads. */
  readonly dashboardFolder: string
  /** Largest body of a request, bytes. */
  readonly maxBodyBytes: number
  /** How far readings may lie ahead of the clock, ms; a query without `to` ends there. */
  readonly futureMs: number
  /** Sockets at most; further ones are dropped. */
  readonly connections: number
  /** How often a replay says how far it is, ms. Default 1,000. */
  readonly progressMs?: number
  /** Longest time a client may take no byte of an answer before it is cut off, ms. Default 30,000. */
  readonly stallMs?: number
  /** The clock, ms since 1970. Default Date.now. */
  readonly now?: () => number
}

export interface ApiPorts {
  readonly options: ApiOptions
  readonly log: Logger
  /** UUID of the journal, or of its timeline when it was restored, that positions name. */
  readonly journal: string
  /** Undefined until it is open: routes that need it answer 503. */
  storage(): Storage | undefined
  /** Resolves once every record up to and including the ordinal has its outcome; rejects when the signal aborts. */
  waitFor(ordinal: number, signal: AbortSignal): Promise<void>
  /** Resolves with the ordinal once the publish is durable. Rejects with a TidegateError, TG_EDGE_BUSY at the channel's bound. */
  append(publish: HttpPublish): Promise<number>
  testMapping(message: HttpPublish & { readonly clientId: string }): MappingResult
  /**
   * Writes kept records into the store again; resolves when all of the range is there. Rejects with TG_REPLAY_RUNNING while
   * another one runs, TG_PARAMETER_INVALID when the topic is no filter, both before anything is written.
   */
  replay(range: ReplayRange, signal: AbortSignal, onProgress: (report: ReplayReport) => void): Promise<ReplayReport>
  readonly deadLetters: DeadLetterPorts
  /** Writes a backup; rejects with TG_BACKUP_REFUSED, TG_BACKUP_RUNNING or TG_BACKUP_UNWRITABLE. Aborting takes it back. */
  backup(target: BackupTarget, signal: AbortSignal): Promise<BackupDone>
  /** Is the MQTT client connected? */
  isOnline(clientId: string): boolean
  ledger(): Promise<Ledger>
  readiness(): Readiness
  /** Exposition text of both processes. */
  metrics(): Promise<string>
  /** Undefined until the journal is open: routes that need it answer 503. */
  stream(): LiveStream | undefined
}
