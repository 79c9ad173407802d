import { Store } from 'mqtt'

/**
 * What the mqtt package keeps until it is acknowledged and sends again after a reconnect. The package's own store sends
 * without DUP, against [MQTT-3.3.1-1]; with this one it is a client as the specification asks.
 */
export class DupStore extends Store {
  override put(...[packet, done]: Parameters<Store['put']>): this {
    return super.put(packet.cmd === 'publish' ? { ...packet, dup: true } : packet, done)
  }
}
