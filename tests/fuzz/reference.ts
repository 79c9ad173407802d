/**
 * What a server owes one client, worked out from the bytes that the client sent: a slow and plain reading of MQTT 3.1 and
 * 3.1.1, of docs/architecture.md (limits) and of the decision about resends. It shares no code with broker/.
 *
 * `sit` reads one connection's bytes; sessions and what may be sent again are kept from one connection of a client to
 * the next. The connections of one client must be given in their order.
 */
export interface ReferenceLimits {
  readonly maxPacketBytes: number
  /** Filters of a session. */
  readonly subscriptions: number
  /** QoS 2 publishes of a session whose PUBREL has not come. */
  readonly openIds: number
}

/** What must have come of the bytes of one connection. */
export interface Verdict {
  /** Complete packets up to the first violation, that one included. */
  packets: number
  /** Undefined for a stranger, and for one who leaves the choice to the server: ''. As latin1. */
  clientId: string | undefined
  /** Packets from the server, as hex. Undefined: none. */
  connack: string | undefined
  /** Records of PUBLISH packets, in order (`recordText`); one that may be missing has `perhaps` in front. */
  readonly records: string[]
  /** PUBACK, PUBREC and PUBCOMP, in order: type << 16 | packet id. */
  readonly acknowledgements: number[]
  /** SUBACK and UNSUBACK, in order, as hex. */
  readonly subscriptionReplies: string[]
  pings: number
  /** The record of the will, which is due when the connection ends otherwise than by DISCONNECT. */
  will: string | undefined
  /** open: the server waits for more; left: DISCONNECT; violated: the server has to close. */
  end: 'open' | 'left' | 'violated'
  /** Bytes of a packet whose end has not come. */
  unfinished: number
  /** Why it was violated, for people. */
  reason: string
}

/** A record as the tests compare it: every byte of every part. */
export function recordText(record: {
  readonly user: Uint8Array | undefined
  readonly topic: Uint8Array
  readonly payload: Uint8Array
  readonly qos: number
  readonly retain: boolean
  readonly dup: boolean
  readonly will: boolean
  readonly packetId: number
}): string {
  const { user, topic, payload, qos, retain, dup, will, packetId } = record
  const flags = `${qos}${retain ? 'r' : ''}${dup ? 'd' : ''}${will ? 'w' : ''}`
  return `${flags} id=${packetId} user=${user === undefined ? '-' : `"${latin1(user)}"`} topic="${latin1(topic)}" ${latin1(payload)}`
}

interface Session {
  readonly filters: Set<string>
  readonly openIds: Set<number>
}

interface Client {
  /** Of a persistent session. */
  session: Session | undefined
  /** The latest publish under each packet id that may come again: its text without DUP, and over which connection. */
  readonly published: Map<number, { readonly text: string; readonly sitting: number; readonly sure: boolean }>
}

interface Sitting {
  readonly number: number
  readonly level: number
  readonly user: Buffer | undefined
  readonly client: Client
  readonly session: Session
  readonly verdict: Verdict
}

class Violation extends Error {}

/** In front of a record that may be missing. */
export const perhaps = '?'

const strangerBytes = 65_536

export class Reference {
  readonly #limits: ReferenceLimits
  readonly #clients = new Map<string, Client>()
  #sittings = 0

  constructor(limits: ReferenceLimits) {
    this.#limits = limits
  }

