import { acknowledgement } from './acknowledgements.ts'
import { frameStatus } from './packets/frame-parser.ts'
import type { FrameParser } from './packets/frame-parser.ts'
import type { AppendRecord } from '../journal/record.ts'
import { notTaken } from './gate.ts'
import type { Gate } from './gate.ts'
import type { Outbound } from './outbound.ts'
import { buildPublishPacket, decodePublish } from './packets/publish-packet.ts'
import type { RememberedClient } from './resends.ts'
import type { Session } from './routing/session.ts'
import type { BlockReason } from './waiting.ts'

/** The connection, as its publisher's side sees it. */
export interface PublisherHost {
  readonly closed: boolean
  readonly clientIdBytes: Buffer
  readonly user: Buffer | undefined
  violate(reason: string): void
  /** Goes on with the packet that blocked, when it blocked for this reason. */
  unblock(reason: BlockReason): void
}

/** What became of a packet: handled, the connection was closed for it, or what it has to wait for. */
export type Outcome = 'handled' | 'closed' | BlockReason

/** One object for all connections: a publish is decoded and appended in one go. */
const packet = buildPublishPacket()

/**
 * What of a connection publishes: PUBLISH and PUBREL in, PUBACK, PUBREC and PUBCOMP out, when durable and in the order of
 * the packets. Everything that waits for the disk counts against the in-flight window, PUBCOMPs and repeated PUBRECs too.
 */
export class PublisherSide {
  /** Acknowledgements that wait for the disk. */
  unacknowledged = 0
  readonly host: PublisherHost
  readonly #out: Outbound
  readonly #gate: Gate
  readonly #session: Session
  readonly #client: RememberedClient
  /** Ordinal of the first record that can be of this connection. */
  readonly #firstOrdinal: number
  #waitsForWindow = false

  constructor(options: { readonly host: PublisherHost; readonly out: Outbound; readonly gate: Gate; readonly session: Session }) {
    this.host = options.host
    this.#out = options.out
    this.#gate = options.gate
    this.#session = options.session
    this.#client = options.gate.resends.attach(options.session.clientId)
    this.#firstOrdinal = options.gate.lastOrdinal + 1
  }

  /** Takes the PUBLISH that the parser is at. */
  publish({ buffer, bodyStart, bodyEnd }: FrameParser, header: number): Outcome {
    const { statistics } = this.#gate
    const fault = decodePublish(buffer, header, bodyStart, bodyEnd, packet)
    if (fault !== undefined) {
      statistics.publishesRefused += 1
      this.host.violate(fault)
      return 'closed'
    }
    const { qos, packetId } = packet
    const { receivedIds } = this.#session
    if (qos === 2) {
      const known = receivedIds.get(packetId)
      if (known !== undefined) return this.#acknowledgeAgain(qos, packetId, known)
      if (receivedIds.size >= this.#gate.maxReceivedIds) {
        this.host.violate('too many QoS 2 publishes without PUBREL')
        return 'closed'
      }
    }
    const record = this.#gate.recordOf(this.host, buffer, packet, bodyEnd)
    if (packet.dup && qos !== 0) {
      const original = this.#gate.resends.original(this.#client, record)
      if (original !== undefined) return this.#acknowledgeAgain(qos, packetId, original)
    }
    return this.#append(record)
  }

  #append(record: AppendRecord): Outcome {
    const { statistics, acknowledgements } = this.#gate
    const { qos, packetId } = record
    if (qos > 0 && this.#windowClosed()) return 'inFlight'
    const ordinal = this.#gate.append(record, this.#client)
    if (ordinal === notTaken.routing) return 'routing'
    if (ordinal === notTaken.journal) {
      if (qos > 0) return 'journal'
      statistics.shed += 1
      return 'handled'
    }
    statistics.publishes[qos] += 1
    if (qos === 1) acknowledgements.push(this, acknowledgement.puback, packetId, ordinal)
    else if (qos === 2) {
      this.#session.receive(packetId, ordinal)
      acknowledgements.push(this, acknowledgement.pubrec, packetId, ordinal)
    }
    return 'handled'
  }

