/**
 * The channel between the edge and its child, the service: every message there is, in both directions. Messages are
 * bounded in number and bytes; payloads travel as Uint8Array (the fork uses advanced serialization).
 */
import type { Config } from './config.ts'
import type { JournalState } from './journal/record.ts'

/** First message to a new service: all that it needs to start. */
export interface StartMessage {
  readonly type: 'start'
  readonly config: Config
  readonly journal: { readonly uuid: string; readonly oldest: number; readonly durable: number }
  /** Port that the service before it had, so that a new one takes the same. */
  readonly httpPort: number
}

export type ToService =
  | StartMessage
  | { readonly type: 'durable'; readonly durable: number }
  /** State of the edge, sent when it changes. */
  | {
      readonly type: 'edge'
      readonly journal: JournalState
      readonly mqttPort: number
      readonly stopping: boolean
      readonly reason: string | undefined
    }
  /** Client ids that came or went; `all` replaces the whole list. */
  | { readonly type: 'connections'; readonly all: boolean; readonly connected: readonly string[]; readonly disconnected: readonly string[] }
  | { readonly type: 'appended'; readonly request: number; readonly ordinal: number }
  | { readonly type: 'refused'; readonly request: number; readonly code: string; readonly message: string }
  | {
      readonly type: 'counts'
      readonly request: number
      readonly metrics: string
      readonly shed: number
      readonly resends: number
      readonly refused: number
      readonly head: number
    }
  | { readonly type: 'drain'; readonly deadlineMs: number }

export type ToEdge =
  | { readonly type: 'listening'; readonly port: number }
  /** The service cannot start at all: the edge prints it and exits 1. */
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
  /** Store and pipeline are open. */
  | { readonly type: 'ready' }
  | { readonly type: 'checkpoint'; readonly position: number }
  /** A publish that came by HTTP. */
  | {
      readonly type: 'append'
      readonly request: number
      readonly clientId: string
      readonly topic: string
      readonly payload: Uint8Array
      readonly received?: { readonly ms: number; readonly subNs: number }
      readonly user?: string
    }
  /** Asks for the edge's metrics and counters. */
  | { readonly type: 'count'; readonly request: number }
  | { readonly type: 'drained' }
