import { endings } from './endings.ts'
import type { AcknowledgementPacket } from './packets/acknowledgement-packet.ts'
import type { ConnectPacket } from './packets/connect-packet.ts'
import { encodePublish, headWithId } from './packets/outgoing-publish.ts'
import type { EncodedPublish } from './packets/outgoing-publish.ts'
import { encodeSuback, encodeUnsuback } from './packets/subscribe-packet.ts'
import type { FilterList } from './packets/subscribe-packet.ts'
import { encodeSuback5, encodeUnsuback5 } from './packets/subscribe5-packet.ts'
import type { Subscribe5Packet, Unsubscribe5Packet } from './packets/subscribe5-packet.ts'
import { reasonCodes } from './packets/reason-codes.ts'
import type { Fault } from './packets/reason-codes.ts'
import { PublishesOut5 } from './publishes-out5.ts'
import type { Outbound } from './outbound.ts'
import type { Delivery, Subscriber } from './routing/delivery.ts'
import { RequestedSubscriptions } from './routing/requested-subscriptions.ts'
import type { Router } from './routing/router.ts'
import type { Session } from './routing/session.ts'
import type { BlockReason } from './waiting.ts'
import { plainSubscription } from './routing/subscription.ts'

/** SUBACK's return code for a filter that is refused [MQTT-3.9.3-2]. */
const failure = 0x80
const pubrelHeader = 0x62
/** Deliveries that one acknowledgement makes room for at once; what is left has its turn with the others'. */
const sentAtOnce = 4

/** The connection, as its subscriber's side sees it. */
export interface SubscriberHost {
  readonly closed: boolean
  violate(fault: Fault): void
  /** Goes on with the packet that blocked, when it blocked for this reason. */
  unblock(reason: BlockReason): void
}

interface SubscriberOptions {
  readonly host: SubscriberHost
  readonly out: Outbound
  readonly router: Router
  readonly session: Session
  /** What the client asked for. */
  readonly packet: ConnectPacket
}

/** What was encoded last: of the same delivery to many subscribers, and of nothing else. */
let encoded: { readonly delivery: Delivery; readonly publish: EncodedPublish } | undefined

/** What of a connection subscribes: SUBSCRIBE and UNSUBSCRIBE with their answers, and messages to the client. */
export class SubscriberSide implements Subscriber {
  /** A client of MQTT 3.x says nothing of how much it takes: as many as there are packet ids. `limits.sendWindow` bounds it. */
  readonly receiveMaximum: number
  readonly #host: SubscriberHost
  readonly #out: Outbound
  readonly #router: Router
  readonly #session: Session
  readonly #maximumPacketBytes: number
  /** Of a client of MQTT 5. */
  readonly #publishes5: PublishesOut5 | undefined
  #connackSent = false
  /** SUBACKs and UNSUBACKs that wait for the disk. */
  #unanswered = 0
  #waitsForAnswers = false

  constructor(options: SubscriberOptions) {
    this.#host = options.host
    this.#out = options.out
    this.#router = options.router
    this.#session = options.session
    const { out, router, packet } = options
    const { statistics, monotonic: now } = router
    this.receiveMaximum = packet.receiveMaximum
    this.#maximumPacketBytes = packet.maximumPacketBytes
    this.#publishes5 = packet.level === 5 ? new PublishesOut5({ out, packet, statistics, now }) : undefined
  }

  /** True from the moment on that the client has its CONNACK 0. */
  get connackSent(): boolean {
    return this.#connackSent
  }

  get full(): boolean {
    return this.#out.waitingBytes > this.#router.maxOutboundBytes
  }

  /** True when so many answers wait for the disk that the next SUBSCRIBE or UNSUBSCRIBE has to, blocked as `inFlight`. */
  mustWait(limit: number): boolean {
    this.#waitsForAnswers = this.#unanswered >= limit
    return this.#waitsForAnswers
  }

  /** Sends CONNACK 0, and what the session is owed behind it. */
  open(connack: Buffer): void {
    this.#connackSent = true
    this.#out.send(connack)
    this.#session.deliveries.attach(this)
    this.#router.resume(this.#session)
  }

