/** What leaves on one socket. */
export interface Unread {
  /** Bytes that wait for the client to read them; 0 once the socket is destroyed. */
  readonly unreadBytes: number
  /** Bytes that no longer wait. */
  readonly readBytes: number
  /** Ends the connection, and frees what waits. */
  drop(): void
}

interface Noted {
  bytes: number
  readBytes: number
}

/**
 * What waits for all clients together to read it. Above the limit the one that has read nothing for longest is
 * disconnected: one that reads, however slowly, is behind all that do not.
 *
 * Only what the kernel did not take at once is here, so on a healthy network it is empty.
 */
export class UnreadBytes {
  readonly #limit: number
  /** In the order in which they last read something, by the rounds of `look`. */
  readonly #noted = new Map<Unread, Noted>()
  #bytes = 0
  #scheduled = false

  constructor(limit: number) {
    this.#limit = limit
  }

  get bytes(): number {
    return this.#bytes
  }

  /** True when bytes of this one are counted, so that every change has to be told. */
  has(unread: Unread): boolean {
    return this.#noted.has(unread)
  }

  /** Notes what waits now; it replaces what was noted before. */
  note(unread: Unread): void {
    const bytes = unread.unreadBytes
    const noted = this.#noted.get(unread)
    this.#bytes += bytes - (noted?.bytes ?? 0)
    if (bytes === 0) this.#noted.delete(unread)
    else if (noted === undefined) this.#noted.set(unread, { bytes, readBytes: unread.readBytes })
    else noted.bytes = bytes
    if (this.#bytes > this.#limit) this.#schedule()
  }

  /** Looks who has read something; to be called now and then. */
  look(): void {
    let left = this.#noted.size
    for (const [unread, noted] of this.#noted) {
      // Those behind were looked at in this round, and moved there.
      if (left === 0) return
      left -= 1
      this.note(unread)
      if (unread.readBytes === noted.readBytes || !this.#noted.has(unread)) continue
      noted.readBytes = unread.readBytes
      this.#noted.delete(unread)
      this.#noted.set(unread, noted)
    }
  }

  /** Later: who is dropped may be the one that is being written to. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#shrink()
    })
  }

  #shrink(): void {
    this.look()
    for (const [unread, noted] of this.#noted) {
      if (this.#bytes <= this.#limit) return
      unread.drop()
      // Closing writes what was left to write, and may have noted that nothing waits any more.
      if (this.#noted.delete(unread)) this.#bytes -= noted.bytes
    }
  }
}
