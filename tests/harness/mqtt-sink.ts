import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { generate, parser } from 'mqtt-packet'
import type { IPublishPacket, Packet } from 'mqtt-packet'

/** A publish that the sink has received, in the order of arrival; a resend is another one. */
export interface Received {
  readonly clientId: string
  readonly topic: string
  readonly payload: string
  readonly qos: number
  readonly dup: boolean
  /** True when the sink sent the PUBACK. */
  readonly acknowledged: boolean
}

export interface SinkOptions {
  /** Called for each publish; false leaves it without its PUBACK, `cut` ends the connection instead. */
  readonly decide?: (publish: { readonly clientId: string; readonly topic: string; readonly number: number }) => boolean | 'cut'
  /** Return code of every CONNACK; default 0. */
  readonly returnCode?: number
}

/** An MQTT 3.1.1 server that takes publishes, remembers them and does nothing else. */
export class MqttSink implements AsyncDisposable {
  readonly received: Received[] = []
  readonly connects: { readonly clientId: string; readonly clean: boolean }[] = []
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #options: SinkOptions

  private constructor(options: SinkOptions) {
    this.#options = options
    this.#server = createServer(socket => this.#serve(socket))
  }

  static async open(options: SinkOptions = {}): Promise<MqttSink> {
    const sink = new MqttSink(options)
    await new Promise<void>(resolve => sink.#server.listen(0, '127.0.0.1', resolve))
    return sink
  }

  get url(): string {
    const address = this.#server.address()
    return typeof address === 'object' ? `mqtt://127.0.0.1:${address?.port}` : ''
  }

  /** Ends every connection without a word; new ones are taken. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('error', () => undefined)
    const frames = parser({ protocolVersion: 4 })
    let clientId = ''
    frames.on('packet', (packet: Packet) => {
      if (packet.cmd === 'connect') {
        clientId = packet.clientId
        this.connects.push({ clientId, clean: packet.clean ?? true })
        socket.write(generate({ cmd: 'connack', returnCode: this.#options.returnCode ?? 0, sessionPresent: false }))
      } else if (packet.cmd === 'publish') this.#take(socket, clientId, packet)
      else if (packet.cmd === 'pingreq') socket.write(generate({ cmd: 'pingresp' }))
    })
    socket.on('data', chunk => frames.parse(chunk))
  }

  #take(socket: Socket, clientId: string, { topic, payload, qos, dup, messageId }: IPublishPacket): void {
    if (socket.destroyed) return
    const decision = this.#options.decide?.({ clientId, topic, number: this.received.length }) ?? true
    const acknowledged = decision === true && qos === 1
    this.received.push({ clientId, topic, payload: payload.toString(), qos, dup, acknowledged })
    if (decision === 'cut') socket.destroy()
    else if (acknowledged && messageId !== undefined) socket.write(generate({ cmd: 'puback', messageId }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutAll()
    await new Promise(resolve => this.#server.close(resolve))
  }
}
