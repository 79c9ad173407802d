/**
 * What one session is owed, in order.
 *
 * A message waits, is sent, and is settled: at once for QoS 0, by PUBACK or PUBCOMP above. Whatever waits is sent as soon
 * as the subscriber's socket and its send window have room; nothing overtakes, whatever its QoS. When a connection
 * begins, all that was sent and is not settled is sent again, in its order, before anything that waits [MQTT-4.4.0-1].
 *
 * The send window is what the client takes at once, or `limits.sendWindow` where that is less; sending fewer than it takes is
 * allowed [MQTT-3.3.4-9]. A message is in it until it is settled, also past PUBREC.
 *
 * Bounds: `limits.queuedMessages` wait for a session, of a connected one as many as it may be behind (and what waited when
 * it came back on top); `limits.queuedBytes` for all sessions, in which what was sent and is not settled counts, too. A
 * subscriber that reads still gets messages when nothing more can wait: those that were sent and of which only the id is
 * kept may be as many bytes, and a few of each session come on top. What finds no room is dropped for this session alone
 * and counted; a connected one that is so far behind is disconnected.
 */
import { keptOf } from './delivery.ts'
import type { DeliveriesOwner, DeliveriesShared, Delivery, ListedDelivery, Subscriber } from './delivery.ts'
import { messageBytes, remainingSeconds } from './message.ts'
import type { Message } from './message.ts'
import type { KeptDelivery } from './session-changes.ts'

/** A message that was sent and is not settled. */
interface Sent extends KeptDelivery {
  /** Undefined when it will not be sent again: the client has it, or nothing is kept of a session that ends with its connection. */
  delivery: Delivery | undefined
  /** PUBREC has come. */
  released: boolean
  /** Sent over the present connection, and so part of its receive maximum. */
  current: boolean
}

const maxPacketId = 65_535
/** Heap of a message that was sent and of which only its id is kept (measured, with its place in the map). */
const sentBytes = 360
/** Messages that a session may always have sent and not settled, whatever the others have. */
const alwaysSent = 16

/** The deliveries of one session. */
export class Deliveries {
  readonly #shared: DeliveriesShared
  readonly #owner: DeliveriesOwner
  readonly #sent = new Map<number, Sent>()
  #waiting: Delivery[] = []
  #front = 0
  #waitingBytes = 0
  #subscriber: Subscriber | undefined
  /** Packet ids to send again over this connection: PUBLISH, and PUBREL. */
  #publishesAgain: number[] = []
  #releasesAgain: number[] = []
  #lastId = 0
  /** Publishes of this connection that are not settled. */
  #current = 0
  /** What waited when the connection began. */
  #backlog = 0
  #backlogBytes = 0
  #tooSlow = false

  constructor(shared: DeliveriesShared, owner: DeliveriesOwner) {
    this.#shared = shared
    this.#owner = owner
  }

  /** Messages that wait or are not settled. */
  get size(): number {
    return this.#waiting.length - this.#front + this.#sent.size
  }

  /** A connection begins; `pump` sends what it is owed. */
  attach(subscriber: Subscriber): void {
    this.#subscriber = subscriber
    this.#backlog = Math.min(this.#waiting.length - this.#front, this.#shared.queuedMessages)
    this.#backlogBytes = this.#waitingBytes
    this.#tooSlow = false
    this.#current = 0
    for (const [packetId, sent] of this.#sent) {
      sent.current = false
      if (sent.released) this.#releasesAgain.push(packetId)
      else if (sent.delivery !== undefined) this.#publishesAgain.push(packetId)
      else {
        // It was sent when nothing more could be kept.
        this.#shared.statistics.offlineDropped += 1
        this.#settle(packetId, sent)
      }
    }
    // From the end, since that is where an array is short of work.
    this.#publishesAgain.reverse()
    this.#releasesAgain.reverse()
  }

  /** The connection is over. What waits at QoS 0 is not kept. */
  detach(): void {
    this.#subscriber = undefined
    this.#publishesAgain = []
    this.#releasesAgain = []
    const rest = this.#waiting.slice(this.#front)
    this.#waiting = rest.filter(({ qos }) => qos > 0)
    this.#front = 0
    for (const delivery of rest) if (delivery.qos === 0) this.#unqueue(delivery)
  }

