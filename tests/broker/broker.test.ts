import { createServer } from 'node:net'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { Broker } from '../../broker/broker.ts'
import { bindBrokerMetrics } from '../../broker/metrics.ts'
import { TidegateError } from '../../errors.ts'
import { Metrics, metricTable } from '../../metrics.ts'
import { FakeJournal } from './fake-journal.ts'
import { RawClient, connect, limits, pingreq, publish, serveBroker, subscribe, until } from './raw-client.ts'

const options = { host: '127.0.0.1', port: 0, maxPacketBytes: 1000, anonymous: 'loopback', limits, log: pino({ level: 'silent' }) } as const

async function failureOf(promise: Promise<unknown>): Promise<TidegateError> {
  const failure = await promise.then(
    () => undefined,
    (error: unknown) => error
  )
  if (failure instanceof TidegateError) return failure
  throw new Error(`expected a TidegateError, got ${String(failure)}`)
}

describe('binding', () => {
  test('a taken port is said with its setting, host and port', async () => {
    const other = createServer()
    await new Promise<void>(resolve => other.listen(0, '127.0.0.1', resolve))
    const address = other.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const failure = await failureOf(Broker.bind({ ...options, port }))
    expect([failure.code, failure.message]).toEqual([
      'TG_PORT_TAKEN',
      `mqtt.port: 127.0.0.1:${port} is taken; choose another port with mqtt.port or --mqtt-port`
    ])
    other.close()
  })

  test('an address of another machine cannot be bound', async () => {
    const failure = await failureOf(Broker.bind({ ...options, host: '192.0.2.1' }))
    expect([failure.code, failure.message.startsWith('mqtt.host: 192.0.2.1:0 cannot be bound')]).toEqual(['TG_PORT_TAKEN', true])
  })

  test('sockets that come before serve wait and are then served in their order', async () => {
    await using broker = await Broker.bind(options)
    expect([broker.host, broker.port > 0]).toEqual(['127.0.0.1', true])
    const clients: RawClient[] = []
    for (const id of ['first', 'second', 'third']) {
      const client = await RawClient.open(broker.port)
      client.send(connect(id), publish('early', id, { qos: 1, id: 1 }))
      clients.push(client)
    }
    await until(() => broker.stats.sockets === 3, 'three wait')
    expect(clients.map(client => client.packets.length)).toEqual([0, 0, 0])
    const journal = new FakeJournal()
    await broker.serve(journal)
    for (const client of clients) {
      expect(await client.received(2)).toEqual(['connack:0,0', 'puback:1'])
      client.socket.destroy()
    }
    expect(journal.records.map(({ payload }) => payload)).toEqual(['first', 'second', 'third'])
  })
})

