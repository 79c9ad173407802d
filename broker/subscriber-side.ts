import { encodeConnect, returnCodes } from './connect-packet.ts'
import { GrantedCodes, refusedFilter } from './granted-codes.ts'
import { Link } from './link.ts'
import type { LinkOwner } from './link.ts'
import type { Outbound } from './outbound.ts'
import type { RouteHandle, Router } from './routing.ts'
import type { FilterList } from './subscribe-packet.ts'

/** The connection, as its subscriber's side sees it. */
export interface SubscriberHost {
  readonly closed: boolean
  /** CONNACK 0 has left and other packets may be passed on. */
  onOpen(): void
  /** A packet that was blocked may be passed on now. */
  onRouteReady(): void
  violate(reason: string): void
  finish(reason: string): void
}

/** What of a connection aedes deals with: CONNECT, subscriptions, and messages to the client. */
export class SubscriberSide implements LinkOwner {
  readonly #host: SubscriberHost
  readonly #out: Outbound
  readonly #sessionPresent: boolean
  readonly #link: Link
  readonly #route: RouteHandle
  readonly #granted = new GrantedCodes()
  #connackSent = false
  #outputDone: (() => void) | undefined

  constructor(options: {
    readonly host: SubscriberHost
    readonly out: Outbound
    readonly router: Router
    readonly sessionPresent: boolean
  }) {
    this.#host = options.host
    this.#out = options.out
    this.#sessionPresent = options.sessionPresent
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
    // DUP, which MQTT 3.1 allows on SUBSCRIBE and UNSUBSCRIBE; aedes speaks 3.1.1 with everyone.
    packet[0] = (packet[0] ?? 0) & 0xf7
    this.#link.deliver(packet)
  }

  /** Adds filters to the session's as far as the limit allows; false when more were denied than may ever be allowed. */
  subscribe({ packetId, filters, qos }: FilterList, sessionFilters: Set<string>, limit: number): boolean {
    const { denied } = this.#link
    for (const filter of filters) {
      if (sessionFilters.has(filter) || sessionFilters.size < limit) {
        sessionFilters.add(filter)
        denied.delete(filter)
      } else denied.add(filter)
    }
    const codes = filters.map((filter, index) => (denied.has(filter) ? refusedFilter : (qos[index] ?? 0)))
    this.#granted.expect(packetId, codes)
    return denied.size <= limit
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
      this.#out.send(Buffer.from([0x20, 2, this.#sessionPresent ? 1 : 0, returnCodes.accepted]))
      rest = bytes.subarray(4)
    }
    rest = this.#granted.complete(rest)
    if (rest.length === 0 || this.#out.send(rest)) done()
    else this.#outputDone = done
  }

  onRouteReady(): void {
    this.#host.onRouteReady()
  }

  onRouteClosed(error: Error | null): void {
    this.#host.finish(error === null ? 'routing side closed' : `routing side closed: ${error.message}`)
  }

  onTooSlow(): void {
    this.#host.violate('subscriber does not read')
  }
}