  /** Reads all bytes of one connection. */
  sit(bytes: Buffer): Verdict {
    const verdict: Verdict = {
      packets: 0,
      clientId: undefined,
      connack: undefined,
      records: [],
      acknowledgements: [],
      subscriptionReplies: [],
      pings: 0,
      will: undefined,
      end: 'open',
      unfinished: 0,
      reason: ''
    }
    let sitting: Sitting | undefined
    let rest = bytes
    try {
      while (verdict.end === 'open') {
        const frame = frameOf(rest, sitting === undefined ? strangerBytes : this.#limits.maxPacketBytes, sitting?.level === 3)
        if (frame === undefined) {
          // Its first byte says what the first packet is, whether its end comes or not.
          if (sitting === undefined && rest.length > 0 && rest[0] !== 0x10) throw new Violation('first packet is not CONNECT')
          verdict.unfinished = rest.length
          break
        }
        rest = rest.subarray(frame.length)
        verdict.packets += 1
        if (sitting === undefined) sitting = this.#connect(frame, verdict)
        else this.#take(frame, sitting)
      }
    } catch (error) {
      if (!(error instanceof Violation)) throw error
      verdict.end = 'violated'
      verdict.reason = error.message
    }
    // Publishes behind the end are known to be later ones as far as they were read by then: the client's may come again as new.
    const latest = sitting?.client.published
    if (verdict.end !== 'open' && latest !== undefined) for (const [id, publish] of latest) latest.set(id, { ...publish, sure: false })
    if (verdict.end === 'left') {
      verdict.will = undefined
      const { client, number } = sitting ?? { client: undefined, number: 0 }
      for (const [id, { sitting }] of client?.published ?? []) if (sitting === number) client?.published.delete(id)
    }
    return verdict
  }

  #connect({ header, body }: Frame, verdict: Verdict): Sitting {
    if (header !== 0x10) throw new Violation('first packet is not CONNECT')
    const name = body.text().toString('latin1')
    const level = body.byte()
    if (name !== 'MQTT' && name !== 'MQIsdp') throw new Violation('protocol name')
    if (level !== (name === 'MQTT' ? 4 : 3)) return refused(verdict, 1, 'protocol level')
    const flags = body.byte()
    body.uint16()
    const willQos = (flags >> 3) & 3
    const has = { user: (flags & 0x80) !== 0, password: (flags & 0x40) !== 0, will: (flags & 4) !== 0 }
    if ((flags & 1) !== 0 || willQos === 3 || (has.password && !has.user)) throw new Violation('CONNECT flags')
    if (!has.will && (flags & 0x38) !== 0) throw new Violation('will flags without a will')
    const clean = (flags & 2) !== 0
    const clientId = body.utf8()
    const will = has.will ? { topic: topicName(body.text()), payload: body.text() } : undefined
    // MQTT 3.1 §3.1: the remaining length takes precedence over these flags.
    const comes = (flagged: boolean): boolean => flagged && !(level === 3 && body.ended)
    const user = comes(has.user) ? body.utf8() : undefined
    if (comes(has.password)) body.text()
    body.expectEnd()
    if (clientId.length > 128 || (clientId.length === 0 && (!clean || level === 3))) return refused(verdict, 2, 'client id')

    verdict.clientId = clientId.toString('latin1')
    const client = this.#clients.get(verdict.clientId) ?? { session: undefined, published: new Map() }
    if (clientId.length > 0) this.#clients.set(verdict.clientId, client)
    const known = clean ? undefined : client.session
    const session = known ?? { filters: new Set(), openIds: new Set() }
    client.session = clean ? undefined : session
    verdict.connack = `2002${known !== undefined && level > 3 ? '01' : '00'}00`
    if (will !== undefined) {
      const retain = (flags & 0x20) !== 0
      verdict.will = recordText({ ...will, user, qos: willQos, retain, dup: false, will: true, packetId: 0 })
    }
    this.#sittings += 1
    return { number: this.#sittings, level, user, client, session, verdict }
  }

  #take({ header, body }: Frame, sitting: Sitting): void {
    const { verdict, session, client } = sitting
    switch (header >> 4) {
      case 3:
        this.#publish(header, body, sitting)
        return
      case 6: {
        const id = body.packetId()
        body.expectEnd()
        session.openIds.delete(id)
        client.published.delete(id)
        verdict.acknowledgements.push((0x70 << 16) | id)
        return
      }
      case 4:
      case 5:
      case 7:
        body.packetId()
        body.expectEnd()
        return
      case 8:
      case 10:
        this.#filters(header >> 4 === 8, body, sitting)
        return
      case 12:
        body.expectEnd()
        verdict.pings += 1
        return
      case 14:
        body.expectEnd()
        verdict.end = 'left'
        return
      default:
        throw new Violation('second CONNECT')
    }
  }

