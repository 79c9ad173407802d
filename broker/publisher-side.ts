import { acknowledgement } from './acknowledgements.ts'
import { frameStatus } from './packets/frame-parser.ts'
import type { FrameParser } from './packets/frame-parser.ts'
import type { AppendRecord } from '../journal/record.ts'
import { endings } from './endings.ts'
import { notTaken } from './gate.ts'
import type { Gate, PublishSource } from './gate.ts'
import type { Outbound } from './outbound.ts'
import { buildPublishPacket, decodePublish } from './packets/publish-packet.ts'
import type { PublishPacket } from './packets/publish-packet.ts'
import { reasonCodes } from './packets/reason-codes.ts'
import type { Fault } from './packets/reason-codes.ts'
import type { Publishing5 } from './publishing5.ts'
import type { RememberedClient } from './resends.ts'
import type { Session } from './routing/session.ts'
import { TopicInterest } from './topic-interest.ts'
import type { BlockReason } from './waiting.ts'

/** The connection, as its publisher's side sees it. */
export interface PublisherHost {
  readonly closed: boolean
  readonly clientIdBytes: Buffer
  readonly user: Buffer | undefined
  violate(fault: Fault): void
  /** Goes on with the packet that blocked, when it blocked for this reason. */
  unblock(reason: BlockReason): void
}

/** What became of a packet: handled, the connection was closed for it, or what it has to wait for. */
export type Outcome = 'handled' | 'closed' | BlockReason

/** One object for all connections of MQTT 3.x: a publish is decoded and appended in one go. */
const plainPacket = buildPublishPacket()

interface PublisherOptions {
  readonly host: PublisherHost
  readonly out: Outbound
  readonly gate: Gate
  readonly session: Session
  /** Whether the session was there before its connection. */
  readonly resumed: boolean
  /** Of a client of MQTT 5. */
  readonly publishing5: Publishing5 | undefined
}

/**
 * What of a connection publishes: PUBLISH and PUBREL in, PUBACK, PUBREC and PUBCOMP out, when durable and in the order of
 * the packets. Everything that waits for the disk counts against the in-flight window, PUBCOMPs and repeated PUBRECs too.
 */
export class PublisherSide implements PublishSource {
  /** Acknowledgements that wait for the disk. */
  unacknowledged = 0
  readonly host: PublisherHost
  readonly client: RememberedClient
  readonly #out: Outbound
  readonly #gate: Gate
  readonly #session: Session
  /** Ordinal of the first record that can be of this connection. */
  readonly #firstOrdinal: number
  readonly #resumed: boolean
  readonly #publishing5: Publishing5 | undefined
  readonly #packet: PublishPacket
  #waitsForWindow = false
  #interest: TopicInterest | undefined

  constructor(options: PublisherOptions) {
    this.host = options.host
    this.#out = options.out
    this.#gate = options.gate
    this.#session = options.session
    this.client = options.gate.resends.attach(options.session.clientId)
    this.#firstOrdinal = options.gate.lastOrdinal + 1
    this.#resumed = options.resumed
    this.#publishing5 = options.publishing5
    this.#packet = options.publishing5?.packet ?? plainPacket
  }

  /** Made when it is first asked for: as long as nobody subscribes to anything it is not. */
  get interest(): TopicInterest {
    this.#interest ??= new TopicInterest()
    return this.#interest
  }

