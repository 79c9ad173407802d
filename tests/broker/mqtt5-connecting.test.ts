import { describe, expect, test } from 'vitest'
import { Client5, connect5, hex, packet5, publish5 } from './client5.ts'
import { FakeJournal } from './fake-journal.ts'
import { connect, fakeIntervals, RawClient, serveBroker, until } from './raw-client.ts'

/** What a client that sends this gets, until it is closed, and how operators see it. */
async function refused(options: Parameters<typeof serveBroker>[0], ...bytes: readonly Buffer[]) {
  await using served = await serveBroker(options)
  using client = await Client5.open(served.port)
  client.send(...bytes)
  const packets = await client.ended()
  return { packets, reason: served.broker.refusals.at(-1)?.reason, records: served.journal.records.length }
}

/** A CONNECT with these properties and this payload. */
function rawConnect(flags: string, properties: string, payload: string): Buffer {
  const body = Buffer.concat([hex(`0004 4d515454 05 ${flags} 0000`), Buffer.from([hex(properties).length]), hex(properties), hex(payload)])
  return Buffer.concat([Buffer.from([0x10, body.length]), body])
}

describe('CONNECT of MQTT 5', () => {
  test('is accepted, and CONNACK says what the server takes', async () => {
    await using served = await serveBroker({ limits: { inFlight: 17 }, maxPacketBytes: 5000 })
    using client = await Client5.connect(served.port, 'c')
    expect(client.packets).toMatchObject([
      {
        cmd: 'connack',
        reasonCode: 0,
        sessionPresent: false,
        properties: { receiveMaximum: 17, maximumPacketSize: 5000, topicAliasMaximum: 32, sharedSubscriptionAvailable: false }
      }
    ])
    expect(Object.keys((client.packets[0] as { properties: object }).properties)).toHaveLength(4)
    await until(() => served.broker.connectedClientIds().includes('c'), 'the client is connected')
  })

  test('without a client id is assigned one, whatever clean start says', async () => {
    await using served = await serveBroker()
    using first = await Client5.connect(served.port, '')
    using second = await Client5.open(served.port)
    second.send(rawConnect('00', '11 0000003c', '0000'))
    await second.received(1)
    const ids = [first, second].map(
      client => (client.packets[0] as { properties: { assignedClientIdentifier: string } }).properties.assignedClientIdentifier
    )
    await until(() => served.broker.connectedClientIds().length === 2, 'both are connected')
    expect(served.broker.connectedClientIds().toSorted()).toEqual(ids.toSorted())
    expect(new Set(ids).size).toBe(2)
  })

  test('with a password and no user name is accepted', async () => {
    await using served = await serveBroker()
    using client = await Client5.open(served.port)
    client.send(rawConnect('42', '', '0001 61 0001 70'))
    expect(await client.received(1)).toMatchObject([{ cmd: 'connack', reasonCode: 0 }])
  })

  test('clean start 0 resumes the session while it has not expired, and a session of expiry 0 ends with its connection', async () => {
    await using served = await serveBroker()
    const present = async (clean: boolean, sessionExpiryInterval: number): Promise<unknown> => {
      using client = await Client5.connect(served.port, 'kept', { clean, properties: { sessionExpiryInterval } })
      client.send(packet5({ cmd: 'disconnect', reasonCode: 0 }))
      await client.ended()
      return (client.packets[0] as { sessionPresent: boolean }).sessionPresent
    }
    expect(await present(false, 100)).toBe(false)
    expect(await present(false, 100)).toBe(true)
    expect(await present(true, 100)).toBe(false)
    expect(await present(false, 100)).toBe(true)
    expect(await present(true, 0)).toBe(false)
    expect(await present(false, 100)).toBe(false)
  })

  test.each<[string, Buffer, number, string]>([
    ['a reserved flag', rawConnect('03', '', '0001 61'), 0x81, 'reserved CONNECT flag is set'],
    ['a client id over 128 bytes', connect5('x'.repeat(129)), 0x85, 'client id is longer than 128 bytes'],
    ['an unknown property', rawConnect('02', '7e 00', '0001 61'), 0x81, 'property is unknown or does not belong into its packet'],
    ['a receive maximum of 0', rawConnect('02', '21 0000', '0001 61'), 0x82, 'property has a value that it must not have'],
    ['an authentication method', rawConnect('02', '15 0001 78', '0001 61'), 0x8c, 'authentication methods are not supported'],
    ['authentication data alone', rawConnect('02', '16 0001 78', '0001 61'), 0x82, 'authentication data without a method'],
    [
      'a will of text that is none',
      rawConnect('06', '', '0001 61 02 0101 0001 74 0001 ff'),
      0x99,
      'will: payload is not the UTF-8 that it says'
    ],
    ['a will with a wildcard', rawConnect('06', '', '0001 61 00 0001 23 0000'), 0x81, 'will: topic has a wildcard'],
    ['a will to the server', rawConnect('06', '', '0001 61 00 0002 2461 0000'), 0x90, 'will: topic is reserved'],
    ['a padded remaining length', hex('10 8e00 0004 4d515454 05 02 0000 00 0001 61'), 0x81, 'length of CONNECT is not in its shortest form']
  ])('with %s is told why it is refused', async (_name, bytes, reasonCode, reason) => {
    expect(await refused({}, bytes, publish5('a', 'never'))).toMatchObject({
      packets: [{ cmd: 'connack', reasonCode, sessionPresent: false, properties: { reasonString: reason } }],
      reason,
      records: 0
    })
  })

  test('from elsewhere than this machine, or over a limit, is told so too', async () => {
    expect(await refused({ anonymous: 'never' }, connect5('a'))).toMatchObject({
      packets: [{ reasonCode: 0x87 }],
      reason: 'anonymous access is off'
    })
    await using served = await serveBroker({ limits: { sessions: 1 } })
    using first = await Client5.connect(served.port, 'one', { clean: false, properties: { sessionExpiryInterval: 10 } })
    using second = await Client5.open(served.port)
    second.send(connect5('two', { clean: false, properties: { sessionExpiryInterval: 10 } }))
    expect(await second.ended()).toMatchObject([{ cmd: 'connack', reasonCode: 0x97 }])
    expect(first.closed).toBe(false)
  })
})

