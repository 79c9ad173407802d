/**
 * Tells whether a server may have died since it last acknowledged something, and with that may have forgotten it. A lost
 * connection or a failing server is a doubt; when it answers again it is asked when it started: only the same time as
 * before settles the doubt. Whatever is unclear counts as a restart, since writing again changes nothing.
 */
export class InfluxRestarts {
  /** Called when the server answers again and may have restarted. */
  onRestart: () => void = () => undefined
  readonly #startTime: () => Promise<string | undefined>
  /** What the server said at the last judgement; undefined: it does not say. */
  #started: string | undefined
  #judged = false
  #judging = false
  /** It has acknowledged something that is not in doubt yet. */
  #trusted = false
  #doubtful = false
  #doubts = 0

  constructor(startTime: () => Promise<string | undefined>) {
    this.#startTime = startTime
  }

  /** It may have died, and nothing since has settled that it did not. */
  get doubtful(): boolean {
    return this.#doubtful
  }

  /** Something happened that would also happen if the server died. */
  doubt(): void {
    this.#doubts += 1
    this.#doubtful ||= this.#trusted
    this.#trusted = false
  }

  /** The server answered. Before its first answer nothing can have been forgotten, so that one is no restart. */
  answered(): void {
    this.#trusted = true
    if ((this.#doubtful || !this.#judged) && !this.#judging) void this.#judge()
  }

  async #judge(): Promise<void> {
    this.#judging = true
    const doubts = this.#doubts
    const started = await this.#startTime()
    this.#judging = false
    // What was heard may be of the one before: the next answer is judged anew.
    if (doubts !== this.#doubts) return
    const same = this.#judged && started !== undefined && started === this.#started
    const restarted = this.#doubtful && !same
    this.#started = started
    this.#judged = true
    this.#doubtful = false
    if (restarted) this.onRestart()
  }
}
