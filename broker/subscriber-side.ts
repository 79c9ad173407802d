import { encodeConnect } from './packets/connect-packet.ts'
import { endings, silent } from './endings.ts'
import type { Ending } from './endings.ts'
import { Link } from './routing/link.ts'
import type { LinkOwner } from './routing/link.ts'
import type { Outbound } from './outbound.ts'
import type { RouteHandle, Router } from './routing/router.ts'
import { SubscribeAcknowledgements } from './subscribe-acknowledgements.ts'
import { encodeSuback, encodeSubscribe } from './packets/subscribe-packet.ts'
import type { FilterList } from './packets/subscribe-packet.ts'
import type { Fault } from './packets/reason-codes.ts'

/** SUBACK's return code for a filter that is refused [MQTT-3.9.3-2]. */
const failure = 0x80
/** MQTT 3.1 clients may set it on what aedes, which hears of 3.1.1 only, takes for malformed. */
const dupFlag = 0x08

/** The connection, as its subscriber's side sees it. */
export interface SubscriberHost {
  readonly closed: boolean
  /** CONNACK 0 has left and other packets may be passed on. */
  onOpen(): void
  /** A packet that was blocked may be passed on now. */
  onRouteReady(): void
  violate(fault: Fault): void
  finish(ending: Ending): void
}

/** What of a connection aedes deals with: CONNECT, subscriptions, and messages to the client. */
export class SubscriberSide implements LinkOwner {
  readonly #host: SubscriberHost
  readonly #out: Outbound
  readonly #connack: Buffer
  readonly #link: Link
  readonly #route: RouteHandle
  readonly #subacks = new SubscribeAcknowledgements()
  #connackSent = false
  #outputDone: (() => void) | undefined

  constructor(options: {
    readonly host: SubscriberHost
    readonly out: Outbound
    readonly router: Router
    /** Sent when the routing side has the client. */
    readonly connack: Buffer
  }) {
    this.#host = options.host
    this.#out = options.out
    this.#connack = options.connack
    this.#link = new Link(this)
    this.#route = options.router.connect(this.#link)
  }

  /** True from the moment on that the client has its CONNACK 0. */
  get connackSent(): boolean {
    return this.#connackSent
  }

  /** True while aedes takes no packets. */
  get blocked(): boolean {
    return this.#link.blocked
  }

  get outboundBytes(): number {
    return this.#out.waitingBytes + this.#link.writableLength
  }

  connect(clientId: Buffer, clean: boolean): void {
    this.#link.deliver(encodeConnect(clientId, clean))
  }

  /** Passes a packet on; its bytes must not change any more. */
  passOn(packet: Buffer): void {
    packet[0] = (packet[0] ?? 0) & ~dupFlag
    this.#link.deliver(packet)
  }

  /**
   * Subscribes to the filters as far as the limit of the session allows. aedes gets each filter once, with the QoS that
   * comes last, and answers so; the client is owed a return code for each that it sent [MQTT-3.8.4-5].
   */
  subscribe({ packetId, filters, qos }: FilterList, sessionFilters: Set<string>, limit: number): void {
    const returnCodes = new Uint8Array(filters.length)
    const allowed = new Map<string, number>()
    for (const [index, filter] of filters.entries()) {
      const allows = sessionFilters.has(filter) || sessionFilters.size < limit
      const asked = qos[index] ?? 0
      returnCodes[index] = allows ? asked : failure
      if (!allows) continue
      sessionFilters.add(filter)
      allowed.set(filter, asked)
    }
    if (allowed.size === 0) {
      this.#out.reply(encodeSuback(packetId, returnCodes))
      return
    }
    if (allowed.size !== filters.length) this.#subacks.owe({ packetId, granted: allowed.size, returnCodes })
    this.#link.deliver(encodeSubscribe(packetId, allowed))
  }

  /** The client has read what waited. */
  onDrain(): void {
    const done = this.#outputDone
    this.#outputDone = undefined
    done?.()
  }

  close(): void {
    this.#route.close()
    this.onDrain()
  }

  onRouteOpen(): void {
    this.#host.onOpen()
  }

  onRouteOutput(bytes: Buffer, done: () => void): void {
    if (this.#host.closed) {
      done()
      return
    }
    let rest = bytes
    if (!this.#connackSent) {
      // aedes' CONNACK comes first; the session is the gate's to tell.
      this.#connackSent = true
      this.#out.send(this.#connack)
      rest = bytes.subarray(4)
    }
    rest = this.#subacks.complete(rest)
    if (rest.length === 0 || this.#out.send(rest)) done()
    else this.#outputDone = done
  }

  onRouteReady(): void {
    this.#host.onRouteReady()
  }

  onRouteClosed(error: Error | null): void {
    this.#host.finish(silent(error === null ? 'routing side closed' : `routing side closed: ${error.message}`))
  }

  onTooSlow(): void {
    this.#host.violate(endings.notRead)
  }
}
