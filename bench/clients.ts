import { connect, type Socket } from 'node:net'

/** How a raw client comes: everything that is not given is as in the smallest CONNECT, with a clean session and no keep alive. */
export interface ClientOptions {
  readonly clientId: string
  readonly version?: 4 | 5
  /** One of this machine's loopback addresses: each has its own 28,000 ports. */
  readonly localAddress?: string
}

/** A packet of the first byte given and these parts. */
export function packet(firstByte: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([firstByte]), remainingLength(body.length), body])
}

export function remainingLength(length: number): Buffer {
  const bytes: number[] = []
  for (let left = length; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...bytes, left])
    bytes.push((left % 128) | 128)
  }
}

/** A string or binary field: two bytes of length in front. */
export function field(content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
}

export function connectPacket({ clientId, version = 4 }: ClientOptions): Buffer {
  const properties = version === 5 ? [0] : []
  return packet(0x10, field('MQTT'), Buffer.from([version, 2, 0, 0, ...properties]), field(clientId))
}

/**
 * Connects; resolves with the socket behind a CONNACK that accepts.
 * @throws Error with the CONNACK or the socket's own error when it does not
 */
export async function openClient(port: number, options: ClientOptions): Promise<Socket> {
  const { localAddress } = options
  return await new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true, ...(localAddress === undefined ? {} : { localAddress }) })
    socket.once('connect', () => socket.write(connectPacket(options)))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed without a CONNACK')))
    socket.once('data', (answer: Buffer) => {
      if (answer[0] === 0x20 && answer[3] === 0) {
        socket.removeAllListeners('error').on('error', () => undefined)
        resolve(socket)
        return
      }
      reject(new Error(`refused with CONNACK ${answer.toString('hex')}`))
      socket.destroy()
    })
  })
}
