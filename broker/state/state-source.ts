import type { Message } from '../routing/message.ts'
import type { Session } from '../routing/session.ts'

/** What there is to keep: the sessions and retained messages of the router, as they are while they are looked at. */
export interface StateSource {
  /** Ordinal of the message that is being routed, or is next; messages below have reached their sessions. Undefined when none is on the way. */
  readonly position: number | undefined
  /** Ordinal of the newest message that was retained, or given to a persistent session; −1 before the first. */
  readonly newestKept: number
  readonly sessions: Iterable<Session> & { get(clientId: string): Session | undefined }
  readonly retained: Iterable<Message>
}
