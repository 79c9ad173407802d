import { carriers, PropertyReader } from './properties.ts'
import { clientMaySend, malformed, protocolError } from './reason-codes.ts'
import type { Fault } from './reason-codes.ts'

/** A PUBACK, PUBREC, PUBREL or PUBCOMP. One object is reused for every packet. */
export interface AcknowledgementPacket {
  packetId: number
  /** Reason code of MQTT 5; 0 is success. */
  code: number
}

const faults = {
  id: malformed('acknowledgement without a packet id'),
  rest: malformed('acknowledgement has bytes behind its end'),
  code: protocolError('acknowledgement has a reason code that it must not have')
} as const

const reader = new PropertyReader()

/** Reads an acknowledgement of MQTT 3.x into the object and returns why it is refused, or undefined. */
export function decodeAcknowledgement(buffer: Buffer, start: number, end: number, into: AcknowledgementPacket): Fault | undefined {
  into.packetId = end - start === 2 ? ((buffer[start] ?? 0) << 8) | (buffer[start + 1] ?? 0) : 0
  into.code = 0
  return into.packetId === 0 ? faults.id : undefined
}

/** Reads one of MQTT 5 (§3.4 to §3.7): reason code and properties may be left out. */
export function decodeAcknowledgement5(
  packet: { readonly buffer: Buffer; readonly header: number; readonly bodyStart: number; readonly bodyEnd: number },
  into: AcknowledgementPacket
): Fault | undefined {
  const { buffer, header, bodyStart: start, bodyEnd: end } = packet
  const idFault = decodeAcknowledgement(buffer, start, Math.min(end, start + 2), into)
  if (idFault !== undefined || end - start === 2) return idFault
  into.code = buffer[start + 2] ?? 0
  if (!clientMaySend(header >> 4, into.code)) return faults.code
  if (end - start === 3) return undefined
  if (!reader.open(buffer, start + 3, end, carriers.acknowledgement) || !reader.skip()) return reader.fault
  return reader.bodyEnd === end ? undefined : faults.rest
}
