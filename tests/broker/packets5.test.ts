import * as fc from 'fast-check'
import { generate } from 'mqtt-packet'
import type { Packet } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import { decodeAcknowledgement5 } from '../../broker/packets/acknowledgement-packet.ts'
import { encodeConnack5, encodeRefusal } from '../../broker/packets/connack-packet.ts'
import { decodeConnect } from '../../broker/packets/connect-packet.ts'
import { decodeDisconnect, encodeDisconnect } from '../../broker/packets/disconnect-packet.ts'
import { FrameParser, frameStatus } from '../../broker/packets/frame-parser.ts'
import { buildPublish5Packet, decodePublish5, keptProperties, routedProperties } from '../../broker/packets/publish5-packet.ts'
import { reasonCodes } from '../../broker/packets/reason-codes.ts'
import { decodeSubscribe5, decodeUnsubscribe5, encodeSuback5, encodeUnsuback5 } from '../../broker/packets/subscribe5-packet.ts'

/** What the mqtt-packet package, which is not ours, writes for a packet. */
function encoded(packet: Packet): Buffer {
  return generate(packet, { protocolVersion: 5 })
}

/** A packet as the frame parser cuts it. */
function framed(bytes: Buffer): { buffer: Buffer; header: number; bodyStart: number; bodyEnd: number } {
  const parser = new FrameParser()
  parser.level = 5
  parser.push(bytes)
  expect(parser.next(1e9)).toBe(frameStatus.complete)
  const { buffer, header, bodyStart, bodyEnd } = parser
  return { buffer, header, bodyStart, bodyEnd }
}

// mqtt-packet leaves out empty strings and zeros of some properties.
const word = fc.string({ minLength: 1, maxLength: 12, unit: fc.constantFrom('a', 'ß', '日', '🌡', ' ', '/', '\n') })
const uint16 = fc.integer({ min: 1, max: 0xffff })
const uint32 = fc.integer({ min: 1, max: 0xffff_ffff })
const binary = fc.uint8Array({ minLength: 1, maxLength: 20 }).map(bytes => Buffer.from(bytes))
const userProperties = fc
  .dictionary(word, fc.oneof(word, fc.array(word, { minLength: 2, maxLength: 3 })), { minKeys: 1, maxKeys: 3, noNullPrototype: true })
  .map(pairs => ({ ...pairs }))
const some = <Shape extends object>(shape: { [Name in keyof Shape]: fc.Arbitrary<Shape[Name]> }) => fc.record(shape, { requiredKeys: [] })
const message = {
  payloadFormatIndicator: fc.boolean(),
  messageExpiryInterval: uint32,
  contentType: word,
  responseTopic: word,
  correlationData: binary,
  userProperties
}