describe('accept', () => {
  test('is a QoS 1 publish: resolves with the ordinal when durable, reaches subscribers, and keeps what a replay brings', async () => {
    const journal = new FakeJournal({ auto: false, first: 7 })
    await using served = await serveBroker({ journal })
    using listener = await RawClient.connect(served.port, 'listener')
    listener.send(subscribe(1, ['http/+', 1]))
    await listener.received(2)
    let resolved: number | undefined
    const received = { ms: 1_700_000_000_000, subNs: 42 }
    const accepted = served.broker
      .accept({ clientId: 'http', topic: 'http/a', payload: Buffer.from('21.5'), user: 'ben', received })
      .then(ordinal => (resolved = ordinal))
    await new Promise(resolve => setImmediate(resolve))
    expect([journal.records.length, resolved, listener.packets.length]).toEqual([1, undefined, 2])
    journal.sync()
    expect(await accepted).toBe(7)
    expect((await listener.received(3)).at(-1)).toBe('publish:1:http/a:21.5')
    const record = {
      ordinal: 7,
      clientId: 'http',
      user: 'ben',
      topic: 'http/a',
      payload: '21.5',
      qos: 1,
      retain: false,
      dup: false,
      will: false,
      packetId: 0
    }
    expect(journal.records).toEqual([{ ...record, received }])
    using device = await RawClient.connect(served.port, 'device')
    device.send(publish('http/b', 'x'))
    await until(() => journal.records.length === 2, 'the device published')
    expect(journal.records[1]).toMatchObject({ clientId: 'device', user: undefined, received: undefined })
  })

  test('what is not to be routed is journaled like any other, and reaches no subscriber', async () => {
    await using served = await serveBroker()
    using listener = await RawClient.connect(served.port, 'listener')
    listener.send(subscribe(1, ['#', 1]))
    await listener.received(2)
    const received = { ms: 1_700_000_000_000, subNs: 43 }
    const publish = { clientId: 'meter', payload: Buffer.from('1'), received }
    await served.broker.accept({ ...publish, topic: 'quiet', unrouted: true })
    await served.broker.accept({ ...publish, topic: 'loud' })
    expect((await listener.received(3)).slice(2)).toEqual(['publish:1:loud:1'])
    expect(served.journal.records).toMatchObject([
      { topic: 'quiet', clientId: 'meter', received, retain: false, will: false },
      { topic: 'loud', received }
    ])
  })

  test.each(['', 'a/#', '$SYS/x', 'a\0', '\uD800', 'x'.repeat(257)])('the topic %j is rejected and named', async topic => {
    await using served = await serveBroker()
    const failure = await failureOf(served.broker.accept({ clientId: 'http', topic, payload: Buffer.from('1') }))
    expect([failure.code, failure.outcome, failure.context]).toEqual(['TG_PARAMETER_INVALID', 'reject', { parameter: 'topic' }])
    expect(served.journal.records).toEqual([])
  })

  test('a payload over the packet bound is rejected', async () => {
    await using served = await serveBroker({ maxPacketBytes: 1000 })
    expect((await failureOf(served.broker.accept({ clientId: 'http', topic: 't', payload: Buffer.alloc(1001) }))).code).toBe(
      'TG_BODY_TOO_LARGE'
    )
  })

  test.each([
    ['behind', 'TG_JOURNAL_BEHIND'],
    ['full', 'TG_JOURNAL_FULL'],
    ['failing', 'TG_JOURNAL_FAILING'],
    ['closed', 'TG_JOURNAL_CLOSED']
  ] as const)('while the journal is %s it says %s', async (state, code) => {
    const journal = new FakeJournal()
    await using served = await serveBroker({ journal })
    journal.become(state)
    const failure = await failureOf(served.broker.accept({ clientId: 'http', topic: 't', payload: Buffer.from('1') }))
    expect([failure.code, failure.outcome]).toEqual([code, 'retry'])
  })

  test('ten thousand wait for the disk at most; the next is told to come again', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal })
    const accepted = Array.from({ length: 10_000 }, (_, index) =>
      served.broker.accept({ clientId: 'http', topic: 't', payload: Buffer.from(`${index}`) })
    )
    expect((await failureOf(served.broker.accept({ clientId: 'http', topic: 't', payload: Buffer.from('over') }))).code).toBe(
      'TG_EDGE_BUSY'
    )
    journal.sync()
    expect(await Promise.all(accepted)).toEqual(Array.from({ length: 10_000 }, (_, index) => index))
    expect(journal.records.at(-1)?.payload).toBe('9999')
  })

  test('what waits when the broker stops is told that it is not durable', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal })
    const waiting = failureOf(served.broker.accept({ clientId: 'http', topic: 't', payload: Buffer.from('1') }))
    await served.broker.close(50)
    expect((await waiting).code).toBe('TG_JOURNAL_CLOSED')
  })
})

describe('close', () => {
  test('pending acknowledgements leave, then the sockets end, without wills; nobody else comes in', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal })
    using client = await RawClient.connect(served.port, 'c', { will: { topic: 'lwt', payload: 'gone' } })
    client.send(publish('t', '1', { qos: 1, id: 1 }), publish('t', '2', { qos: 2, id: 2 }))
    await until(() => journal.records.length === 2, 'both are appended')
    const closing = Promise.all([served.broker.close(3000), served.broker.close(3000)])
    await new Promise(resolve => {
      setTimeout(resolve, 30)
    })
    expect([client.packets.length, client.closed]).toEqual([1, false])
    journal.sync()
    await closing
    await client.untilClosed()
    expect(client.packets).toEqual(['connack:0,0', 'puback:1', 'pubrec:2'])
    expect(journal.records.map(({ payload }) => payload)).toEqual(['1', '2'])
    expect(journal.listeners).toBe(0)
    await expect(RawClient.open(served.port)).rejects.toThrow('ECONNREFUSED')
  })

  test('ends at its deadline when the disk does not come back and a client does not close', async () => {
    const journal = new FakeJournal({ auto: false })
    await using served = await serveBroker({ journal })
    using client = await RawClient.connect(served.port, 'c')
    client.send(publish('t', '1', { qos: 1, id: 1 }))
    await until(() => journal.records.length === 1, 'it is appended')
    const started = performance.now()
    await served.broker.close(200)
    expect(performance.now() - started).toBeLessThan(1500)
    await client.untilClosed()
    expect(client.packets).toEqual(['connack:0,0'])
  })

  test('a broker that never served closes too', async () => {
    const broker = await Broker.bind(options)
    using client = await RawClient.open(broker.port)
    await until(() => broker.stats.sockets === 1, 'it waits')
    await broker.close(100)
    await client.untilClosed()
  })
})