describe('the end of a connection of MQTT 5', () => {
  test.each<[string, Buffer, number]>([
    ['a second CONNECT', connect5('again'), 0x82],
    ['AUTH', hex('f0 00'), 0x82],
    ['a packet type that there is not', hex('00 00'), 0x81],
    ['wrong flags', hex('a0 05 0001 00 0000'), 0x81],
    ['a padded remaining length', hex('c0 8000'), 0x81],
    ['a PINGREQ with a body', hex('c0 01 00'), 0x81],
    ['a packet that is too large', hex('30 ffff 7f'), 0x95],
    ['an empty topic', hex('30 03 0000 00'), 0x82],
    ['an unknown topic alias', hex('30 06 0000 03 230001'), 0x82],
    ['a topic alias of 0', hex('30 07 0001 61 03 230000'), 0x94],
    ['a topic alias above the maximum', hex('30 07 0001 61 03 230021'), 0x94],
    ['a topic name with a wildcard', hex('30 04 0001 23 00'), 0x81],
    ['a topic name of the server at QoS 0', hex('30 05 0002 2461 00'), 0x90],
    ['text that is none at QoS 0', hex('30 07 0001 61 02 0101 ff'), 0x99],
    ['packet id 0', hex('32 06 0001 61 0000 00'), 0x82],
    ['a filter with a misplaced wildcard', hex('82 09 0001 00 0003 612361 00'), 0x81],
    ['no filter', hex('82 03 0001 00'), 0x82],
    ['an acknowledgement with a code of another packet', hex('40 03 0001 92'), 0x82],
    ['a DISCONNECT with a code of the server', hex('e0 01 8e'), 0x82],
    ['a DISCONNECT that begins a session expiry', hex('e0 07 00 05 11 00000001'), 0x82]
  ])('%s is answered with DISCONNECT and its reason', async (_name, bytes, reasonCode) => {
    await using served = await serveBroker()
    using client = await Client5.connect(served.port, 'c')
    client.send(bytes, publish5('never', 'x'))
    const packets = await client.ended()
    const reason = served.broker.refusals.at(-1)?.reason
    expect(packets.slice(1)).toMatchObject([{ cmd: 'disconnect', reasonCode, properties: { reasonString: reason } }])
    expect(reason).toMatch(/./)
    expect(served.journal.records).toEqual([])
  })

  test('a reason that is longer than the client takes is left out', async () => {
    await using served = await serveBroker()
    using client = await Client5.connect(served.port, 'c', { properties: { maximumPacketSize: 20 } })
    client.send(connect5('again'), connect5('and again'))
    const packets = await client.ended()
    expect(packets[1]).toMatchObject({ cmd: 'disconnect', reasonCode: 0x82, length: 1 })
  })

  test('a client whose session is taken over is told, and one of 3.1.1 takes over one of 5 and the other way round', async () => {
    await using served = await serveBroker()
    using first = await Client5.connect(served.port, 'same')
    using second = await RawClient.connect(served.port, 'same')
    expect((await first.ended()).slice(1)).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8e }])
    using third = await Client5.connect(served.port, 'same')
    await second.untilClosed()
    expect(second.packets).toEqual(['connack:0,0'])
    expect(third.closed).toBe(false)
  })

  test('a silent client is told that its keep alive is over, with its will', async () => {
    using clock = fakeIntervals()
    await using served = await serveBroker()
    using client = await Client5.connect(served.port, 'silent', {
      keepalive: 2,
      will: { topic: 'lwt', payload: Buffer.from('gone'), qos: 1, retain: false }
    })
    clock.advance(3000)
    expect(client.packets).toHaveLength(1)
    clock.advance(500)
    expect((await client.ended()).slice(1)).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8d }])
    expect(served.journal.records).toMatchObject([{ topic: 'lwt', payload: 'gone', will: true }])
  })

  test('a server that stops says so', async () => {
    const served = await serveBroker()
    using client = await Client5.connect(served.port, 'c')
    await served.broker.close(1000)
    expect((await client.ended()).slice(1)).toMatchObject([{ cmd: 'disconnect', reasonCode: 0x8b }])
  })
})