  /** Subscribes to the filters as far as the limit of the session allows; each has its return code [MQTT-3.8.4-5]. */
  subscribe({ packetId, filters, qos }: FilterList, limit: number): void {
    const requested = new RequestedSubscriptions(this.#session, limit)
    const returnCodes = new Uint8Array(filters.length)
    for (const [index, filter] of filters.entries()) {
      const asked = qos[index] ?? 0
      const allows = requested.add(plainSubscription(filter, asked === 2 ? 2 : asked === 1 ? 1 : 0))
      returnCodes[index] = allows ? asked : failure
    }
    for (const subscription of requested) this.#router.subscribe(this.#session, subscription)
    this.#answer(encodeSuback(packetId, returnCodes))
  }

  unsubscribe({ packetId, filters }: FilterList): void {
    for (const filter of filters) this.#router.unsubscribe(this.#session, filter)
    this.#answer(encodeUnsuback(packetId))
  }

  /** The same of MQTT 5: with the options of each filter, and the code for each that is refused whoever asks. */
  subscribe5({ packetId, requests }: Subscribe5Packet, limit: number): void {
    const requested = new RequestedSubscriptions(this.#session, limit)
    const codes = new Uint8Array(requests.length)
    for (const [index, { refusal, ...subscription }] of requests.entries()) {
      codes[index] = refusal ?? (requested.add(subscription) ? subscription.qos : reasonCodes.quotaExceeded)
    }
    for (const subscription of requested) this.#router.subscribe(this.#session, subscription)
    this.#answer(encodeSuback5(packetId, codes))
  }

  unsubscribe5({ packetId, filters }: Unsubscribe5Packet): void {
    const codes = new Uint8Array(filters.length)
    for (const [index, filter] of filters.entries()) {
      if (!this.#session.subscriptions.has(filter)) codes[index] = reasonCodes.noSubscriptionExisted
      else this.#router.unsubscribe(this.#session, filter)
    }
    this.#answer(encodeUnsuback5(packetId, codes))
  }

  /** Takes a PUBACK, PUBREC or PUBCOMP (4, 5, 7) [MQTT-4.3.2-1, MQTT-4.3.3-1]; PUBREC is answered whether its id is known or not. */
  acknowledge(type: number, { packetId, code }: AcknowledgementPacket): void {
    const { deliveries } = this.#session
    if (type === 4) deliveries.acknowledge(packetId)
    else if (type === 7) deliveries.complete(packetId)
    else {
      const refused = code >= reasonCodes.unspecifiedError
      const known = deliveries.receive(packetId, refused)
      // One that says no is the end of its delivery [MQTT-4.3.3-4].
      if (!refused) this.pubrel(packetId, known)
    }
    if (deliveries.pump(sentAtOnce) === sentAtOnce) this.#router.resume(this.#session)
  }

  /** The client has read what waited. */
  onDrain(): void {
    this.#router.resume(this.#session)
  }

  publish(delivery: Delivery, packetId: number, dup: boolean): boolean {
    if (this.#publishes5 !== undefined) return this.#publishes5.publish(delivery, packetId, dup)
    if (encoded?.delivery !== delivery) encoded = { delivery, publish: encodePublish(delivery) }
    const { publish } = encoded
    this.#out.reply(headWithId(publish, packetId, dup))
    if (publish.rest !== undefined) this.#out.reply(publish.rest)
    return true
  }

  /** MQTT 5 has a word for a packet id that is not known (§3.6.2.1). */
  pubrel(packetId: number, known = true): void {
    const id = [packetId >> 8, packetId & 0xff]
    const isPlain = known || this.#publishes5 === undefined
    this.#out.reply(Buffer.from(isPlain ? [pubrelHeader, 2, ...id] : [pubrelHeader, 3, ...id, reasonCodes.packetIdentifierNotFound]))
  }

  close(): void {
    this.#publishes5?.close()
  }

  flush(): void {
    this.#out.flush()
  }

  onTooSlow(): void {
    // Not in the middle of a message that others get too.
    setImmediate(() => this.#host.violate(endings.notRead))
  }

  /** Answers when the change is durable that the session went through. */
  #answer(packet: Buffer): void {
    if (packet.length > this.#maximumPacketBytes) {
      this.#host.violate(endings.maximumPacketSize)
      return
    }
    this.#unanswered += 1
    this.#router.whenDurable(
      () => {
        this.#unanswered -= 1
        if (this.#host.closed) return
        this.#out.reply(packet)
        this.#out.flush()
        if (!this.#waitsForAnswers) return
        this.#waitsForAnswers = false
        // After the others that this made durable.
        setImmediate(() => this.#host.unblock('inFlight'))
      },
      this.#host,
      this.#session
    )
  }
}
