import { setImmediate as turn } from 'node:timers/promises'
import { Router } from '../../broker/routing/router.ts'
import type { RouterOptions } from '../../broker/routing/router.ts'
import { neverExpires } from '../../broker/packets/connect-properties.ts'
import type { Delivery, Subscriber } from '../../broker/routing/delivery.ts'
import type { Session } from '../../broker/routing/session.ts'
import { plainSubscription } from '../../broker/routing/subscription.ts'
import type { Subscription } from '../../broker/routing/subscription.ts'
import { buildStatistics } from '../../broker/statistics.ts'
import type { Config } from '../../config.ts'
import { limits } from './raw-client.ts'

/** A subscriber's connection that notes what it is sent, as `topic:qos:payload` with `d` for DUP and `r` for RETAIN. */
export class FakeSubscriber implements Subscriber {
  receiveMaximum = 65_535
  full = false
  /** Largest payload that it takes. */
  largest = Number.POSITIVE_INFINITY
  tooSlow = 0
  flushed = 0
  readonly sent: string[] = []
  /** Packet id of each that was sent; 0 for QoS 0. */
  readonly ids: number[] = []
  readonly deliveries: Delivery[] = []

  publish(delivery: Delivery, packetId: number, dup: boolean): boolean {
    const { message, qos, retain } = delivery
    if (message.payload.length > this.largest) return false
    this.sent.push(`${message.topic}:${qos}${dup ? 'd' : ''}${retain ? 'r' : ''}:${message.payload.toString()}`)
    this.ids.push(packetId)
    this.deliveries.push(delivery)
    return true
  }

  pubrel(packetId: number): void {
    this.sent.push(`pubrel:${packetId}`)
    this.ids.push(packetId)
  }

  flush(): void {
    this.flushed = this.sent.length
  }

  onTooSlow(): void {
    this.tooSlow += 1
  }
}

/** A router whose messages are durable at once, and whose clock the test sets. */
export class RoutingWorld {
  readonly router: Router
  readonly statistics = buildStatistics()
  readonly sendWindow: number
  nowMs = 0
  #ordinal = 0

  constructor(options: { readonly limits?: Partial<Config['limits']>; readonly changes?: RouterOptions['changes'] } = {}) {
    this.sendWindow = options.limits?.sendWindow ?? limits.sendWindow
    this.router = new Router({
      limits: { ...limits, ...options.limits },
      maxPacketBytes: 1000,
      statistics: this.statistics,
      monotonic: () => this.nowMs,
      changes: options.changes
    })
  }

  /** A client connects; the earlier connection of the same id is over. */
  connect(
    clientId: string,
    options: { readonly clean?: boolean; readonly expirySeconds?: number; readonly subscriber?: FakeSubscriber } = {}
  ): { readonly session: Session; readonly subscriber: FakeSubscriber; readonly present: boolean; readonly leave: () => void } {
    const { clean = false, expirySeconds = clean ? 0 : neverExpires, subscriber = new FakeSubscriber() } = options
    const { sessions } = this.router
    const connection = { takeOver: (): void => leave() }
    const opened = sessions.open({ clientId, clean, expirySeconds }, connection)
    if (opened === undefined) throw new Error('there is no room for the session')
    const { session, present } = opened
    const leave = (): void => {
      if (session.connection === connection) sessions.detach(session)
    }
    session.deliveries.attach(subscriber)
    this.router.resume(session)
    return { session, subscriber, present, leave }
  }

  subscribe(session: Session, filter: string, qos: 0 | 1 | 2, options: Partial<Subscription> = {}): void {
    this.router.subscribe(session, { ...plainSubscription(filter, qos), ...options })
  }

  /** Publishes a message as the gate does, whether anyone wants it or not. */
  publish(
    topic: string,
    payload: string,
    options: { readonly qos?: 0 | 1 | 2; readonly retain?: boolean; readonly clientId?: string; readonly expirySeconds?: number } = {}
  ): void {
    const { qos = 1, retain = false, clientId = 'publisher', expirySeconds } = options
    const expiry = expirySeconds === undefined ? undefined : { seconds: expirySeconds, takenMs: this.nowMs }
    this.router.push({ ordinal: this.#ordinal, topic, payload: Buffer.from(payload), qos, retain, clientId, properties: undefined, expiry })
    this.#ordinal += 1
    this.router.release(this.#ordinal)
  }

  /** Resolves when so many turns of the event loop have passed. */
  async turns(count = 4): Promise<void> {
    for (let at = 0; at < count; at++) await turn()
  }
}
