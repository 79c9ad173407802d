import { pino } from 'pino'
import { Broker } from '../../broker/broker.ts'
import { limits } from '../broker/raw-client.ts'
import { KeptJournal } from './kept-journal.ts'
import { Reference } from './reference.ts'

const inFlight = 200
const subscriptions = 100
const maxPacketBytes = 32_768

/** A broker on a free port, its journal, and what the reference knows of its clients. Small limits, so that they are met. */
export class World implements AsyncDisposable {
  readonly broker: Broker
  readonly journal: KeptJournal
  readonly reference = new Reference({ maxPacketBytes, subscriptions, openIds: 4096 })

  private constructor(broker: Broker, journal: KeptJournal) {
    this.broker = broker
    this.journal = journal
  }

  static async open(): Promise<World> {
    const broker = await Broker.bind({
      host: '127.0.0.1',
      port: 0,
      maxPacketBytes,
      anonymous: 'loopback',
      log: pino({ level: 'silent' }),
      limits: { ...limits, inFlight, subscriptions, acceptsPerSecond: 1_000_000, heldBytes: 16_384 }
    })
    const journal = new KeptJournal()
    await broker.serve(journal)
    return new World(broker, journal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.broker.close(1000)
  }
}
