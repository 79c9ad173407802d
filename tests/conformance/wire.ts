import { expect } from 'vitest'
import { RawClient, connect, packet, pingreq, publish, pubrel, subscribe, text, uint16, until } from '../broker/raw-client.ts'
import { against } from './served.ts'
import type { Served } from './served.ts'
import type { TestedId } from './statements.ts'

export type { Served }

/** What shows that a statement holds, against a broker of its own. */
export type Check = (served: Served) => Promise<void>

/** The checks of some statements. */
export type Checks = Partial<Record<TestedId, Check>>

export const unsubscribe = (id: number, ...filters: readonly (string | Buffer)[]): Buffer =>
  packet(0xa2, uint16(id), ...filters.map(filter => text(filter)))
export const pubrec = (id: number): Buffer => packet(0x50, uint16(id))
export const pubcomp = (id: number): Buffer => packet(0x70, uint16(id))
export const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex')

/** A CONNECT of any flags and payload fields. */
export function rawConnect(flags: number, fields: readonly (string | Buffer)[], options: { name?: string; level?: number } = {}): Buffer {
  const { name = 'MQTT', level = 4 } = options
  return packet(0x10, text(name), Buffer.from([level, flags]), uint16(0), ...fields.map(field => text(field)))
}

let clients = 0

/** A client past its CONNACK 0, with a client id that no other has. */
export async function join(served: Served, options: Parameters<typeof connect>[1] = {}): Promise<RawClient> {
  clients += 1
  return await RawClient.connect(served.port, `c${clients}`, options)
}

/** A client that subscribes, past its SUBACK. */
export async function subscriber(served: Served, ...filters: readonly (readonly [string, number])[]): Promise<RawClient> {
  const client = await join(served)
  client.send(subscribe(1, ...filters))
  await client.received(2)
  return client
}

/** Sends the bytes, waits for so many packets, and answers their descriptions. */
export async function ask(client: RawClient, count: number, ...packets: readonly Buffer[]): Promise<readonly string[]> {
  const before = client.packets.length
  client.send(...packets)
  await client.received(before + count)
  return client.packets.slice(before)
}

/** The connection breaks without DISCONNECT, and is back when the server knows. */
export async function vanish(served: Served, client: RawClient, clientId: string): Promise<void> {
  client.socket.end()
  await client.untilClosed()
  if (against === undefined) await until(() => !served.broker.connectedClientIds().includes(clientId), `${clientId} is gone`)
}

/** Each of these, sent by a client of its own, is the end of its connection, and what comes behind it is not processed. */
export async function closesOn(served: Served, vectors: readonly Buffer[], options: Parameters<typeof connect>[1] = {}): Promise<void> {
  for (const vector of vectors) {
    using client = await join(served, options)
    client.send(vector, pingreq, publish('behind', 'it', { qos: 1, id: 9 }))
    await until(() => client.closed || client.packets.length > 1, `${vector.toString('hex')} is answered`)
    expect({ bytes: vector.toString('hex'), packets: client.packets }).toEqual({ bytes: vector.toString('hex'), packets: ['connack:0,0'] })
    await client.untilClosed()
  }
  expect(served.journal.records.filter(({ topic }) => topic === 'behind')).toEqual([])
}

/** Each of these as the first packet is answered with these packets, and the end; what comes behind it is not processed. */
export async function refuses(served: Served, vectors: readonly Buffer[], answer: readonly string[] = []): Promise<void> {
  for (const vector of vectors) {
    using client = await RawClient.open(served.port)
    client.send(vector, publish('behind', 'it', { qos: 1, id: 9 }), pingreq)
    await until(() => client.closed || client.packets.length > answer.length, `${vector.toString('hex')} is answered`)
    expect({ bytes: vector.toString('hex'), packets: client.packets }).toEqual({ bytes: vector.toString('hex'), packets: answer })
    await client.untilClosed()
  }
  expect(served.journal.records.filter(({ topic }) => topic === 'behind')).toEqual([])
}

/** Each of these as the first packet is accepted, and the connection works. */
export async function accepts(served: Served, vectors: readonly Buffer[]): Promise<void> {
  for (const vector of vectors) {
    using client = await RawClient.open(served.port)
    client.send(vector, pingreq)
    await client.received(2)
    expect({ bytes: vector.toString('hex'), packets: client.packets }).toEqual({
      bytes: vector.toString('hex'),
      packets: ['connack:0,0', 'pingresp']
    })
  }
}

/** Publishes as a new client, and is back when it was acknowledged. */
export async function say(served: Served, ...messages: readonly Readonly<Parameters<typeof publish>>[]): Promise<void> {
  using client = await join(served)
  const packets = messages.map(([topic, payload, options]) => publish(topic, payload, options))
  await ask(client, 1, ...packets, publish('said', '', { qos: 1, id: 0xffff }))
  await until(() => client.packets.includes('puback:65535') || client.closed, 'it was acknowledged')
  expect(client.closed).toBe(false)
  // A server may hand on a QoS 2 message only when PUBREL comes.
  const ids = packets.filter(bytes => ((bytes[0] ?? 0) & 6) === 4).map(publishId)
  for (const id of new Set(ids)) await ask(client, 1, pubrel(id))
}

/**
 * What a subscriber gets until it has got a last message, which is published now to this topic. Messages reach subscribers in
 * the order in which they were taken, so that nothing that was sent before is still to come.
 */
export async function gets(served: Served, client: RawClient, lastTopic: string): Promise<readonly string[]> {
  const last = `publish:0:${lastTopic}:last`
  await say(served, [lastTopic, 'last', { qos: 0 }])
  await until(() => client.packets.includes(last), `the last message arrived: ${client.packets.join(' ')}`)
  return client.packets.filter(described => described.startsWith('publish:') && described !== last)
}

/** The packet id of a PUBLISH above QoS 0. */
export function publishId(raw: Buffer | undefined): number {
  if (raw === undefined || raw[0] === undefined || raw[0] >> 4 !== 3) throw new Error('not a PUBLISH')
  const lengthBytes = (raw[1] ?? 0) < 128 ? 1 : 2
  return raw.readUInt16BE(3 + lengthBytes + raw.readUInt16BE(1 + lengthBytes))
}