describe('CONNECT of MQTT 5 as mqtt-packet writes it', () => {
  const connects = fc.record({
    clientId: fc.oneof(fc.constant(''), word),
    clean: fc.boolean(),
    keepalive: uint16,
    properties: some({
      sessionExpiryInterval: uint32,
      receiveMaximum: uint16,
      maximumPacketSize: uint32,
      topicAliasMaximum: uint16,
      requestResponseInformation: fc.boolean(),
      requestProblemInformation: fc.boolean(),
      userProperties
    }),
    username: fc.option(word, { nil: undefined }),
    password: fc.option(binary, { nil: undefined }),
    will: fc.option(
      fc.record({
        topic: word,
        payload: word.map(text => Buffer.from(text)),
        qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
        retain: fc.boolean(),
        properties: some({ willDelayInterval: uint32, ...message })
      }),
      { nil: undefined }
    )
  })

  test('is read field by field', () => {
    fc.assert(
      fc.property(connects, ({ username, password: secret, will, ...given }) => {
        const password = username === undefined ? undefined : secret
        // mqtt-packet writes neither an empty client id without clean start nor a password without a user name.
        const rest = { ...given, clean: given.clean || given.clientId === '' }
        const optional = {
          ...(username === undefined ? {} : { username }),
          ...(password === undefined ? {} : { password }),
          ...(will === undefined ? {} : { will })
        }
        const { buffer, bodyStart, bodyEnd } = framed(encoded({ cmd: 'connect', protocolVersion: 5, ...rest, ...optional }))
        const packet = decodeConnect(buffer, bodyStart, bodyEnd)
        const { properties } = rest
        expect(packet).toMatchObject({
          level: 5,
          clean: rest.clean,
          keepAliveSeconds: rest.keepalive,
          sessionExpirySeconds: properties.sessionExpiryInterval ?? 0,
          receiveMaximum: properties.receiveMaximum ?? 65_535,
          maximumPacketBytes: Math.min(properties.maximumPacketSize ?? Infinity, 268_435_460),
          topicAliasMaximum: properties.topicAliasMaximum ?? 0,
          problemInformation: properties.requestProblemInformation ?? true,
          authenticates: false
        })
        if ('fault' in packet) return
        expect(packet.clientId.toString()).toBe(rest.clientId)
        expect(packet.user?.toString()).toBe(username)
        expect(packet.password).toEqual(password)
        expect(packet.will === undefined).toBe(will === undefined)
        if (packet.will === undefined || will === undefined) return
        const { willDelayInterval = 0, ...others } = will.properties
        expect(packet.will).toMatchObject({ qos: will.qos, retain: will.retain, delaySeconds: willDelayInterval, payload: will.payload })
        expect(packet.will.topic.toString()).toBe(will.topic)
        // The same properties in a PUBLISH are what is left of the will's.
        const publish = framed(encoded({ cmd: 'publish', topic: 'a', payload: '', qos: 0, dup: false, retain: false, properties: others }))
        const into = buildPublish5Packet()
        expect(decodePublish5(publish.buffer, publish.header, publish.bodyStart, publish.bodyEnd, into)).toBeUndefined()
        const kept = keptProperties(publish.buffer, into)
        expect(packet.will.properties).toEqual(kept === undefined ? undefined : Buffer.from(kept))
      })
    )
  })

  test('cut anywhere, or longer than it says, is malformed', () => {
    const whole = framed(
      encoded({
        cmd: 'connect',
        protocolVersion: 5,
        clientId: 'c',
        properties: { receiveMaximum: 3, userProperties: { a: 'b' } },
        will: { topic: 't', payload: Buffer.from('p'), qos: 1, retain: false, properties: { willDelayInterval: 5 } },
        username: 'u',
        password: Buffer.from('p')
      })
    )
    for (let end = whole.bodyStart + 7; end < whole.bodyEnd; end++) {
      expect(decodeConnect(whole.buffer, whole.bodyStart, end), `cut at ${end}`).toMatchObject({ code: 0x81, level: 5 })
    }
    const longer = Buffer.concat([whole.buffer, Buffer.alloc(1)])
    expect(decodeConnect(longer, whole.bodyStart, longer.length)).toMatchObject({ code: 0x81 })
  })

  test.each([
    ['21 0000', 0x82, 'a receive maximum of 0'],
    ['27 00000000', 0x82, 'a maximum packet size of 0'],
    ['17 02', 0x82, 'a request problem information of 2'],
    ['19 02', 0x82, 'a request response information of 2'],
    ['11 00000001 11 00000001', 0x82, 'a property twice'],
    ['16 0001 61', 0x82, 'authentication data without a method'],
    ['24 01', 0x81, 'a property of CONNACK'],
    ['18 00000001', 0x81, 'a property of a will'],
    ['00', 0x81, 'an identifier that there is not'],
    ['7f', 0x81, 'an identifier beyond the table'],
    ['11 0000', 0x81, 'a cut property'],
    ['26 0001 61 0001 00', 0x81, 'a NUL in a user property'],
    ['26 0001 ff 0001 61', 0x81, 'a user property that is not UTF-8']
  ])('with %s is refused with %i: %s', (hex, code) => {
    const properties = Buffer.from(hex.replaceAll(' ', ''), 'hex')
    const body = Buffer.concat([
      Buffer.from('00044d51545405020000', 'hex'),
      Buffer.from([properties.length]),
      properties,
      Buffer.from('000161', 'hex')
    ])
    expect(decodeConnect(body, 0, body.length)).toMatchObject({ code, level: 5 })
  })

  test('lengths of properties are in their shortest form', () => {
    const body = Buffer.from('00044d515454050200008000000161', 'hex')
    expect(decodeConnect(body, 0, body.length)).toMatchObject({ code: 0x81 })
  })
})