  /** The session is over. */
  end(): void {
    this.#subscriber = undefined
    for (const delivery of this.#waiting.slice(this.#front)) this.#unqueue(delivery)
    for (const { delivery } of this.#sent.values()) this.#forget(delivery)
    this.#waiting = []
    this.#front = 0
    this.#sent.clear()
  }

  /** Takes a message for the subscriber, and sends it at once when nothing is before it. */
  offer(delivery: Delivery): void {
    const subscriber = this.#subscriber
    if (subscriber === undefined) {
      if (delivery.qos > 0) this.#keepOffline(delivery)
    } else if (this.#nothingBefore && !subscriber.full && this.#hasRoom(subscriber, delivery.qos)) this.#send(subscriber, delivery)
    else this.#keepConnected(subscriber, delivery)
  }

  /** Sends what there is room for, in so many steps at most. Returns how many it took: as many when there is more to do. */
  pump(steps: number): number {
    const subscriber = this.#subscriber
    if (subscriber === undefined) return 0
    let step = 0
    while (step < steps && !subscriber.full && this.#sendNext(subscriber)) step += 1
    subscriber.flush()
    return step
  }

  /** Writes what was sent since the last time. */
  flush(): void {
    this.#subscriber?.flush()
  }

  /** PUBACK. One that nothing waits for changes nothing. */
  acknowledge(packetId: number): void {
    const sent = this.#sent.get(packetId)
    if (sent?.qos === 1) this.#settle(packetId, sent)
  }

  /** PUBREC; false when nothing waits for it. One that says no ends the delivery [MQTT-4.3.3-4]. */
  receive(packetId: number, refused = false): boolean {
    const sent = this.#sent.get(packetId)
    if (sent?.qos !== 2) return false
    if (refused) this.#settle(packetId, sent)
    else if (!sent.released) {
      this.#forget(sent.delivery)
      this.#remember(undefined)
      sent.delivery = undefined
      sent.released = true
      // PUBRELs come again in the order of the PUBRECs [MQTT-4.6.0-4].
      this.#sent.delete(packetId)
      this.#sent.set(packetId, sent)
      if (this.#owner.persistent) this.#shared.changes?.releasing(this.#owner.clientId, sent)
    }
    return true
  }

  /** PUBCOMP: the client is done with the message, also when it never said that it has it. */
  complete(packetId: number): void {
    const sent = this.#sent.get(packetId)
    if (sent?.qos === 2) this.#settle(packetId, sent)
  }

  /** All that the session is owed, in the order in which it would be sent. */
  *[Symbol.iterator](): Generator<ListedDelivery> {
    for (const [packetId, { ordinal, qos, retained, released, delivery }] of this.#sent) {
      // Without either it was sent when nothing more could be kept.
      if (released || delivery !== undefined) yield { packetId, released, kept: { ordinal, qos, retained }, delivery }
    }
    for (let at = this.#front; at < this.#waiting.length; at++) {
      const delivery = this.#waiting[at]
      if (delivery === undefined || delivery.qos === 0) continue
      yield { packetId: 0, released: false, kept: keptOf(delivery, delivery.qos), delivery }
    }
  }

  /** The packet id that was given out last; 0 before the first. */
  get lastPacketId(): number {
    return this.#lastId
  }

  /** Puts back what was listed, in its order, before the session has a connection. Ids go on behind the last one. */
  restore(listed: Iterable<ListedDelivery>, lastPacketId: number): void {
    for (const { packetId, released, kept, delivery } of listed) {
      if (packetId > 0) {
        this.#sent.set(packetId, { ...kept, delivery, released, current: false })
        this.#remember(delivery)
      } else if (delivery !== undefined) this.#queue(delivery)
    }
    this.#lastId = lastPacketId
  }

  get #nothingBefore(): boolean {
    return this.#front === this.#waiting.length && this.#publishesAgain.length === 0 && this.#releasesAgain.length === 0
  }

  #hasRoom(subscriber: Subscriber, qos: number): boolean {
    if (qos === 0) return true
    return this.#windowOpen(subscriber) && this.#sent.size < this.#shared.sendWindow && !this.#sentTooMuch
  }

  #windowOpen({ receiveMaximum }: Subscriber): boolean {
    return this.#current < receiveMaximum && this.#current < this.#shared.sendWindow
  }

  /** True when no more may be sent because of what all sessions have not settled, of which this one has its part. */
  get #sentTooMuch(): boolean {
    const { sentOnly, queuedBytes } = this.#shared
    return this.#sent.size >= alwaysSent && sentOnly.bytes + sentBytes > queuedBytes
  }

  /** One step; false when there is nothing to do, or no room for it. */
  #sendNext(subscriber: Subscriber): boolean {
    if (this.#publishesAgain.length > 0 && this.#windowOpen(subscriber)) {
      this.#publishAgain(subscriber, this.#publishesAgain.pop() ?? 0)
      return true
    }
    const released = this.#releasesAgain.pop()
    if (released !== undefined) {
      if (this.#sent.has(released)) subscriber.pubrel(released)
      return true
    }
    if (this.#publishesAgain.length > 0) return false
    const next = this.#waiting[this.#front]
    if (next !== undefined) {
      if (!this.#hasRoom(subscriber, next.qos)) return false
      this.#takeFront(next)
      this.#send(subscriber, next)
      return true
    }
    const scans = this.#owner.retainedScans
    if (scans.size === 0 || !this.#hasRoom(subscriber, 1)) return false
    const found = scans.step()
    if (found !== undefined) this.#send(subscriber, found)
    return true
  }

  #publishAgain(subscriber: Subscriber, packetId: number): void {
    const sent = this.#sent.get(packetId)
    if (sent?.delivery === undefined || sent.released) return
    if (!subscriber.publish(sent.delivery, packetId, true)) {
      this.#shared.statistics.oversizedDropped += 1
      this.#settle(packetId, sent)
      return
    }
    sent.current = true
    this.#current += 1
  }

  #send(subscriber: Subscriber, delivery: Delivery): void {
    const { statistics, changes, now } = this.#shared
    const { clientId, persistent } = this.#owner
    const { message, qos } = delivery
    if (remainingSeconds(message, now()) === 0) {
      this.#drop(delivery, 'expiredDropped')
      return
    }
    if (qos === 0) {
      if (!subscriber.publish(delivery, 0, false)) statistics.oversizedDropped += 1
      return
    }
    const packetId = this.#nextId()
    if (!subscriber.publish(delivery, packetId, false)) {
      this.#drop(delivery, 'oversizedDropped')
      return
    }
    const keeps = persistent && this.#roomForAll(message)
    const sent = { ...keptOf(delivery, qos), delivery: keeps ? delivery : undefined, released: false, current: true }
    this.#remember(sent.delivery)
    this.#sent.set(packetId, sent)
    this.#current += 1
    if (persistent) changes?.sent(clientId, sent, packetId)
  }

  /** The next id that no message of the session has [MQTT-2.3.1-4]; the caller knows that there is one. */
  #nextId(): number {
    do this.#lastId = (this.#lastId % maxPacketId) + 1
    while (this.#sent.has(this.#lastId))
    return this.#lastId
  }

  #settle(packetId: number, sent: Sent): void {
    this.#sent.delete(packetId)
    this.#forget(sent.delivery)
    if (sent.current) this.#current -= 1
    if (this.#owner.persistent) this.#shared.changes?.settled(this.#owner.clientId, sent)
  }

  #drop(delivery: Delivery, counter: 'expiredDropped' | 'oversizedDropped'): void {
    const { statistics, changes } = this.#shared
    statistics[counter] += 1
    if (delivery.qos !== 0 && this.#owner.persistent) changes?.settled(this.#owner.clientId, keptOf(delivery, delivery.qos))
  }

  #keepOffline(delivery: Delivery): void {
    const { queuedMessages, statistics } = this.#shared
    const limit = Math.min(queuedMessages, maxPacketId)
    if (this.size >= limit || !this.#roomForAll(delivery.message)) this.#dropExpired()
    if (this.size < limit && this.#roomForAll(delivery.message)) this.#queue(delivery)
    else statistics.offlineDropped += 1
  }

  #keepConnected(subscriber: Subscriber, delivery: Delivery): void {
    const { queuedMessages, connectedBytes, statistics } = this.#shared
    const waiting = this.#waiting.length - this.#front
    const behind =
      waiting >= queuedMessages + this.#backlog ||
      this.#waitingBytes + messageBytes(delivery.message) > connectedBytes + this.#backlogBytes ||
      // The end of a session that outlives its connection would free nothing.
      (!this.#owner.persistent && this.#sentTooMuch)
    if (!behind && this.#roomForAll(delivery.message)) {
      this.#queue(delivery)
      return
    }
    statistics.slowDropped += 1
    if (!behind || this.#tooSlow) return
    this.#tooSlow = true
    subscriber.onTooSlow()
  }

  /** Makes room where what waits at the front has expired. */
  #dropExpired(): void {
    const now = this.#shared.now()
    for (;;) {
      const next = this.#waiting[this.#front]
      if (next === undefined || remainingSeconds(next.message, now) !== 0) return
      this.#takeFront(next)
      this.#drop(next, 'expiredDropped')
    }
  }

  #roomForAll(message: Message): boolean {
    return this.#shared.kept.bytes + messageBytes(message) <= this.#shared.queuedBytes
  }

  #queue(delivery: Delivery): void {
    this.#waiting.push(delivery)
    this.#waitingBytes += messageBytes(delivery.message)
    this.#remember(delivery)
  }

  #takeFront(delivery: Delivery): void {
    this.#front += 1
    this.#unqueue(delivery)
    if (this.#front === this.#waiting.length || this.#front > 1024) {
      this.#waiting = this.#waiting.slice(this.#front)
      this.#front = 0
    }
  }

  #unqueue(delivery: Delivery): void {
    this.#waitingBytes -= messageBytes(delivery.message)
    this.#forget(delivery)
  }

  /** Counts a message, or one of which only the id is kept. */
  #remember(delivery: Delivery | undefined): void {
    this.#count(delivery, 1)
  }

  #forget(delivery: Delivery | undefined): void {
    this.#count(delivery, -1)
  }

  #count(delivery: Delivery | undefined, sign: 1 | -1): void {
    const { kept, sentOnly } = this.#shared
    const bytes = sign * (delivery === undefined ? sentBytes : messageBytes(delivery.message))
    kept.messages += sign
    kept.bytes += bytes
    if (delivery === undefined) sentOnly.bytes += bytes
  }
}
