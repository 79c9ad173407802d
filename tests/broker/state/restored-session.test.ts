import { expect, test } from 'vitest'
import type { OwedMessage } from '../../../broker/state/restored-session.ts'
import { RestoredSession } from '../../../broker/state/restored-session.ts'

/** A session that is owed messages 0 … 3; with a connection, as a crash leaves it, unless it went offline somewhere. */
function sessionOf(lastPacketId: number, offlineAt?: number): RestoredSession {
  const offline = offlineAt === undefined ? undefined : { position: offlineAt, sinceMs: 0 }
  const session = new RestoredSession(0, {
    clientId: 's',
    routed: 4,
    head: 4,
    expirySeconds: 60,
    offline,
    lastPacketId,
    receivedIds: []
  })
  session.owed = [0, 1, 2, 3].map((ordinal): OwedMessage => {
    const message = {
      ordinal,
      topic: 't',
      payload: Buffer.alloc(0),
      qos: 2,
      retain: false,
      clientId: '',
      properties: undefined,
      expiry: undefined
    } as const
    return { ordinal, qos: 2, packetId: 0, released: false, retained: false, retain: false, identifiers: [], message }
  })
  return session
}

const idsOf = (session: RestoredSession): readonly number[] => session.owed.map(({ packetId }) => packetId)

test('what may have been sent before a crash gets packet ids that the client has for nothing else', () => {
  const session = sessionOf(65_530)
  session.settle(
    { sentBelow: 2, lastPacketId: 65_530, sent: [{ ordinal: 1, retained: false, packetId: 65_530, released: false }] },
    () => undefined
  )
  session.nameSent()
  expect(session.owed.map(({ ordinal }) => ordinal)).toEqual([1, 2, 3])
  expect(idsOf(session)).toEqual([65_530, 32_764, 32_765])
  expect(session.lastPacketId).toBe(32_765)
})

test('what came while there was no connection was never sent', () => {
  const session = sessionOf(7, 2)
  session.nameSent()
  expect(idsOf(session)).toEqual([8, 9, 0, 0])
})
