import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { homedir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { connect, connectAsync } from 'mqtt'
import type { IPublishPacket } from 'mqtt'
import { describe, expect, it } from 'vitest'
import { readLedger } from '../harness/recorder.ts'
import { describeWhere, describeWith, programPath } from '../harness/servers.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

const run = promisify(execFile)
const pahoClient = fileURLToPath(new URL('paho-client.py', import.meta.url))
/** Where pip put paho-mqtt, besides where Python looks anyway. */
const pythonEnvironment = {
  ...process.env,
  PYTHONPATH: process.env['PYTHONPATH'] ?? path.join(homedir(), '.cache/tidegate-ci/python')
}

function pahoFault(): string | undefined {
  const { status } = spawnSync('python3', ['-c', 'from paho.mqtt.client import CallbackAPIVersion'], { env: pythonEnvironment })
  return status === 0 ? undefined : "Python's paho-mqtt 2 not installed"
}

describe('the mqtt package with MQTT 5', () => {
  it('asks and is answered: request and response with properties, topic aliases and no local', async () => {
    await using tidegate = await Tidegate.start()
    const options = { protocolVersion: 5 as const, reconnectPeriod: 0, autoAssignTopicAlias: true, properties: { topicAliasMaximum: 5 } }
    const asking = await connectAsync(tidegate.mqttUrl, { ...options, clientId: 'asking' })
    const answering = await connectAsync(tidegate.mqttUrl, { ...options, clientId: 'answering' })
    const answers: string[] = []
    answering.on('message', (_topic, payload, packet: IPublishPacket) => {
      const { responseTopic = '', correlationData, contentType } = packet.properties ?? {}
      const properties = {
        ...(correlationData === undefined ? {} : { correlationData }),
        userProperties: { asked: contentType ?? 'nothing' }
      }
      answering.publish(responseTopic, `${payload.toString()}!`, { qos: 1, properties })
    })
    asking.on('message', (topic, payload, { properties, retain }) => {
      answers.push(
        `${topic} ${payload.toString()} ${properties?.correlationData?.toString() ?? ''} ${JSON.stringify(properties?.userProperties)}${retain ? ' r' : ''}`
      )
    })
    await answering.subscribeAsync('ask/#', { qos: 1 })
    await asking.subscribeAsync('answer/#', { qos: 1, nl: true })
    for (const word of ['one', 'two', 'three']) {
      await asking.publishAsync('ask/word', word, {
        qos: 1,
        properties: { responseTopic: 'answer/word', correlationData: Buffer.from(`id ${word}`), contentType: 'text' }
      })
      await asking.publishAsync('answer/own', 'not for me', { qos: 1 })
    }
    await eventually('all answers come', () => (answers.length === 3 ? true : undefined))
    expect(answers).toEqual(['one', 'two', 'three'].map(word => `answer/word ${word}! id ${word} {"asked":"text"}`))
    await asking.endAsync()
    await answering.endAsync()
  })

  it('comes back to its session, learns why a publish is refused, and why it is closed', async () => {
    await using tidegate = await Tidegate.start()
    const options = {
      protocolVersion: 5 as const,
      reconnectPeriod: 0,
      clean: false,
      clientId: 'returning',
      properties: { sessionExpiryInterval: 60 }
    }
    const first = await connectAsync(tidegate.mqttUrl, options)
    await first.subscribeAsync('commands/#', { qos: 1 })
    await first.endAsync()
    const other = await connectAsync(tidegate.mqttUrl, { protocolVersion: 5, reconnectPeriod: 0, clientId: 'other' })
    await other.publishAsync('commands/go', 'north', { qos: 1, properties: { messageExpiryInterval: 60, userProperties: { by: 'other' } } })
    await expect(other.publishAsync('$SYS/no', 'x', { qos: 1 })).rejects.toThrow(/Topic Name invalid/i)
    expect(other.connected).toBe(true)
    const received: string[] = []
    // What was kept may come in one piece with CONNACK.
    const second = connect(tidegate.mqttUrl, options)
    second.on('message', (topic, payload, { properties }) =>
      received.push(`${topic} ${payload.toString()} ${JSON.stringify(properties?.userProperties)}`)
    )
    await eventually('what was kept comes', () => (received.length > 0 ? true : undefined))
    expect(received).toEqual(['commands/go north {"by":"other"}'])
    const told = new Promise<number | undefined>(resolve => {
      second.once('disconnect', packet => resolve(packet.reasonCode))
    })
    const third = await connectAsync(tidegate.mqttUrl, options)
    expect(await told).toBe(0x8e)
    await Promise.all([other.endAsync(), second.endAsync(true), third.endAsync()])
  })
})

describeWith(['mosquitto_pub', 'mosquitto_sub'], "mosquitto's clients with MQTT 5", () => {
  it('publish and subscribe with properties, and what they publish is stored', async () => {
    await using tidegate = await Tidegate.start()
    const address = ['-h', '127.0.0.1', '-p', String(tidegate.mqttPort), '-V', '5']
    const subscriber = spawn(programPath('mosquitto_sub') ?? '', [
      ...address,
      '-t',
      'devices/#',
      '-q',
      '2',
      '-F',
      '%t %q %r %p [%P] [%C] [%R] [%D]'
    ])
    const lines: string[] = []
    createInterface({ input: subscriber.stdout }).on('line', line => lines.push(line))
    try {
      await eventually('the subscriber is there', async () => {
        const metrics = await (await fetch(`${tidegate.httpUrl}/metrics`)).text()
        return /^tidegate_mqtt_subscriptions 1$/m.test(metrics) ? true : undefined
      })
      for (const qos of ['0', '1', '2']) {
        const properties = [
          ['user-property', 'unit', 'bar'],
          ['content-type', 'application/json'],
          ['response-topic', 'devices/answer'],
          ['correlation-data', `c${qos}`],
          ['payload-format-indicator', '1'],
          ['message-expiry-interval', '60']
        ].flatMap(property => ['-D', 'publish', ...property])
        await run(programPath('mosquitto_pub') ?? '', [
          ...address,
          '-t',
          'devices/pump/telemetry',
          '-m',
          `{"pressure":${qos}}`,
          '-q',
          qos,
          ...properties
        ])
      }
      await eventually('all came', () => (lines.length === 3 ? true : undefined))
      expect(lines).toEqual(
        [0, 1, 2].map(qos => `devices/pump/telemetry ${qos} 0 {"pressure":${qos}} [unit:bar] [application/json] [devices/answer] [c${qos}]`)
      )
      await eventually('all is stored', async () => ((await readLedger(tidegate.httpUrl)).stored === 3 ? true : undefined))
    } finally {
      subscriber.kill()
      await once(subscriber, 'exit')
    }
  })

  it('are told that shared subscriptions are not available', async () => {
    await using tidegate = await Tidegate.start()
    const address = ['-h', '127.0.0.1', '-p', String(tidegate.mqttPort), '-V', '5']
    const { stderr } = await run(programPath('mosquitto_sub') ?? '', [...address, '-t', '$share/g/a', '-W', '30'])
    expect(stderr).toMatch(/denied/)
  })
})

describeWhere(pahoFault(), "Python's paho-mqtt", () => {
  it.each(['3.1', '3.1.1', '5'])('works with MQTT %s', async version => {
    await using tidegate = await Tidegate.start()
    const { stdout } = await run('python3', [pahoClient, String(tidegate.mqttPort), version], { env: pythonEnvironment })
    const told: unknown = JSON.parse(stdout)
    const message = (qos: number): object => ({ topic: `paho/${version}/value`, payload: `value ${qos}`, qos, retain: false })
    const isFive = version === '5'
    expect(told).toMatchObject({
      connect: 0,
      subscribe: [2],
      unsubscribe: isFive ? [0] : [],
      published: [0, 0, 0],
      messages: [0, 1, 2].map(qos => ({
        ...message(qos),
        ...(isFive ? { properties: { ContentType: 'text/plain', UserProperty: [['qos', `${qos}`]], SubscriptionIdentifier: [7] } } : {})
      })),
      ...(isFive ? { refused: 0x90, connack: { SharedSubscriptionAvailable: 0, ReceiveMaximum: 1000 } } : {}),
      disconnect: 0
    })
    await eventually('all is stored', async () => ((await readLedger(tidegate.httpUrl)).accepted === 3 ? true : undefined))
  })
})