describe('PUBLISH of MQTT 5 as mqtt-packet writes it', () => {
  const publishes = fc.record({
    topic: word,
    payload: word.map(text => Buffer.from(text)),
    qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
    retain: fc.boolean(),
    messageId: uint16,
    properties: some({ ...message, topicAlias: uint16 })
  })

  test('is read field by field, and what is kept of it has all properties but the topic alias', () => {
    fc.assert(
      fc.property(publishes, publish => {
        const bytes = encoded({ cmd: 'publish', dup: false, ...publish })
        const { buffer, header, bodyStart, bodyEnd } = framed(bytes)
        const into = buildPublish5Packet()
        expect(decodePublish5(buffer, header, bodyStart, bodyEnd, into)).toBeUndefined()
        const { topicAlias = 0, ...kept } = publish.properties
        expect(into).toMatchObject({
          qos: publish.qos,
          retain: publish.retain,
          topicAlias,
          packetId: publish.qos === 0 ? 0 : publish.messageId
        })
        expect(buffer.toString('utf8', into.topicStart, into.topicEnd)).toBe(publish.topic)
        expect(buffer.subarray(into.payloadStart, bodyEnd)).toEqual(publish.payload)
        const { messageExpiryInterval, ...routed } = kept
        expect(Buffer.from(keptProperties(buffer, into) ?? [])).toEqual(propertiesOf(kept))
        expect(routedProperties(keptProperties(buffer, into))).toEqual({
          properties: Object.keys(routed).length === 0 ? undefined : propertiesOf(routed),
          expirySeconds: messageExpiryInterval
        })
      })
    )
  })

  /** The properties of a PUBLISH in the bytes of mqtt-packet, without their length. */
  function propertiesOf(properties: object): Buffer {
    const { buffer, bodyStart, bodyEnd } = framed(
      encoded({ cmd: 'publish', topic: 'a', payload: '', qos: 0, dup: false, retain: false, properties })
    )
    const length = buffer[bodyStart + 3] ?? 0
    return buffer.subarray(bodyStart + (length > 127 ? 5 : 4), bodyEnd)
  }

  test.each<[string, number | undefined, string]>([
    ['0001 61', 0x81, 'no properties'],
    ['0001 61 01', 0x81, 'properties behind the end'],
    ['0001 61 02 0101', undefined, 'text'],
    ['0001 61 02 0101 ff', 0x99, 'text that is not UTF-8'],
    ['0001 61 02 0100 ff', undefined, 'bytes that are not UTF-8 and are not said to be'],
    ['0001 61 02 0102', 0x82, 'a payload format of 2'],
    ['0000 00', 0x82, 'neither topic nor topic alias'],
    ['0000 03 230001', undefined, 'a topic alias alone'],
    ['0001 61 03 230000', 0x94, 'the topic alias 0'],
    ['0001 61 02 0b01', 0x82, 'a subscription identifier'],
    ['0001 61 06 08 0003 61 2f 23', 0x82, 'a response topic with a wildcard'],
    ['0001 61 03 08 0000', 0x82, 'an empty response topic'],
    ['0001 2b 00', 0x81, 'a topic with a wildcard'],
    ['0002 24 61 00', 0x90, 'a topic of the server'],
    ['0001 61 8000', 0x81, 'a padded length of no properties']
  ])('of the bytes %s is refused with %s: %s', (hex, code) => {
    const body = Buffer.from(hex.replaceAll(' ', ''), 'hex')
    const fault = decodePublish5(body, 0x30, 0, body.length, buildPublish5Packet())
    expect(fault?.code).toBe(code)
  })
})

