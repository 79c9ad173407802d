import type { DeliveryProgress, SentDelivery } from './entry.ts'
import type { StateLog } from './state-log.ts'
import type { StateSource } from './state-source.ts'

interface ProgressWritingOptions {
  readonly log: StateLog
  readonly source: StateSource
  /** Ordinal of the journal's next record. */
  readonly head: () => number
}

const everyMs = 1000
/** Of one turn of the event loop. */
const sessionsPerTurn = 250
const bytesPerTurn = 256 * 1024

/**
 * Writes every second how far messages to clients have come, some sessions a turn of the event loop. Where the disk does not
 * keep up, or the log takes nothing, the rest waits for the next second: as of then.
 */
export class ProgressWriting {
  readonly #options: ProgressWritingOptions
  /** Sessions of whose messages something is not written. */
  readonly #due = new Set<string>()
  readonly #timer: NodeJS.Timeout
  #isScheduled = false
  #isStopped = false

  constructor(options: ProgressWritingOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.#write(), everyMs).unref()
  }

  add(clientId: string): void {
    this.#due.add(clientId)
  }

  delete(clientId: string): void {
    this.#due.delete(clientId)
  }

  /** Writes the rest, as long as the log takes it. Idempotent. */
  async stop(): Promise<void> {
    const { log } = this.#options
    clearInterval(this.#timer)
    this.#isStopped = true
    while (this.#due.size > 0 && (await log.keepsUp())) this.#writeSome()
  }

  #write(): void {
    if (this.#isScheduled || this.#isStopped) return
    if (!this.#writeSome()) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.#write()
    })
  }

  /** True when there is more, which the log would take. */
  #writeSome(): boolean {
    const { log, head } = this.#options
    const before = log.pendingBytes
    let sessions = 0
    for (const clientId of this.#due) {
      if (log.isBusy) return false
      if (sessions === sessionsPerTurn || log.pendingBytes - before > bytesPerTurn) return true
      sessions += 1
      const progress = this.#progressOf(clientId)
      if (progress !== undefined && log.append({ kind: 'progress', clientId, position: head(), progress }) === undefined) return false
      this.#due.delete(clientId)
    }
    return false
  }

  #progressOf(clientId: string): DeliveryProgress | undefined {
    const { source, head } = this.#options
    const session = source.sessions.get(clientId)
    if (session === undefined) return undefined
    const sent: SentDelivery[] = []
    let sentBelow = source.position ?? head()
    for (const { packetId, released, kept } of session.deliveries) {
      const { ordinal, retained } = kept
      if (packetId > 0) sent.push({ ordinal, retained, packetId, released })
      else if (!retained) {
        sentBelow = Math.min(sentBelow, ordinal)
        break
      }
    }
    return { sentBelow, lastPacketId: session.deliveries.lastPacketId, sent }
  }
}
