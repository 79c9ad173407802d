import type { Readiness } from './api/ports.ts'
import type { EdgeState } from './channel/messages.ts'
import { damageReasons } from './damage-reasons.ts'
import type { ErrorCode, TidegateError } from './errors.ts'
import type { Readings } from './readings.ts'

/** What the service knows of the edge, and of its own readings. */
export interface ReadinessFacts {
  /** Undefined until the edge has said how it is. */
  readonly edge: EdgeState | undefined
  /** Undefined until they are open. */
  readonly readings: Readings | undefined
  /** Why they could not be opened the last time. */
  readonly refusal: TidegateError | undefined
}

/** Whether publishes can be acknowledged, and all that is not as it should be; only the edge's reasons stand in their way. */
export function readinessOf({ edge, readings, refusal }: ReadinessFacts): Readiness {
  const reasons: (Readiness['reasons'][number] & { readonly code: ErrorCode })[] = []
  if (edge === undefined) reasons.push({ code: 'TG_STARTING', message: 'the edge is starting' })
  if (edge?.stopping === true) reasons.push({ code: 'TG_STOPPING', message: 'Tidegate is stopping' })
  if (edge?.journal === 'full')
    reasons.push({ code: 'TG_JOURNAL_FULL', message: 'the journal or its disk is full: publishes of QoS 1 and 2 wait' })
  if (edge?.journal === 'failing')
    reasons.push({ code: 'TG_JOURNAL_FAILING', message: 'the journal cannot be written: publishes of QoS 1 and 2 wait' })
  const ready = reasons.length === 0 && (edge?.journal === 'accepting' || edge?.journal === 'behind')
  if (edge?.journal === 'behind')
    reasons.push({
      code: 'TG_JOURNAL_BEHIND',
      message: 'the disk of the journal is behind: publishers are not read until it has caught up'
    })
  if (edge?.sessions === 'full')
    reasons.push({ code: 'TG_JOURNAL_FULL', message: 'the disk is full for sessions: answers to CONNECT, SUBSCRIBE and PUBREL wait' })
  if (edge?.sessions === 'failing')
    reasons.push({ code: 'TG_JOURNAL_FAILING', message: 'sessions cannot be written: answers to CONNECT, SUBSCRIBE and PUBREL wait' })
  if (readings === undefined) {
    const { code, message } = refusal ?? { code: 'TG_STORE_UNAVAILABLE', message: 'the store is being opened' }
    reasons.push({ code, message })
  }
  const outage = readings?.storage.outage
  if (outage !== undefined) reasons.push({ code: 'TG_STORE_UNAVAILABLE', message: outage })
  reasons.push(...damageReasons(edge?.damage, readings?.damage))
  for (const { message } of readings?.ledger.newest?.faults ?? [])
    reasons.push({ code: 'TG_LEDGER_UNBALANCED', message: `the ledger does not balance: ${message}` })
  return { ready, mqttPort: edge?.mqttPort, reasons }
}
