import { once } from 'node:events'
import net from 'node:net'
import { messageText } from './kept-journal.ts'

/** The client's end of one connection: writes bytes, and sorts the packets that the server sends. */
export class Peer {
  readonly socket: net.Socket
  connack: string | undefined
  /** PUBACK, PUBREC and PUBCOMP: type << 16 | packet id. */
  readonly acknowledgements: number[] = []
  /** SUBACK and UNSUBACK, as hex. */
  readonly subscriptionReplies: string[] = []
  pings = 0
  /** Messages, without those that are there because they were retained. */
  readonly messages: string[] = []
  /** What no server may send. */
  readonly nonsense: string[] = []
  closed = false
  readonly #keepsMessages: boolean
  #wake: (() => void) | undefined
  #rest = Buffer.alloc(0)

  private constructor(socket: net.Socket, keepsMessages: boolean) {
    this.socket = socket
    this.#keepsMessages = keepsMessages
    socket.setNoDelay(true)
    socket.on('data', chunk => {
      this.#take(chunk)
      this.#wake?.()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
      this.#wake?.()
    })
  }

  static async open(port: number, options: { readonly keepsMessages?: boolean } = {}): Promise<Peer> {
    const socket = net.connect({ port, host: '127.0.0.1' })
    const peer = new Peer(socket, options.keepsMessages ?? false)
    await once(socket, 'connect')
    return peer
  }

  /** Waits until the condition holds or the socket is closed; looked at with every read. */
  async until(condition: () => boolean, what: string, deadlineMs = 20_000): Promise<void> {
    while (!this.closed && !condition()) await this.#event(what, deadlineMs)
  }

  async untilClosed(what: string, deadlineMs = 20_000): Promise<void> {
    while (!this.closed) await this.#event(what, deadlineMs)
  }

  async #event(what: string, deadlineMs: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`still waiting: ${what}`)), deadlineMs)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#wake = undefined
  }

  #take(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    while (at < bytes.length) {
      let body = at + 1
      let length = 0
      let complete = false
      for (let shift = 0; body < bytes.length && !complete; shift += 7) {
        const byte = bytes[body++] ?? 0
        length |= (byte & 0x7f) << shift
        complete = byte < 0x80
      }
      if (!complete || body + length > bytes.length) break
      this.#packet(bytes, at, body, body + length)
      at = body + length
    }
    this.#rest = at === bytes.length ? Buffer.alloc(0) : Buffer.from(bytes.subarray(at))
  }

  #packet(bytes: Buffer, start: number, body: number, end: number): void {
    const header = bytes[start] ?? 0
    const type = header >> 4
    if ((type === 4 || type === 5 || type === 7) && end - body === 2) {
      this.acknowledgements.push((header << 16) | bytes.readUInt16BE(body))
      return
    }
    if (type === 3 && end - body >= 2) {
      if (!this.#keepsMessages || (header & 1) !== 0) return
      const topicEnd = body + 2 + bytes.readUInt16BE(body)
      const payload = topicEnd + ((header & 6) === 0 ? 0 : 2)
      if (payload <= end) this.messages.push(messageText(bytes.subarray(body + 2, topicEnd), bytes.subarray(payload, end)))
      else this.nonsense.push(bytes.toString('hex', start, end))
      return
    }
    if (header === 0xd0 && body === end) {
      this.pings += 1
      return
    }
    const hex = bytes.toString('hex', start, end)
    if (header === 0x20 && this.connack === undefined) this.connack = hex
    else if (header === 0x90 || header === 0xb0) this.subscriptionReplies.push(hex)
    else if (header !== 0x62) this.nonsense.push(hex)
  }
}
