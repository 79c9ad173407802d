import type { ListedDelivery } from '../routing/delivery.ts'
import type { Router } from '../routing/router.ts'
import { neverExpires } from '../packets/connect-properties.ts'
import type { Restoration } from './restoration.ts'
import type { OwedMessage, RestoredSession } from './restored-session.ts'

/** What found no room in the router, because its limits became lower. */
export interface RestoreCounts {
  sessions: number
  expiredSessions: number
  refusedSessions: number
}

/** Puts what was restored into a router that has no connections yet; sessions that expired meanwhile do not come back. */
export function restoreInto(router: Router, restoration: Restoration, nowMs: number): RestoreCounts {
  const counts: RestoreCounts = { sessions: 0, expiredSessions: 0, refusedSessions: 0 }
  for (const message of restoration.retained.values()) router.restoreRetained(message)
  for (const session of restoration.sessions.values()) {
    const leftMs = leftOf(session, nowMs)
    if (leftMs <= 0) counts.expiredSessions += 1
    else if (restoreSession(router, session, leftMs)) counts.sessions += 1
    else counts.refusedSessions += 1
  }
  return counts
}

function restoreSession(router: Router, restored: RestoredSession, leftMs: number): boolean {
  const { clientId, expirySeconds, subscriptions, owed, receivedIds, lastPacketId } = restored
  return router.sessions.restore({ clientId, expirySeconds, leftMs }, session => {
    for (const subscription of subscriptions.values()) router.restoreSubscription(session, subscription)
    for (const [packetId, ordinal] of receivedIds) session.restoreReceived(packetId, ordinal)
    session.deliveries.restore(owed.map(listedOf), lastPacketId)
  })
}

/** The clock may have been set while nobody looked: no session gets longer than it has. */
function leftOf({ expirySeconds, offline }: RestoredSession, nowMs: number): number {
  if (expirySeconds === neverExpires || offline === undefined) return expirySeconds * 1000
  return Math.min(expirySeconds * 1000, offline.sinceMs + expirySeconds * 1000 - nowMs)
}

function listedOf({ ordinal, qos, packetId, released, retained, retain, identifiers, message }: OwedMessage): ListedDelivery {
  const delivery = message === undefined ? undefined : { message, qos, retain, retained, identifiers }
  return { packetId, released, kept: { ordinal, qos, retained }, delivery }
}
