import { returnCodes } from './packets/connect-packet.ts'
import { encodePublish, headWithId } from './packets/outgoing-publish.ts'
import type { EncodedPublish } from './packets/outgoing-publish.ts'
import { encodeSuback, encodeUnsuback } from './packets/subscribe-packet.ts'
import type { FilterList } from './packets/subscribe-packet.ts'
import type { Outbound } from './outbound.ts'
import type { Delivery, Subscriber } from './routing/delivery.ts'
import type { Router } from './routing/router.ts'
import type { Session } from './routing/session.ts'
import { plainSubscription } from './routing/subscription.ts'

/** SUBACK's return code for a filter that is refused [MQTT-3.9.3-2]. */
const failure = 0x80
const pubrelHeader = 0x62
/** An MQTT 3.1.1 client says nothing of how much it takes: as many as there are packet ids. */
const allPacketIds = 65_535
/** Deliveries that one acknowledgement makes room for at once; what is left has its turn with the others'. */
const sentAtOnce = 4

/** The connection, as its subscriber's side sees it. */
export interface SubscriberHost {
  readonly closed: boolean
  violate(reason: string): void
}

/** What was encoded last: of the same delivery to many subscribers, and of nothing else. */
let encoded: { readonly delivery: Delivery; readonly publish: EncodedPublish } | undefined

/** What of a connection subscribes: SUBSCRIBE and UNSUBSCRIBE with their answers, and messages to the client. */
export class SubscriberSide implements Subscriber {
  readonly receiveMaximum = allPacketIds
  readonly #host: SubscriberHost
  readonly #out: Outbound
  readonly #router: Router
  readonly #session: Session
  #connackSent = false

  constructor(options: { readonly host: SubscriberHost; readonly out: Outbound; readonly router: Router; readonly session: Session }) {
    this.#host = options.host
    this.#out = options.out
    this.#router = options.router
    this.#session = options.session
  }

  /** True from the moment on that the client has its CONNACK 0. */
  get connackSent(): boolean {
    return this.#connackSent
  }

  get full(): boolean {
    return this.#out.waitingBytes > this.#router.maxOutboundBytes
  }

  /** Sends CONNACK 0, and what the session is owed behind it. */
  open(sessionPresent: boolean): void {
    this.#connackSent = true
    this.#out.send(Buffer.from([0x20, 2, sessionPresent ? 1 : 0, returnCodes.accepted]))
    this.#session.deliveries.attach(this)
    this.#router.resume(this.#session)
  }

  /** Subscribes to the filters as far as the limit of the session allows; each has its return code [MQTT-3.8.4-5]. */
  subscribe({ packetId, filters, qos }: FilterList, limit: number): void {
    const { subscriptions } = this.#session
    const returnCodes = new Uint8Array(filters.length)
    for (const [index, filter] of filters.entries()) {
      const allows = subscriptions.has(filter) || subscriptions.size < limit
      const asked = qos[index] ?? 0
      returnCodes[index] = allows ? asked : failure
      if (allows) this.#router.subscribe(this.#session, plainSubscription(filter, asked === 2 ? 2 : asked === 1 ? 1 : 0))
    }
    this.#answer(encodeSuback(packetId, returnCodes))
  }

  unsubscribe({ packetId, filters }: FilterList): void {
    for (const filter of filters) this.#router.unsubscribe(this.#session, filter)
    this.#answer(encodeUnsuback(packetId))
  }

  /** Takes a PUBACK, PUBREC or PUBCOMP (4, 5, 7) [MQTT-4.3.2-1, MQTT-4.3.3-1]; PUBREC is answered whether its id is known or not. */
  acknowledge(type: number, packetId: number): void {
    const { deliveries } = this.#session
    if (type === 4) deliveries.acknowledge(packetId)
    else if (type === 7) deliveries.complete(packetId)
    else {
      deliveries.receive(packetId)
      this.pubrel(packetId)
    }
    if (deliveries.pump(sentAtOnce)) this.#router.resume(this.#session)
  }

  /** The client has read what waited. */
  onDrain(): void {
    this.#router.resume(this.#session)
  }

  publish(delivery: Delivery, packetId: number, dup: boolean): boolean {
    if (encoded?.delivery !== delivery) encoded = { delivery, publish: encodePublish(delivery) }
    const { publish } = encoded
    this.#out.reply(headWithId(publish, packetId, dup))
    if (publish.rest !== undefined) this.#out.reply(publish.rest)
    return true
  }

  pubrel(packetId: number): void {
    this.#out.reply(Buffer.from([pubrelHeader, 2, packetId >> 8, packetId & 0xff]))
  }

  flush(): void {
    this.#out.flush()
  }

  onTooSlow(): void {
    // Not in the middle of a message that others get too.
    setImmediate(() => this.#host.violate('subscriber does not read'))
  }

  /** Answers when the change is durable that the session went through. */
  #answer(packet: Buffer): void {
    this.#router.whenDurable(() => {
      if (!this.#host.closed) this.#out.reply(packet)
      this.#out.flush()
    })
  }
}