  /** Takes a PUBREL [MQTT-4.3.3-2]: the id is free again, and PUBCOMP is owed whether it was known or not. */
  release(packetId: number): Outcome {
    if (this.#windowClosed()) return 'inFlight'
    const original = this.#session.receivedIds.get(packetId) ?? -1
    this.#session.release(packetId)
    this.#gate.resends.forget(this.#client, packetId)
    // With PUBCOMP the client may use the id for another message, which must not pass for this one after a crash.
    this.unacknowledged += 1
    this.#gate.router.whenDurable(() => this.#complete(packetId, original))
    return 'handled'
  }

  #complete(packetId: number, original: number): void {
    this.unacknowledged -= 1
    if (this.host.closed) return
    const { acknowledgements, lastOrdinal } = this.#gate
    if (this.unacknowledged > 0 || original >= acknowledgements.durable) {
      acknowledgements.push(this, acknowledgement.pubcomp, packetId, lastOrdinal)
      return
    }
    this.#out.reply(Buffer.from([acknowledgement.pubcomp, 2, packetId >> 8, packetId & 0xff]))
    this.#out.flush()
    this.#resumeWindow()
  }

  /** The client said DISCONNECT: nothing of this connection will be sent again. */
  disconnect(): void {
    this.#gate.resends.forgetFrom(this.#client, this.#firstOrdinal)
  }

  /**
   * The connection is over. Publishes that were read and wait are not in the journal, and yet later ones under their
   * packet ids than those that are: when they come again with DUP, they must not be taken for those.
   */
  close(parser: FrameParser): void {
    while (parser.next(this.#gate.maxPacketBytes) === frameStatus.complete) {
      if (parser.header >> 4 === 3) this.#passOver(parser)
      parser.consume()
    }
    this.#gate.resends.detach(this.#client)
  }

  /** Takes an acknowledgement (type << 16 | packet id) for the next write; true when it is the first one. */
  stageAcknowledgement(staged: number): boolean {
    this.unacknowledged -= 1
    return !this.host.closed && this.#out.stage(staged)
  }

  /** Writes the staged acknowledgements in one write. */
  writeAcknowledgements(): void {
    if (this.host.closed) return
    this.#out.writeStaged()
    this.#resumeWindow()
  }

  /** Acknowledges a publish that came again, in its turn and when the original is durable. */
  #acknowledgeAgain(qos: 1 | 2, packetId: number, original: number): Outcome {
    const type = qos === 1 ? acknowledgement.puback : acknowledgement.pubrec
    if (!this.#reply(type, packetId, original)) return 'inFlight'
    if (qos === 2) this.#session.receive(packetId, original)
    this.#gate.statistics.resends += 1
    return 'handled'
  }

  #passOver({ buffer, header, bodyStart, bodyEnd }: FrameParser): void {
    const { resends } = this.#gate
    if (decodePublish(buffer, header, bodyStart, bodyEnd, packet) !== undefined || packet.qos === 0) return
    const record = this.#gate.recordOf(this.host, buffer, packet, bodyEnd)
    if (!packet.dup || resends.original(this.#client, record) === undefined) resends.forget(this.#client, packet.packetId)
  }

  /** Acknowledges at once when nothing before it waits, else in its turn; false when the window has no room for that. */
  #reply(type: number, packetId: number, ordinal: number): boolean {
    const { acknowledgements, lastOrdinal } = this.#gate
    if (this.unacknowledged === 0 && ordinal < acknowledgements.durable) {
      this.#out.reply(Buffer.from([type, 2, packetId >> 8, packetId & 0xff]))
      return true
    }
    if (this.#windowClosed()) return false
    acknowledgements.push(this, type, packetId, lastOrdinal)
    return true
  }

  #resumeWindow(): void {
    if (!this.#waitsForWindow || this.unacknowledged > this.#gate.limits.inFlight / 2) return
    this.#waitsForWindow = false
    this.#gate.waiting.resumeSoon(this.host)
  }

  #windowClosed(): boolean {
    this.#waitsForWindow = this.unacknowledged >= this.#gate.limits.inFlight
    return this.#waitsForWindow
  }
}
