import mqtt, { Store } from 'mqtt'
import type { MqttClient } from 'mqtt'
import { SimulationFault } from './simulation-fault.ts'

export interface ConnectionOptions {
  /** mqtt:// address of the server. */
  readonly url: string
  readonly clientId: string
  /** How long the first connection may take; later ones are tried for ever. */
  readonly openTimeoutMs: number
  readonly signal: AbortSignal
}

interface Held {
  readonly topic: string
  readonly payload: string
  readonly qos: 0 | 1 | 2
  readonly acknowledged: () => void
}

const reconnectMs = 500

/** What is sent again carries DUP [MQTT-3.3.1-1]; the mqtt package by itself sends it as it was the first time. */
class Unacknowledged extends Store {
  override put(packet: Parameters<Store['put']>[0], done: Parameters<Store['put']>[1]): this {
    return super.put(packet.cmd === 'publish' ? { ...packet, dup: true } : packet, done)
  }
}

/**
 * One device's MQTT 3.1.1 connection. It comes back under the same client id when it is lost; what was published and not
 * acknowledged is sent again by the mqtt package, what comes meanwhile is held (the caller bounds how much that is).
 * The first CONNECT starts clean, since nothing of an earlier process is resumed; later ones continue the session.
 */
export class DeviceConnection implements AsyncDisposable {
  readonly #client: MqttClient
  // Between CONNACK and its 'connect' event the mqtt package has forgotten which packet ids its unacknowledged messages
  // have; a publish then would take the place of one of them. So nothing is handed to it but while it is settled.
  #settled = false
  #held: Held[] = []
  #connects = 0
  #unacknowledged = 0

  private constructor(client: MqttClient) {
    this.#client = client
    client.on('connect', () => {
      this.#settled = true
      this.#connects++
      client.options.clean = false
      const held = this.#held
      this.#held = []
      for (const message of held) this.#send(message)
    })
    client.on('close', () => {
      this.#settled = false
    })
    // A refused reconnection is tried again; without a listener it would end the process.
    client.on('error', () => undefined)
  }

  /**
   * Opens a connection and waits until the server has accepted it.
   * @throws SimulationFault when it refuses, or does not answer in time
   */
  static async open({ url, clientId, openTimeoutMs, signal }: ConnectionOptions): Promise<DeviceConnection> {
    const client = mqtt.connect(url, {
      clientId,
      clean: true,
      protocolVersion: 4,
      keepalive: 30,
      connectTimeout: 5000,
      reconnectPeriod: reconnectMs,
      reconnectOnConnackError: true,
      resubscribe: false,
      outgoingStore: new Unacknowledged()
    })
    const connection = new DeviceConnection(client)
    const fault = await firstAnswer(client, url, openTimeoutMs, signal)
    if (fault === undefined) return connection
    await connection[Symbol.asyncDispose]()
    throw fault
  }

  /** How often the connection was lost and came back. */
  get reconnects(): number {
    return Math.max(0, this.#connects - 1)
  }

  /** Publishes, now or as soon as the connection is back. `acknowledged` is called once, with the PUBACK or PUBCOMP; never for QoS 0. */
  publish(message: Held): void {
    if (this.#settled) this.#send(message)
    else this.#held.push(message)
  }

  #send({ topic, payload, qos, acknowledged }: Held): void {
    if (qos > 0) this.#unacknowledged++
    this.#client.publish(topic, payload, { qos }, error => {
      if (error || qos === 0) return
      this.#unacknowledged--
      acknowledged()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#held = []
    // With a DISCONNECT, so that the server sees a device that left; but that would wait for what is not acknowledged.
    await this.#client.endAsync(!this.#settled || this.#unacknowledged > 0).catch(() => undefined)
  }
}

async function firstAnswer(client: MqttClient, url: string, timeoutMs: number, signal: AbortSignal): Promise<SimulationFault | undefined> {
  return await new Promise(resolve => {
    let last = 'no answer'
    const settle = (fault: SimulationFault | undefined): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      client.removeListener('error', failed)
      client.removeListener('connect', connected)
      resolve(fault)
    }
    const connected = (): void => settle(undefined)
    const aborted = (): void => settle(new SimulationFault('stopped before all devices were connected'))
    const failed = (error: Error): void => {
      const code: unknown = 'code' in error ? error.code : undefined
      last = error.message === '' ? String(code) : error.message
      // A number is the return code of a CONNACK: the server is there and says no.
      if (typeof code === 'number') settle(new SimulationFault(`${url} refuses the connection: ${last}`))
    }
    const timer = setTimeout(() => settle(new SimulationFault(`no MQTT server accepts at ${url} (${last})`)), timeoutMs)
    client.on('connect', connected)
    client.on('error', failed)
    if (signal.aborted) aborted()
    else signal.addEventListener('abort', aborted, { once: true })
  })
}
