import { expect, test, vi } from 'vitest'
import { Client5, publish5 } from '../broker/client5.ts'
import { FakeJournal } from '../broker/fake-journal.ts'
import { serveBroker, until } from '../broker/raw-client.ts'
import { Corpus5 } from './corpus5.ts'
import { mutate } from './mutations.ts'
import { Random } from './random.ts'

const packets = Math.max(1, Math.floor(Number(process.env['TIDEGATE_FUZZ_PACKETS'] ?? 20_000) / 4))
const seed = Number(process.env['TIDEGATE_FUZZ_SEED'] ?? 1)

/**
 * There is no reference of MQTT 5: what holds whatever a client sends is that the broker answers in packets that another
 * implementation reads, keeps nothing of who is gone, and goes on serving.
 */
test(`${packets} damaged packets of MQTT 5 from seed ${seed} on leave nothing behind, and every answer is MQTT 5`, async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const uncaught: unknown[] = []
  const note = (error: unknown): void => void uncaught.push(error)
  process.on('uncaughtException', note)
  process.on('unhandledRejection', note)
  const total = { packets: 0, answers: 0, disconnected: 0 }
  try {
    await using served = await serveBroker({
      limits: { inFlight: 20, subscriptions: 5, acceptsPerSecond: 1_000_000 },
      maxPacketBytes: 32_768,
      journal: new FakeJournal({ keep: false })
    })
    for (let round = seed; total.packets < packets; round++) {
      const random = new Random(round)
      const clients = await Promise.all(
        Array.from({ length: 10 }, async () => {
          const corpus = new Corpus5(random)
          const rarely = random.pick([8, 40, 1000])
          const session = corpus
            .session()
            .map((packet, at) => (random.oneIn(at === 0 ? 12 : rarely) ? mutate(packet, random, corpus) : packet))
          const client = await Client5.open(served.port)
          total.packets += session.length
          // Whatever is complete is dealt with, then the server closes its side too.
          client.socket.end(Buffer.concat(session))
          return client
        })
      )
      for (const client of clients) {
        await client.ended()
        expect(client.faults, `seed ${round}`).toEqual([])
        if (client.packets.at(-1)?.cmd === 'disconnect') total.disconnected += 1
        total.answers += client.packets.length
      }
      if (uncaught.length > 0) throw new Error(`seed ${round}`, { cause: uncaught[0] })
    }
    await until(() => served.broker.stats.connections === 0 && served.broker.stats.sockets === 0, 'everybody is gone')
    await until(() => served.broker.stats.unacknowledged === 0, 'nothing waits for the disk')
    const { heldBytes, topicAliasBytes, pausedSockets } = served.broker.stats
    expect({ heldBytes, topicAliasBytes, pausedSockets }).toEqual({ heldBytes: 0, topicAliasBytes: 0, pausedSockets: 0 })
    using honest = await Client5.connect(served.port, 'honest')
    honest.send(publish5('a', 'still there', { qos: 1, id: 1 }))
    expect((await honest.received(2)).at(-1)).toMatchObject({ cmd: 'puback', messageId: 1 })
  } finally {
    process.off('uncaughtException', note)
    process.off('unhandledRejection', note)
    vi.useRealTimers()
  }
  console.log(JSON.stringify(total))
  expect(total.disconnected).toBeGreaterThan(0)
  expect(total.answers).toBeGreaterThan(total.packets / 10)
})
