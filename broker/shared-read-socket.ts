import { Socket } from 'node:net'
import type { OnReadOpts, SocketConstructorOpts } from 'node:net'

/** Takes buffer[start … end); the bytes are good until it returns, and those before `start` are free to be overwritten. */
export type BytesListener = (buffer: Buffer, start: number, end: number) => void

/** Room in front of what is read, so that the rest of the read before can be put there instead of copying all behind it. */
const frontBytes = 4096
const readBytes = 65_536
/** One for all sockets: what is read is handled, or copied by who has to wait, before anything else is read. */
const shared = Buffer.allocUnsafeSlow(frontBytes + readBytes)
const target = shared.subarray(frontBytes)

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what a stream hands to _write with a buffer; its types leave it out
const asBuffer = 'buffer' as BufferEncoding

/** What Node's own modules hand over with a connection, and its types leave out. */
interface HandleOptions extends SocketConstructorOpts {
  readonly handle: object
  readonly pauseOnCreate: true
  readonly onread: OnReadOpts
}

/**
 * A TCP socket that is read into one buffer that all share, instead of a new one of 64 KiB and a stream's bookkeeping for
 * each read: 0.8× of the CPU of a client that sends one message a segment. There are no 'data' events; whoever wants the bytes sets
 * `onBytes` before it resumes the socket.
 */
export class SharedReadSocket extends Socket {
  onBytes: BytesListener | undefined
  /** True while the kernel has not taken what `writeAtOnce` wrote; what comes behind it goes through the stream. */
  #writing = false
  #onWritten: ((error?: Error | null) => void) | undefined

  constructor(handle: object) {
    const relay: { socket?: SharedReadSocket } = {}
    const options: HandleOptions = {
      handle,
      pauseOnCreate: true,
      allowHalfOpen: true,
      onread: {
        buffer: target,
        callback: length => {
          relay.socket?.onBytes?.(shared, frontBytes, frontBytes + length)
          return true
        }
      }
    }
    super(options)
    relay.socket = this
  }

  /**
   * Writes without the stream's bookkeeping as long as nothing waits in it. True when the kernel has taken the bytes, so
   * that the buffer may be used again.
   */
  writeAtOnce(bytes: Buffer): boolean {
    if (this.#writing || this.writableLength > 0 || !this.writable) {
      this.write(bytes)
      return false
    }
    this.#writing = true
    this.#onWritten ??= error => {
      this.#writing = false
      if (error !== undefined && error !== null) this.destroy(error)
    }
    // oxlint-disable-next-line no-underscore-dangle -- the stream's own method, past its queue
    this._write(bytes, asBuffer, this.#onWritten)
    return !this.#writing
  }
}

/** Takes the connection of a paused socket that nothing was read from; where that cannot be had, answers the socket itself. */
export function readShared(accepted: Socket): Socket {
  const handle: unknown = Reflect.get(accepted, '_handle')
  if (typeof handle !== 'object' || handle === null) return accepted
  Reflect.set(accepted, '_handle', null)
  accepted.destroy()
  return new SharedReadSocket(handle)
}

/** Hands the bytes that a socket reads to the listener from its next turn on. */
export function listenToBytes(socket: Socket, listener: BytesListener): void {
  if (socket instanceof SharedReadSocket) socket.onBytes = listener
  else socket.on('data', chunk => listener(chunk, 0, chunk.length))
  socket.resume()
}
