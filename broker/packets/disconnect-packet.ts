import { encodePacket } from './encoding.ts'
import { carriers, encodeProperties, encodeProperty, idOf, PropertyReader } from './properties.ts'
import { clientMaySend, protocolError, malformed } from './reason-codes.ts'
import type { Fault } from './reason-codes.ts'

/** A client's DISCONNECT of MQTT 5 (§3.14). */
export interface DisconnectPacket {
  readonly code: number
  /** Undefined leaves what CONNECT said. */
  readonly sessionExpirySeconds: number | undefined
}

const sessionExpiryInterval = idOf('sessionExpiryInterval')
const reader = new PropertyReader()

/** Reads a DISCONNECT of MQTT 5; without a reason code it is a normal one. */
export function decodeDisconnect(buffer: Buffer, start: number, end: number): DisconnectPacket | Fault {
  if (start === end) return { code: 0, sessionExpirySeconds: undefined }
  const code = buffer[start] ?? 0
  if (!clientMaySend(14, code)) return protocolError(`DISCONNECT has the reason code ${code}`)
  let sessionExpirySeconds: number | undefined
  if (end - start > 1 && reader.open(buffer, start + 1, end, carriers.disconnect)) {
    while (reader.next()) if (reader.id === sessionExpiryInterval) sessionExpirySeconds = reader.number
  } else if (end - start === 1) return { code, sessionExpirySeconds }
  if (reader.fault !== undefined) return reader.fault
  return reader.bodyEnd === end ? { code, sessionExpirySeconds } : malformed('DISCONNECT has bytes behind its end')
}

/** The server's DISCONNECT; the words are left out when the client does not take packets that long [MQTT-3.14.2-3]. */
export function encodeDisconnect({ fault, code }: Fault, maximumPacketBytes: number): Buffer {
  const packet = encodePacket(0xe0, Buffer.from([code]), encodeProperties(encodeProperty('reasonString', fault)))
  return packet.length <= maximumPacketBytes ? packet : Buffer.from([0xe0, 1, code])
}
