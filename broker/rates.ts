/** How much one client may send in a second; 0 is without a limit. */
export interface RateLimits {
  readonly messagesPerSecond: number
  readonly bytesPerSecond: number
}

/** What a client may send at once after it was idle: what the rate allows in so many milliseconds. */
const burstMs = 1000
/** Clients without a connection whose allowance is not whole again; the one that left first is forgotten. */
const maxAbsent = 10_000
/** Absent clients looked at in one round. */
const expiredPerRound = 256

/**
 * What one client has sent, as the time at which its allowance is whole again (the generic cell rate algorithm: a token
 * bucket of one second in one number, without a timer that fills it). A packet larger than a second's bytes passes when
 * the allowance is not used up, and the client waits longer afterwards.
 */
export class ClientRate {
  readonly clientId: string
  connected = true
  readonly #messageMs: number
  readonly #byteMs: number
  readonly #monotonic: () => number
  #messagesWholeMs = 0
  #bytesWholeMs = 0

  constructor(clientId: string, limits: RateLimits, monotonic: () => number) {
    this.clientId = clientId
    this.#messageMs = limits.messagesPerSecond === 0 ? 0 : 1000 / limits.messagesPerSecond
    this.#byteMs = limits.bytesPerSecond === 0 ? 0 : 1000 / limits.bytesPerSecond
    this.#monotonic = monotonic
  }

  /** True when the client has its whole allowance, as one that never sent anything. */
  get whole(): boolean {
    return Math.max(this.#messagesWholeMs, this.#bytesWholeMs) <= this.#monotonic()
  }

  /** Milliseconds until the next packet may be handled, 0 when it may now. */
  waitMs(): number {
    // Until there is room for one message and one byte.
    const messages = this.#messagesWholeMs + this.#messageMs
    const bytes = this.#bytesWholeMs + this.#byteMs
    return Math.max(0, Math.max(messages, bytes) - burstMs - this.#monotonic())
  }

  /** Notes a packet that was handled. */
  charge(messages: number, bytes: number): void {
    const now = this.#monotonic()
    this.#messagesWholeMs = Math.max(now, this.#messagesWholeMs) + messages * this.#messageMs
    this.#bytesWholeMs = Math.max(now, this.#bytesWholeMs) + bytes * this.#byteMs
  }
}

/**
 * The rates of all clients, by client id and not by connection, so that coming again gives no new allowance. One without a
 * connection is kept until its allowance is whole.
 */
export class Rates {
  readonly #limits: RateLimits
  readonly #monotonic: () => number
  readonly #byClient = new Map<string, ClientRate>()
  readonly #absent = new Set<ClientRate>()

  constructor(limits: RateLimits, monotonic: () => number) {
    this.#limits = limits
    this.#monotonic = monotonic
  }

  /** Clients without a connection that are remembered. */
  get absent(): number {
    return this.#absent.size
  }

  /** The rate of a client that connects, undefined without a limit. The connection that it had before is detached. */
  attach(clientId: string): ClientRate | undefined {
    const { messagesPerSecond, bytesPerSecond } = this.#limits
    if (messagesPerSecond === 0 && bytesPerSecond === 0) return undefined
    const known = this.#byClient.get(clientId)
    const rate = known ?? new ClientRate(clientId, this.#limits, this.#monotonic)
    rate.connected = true
    this.#absent.delete(rate)
    this.#byClient.set(clientId, rate)
    return rate
  }

  /** The client's connection is over. */
  detach(rate: ClientRate): void {
    rate.connected = false
    if (rate.whole) this.#byClient.delete(rate.clientId)
    else this.#absent.add(rate)
    const [first] = this.#absent
    if (first !== undefined && this.#absent.size > maxAbsent) this.#forget(first)
  }

  /** Forgets absent clients whose allowance is whole; to be called now and then. */
  expire(): void {
    let left = Math.min(expiredPerRound, this.#absent.size)
    for (const rate of this.#absent) {
      if (left === 0) return
      left -= 1
      if (rate.whole) this.#forget(rate)
      else {
        // To the end, so that one that waits long does not keep the round from those behind it.
        this.#absent.delete(rate)
        this.#absent.add(rate)
      }
    }
  }

  #forget(rate: ClientRate): void {
    this.#absent.delete(rate)
    this.#byClient.delete(rate.clientId)
  }
}
