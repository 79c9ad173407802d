import { TidegateError } from '../errors.ts'
import type { ToEdge, ToService } from './messages.ts'
import type { Outbox } from './outbox.ts'

/** What one service process has pinned of the journal. It cannot outlive the process: `close` lets go of everything. */
export class ServicePins {
  readonly #ports: { pin(from: number): Promise<{ readonly readable: number; readonly release: () => void }> }
  /** Undefined while the pin is being taken. */
  readonly #releases = new Map<number, (() => void) | undefined>()

  constructor(ports: { pin(from: number): Promise<{ readonly readable: number; readonly release: () => void }> }) {
    this.#ports = ports
  }

  /** Pins and answers the service. */
  take(message: ToEdge & { readonly type: 'pin' }, outbox: Outbox<ToService>): void {
    const { request, from } = message
    this.#releases.set(request, undefined)
    void this.#answer(request, from, outbox)
  }

  async #answer(request: number, from: number, outbox: Outbox<ToService>): Promise<void> {
    try {
      const { readable, release } = await this.#ports.pin(from)
      // Released, or the service gone, before it was taken.
      if (!this.#releases.has(request)) {
        release()
        return
      }
      this.#releases.set(request, release)
      outbox.post({ type: 'pinned', request, readable })
    } catch (error) {
      this.#releases.delete(request)
      const known = error instanceof TidegateError ? error : new TidegateError('TG_BUG', String(error))
      outbox.post({ type: 'pinRefused', request, code: known.code, message: known.message })
    }
  }

  release(request: number): void {
    this.#releases.get(request)?.()
    this.#releases.delete(request)
  }

  close(): void {
    for (const request of this.#releases.keys()) this.release(request)
  }
}