test('connections are told as they come and go, and counted', async () => {
  await using served = await serveBroker()
  const here = new Set<string>()
  served.broker.onConnections(({ connected, disconnected }) => {
    for (const id of disconnected) here.delete(id)
    for (const id of connected) here.add(id)
  })
  using a = await RawClient.connect(served.port, 'a')
  using b = await RawClient.connect(served.port, 'b')
  a.send(pingreq)
  await a.received(2)
  await until(() => here.size === 2, 'both are told')
  expect([...served.broker.connectedClientIds()].toSorted()).toEqual(['a', 'b'])
  b.socket.destroy()
  await until(() => here.size === 1, 'the end is told')
  expect([...here]).toEqual(['a'])
  const { connections, connectsAccepted, connectsRefused, bytesReceived, bytesSent } = served.broker.stats
  expect({ connections, connectsAccepted, connectsRefused }).toEqual({ connections: 1, connectsAccepted: 2, connectsRefused: 0 })
  expect([bytesReceived, bytesSent]).toEqual([2 * connect('a').length + 2, 4 + 4 + 2])
})

test('a refusal is one log line with the reason, and a flood of them is not a flood of lines', async () => {
  const lines: string[] = []
  const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) })
  await using served = await serveBroker({ anonymous: 'never', log, clock: () => 1_700_000_000_123 })
  for (let count = 0; count < 80; count++) {
    using client = await RawClient.open(served.port)
    client.send(connect(`nobody-${count}`))
    await client.untilClosed()
  }
  expect(lines).toHaveLength(50)
  expect(JSON.parse(lines[0] ?? '{}')).toMatchObject({ clientId: 'nobody-0', address: '127.0.0.1', reason: 'anonymous access is off' })
  expect(served.broker.refusals).toHaveLength(80)
  expect(served.broker.refusals[79]).toEqual({
    time: 1_700_000_000_123,
    address: '127.0.0.1',
    clientId: 'nobody-79',
    reason: 'anonymous access is off'
  })
  expect(served.broker.stats.refusedByReason.get('anonymous access is off')).toBe(80)
})

test('every metric of the MQTT side shows what happened', async () => {
  await using served = await serveBroker()
  const metrics = new Metrics()
  bindBrokerMetrics(metrics, served.broker)
  using client = await RawClient.connect(served.port, 'c')
  client.send(publish('t', '0'), publish('t', '1', { qos: 1, id: 1 }), publish('t', '2', { qos: 1, id: 2, retain: true }))
  await client.received(3)
  using refused = await RawClient.open(served.port)
  refused.send(pingreq)
  await refused.untilClosed()
  const shown = await metrics.render()
  const values = shown.split('\n').filter(line => line !== '' && !line.startsWith('#'))
  expect(values).toEqual(
    expect.arrayContaining([
      'tidegate_mqtt_connections 1',
      'tidegate_mqtt_publishes_total{qos="0"} 1',
      'tidegate_mqtt_publishes_total{qos="1"} 2',
      'tidegate_mqtt_acknowledgements_total 2',
      'tidegate_mqtt_connects_refused_total{reason="first packet is not CONNECT"} 1'
    ])
  )
  const names = Object.keys(metricTable).filter(name => name.startsWith('tidegate_mqtt_'))
  expect(names.filter(name => !shown.includes(`# TYPE ${name} `))).toEqual([])
})
