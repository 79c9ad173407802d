import { malformed, protocolError, reasonCodes } from './packets/reason-codes.ts'
import type { ReasonCode } from './packets/reason-codes.ts'

/** Why a connection ends: in words for operators, and the reason code for a client of MQTT 5 that can still be told. */
export interface Ending {
  readonly fault: string
  /** Undefined when there is nobody to tell, or nothing to be told. */
  readonly code: ReasonCode | undefined
}

/** An ending that the client knows of: it closed, or its network did. */
export function silent(fault: string): Ending {
  return { fault, code: undefined }
}

/** The ends of connections that no packet's own fault explains. */
export const endings = {
  noConnect: { fault: 'no CONNECT within 5 s', code: reasonCodes.protocolError },
  notConnect: protocolError('first packet is not CONNECT'),
  secondConnect: protocolError('second CONNECT'),
  header: malformed('packet header is malformed'),
  tooLarge: { fault: 'packet is too large', code: reasonCodes.packetTooLarge },
  maximumPacketSize: { fault: 'maximum packet size is too small for what the client asked for', code: reasonCodes.packetTooLarge },
  pingBody: malformed('PINGREQ has a body'),
  disconnectBody: malformed('DISCONNECT has a body'),
  auth: protocolError('AUTH without an authentication method'),
  authentication: { fault: 'authentication methods are not supported', code: reasonCodes.badAuthenticationMethod },
  sessionExpiry: protocolError('DISCONNECT gives a session that ends with its connection an expiry'),
  tooManySessions: { fault: 'too many persistent sessions', code: reasonCodes.quotaExceeded },
  tooManyReceivedIds: { fault: 'too many QoS 2 publishes without PUBREL', code: reasonCodes.receiveMaximumExceeded },
  receiveMaximum: { fault: 'more publishes at once than the receive maximum', code: reasonCodes.receiveMaximumExceeded },
  topicAlias: { fault: 'topic alias is above the topic alias maximum', code: reasonCodes.topicAliasInvalid },
  unknownAlias: protocolError('topic alias without a topic'),
  tooManyAliases: { fault: 'too many bytes of topic aliases are held', code: reasonCodes.quotaExceeded },
  unfinished: {
    fault: 'its packet was unfinished longest when too many bytes of unfinished packets were held',
    code: reasonCodes.quotaExceeded
  },
  unread: {
    fault: 'it has read nothing for longest when too many bytes waited for clients to read them',
    code: reasonCodes.quotaExceeded
  },
  notRead: { fault: 'subscriber does not read or does not acknowledge', code: reasonCodes.quotaExceeded },
  keepAlive: { fault: 'keep alive expired', code: reasonCodes.keepAliveTimeout },
  takenOver: { fault: 'taken over by a new connection', code: reasonCodes.sessionTakenOver },
  serverStops: { fault: 'server stops', code: reasonCodes.serverShuttingDown },
  closedByClient: silent('client closed the socket'),
  socketClosed: silent('socket closed'),
  disconnected: silent('client disconnected')
} as const