  #publish(header: number, body: Body, { number, user, client, session, verdict }: Sitting): void {
    const qos = (header >> 1) & 3
    const dup = (header & 8) !== 0
    const topic = topicName(body.text())
    if (qos === 0 && dup) throw new Violation('DUP on QoS 0')
    const packetId = qos > 0 ? body.packetId() : 0
    const record = { user, topic, payload: body.rest(), qos, retain: (header & 1) !== 0, will: false, packetId }
    if (qos === 2 && session.openIds.has(packetId)) {
      verdict.acknowledgements.push((0x50 << 16) | packetId)
      return
    }
    if (qos === 2 && session.openIds.size >= this.#limits.openIds) throw new Violation('too many open QoS 2 ids')
    const text = recordText({ ...record, dup: false })
    const original = dup ? client.published.get(packetId) : undefined
    if (original?.text !== text) {
      verdict.records.push(recordText({ ...record, dup }))
      if (packetId > 0) client.published.set(packetId, { text, sitting: number, sure: true })
    } else if (!original.sure) verdict.records.push(perhaps + recordText({ ...record, dup }))
    if (qos === 2) session.openIds.add(packetId)
    if (qos > 0) verdict.acknowledgements.push(((qos === 1 ? 0x40 : 0x50) << 16) | packetId)
  }

  #filters(subscribe: boolean, body: Body, { session, verdict }: Sitting): void {
    const id = body.packetId()
    const list: { readonly filter: string; readonly qos: number }[] = []
    while (!body.ended) {
      const filter = topicFilter(body.utf8()).toString('latin1')
      const qos = subscribe ? body.byte() : 0
      if (qos > 2) throw new Violation('requested QoS')
      list.push({ filter, qos })
    }
    if (list.length === 0) throw new Violation('no topic filter')
    const idHex = id.toString(16).padStart(4, '0')
    if (!subscribe) {
      for (const { filter } of list) session.filters.delete(filter)
      verdict.subscriptionReplies.push(`b002${idHex}`)
      return
    }
    // However many are beyond the limit: each is refused by its code [MQTT-3.9.3-1].
    let codes = ''
    for (const { filter, qos } of list) {
      const allowed = session.filters.has(filter) || session.filters.size < this.#limits.subscriptions
      if (allowed) session.filters.add(filter)
      codes += allowed ? `0${qos}` : '80'
    }
    verdict.subscriptionReplies.push(`90${lengthHex(list.length + 2)}${idHex}${codes}`)
  }
}

function refused(verdict: Verdict, code: number, reason: string): never {
  verdict.connack = `2002000${code}`
  throw new Violation(reason)
}

interface Frame {
  readonly header: number
  /** Of the whole packet, in bytes. */
  readonly length: number
  readonly body: Body
}

/** The packet at the front, or undefined when its end has not come (MQTT 3.1.1 §2.2). */
function frameOf(bytes: Buffer, maxBytes: number, version31: boolean): Frame | undefined {
  const [header] = bytes
  if (header === undefined) return undefined
  if (!headerAllowed(header, version31)) throw new Violation(`first byte is ${header.toString(16)}`)
  let remaining = 0
  for (let digit = 1; ; digit++) {
    if (digit > 4) throw new Violation('remaining length has more than four bytes')
    const byte = bytes[digit]
    if (byte === undefined) return undefined
    remaining += (byte % 128) * 128 ** (digit - 1)
    if (byte >= 128) continue
    const length = 1 + digit + remaining
    if (length > maxBytes) throw new Violation('packet is too large')
    return bytes.length < length ? undefined : { header, length, body: new Body(bytes.subarray(1 + digit, length)) }
  }
}