describe('SUBSCRIBE and UNSUBSCRIBE of MQTT 5 as mqtt-packet writes them', () => {
  const subscriptions = fc.array(
    fc.record({
      topic: word,
      qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
      nl: fc.boolean(),
      rap: fc.boolean(),
      rh: fc.constantFrom(0, 1, 2)
    }),
    { minLength: 1, maxLength: 4 }
  )
  const properties = some({ subscriptionIdentifier: fc.integer({ min: 1, max: 268_435_455 }), userProperties })

  test('are read filter by filter', () => {
    fc.assert(
      fc.property(subscriptions, properties, uint16, (subscriptions, properties, messageId) => {
        const subscribe = framed(encoded({ cmd: 'subscribe', messageId, subscriptions, properties }))
        expect(decodeSubscribe5(subscribe.buffer, subscribe.bodyStart, subscribe.bodyEnd)).toEqual({
          packetId: messageId,
          requests: subscriptions.map(({ topic, qos, nl, rap, rh }) => ({
            filter: topic,
            qos,
            noLocal: nl,
            retainAsPublished: rap,
            retainHandling: rh,
            identifier: properties.subscriptionIdentifier,
            refusal: undefined
          }))
        })
        const unsubscriptions = subscriptions.map(({ topic }) => topic)
        const unsubscribe = framed(encoded({ cmd: 'unsubscribe', messageId, unsubscriptions }))
        expect(decodeUnsubscribe5(unsubscribe.buffer, unsubscribe.bodyStart, unsubscribe.bodyEnd)).toEqual({
          packetId: messageId,
          filters: unsubscriptions
        })
      })
    )
  })

  test.each([
    ['0001 00 0001 61 40', 0x81, 'a reserved option'],
    ['0001 00 0001 61 80', 0x81, 'the other reserved option'],
    ['0001 00 0001 61 03', 0x82, 'QoS 3'],
    ['0001 00 0001 61 30', 0x82, 'retain handling 3'],
    ['0001 00', 0x82, 'no filter'],
    ['0000 00 0001 61 00', 0x82, 'packet id 0'],
    ['0001 02 0b00 0001 61 00', 0x82, 'subscription identifier 0'],
    ['0001 06 0b8080808001 0001 61 00', 0x81, 'a subscription identifier of five bytes'],
    ['0001 04 0b010b02 0001 61 00', 0x82, 'two subscription identifiers'],
    ['0001 00 0001 61', 0x81, 'no options'],
    ['0001 00 0002 61 00', 0x81, 'a cut filter'],
    ['0001 00 000a 2473686172652f672f61 04', 0x82, 'no local on a shared subscription']
  ])('of the bytes %s is refused with %i: %s', (hex, code) => {
    const body = Buffer.from(hex.replaceAll(' ', ''), 'hex')
    expect(decodeSubscribe5(body, 0, body.length)).toMatchObject({ code })
  })

  test('a shared subscription and a filter that is too long are refused on their own', () => {
    const filters = ['$share/g/a', 'x'.repeat(257), 'a']
    const subscriptions = filters.map(topic => ({ topic, qos: 0 as const }))
    const { buffer, bodyStart, bodyEnd } = framed(encoded({ cmd: 'subscribe', messageId: 1, subscriptions }))
    expect(decodeSubscribe5(buffer, bodyStart, bodyEnd)).toMatchObject({
      requests: [{ refusal: 0x9e }, { refusal: 0x8f }, { refusal: undefined }]
    })
  })
})

