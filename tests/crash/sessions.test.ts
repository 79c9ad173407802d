import mqtt from 'mqtt'
import type { IClientOptions, MqttClient } from 'mqtt'
import { expect, it } from 'vitest'
import { eventually, makeDataFolder, Tidegate } from '../harness/tidegate.ts'

const messages = 1000

function connect(url: string, clientId: string, options: IClientOptions = {}): Promise<MqttClient> {
  return mqtt.connectAsync(url, { clientId, clean: false, reconnectPeriod: 0, ...options })
}

/** Publishes messages [from, to), twenty at a time; returns when all are acknowledged. */
async function publishAll(client: MqttClient, from: number, to: number): Promise<void> {
  for (let number = from; number < to; number += 20) {
    const numbers = Array.from({ length: Math.min(20, to - number) }, (_, index) => number + index)
    await Promise.all(
      numbers.flatMap(each => [
        client.publishAsync('fleet/all', String(each), { qos: 1 }),
        client.publishAsync(`fleet/state/${each % 10}`, String(each), { qos: 1, retain: true }),
        // In between, what is kept for nobody who is away.
        client.publishAsync('fleet/all', `passing ${each}`, { qos: 0 })
      ])
    )
  }
}

it('SIGKILL under load: an offline subscriber gets all 1,000 messages in order when it is back, and what is retained is there', async () => {
  await using kept = await makeDataFolder()
  const { folder } = kept
  let ports = { mqttPort: 0, httpPort: 0 }
  let tidegate = await Tidegate.start({ folder, ...ports })
  const restart = async (): Promise<void> => {
    await tidegate.kill()
    tidegate = await Tidegate.start({ folder, ...ports })
  }
  try {
    ports = { mqttPort: tidegate.mqttPort, httpPort: tidegate.httpPort }
    const away = await connect(tidegate.mqttUrl, 'away')
    await away.subscribeAsync('fleet/all', { qos: 1 })
    // The SUBACK is there, and nothing else was written since.
    await restart()

    for (let part = 0; part < 4; part++) {
      const publisher = await connect(tidegate.mqttUrl, `publisher-${part}`, { clean: true })
      await publishAll(publisher, (part * messages) / 4, ((part + 1) * messages) / 4)
      publisher.on('error', () => undefined)
      await restart()
    }

    const got: string[] = []
    const back = await new Promise<MqttClient>((resolve, reject) => {
      const client = mqtt.connect(tidegate.mqttUrl, { clientId: 'away', clean: false, reconnectPeriod: 0 })
      client.on('message', (_topic, payload) => got.push(payload.toString()))
      client.once('connect', ({ sessionPresent }) => (sessionPresent ? resolve(client) : reject(new Error('the session is gone'))))
      client.once('error', reject)
    })
    await eventually('all messages are there', () => (got.length >= messages ? true : undefined), 30_000)
    expect(got).toEqual(Array.from({ length: messages }, (_, number) => String(number)))
    await back.endAsync()

    const retained = new Map<string, string>()
    const reader = await connect(tidegate.mqttUrl, 'reader', { clean: true })
    reader.on('message', (topic, payload) => retained.set(topic, payload.toString()))
    await reader.subscribeAsync('fleet/state/+', { qos: 1 })
    await eventually('what is retained is there', () => (retained.size === 10 ? true : undefined), 10_000)
    expect([...retained.values()].toSorted()).toEqual(Array.from({ length: 10 }, (_, number) => String(messages - 10 + number)))
    await reader.endAsync()

    // What was acknowledged stays so over an orderly stop, and comes no second time.
    expect(await tidegate.stop()).toBe(0)
    tidegate = await Tidegate.start({ folder, ...ports })
    const again = await connect(tidegate.mqttUrl, 'away')
    const more: string[] = []
    again.on('message', (_topic, payload) => more.push(payload.toString()))
    await again.publishAsync('fleet/all', 'the next', { qos: 1 })
    await eventually('the next message is there', () => (more.includes('the next') ? true : undefined), 10_000)
    expect(more).toEqual(['the next'])
    await again.endAsync()
    expect(await tidegate.stop()).toBe(0)
  } finally {
    await tidegate[Symbol.asyncDispose]()
  }
})
