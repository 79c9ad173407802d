/** What the keep-alive round looks at. */
export interface Watched {
  /** Tick of the last packet. */
  lastTick: number
  /** Ticks without a packet after which it is over; 0 is never. */
  silentTicks: number
  /** True while silence is our doing: the socket is not read. */
  readonly standsStill: boolean
  expire(): void
}

const tickMs = 250

const unboundedSeconds = 65_535

/** The keep alive that a client of MQTT 5 gets, which may be told to keep another than it asked for [MQTT-3.1.2-21]; 0 is none. */
export function grantedKeepAlive(askedSeconds: number, maxSeconds: number): number {
  if (askedSeconds === 0) return maxSeconds < unboundedSeconds ? maxSeconds : 0
  return Math.min(askedSeconds, maxSeconds)
}

/** Ticks of a period, rounded up. */
export function ticksOf(milliseconds: number): number {
  return Math.ceil(milliseconds / tickMs)
}

/**
 * One timer for the keep alive of all connections: a round every 250 ms. Time is counted in rounds, not read from a clock:
 * after a stall of this process, packets that already wait in the kernel are read before anyone is taken for silent.
 */
export class KeepAlive {
  /** The present round; a connection notes it with every packet. */
  tick = 0
  readonly #watched: Iterable<Watched>
  readonly #timer: NodeJS.Timeout

  constructor(watched: Iterable<Watched>, onTick: () => void) {
    this.#watched = watched
    this.#timer = setInterval(() => {
      this.#round()
      onTick()
    }, tickMs)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #round(): void {
    this.tick += 1
    for (const connection of this.#watched) {
      if (connection.standsStill) connection.lastTick = this.tick
      else if (connection.silentTicks > 0 && this.tick - connection.lastTick > connection.silentTicks) connection.expire()
    }
  }
}