/** Packet types of a client with the flags of MQTT 3.1.1 §2.2.2, and where MQTT 3.1 §2.1 lets DUP be set. */
function headerAllowed(header: number, version31: boolean): boolean {
  const type = header >> 4
  const flags = header & 15
  if (type === 3) return ((flags >> 1) & 3) !== 3
  if ([1, 4, 5, 7, 12, 14].includes(type)) return flags === 0
  return [6, 8, 10].includes(type) && (flags === 2 || (version31 && flags === 10))
}

/** Reads the fields behind a fixed header; whatever is not there is a violation. */
class Body {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get ended(): boolean {
    return this.#at >= this.#bytes.length
  }

  byte(): number {
    const byte = this.#bytes[this.#at]
    if (byte === undefined) throw new Violation('packet is cut')
    this.#at += 1
    return byte
  }

  uint16(): number {
    return this.byte() * 256 + this.byte()
  }

  packetId(): number {
    const id = this.uint16()
    if (id === 0) throw new Violation('packet id is 0')
    return id
  }

  text(): Buffer {
    const length = this.uint16()
    if (this.#at + length > this.#bytes.length) throw new Violation('packet is cut')
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  utf8(): Buffer {
    return mqttString(this.text())
  }

  rest(): Buffer {
    const rest = this.#bytes.subarray(this.#at)
    this.#at = this.#bytes.length
    return rest
  }

  expectEnd(): void {
    if (!this.ended) throw new Violation('bytes behind the end')
  }
}

/** MQTT 3.1.1 §4.7 and the limits: 1 … 256 bytes, 16 levels, no wildcard, none of the server's own. */
function topicName(bytes: Buffer): Buffer {
  boundedTopic(bytes)
  if (bytes[0] === 0x24 || bytes.includes('+') || bytes.includes('#')) throw new Violation('topic name')
  return bytes
}

function topicFilter(bytes: Buffer): Buffer {
  boundedTopic(bytes)
  const levels = bytes.toString('latin1').split('/')
  for (const [index, level] of levels.entries()) {
    if (level === '+' || (level === '#' && index === levels.length - 1)) continue
    if (/[+#]/.test(level)) throw new Violation('topic filter')
  }
  return bytes
}

function boundedTopic(bytes: Buffer): void {
  mqttString(bytes)
  if (bytes.length === 0 || bytes.length > 256 || bytes.toString('latin1').split('/').length > 16) throw new Violation('topic')
}

/** Well-formed UTF-8 without U+0000 (MQTT 3.1.1 §1.5.3), by the table of RFC 3629 §4. */
function mqttString(bytes: Buffer): Buffer {
  for (let at = 0; at < bytes.length;) {
    const lead = bytes[at] ?? 0
    const second = bytes[at + 1] ?? 0
    const [tails, least, most] =
      lead < 0x80
        ? [0, 0, 0]
        : lead < 0xe0
          ? [1, 0x80, 0xbf]
          : lead < 0xf0
            ? [2, lead === 0xe0 ? 0xa0 : 0x80, lead === 0xed ? 0x9f : 0xbf]
            : [3, lead === 0xf0 ? 0x90 : 0x80, lead === 0xf4 ? 0x8f : 0xbf]
    if (lead === 0 || (lead >= 0x80 && lead < 0xc2) || lead > 0xf4) throw new Violation('not UTF-8')
    if (tails > 0 && (second < least || second > most)) throw new Violation('not UTF-8')
    for (let tail = 2; tail <= tails; tail++) if (((bytes[at + tail] ?? 0) & 0xc0) !== 0x80) throw new Violation('not UTF-8')
    at += 1 + tails
  }
  return bytes
}

/** A remaining length as hex. */
function lengthHex(length: number): string {
  let hex = ''
  for (let rest = length; ; rest = Math.floor(rest / 128)) {
    const more = rest >= 128
    hex += ((rest % 128) + (more ? 128 : 0)).toString(16).padStart(2, '0')
    if (!more) return hex
  }
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}