describe('the will of an MQTT 5 client', () => {
  const will = (payload: string, willDelayInterval = 0) => ({
    topic: 'lwt',
    payload: Buffer.from(payload),
    qos: 1 as const,
    retain: false,
    properties: { willDelayInterval, contentType: 'text', userProperties: { a: 'b' } }
  })
  const session = (sessionExpiryInterval: number) => ({ clean: false, properties: { sessionExpiryInterval } })

  /** A clock that only the test moves, and a broker that goes by it. */
  async function timed() {
    const intervals = fakeIntervals()
    let now = 0
    const journal = new FakeJournal()
    const served = await serveBroker({ journal, monotonic: () => now })
    return {
      served,
      journal,
      pass(seconds: number): void {
        now += seconds * 1000
        intervals.advance(250)
      },
      async [Symbol.asyncDispose]() {
        intervals[Symbol.dispose]()
        await served[Symbol.asyncDispose]()
      }
    }
  }

  test('has its properties in the journal, without the delay', async () => {
    await using served = await serveBroker()
    using client = await Client5.connect(served.port, 'c', { will: will('now') })
    client.socket.destroy()
    await until(() => served.journal.records.length === 1, 'the will is there')
    expect(served.journal.records).toMatchObject([{ topic: 'lwt', payload: 'now', will: true }])
    expect(served.journal.tail.at(-1)?.properties).toEqual(hex('03 0004 74657874 26 0001 61 0001 62'))
  })

  test.each<[string, Buffer, number]>([
    ['DISCONNECT with will', hex('e0 01 04'), 1],
    ['DISCONNECT with an error', hex('e0 01 80'), 1],
    ['DISCONNECT', hex('e0 00'), 0],
    ['DISCONNECT with the code 0', hex('e0 01 00'), 0]
  ])('after %s is published %i times', async (_name, bytes, count) => {
    await using served = await serveBroker()
    using client = await Client5.connect(served.port, 'c', { will: will('w') })
    client.send(bytes)
    await client.ended()
    using after = await Client5.connect(served.port, 'after')
    after.send(publish5('end', 'x', { qos: 1, id: 1 }))
    await after.received(2)
    expect(served.journal.records.filter(record => record.will)).toHaveLength(count)
    expect(client.packets).toHaveLength(1)
  })

  test('waits for its delay', async () => {
    await using world = await timed()
    using client = await Client5.connect(world.served.port, 'c', { will: will('late', 10), ...session(100) })
    client.socket.destroy()
    await until(() => world.served.broker.stats.delayedWills === 1, 'the will waits')
    world.pass(9)
    expect(world.journal.records).toEqual([])
    world.pass(1)
    expect(world.journal.records).toMatchObject([{ payload: 'late', will: true }])
  })

  test('does not wait beyond the end of its session', async () => {
    await using world = await timed()
    using client = await Client5.connect(world.served.port, 'c', { will: will('late', 10), ...session(3) })
    client.socket.destroy()
    await until(() => world.served.broker.stats.delayedWills === 1, 'the will waits')
    world.pass(3)
    expect(world.journal.records).toMatchObject([{ payload: 'late' }])
    // A session that ends with its connection leaves it at once.
    using other = await Client5.connect(world.served.port, 'd', { will: will('at once', 10), ...session(0) })
    other.socket.destroy()
    await until(() => world.journal.records.length === 2, 'the other will is there')
  })

  test('is not published when its client comes back to its session, and is when that begins anew', async () => {
    await using world = await timed()
    const { served, journal } = world
    for (const clean of [false, true]) {
      const payload = clean ? 'ended' : 'resumed'
      using client = await Client5.connect(served.port, payload, { will: will(payload, 10), ...session(100) })
      client.socket.destroy()
      await until(() => served.broker.stats.delayedWills === 1, 'the will waits')
      using back = await Client5.connect(served.port, payload, { ...session(100), clean })
      expect(back.packets).toMatchObject([{ sessionPresent: !clean }])
      expect(served.broker.stats.delayedWills).toBe(0)
    }
    world.pass(20)
    expect(journal.records).toMatchObject([{ payload: 'ended' }])
  })

  test('of a session that is taken over waits and is forgotten too', async () => {
    await using world = await timed()
    using first = await Client5.connect(world.served.port, 'same', { will: will('late', 10), ...session(100) })
    using second = await Client5.connect(world.served.port, 'same', session(100))
    await first.ended()
    expect(second.packets).toMatchObject([{ sessionPresent: true }])
    world.pass(20)
    expect(world.journal.records).toEqual([])
  })

  test('is published when the server stops before its delay is over', async () => {
    const served = await serveBroker()
    using client = await Client5.connect(served.port, 'c', { will: will('late', 10), ...session(100) })
    client.socket.destroy()
    await until(() => served.broker.stats.delayedWills === 1, 'the will waits')
    await served.broker.close(1000)
    expect(served.journal.records).toMatchObject([{ payload: 'late' }])
  })

  test('an MQTT 3.1.1 client has none of this', async () => {
    await using served = await serveBroker()
    using client = await RawClient.open(served.port)
    client.send(connect('old', { will: { topic: 'lwt', payload: 'w' } }), hex('e0 01 04'))
    await client.untilClosed()
    await until(() => served.journal.records.length === 1, 'the will is there')
    expect(client.packets).toEqual(['connack:0,0'])
  })
})