  /** Takes the PUBLISH that the parser is at. */
  publish({ buffer, bodyStart, bodyEnd }: FrameParser, header: number): Outcome {
    const fault = this.#decode(buffer, header, bodyStart, bodyEnd)
    if (fault !== undefined) return this.#refuse(fault)
    const { qos, packetId, dup } = this.#packet
    const { receivedIds } = this.#session
    if (qos !== 0 && this.#publishing5?.spent === true) return this.#violate(endings.receiveMaximum)
    if (qos === 2) {
      const known = receivedIds.get(packetId)
      if (known !== undefined) return this.#acknowledgeAgain(qos, packetId, known)
      if (receivedIds.size >= this.#gate.maxReceivedIds) return this.#violate(endings.tooManyReceivedIds)
    }
    const record = this.#recordOf(buffer, bodyEnd)
    if (dup && qos !== 0) {
      const original = this.#gate.resends.original(this.client, record)
      if (original !== undefined) return this.#acknowledgeAgain(qos, packetId, original)
    }
    return this.#append(record)
  }

  #append(record: AppendRecord): Outcome {
    const { statistics, acknowledgements } = this.#gate
    const { qos, packetId } = record
    if (qos > 0 && this.#windowClosed()) return 'inFlight'
    const ordinal = this.#gate.append(record, this)
    if (ordinal === notTaken.routing) return 'routing'
    if (ordinal === notTaken.journal) {
      // Of QoS 0 it sheds what would wait for somebody to act; the disk's next turn is waited for by not reading.
      if (qos > 0 || this.#gate.journalBehind) return 'journal'
      statistics.shed += 1
      return 'handled'
    }
    statistics.publishes[qos] += 1
    if (qos > 0) this.#publishing5?.taken()
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
    const original = this.#session.receivedIds.get(packetId)
    const isUnknown = original === undefined && !this.#resumed && this.#publishing5 !== undefined
    // Of a session that was resumed it may have been released before (§3.7.2.1).
    const code = isUnknown ? reasonCodes.packetIdentifierNotFound : reasonCodes.success
    this.#session.release(packetId)
    this.#gate.resends.forget(this.client, packetId)
    // With PUBCOMP the client may use the id for another message, which must not pass for this one after a crash.
    this.unacknowledged += 1
    const complete = (): void => this.#complete(acknowledgement.pubcomp | (code << 8), packetId, original ?? -1)
    this.#gate.router.whenDurable(complete, this.host, this.#session)
    return 'handled'
  }

  #complete(type: number, packetId: number, original: number): void {
    this.unacknowledged -= 1
    if (this.host.closed) return
    const { acknowledgements, lastOrdinal } = this.#gate
    if (this.unacknowledged > 0 || original >= acknowledgements.durable) {
      acknowledgements.push(this, type, packetId, lastOrdinal)
      // What is in front may be another PUBCOMP, and no commit to come.
      this.#gate.releaseOverdue()
      return
    }
    this.#replyNow(type, packetId)
    this.#out.flush()
    this.#resumeWindow()
  }

  /** The client said DISCONNECT: nothing of this connection will be sent again. */
  disconnect(): void {
    this.#gate.resends.forgetFrom(this.client, this.#firstOrdinal)
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
    this.#gate.resends.detach(this.client)
    this.#publishing5?.close()
  }

  /** Takes an acknowledgement (reason code << 24 | type << 16 | packet id) for the next write; true when it is the first one. */
  stageAcknowledgement(staged: number): boolean {
    this.unacknowledged -= 1
    this.#publishing5?.acknowledged(staged >>> 16)
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
    if (!this.#answer(type, packetId, original)) return 'inFlight'
    if (qos === 2) this.#session.receive(packetId, original)
    this.#gate.statistics.resends += 1
    return 'handled'
  }

  #passOver({ buffer, header, bodyStart, bodyEnd }: FrameParser): void {
    const { resends } = this.#gate
    if (this.#decode(buffer, header, bodyStart, bodyEnd) !== undefined || this.#packet.qos === 0) return
    const { dup, packetId } = this.#packet
    const record = this.#recordOf(buffer, bodyEnd)
    if (!dup || resends.original(this.client, record) === undefined) resends.forget(this.client, packetId)
  }

  #decode(buffer: Buffer, header: number, start: number, end: number): Fault | undefined {
    const publishing5 = this.#publishing5
    if (publishing5 === undefined) return decodePublish(buffer, header, start, end, plainPacket)
    return publishing5.decode(buffer, header, start, end)
  }

  /** The record of the PUBLISH that was decoded. */
  #recordOf(buffer: Buffer, end: number): AppendRecord {
    const record = this.#gate.recordOf(this.host, buffer, this.#packet, end)
    this.#publishing5?.complete(record, buffer)
    return record
  }

  /** Refuses a PUBLISH: MQTT 5 has words for what is well formed and not taken, otherwise it is the end. */
  #refuse(fault: Fault): Outcome {
    this.#gate.statistics.publishesRefused += 1
    const publishing5 = this.#publishing5
    if (publishing5?.answers(fault) !== true) return this.#violate(fault)
    if (publishing5.spent) return this.#violate(endings.receiveMaximum)
    const type = this.#packet.qos === 1 ? acknowledgement.puback : acknowledgement.pubrec
    return this.#answer(type | (fault.code << 8), this.#packet.packetId, -1) ? 'handled' : 'inFlight'
  }

  #violate(fault: Fault): 'closed' {
    this.host.violate(fault)
    return 'closed'
  }

  /** Acknowledges a PUBLISH that is not appended; false when the window has no room for that. */
  #answer(type: number, packetId: number, ordinal: number): boolean {
    this.#publishing5?.taken()
    if (this.#reply(type, packetId, ordinal)) return true
    this.#publishing5?.untaken()
    return false
  }

  /** Acknowledges at once when nothing before it waits, else in its turn; false when the window has no room for that. */
  #reply(type: number, packetId: number, ordinal: number): boolean {
    const { acknowledgements, lastOrdinal } = this.#gate
    if (this.unacknowledged === 0 && ordinal < acknowledgements.durable) {
      this.#replyNow(type, packetId)
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

  #replyNow(type: number, packetId: number): void {
    const code = type >> 8
    const head = [type & 0xff, code === 0 ? 2 : 3, packetId >> 8, packetId & 0xff]
    this.#out.reply(Buffer.from(code === 0 ? head : [...head, code]))
    this.#publishing5?.acknowledged(type)
  }

  #windowClosed(): boolean {
    this.#waitsForWindow = this.unacknowledged >= this.#gate.limits.inFlight
    return this.#waitsForWindow
  }
}
