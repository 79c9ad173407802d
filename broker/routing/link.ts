import { Duplex } from 'node:stream'

/** What a link asks of the connection that it belongs to. */
export interface LinkOwner {
  /** Bytes that aedes sends to the client, whole packets. `done` asks for more. */
  onRouteOutput(bytes: Buffer, done: () => void): void
  /** aedes has sent its CONNACK: other packets may follow. */
  onRouteOpen(): void
  /** aedes has taken what was pushed. */
  onRouteReady(): void
  /** aedes has given the client up. */
  onRouteClosed(error: Error | null): void
  /** Bytes that wait for the client to read them. */
  readonly outboundBytes: number
  /** Closes the connection of a subscriber that does not read. */
  onTooSlow(): void
}

/**
 * The socket that aedes believes to hold: packets that the gate passes on come in, what aedes sends goes out.
 * mqtt-packet corks around every packet, so that each write here holds whole packets.
 */
export class Link extends Duplex {
  readonly owner: LinkOwner
  /** False until everything queued for a returning client was sent; what comes meanwhile is queued behind it. */
  live = false
  #blocked = false

  constructor(owner: LinkOwner) {
    super({ allowHalfOpen: false, highWaterMark: 65_536 })
    this.owner = owner
  }

  /** True when aedes has not yet taken what it was given. */
  get blocked(): boolean {
    return this.#blocked
  }

  /** Gives aedes a packet; the bytes must not change any more. */
  deliver(packet: Buffer): void {
    if (!this.push(packet)) this.#blocked = true
  }

  override _read(): void {
    if (!this.#blocked) return
    this.#blocked = false
    this.owner.onRouteReady()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.owner.onRouteOutput(chunk, done)
  }

  override _writev(chunks: { readonly chunk: Buffer }[], done: () => void): void {
    this.owner.onRouteOutput(Buffer.concat(chunks.map(({ chunk }) => chunk)), done)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.owner.onRouteClosed(error)
    done(null)
  }
}
