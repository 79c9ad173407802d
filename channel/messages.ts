/**
 * The channel between the edge and its child, the service: every message there is, in both directions. Byte payloads
 * travel as Uint8Array (the fork uses advanced serialization). What repeats is conflated and what asks is counted, so
 * that the channel never holds more than a bounded number of messages and bytes (see Outbox).
 */
import type { Config } from '../config.ts'
import type { ErrorCode } from '../errors.ts'
import type { JournalState } from '../journal/record.ts'

/** How the edge is, for readiness and the ledger. */
export interface EdgeState {
  readonly journal: JournalState
  /** The log of sessions and retained messages. */
  readonly sessions: JournalState
  readonly mqttPort: number
  readonly stopping: boolean
  /** What opening the journal found. */
  readonly damage: JournalDamage
}

/** What could not be read of a journal when it was opened: records and bytes of its newest part, and files in quarantine. */
export interface JournalDamage {
  readonly records: number
  readonly bytes: number
  readonly quarantinedFiles: number
}

/** What the edge has counted since its start, for the ledger and /metrics. */
export interface EdgeCounts {
  readonly metrics: string
  readonly head: number
  readonly shed: number
  readonly resends: number
  readonly refused: number
}

/** A publish that did not come by MQTT: equals a QoS 1 publish by that client, not retained. */
export interface ForwardedPublish {
  readonly clientId: string
  readonly topic: string
  readonly payload: Uint8Array
  readonly user?: string
  /** For a replay: the received time to keep. */
  readonly received?: { readonly ms: number; readonly subNs: number }
  /** For a replay: subscribers do not get it, since they had it when it came first. */
  readonly unrouted?: boolean
}

export type ToService =
  /** The first message: the service binds HTTP and answers `listening` or `failed`. */
  | { readonly type: 'start'; readonly config: Config; readonly httpPort: number }
  /** The journal is open: the service opens store and pipeline. */
  | {
      readonly type: 'journal'
      readonly uuid: string
      readonly timeline: string
      readonly oldest: number
      readonly durable: number
      readonly checkpointAtMost: number
    }
  | { readonly type: 'durable'; readonly durable: number }
  | { readonly type: 'edge'; readonly state: EdgeState }
  /** Client ids that came or went; with `all` they replace the whole list. */
  | { readonly type: 'connections'; readonly all: boolean; readonly connected: readonly string[]; readonly disconnected: readonly string[] }
  | { readonly type: 'appended'; readonly request: number; readonly ordinal: number }
  | { readonly type: 'appendRefused'; readonly request: number; readonly code: ErrorCode; readonly message: string }
  | { readonly type: 'counts'; readonly request: number; readonly counts: EdgeCounts }
  | { readonly type: 'pinned'; readonly request: number; readonly readable: number }
  | { readonly type: 'pinRefused'; readonly request: number; readonly code: ErrorCode; readonly message: string }
  /** Finish what can be finished by then, close everything, answer `drained` and exit. */
  | { readonly type: 'drain'; readonly deadlineMs: number }
  /** Whether the service's event loop turns: it answers `pong`. */
  | { readonly type: 'ping' }

export type ToEdge =
  | { readonly type: 'listening'; readonly port: number }
  /** The service cannot start at all: the edge says so and exits 1. */
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string }
  /** Records at or above `keepFrom` may be read again although they are below the position. */
  | { readonly type: 'checkpoint'; readonly position: number; readonly keepFrom: number }
  | { readonly type: 'append'; readonly request: number; readonly publish: ForwardedPublish }
  | { readonly type: 'count'; readonly request: number }
  /** Keep every record from the ordinal on, until `unpin` with the same request, or the service ends. */
  | { readonly type: 'pin'; readonly request: number; readonly from: number }
  | { readonly type: 'unpin'; readonly request: number }
  | { readonly type: 'drained' }
  | { readonly type: 'pong' }