describe('acknowledgements and DISCONNECT of MQTT 5', () => {
  test.each(['puback', 'pubrec', 'pubrel', 'pubcomp'] as const)('%s is read with its reason code', cmd => {
    for (const reasonCode of cmd === 'puback' || cmd === 'pubrec' ? [0, 0x10, 0x80, 0x97] : [0, 0x92]) {
      for (const properties of [undefined, { reasonString: 'because' }, { userProperties: { a: 'b' } }]) {
        const into = { packetId: 0, code: 0 }
        const frame = framed(encoded({ cmd, messageId: 513, reasonCode, ...(properties === undefined ? {} : { properties }) }))
        expect(decodeAcknowledgement5(frame, into)).toBeUndefined()
        expect(into).toEqual({ packetId: 513, code: reasonCode })
      }
    }
  })

  test.each([
    ['40 01 00', 0x81],
    ['40 02 0000', 0x81],
    ['40 03 0001 01', 0x82],
    ['62 03 0001 10', 0x82],
    ['40 05 0001 00 00 00', 0x81],
    ['40 09 0001 00 05 11 00000001', 0x81],
    ['40 04 0001 00 01', 0x81]
  ])('%s is refused with %i', (hex, code) => {
    const frame = framed(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
    expect(decodeAcknowledgement5(frame, { packetId: 0, code: 0 })).toMatchObject({ code })
  })

  test('DISCONNECT is read with its reason code and session expiry', () => {
    for (const reasonCode of [0, 4, 0x81, 0x99]) {
      const { buffer, bodyStart, bodyEnd } = framed(encoded({ cmd: 'disconnect', reasonCode, properties: { sessionExpiryInterval: 7 } }))
      expect(decodeDisconnect(buffer, bodyStart, bodyEnd)).toEqual({ code: reasonCode, sessionExpirySeconds: 7 })
    }
    expect(decodeDisconnect(Buffer.alloc(0), 0, 0)).toEqual({ code: 0, sessionExpirySeconds: undefined })
    expect(decodeDisconnect(Buffer.from([4]), 0, 1)).toEqual({ code: 4, sessionExpirySeconds: undefined })
  })

  test.each([
    ['87', 0x82, 'a code of the server'],
    ['00 04 1c 0001 61', 0x81, 'a server reference'],
    ['00 00 00', 0x81, 'bytes behind its end'],
    ['00 05 11 0000', 0x81, 'cut properties']
  ])('a DISCONNECT of %s is refused with %i: %s', (hex, code) => {
    const body = Buffer.from(hex.replaceAll(' ', ''), 'hex')
    expect(decodeDisconnect(body, 0, body.length)).toMatchObject({ code })
  })
})

describe('what the server writes in MQTT 5', () => {
  /** What mqtt-packet reads. */
  async function parsed(bytes: Buffer): Promise<Packet> {
    const { parser } = await import('mqtt-packet')
    return await new Promise((resolve, reject) => {
      const reader = parser({ protocolVersion: 5 })
      reader.on('packet', resolve)
      reader.on('error', reject)
      reader.parse(bytes)
    })
  }

  test('mqtt-packet reads the CONNACK of a client that is accepted', async () => {
    const acceptance = { sessionPresent: true, receiveMaximum: 12, maximumPacketBytes: 3456, topicAliasMaximum: 7 }
    expect(await parsed(encodeConnack5(acceptance))).toMatchObject({
      cmd: 'connack',
      sessionPresent: true,
      reasonCode: 0,
      properties: { receiveMaximum: 12, maximumPacketSize: 3456, topicAliasMaximum: 7, sharedSubscriptionAvailable: false }
    })
    const asked = { sessionExpirySeconds: 9, assignedClientId: 'tg-ß', serverKeepAliveSeconds: 60 }
    expect(await parsed(encodeConnack5({ ...acceptance, ...asked }))).toMatchObject({
      properties: { sessionExpiryInterval: 9, assignedClientIdentifier: 'tg-ß', serverKeepAlive: 60 }
    })
  })

  test('a refusal is told in the words of each version', async () => {
    const fault = { fault: 'no entry', code: reasonCodes.notAuthorized }
    const refusal = encodeRefusal(fault, 5)
    expect(refusal === undefined ? undefined : await parsed(refusal)).toMatchObject({
      reasonCode: 0x87,
      properties: { reasonString: 'no entry' }
    })
    expect(encodeRefusal(fault, 4)).toEqual(Buffer.from([0x20, 2, 0, 5]))
    expect(encodeRefusal({ fault: 'x', code: reasonCodes.malformedPacket }, 3)).toBeUndefined()
  })

  test('DISCONNECT, SUBACK and UNSUBACK have their reason codes', async () => {
    const fault = { fault: 'taken over', code: reasonCodes.sessionTakenOver }
    expect(await parsed(encodeDisconnect(fault, 100))).toMatchObject({ reasonCode: 0x8e, properties: { reasonString: 'taken over' } })
    // [MQTT-3.14.2-3].
    expect(encodeDisconnect(fault, 8)).toEqual(Buffer.from([0xe0, 1, 0x8e]))
    expect(await parsed(encodeSuback5(258, Uint8Array.of(0, 1, 0x8f)))).toMatchObject({ messageId: 258, granted: [0, 1, 0x8f] })
    expect(await parsed(encodeUnsuback5(258, Uint8Array.of(0, 0x11)))).toMatchObject({ messageId: 258, granted: [0, 0x11] })
  })
})

describe('frames of MQTT 5', () => {
  test.each([
    ['f000', 5, frameStatus.complete],
    ['f000', 4, frameStatus.malformed],
    ['f100', 5, frameStatus.malformed],
    ['6a020001', 5, frameStatus.malformed],
    ['6a020001', 3, frameStatus.complete],
    ['c08000', 5, frameStatus.malformed],
    ['c08000', 4, frameStatus.complete]
  ] as const)('%s of a client of level %i has the status %i', (hex, level, status) => {
    const parser = new FrameParser()
    parser.level = level
    parser.push(Buffer.from(hex, 'hex'))
    expect(parser.next(1000)).toBe(status)
  })
})
