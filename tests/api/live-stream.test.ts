import { once } from 'node:events'
import http from 'node:http'
import type { IncomingMessage } from 'node:http'
import { Writable } from 'node:stream'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LiveStream } from '../../api/live-stream.ts'
import type { LiveStreamOptions, StreamFilter } from '../../api/live-stream.ts'
import { MessageRing } from '../../api/message-ring.ts'
import { bindStreamMetrics } from '../../api/stream-metrics.ts'
import { Metrics } from '../../metrics.ts'
import type { Source, StoredMessage } from '../../telemetry.ts'
import { journal, listen, nowNs, openApi, otherJournal, parseJson, responseOf, sourceOf, until } from './fakes.ts'

const porch = sourceOf('porch', { room: 'outside' })
const hall = sourceOf('hall', {}, 'home')

function message(
  ordinal: number,
  source: Source = porch,
  fields: Readonly<Record<string, number | string>> = { t: ordinal / 2 }
): StoredMessage {
  const entries = Object.entries(fields).map(([name, value]) => ({ name, value }))
  return { ordinal, points: [{ source, timeNs: nowNs + BigInt(ordinal), fields: entries, ordinal }] }
}

function streamOf(options: Partial<LiveStreamOptions> = {}): LiveStream {
  return new LiveStream({ journal, position: 0, ringBytes: 1_024 * 1_024, clients: 4, ...options })
}

const everything: StreamFilter = { devices: new Set(), measurement: undefined, fields: new Set(), epoch: 'iso' }

interface Event {
  readonly id?: string
  readonly event?: string
  readonly data?: string
}

/** A reader of Server-Sent Events that takes everything. */
class Sink extends Writable {
  text = ''
  constructor() {
    super({ decodeStrings: false })
  }

  override _write(chunk: string, _encoding: BufferEncoding, done: () => void): void {
    this.text += chunk
    done()
  }

  get events(): readonly Event[] {
    return parseEvents(this.text)
  }

  get ordinals(): readonly number[] {
    return this.events.filter(({ event }) => event === undefined).map(({ id }) => Number(id?.split(':')[1]))
  }
}

function parseEvents(text: string): readonly Event[] {
  return text
    .split('\n\n')
    .map(block => Object.fromEntries(block.split('\n').map(line => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)])))
    .filter(event => event['data'] !== undefined)
}

describe('the live stream', () => {
  it('sends one event a message, with its position as id and its items', async () => {
    await using stream = streamOf()
    const sink = new Sink()
    stream.connect(sink, everything, undefined)
    stream.publish([message(4), { ordinal: 6, points: [...message(6).points, ...message(6, hall, { on: 'yes' }).points] }])
    await until(() => sink.events.length === 2, 'two events')
    expect(sink.events[0]?.id).toBe(`${journal}:4`)
    expect(JSON.parse(sink.events[1]?.data ?? '')).toEqual({
      position: `${journal}:6`,
      items: [
        { time: '2026-05-04T03:02:01.000000006Z', device: 'porch', measurement: 'telemetry', tags: { room: 'outside' }, fields: { t: 3 } },
        { time: '2026-05-04T03:02:01.000000006Z', device: 'hall', measurement: 'home', tags: {}, fields: { on: 'yes' } }
      ]
    })
  })

  it('starts with what comes next when a client has no Last-Event-ID', async () => {
    await using stream = streamOf()
    stream.publish([message(0), message(1)])
    const sink = new Sink()
    stream.connect(sink, everything, undefined)
    stream.publish([message(2)])
    await until(() => sink.ordinals.length === 1, 'an event')
    expect(sink.ordinals).toEqual([2])
  })

  it('resumes behind Last-Event-ID, also when that message had no outcome worth an event', async () => {
    await using stream = streamOf({ position: 10 })
    stream.publish([message(10), message(13), message(14)])
    for (const [id, expected] of [
      [9, [10, 13, 14]],
      [10, [13, 14]],
      [11, [13, 14]],
      [13, [14]],
      [14, []]
    ] as const) {
      const sink = new Sink()
      stream.connect(sink, everything, `${journal}:${id}`)
      stream.publish([message(20 + id)])
      await until(() => sink.ordinals.includes(20 + id), 'the live event')
      sink.destroy()
      expect(sink.text).not.toContain('gap')
      expect(sink.ordinals.filter(ordinal => ordinal < 20)).toEqual(expected)
    }
  })

  it.each([
    ['an id that the ring does not reach back to', `${journal}:7`, 8],
    ['an id of another journal', `${otherJournal}:11`, 0],
    ['an id that is not reached yet', `${journal}:99`, 0],
    ['an id that is no position', 'abc', 0]
  ])('sends one gap event, then live events, for %s', async (_case, id, from) => {
    await using stream = streamOf({ position: 10 })
    stream.publish([message(10), message(11)])
    const sink = new Sink()
    stream.connect(sink, everything, id)
    stream.publish([message(12)])
    await until(() => sink.ordinals.length === 1, 'the live event')
    expect(sink.events).toEqual([
      { id: `${journal}:11`, event: 'gap', data: JSON.stringify({ from: `${journal}:${from}`, to: `${journal}:12` }) },
      { id: `${journal}:12`, data: expect.any(String) }
    ])
  })

  it('sends only what a filter lets through, and no event without items', async () => {
    await using stream = streamOf()
    const byDevice = new Sink()
    const byMeasurement = new Sink()
    const byField = new Sink()
    stream.connect(byDevice, { ...everything, devices: new Set(['porch', 'x']) }, undefined)
    stream.connect(byMeasurement, { ...everything, measurement: 'home', epoch: 'ms' }, undefined)
    stream.connect(byField, { ...everything, fields: new Set(['h', 'u']) }, undefined)
    stream.publish([message(0), message(1, hall), message(2, porch, { t: 1, h: 2 }), message(3, hall, { u: 3 })])
    await until(
      () => byField.ordinals.includes(3) && byDevice.ordinals.includes(2) && byMeasurement.ordinals.includes(3),
      'the last events'
    )
    expect([byDevice.ordinals, byMeasurement.ordinals, byField.ordinals]).toEqual([
      [0, 2],
      [1, 3],
      [2, 3]
    ])
    const fieldsOf = (sink: Sink): unknown =>
      sink.events.map(({ data }) => parseJson<{ items: { fields: object }[] }>(data ?? '').items.map(({ fields }) => fields))
    expect(fieldsOf(byField)).toEqual([[{ h: 2 }], [{ u: 3 }]])
    expect(byMeasurement.events[0]?.data).toContain(`"time":${Number(nowNs / 1_000_000n)},`)
  })

  it('gives every client every event once and in order, however they and the messages come', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.constant('client' as const), fc.integer({ min: 1, max: 1_500 })), { maxLength: 8 }),
        async steps => {
          await using stream = streamOf({ clients: 100, ringBytes: 16 * 1_024 * 1_024 })
          const clients: { readonly sink: Sink; readonly from: number }[] = []
          let next = 0
          for (const step of steps) {
            if (step === 'client') {
              const sink = new Sink()
              clients.push({ sink, from: next })
              stream.connect(sink, everything, undefined)
            } else {
              stream.publish(Array.from({ length: step }, (_, index) => message(next + index)))
              next += step
              await new Promise(resolve => setImmediate(resolve))
            }
          }
          for (const { sink, from } of clients) {
            await until(() => sink.text.split('\nid: ').length > next - from, 'all events')
            expect(sink.ordinals).toEqual(Array.from({ length: next - from }, (_, index) => from + index))
          }
        }
      ),
      { numRuns: 12 }
    )
  })

  it('does not encode anything while nobody follows', async () => {
    await using stream = streamOf()
    const source = sourceOf('watched')
    let looked = 0
    const watched: StoredMessage = {
      ordinal: 0,
      points: [
        {
          timeNs: 0n,
          fields: [],
          ordinal: 0,
          get source() {
            looked++
            return source
          }
        }
      ]
    }
    stream.publish([watched])
    await new Promise(resolve => setImmediate(resolve))
    expect(looked).toBe(0)
  })

  it('refuses a client above the limit, and admits one when another has left', async () => {
    await using stream = streamOf({ clients: 2 })
    const first = new Sink()
    stream.connect(first, everything, undefined)
    stream.connect(new Sink(), everything, undefined)
    expect(() => stream.connect(new Sink(), everything, undefined)).toThrow(expect.objectContaining({ code: 'TG_STREAM_BUSY' }))
    first.destroy()
    await once(first, 'close')
    stream.connect(new Sink(), everything, undefined)
    expect(stream.clients).toBe(2)
  })

  it('ends a client that does not read, without holding more than a slice for it or slowing another', async () => {
    await using stream = streamOf({ ringBytes: 200_000, heartbeatMs: 20, stallMs: 60_000 })
    const stuck = new Writable({ write: () => {} })
    const reader = new Sink()
    stream.connect(stuck, everything, undefined)
    stream.connect(reader, everything, undefined)
    await new Promise(resolve => setImmediate(resolve))
    for (let ordinal = 0; ordinal < 5_000; ordinal += 100) {
      stream.publish(Array.from({ length: 100 }, (_, index) => message(ordinal + index)))
      await new Promise(resolve => setImmediate(resolve))
    }
    await until(() => reader.ordinals.length === 5_000, 'the reader has everything')
    expect(stuck.writableLength).toBeLessThan(100_000)
    expect(stream.ringBytes).toBeLessThanOrEqual(200_000)
    expect(stream.clients).toBe(2)
  })

  it('ends a client that takes nothing for too long', async () => {
    await using stream = streamOf({ heartbeatMs: 10, stallMs: 30 })
    const stuck = new Writable({ highWaterMark: 1, write: () => {} })
    stream.connect(stuck, everything, undefined)
    await until(() => stuck.destroyed, 'it is ended')
    expect([stream.clients, stream.endedClients]).toEqual([0, 1])
  })

  it('ends a client that falls out of the ring', async () => {
    await using stream = streamOf({ ringBytes: 10_000 })
    let release: (() => void) | undefined
    const slow = new Writable({
      highWaterMark: 1,
      write: (_chunk, _encoding, done) => {
        release = done
      }
    })
    stream.connect(slow, everything, undefined)
    stream.publish(Array.from({ length: 1_000 }, (_, index) => message(index)))
    release?.()
    await until(() => slow.destroyed, 'it is ended')
    expect(stream.endedClients).toBe(1)
  })

  it('counts its clients, events and memory', async () => {
    await using stream = streamOf()
    const metrics = new Metrics()
    bindStreamMetrics(metrics, stream)
    const sink = new Sink()
    stream.connect(sink, everything, undefined)
    stream.publish([message(0), message(1)])
    await until(() => sink.ordinals.length === 2, 'two events')
    const text = await metrics.render()
    expect(text).toContain('\ntidegate_stream_clients 1\n')
    expect(text).toContain('\ntidegate_stream_events_total 2\n')
    expect(text).toContain('\ntidegate_stream_ended_clients_total 0\n')
    expect(text).toContain(`\ntidegate_stream_ring_bytes ${stream.ringBytes}\n`)
  })

  it('shows idle clients that it is alive', async () => {
    await using stream = streamOf({ heartbeatMs: 10 })
    const sink = new Sink()
    stream.connect(sink, everything, undefined)
    await until(() => sink.text.includes('\n:\n\n:\n\n'), 'two comments')
  })
})

describe('the ring of messages', () => {
  it('keeps the newest within its bytes and says from where on nothing is missing', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 500, max: 20_000 }),
        fc.integer({ min: 0, max: 50 }),
        fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.nat({ max: 40 })), { maxLength: 3_000, minLength: 0 }),
        (maxBytes, position, steps) => {
          const ring = new MessageRing(position, maxBytes)
          const all: StoredMessage[] = []
          let ordinal = position - 1
          for (const [step, size] of steps) {
            ordinal += step
            const next = message(ordinal, porch, { text: 'x'.repeat(size) })
            all.push(next)
            ring.push(next)
          }
          expect(ring.bytes <= maxBytes || ring.endSequence - ring.firstSequence === 1).toBe(true)
          const kept = all.slice(ring.firstSequence)
          expect(ring.endSequence).toBe(all.length)
          expect(kept.map((_, index) => ring.at(ring.firstSequence + index)?.ordinal)).toEqual(kept.map(entry => entry.ordinal))
          expect(ring.at(ring.firstSequence - 1)).toBeUndefined()
          expect(all.filter(entry => entry.ordinal >= ring.oldest)).toEqual(kept)
          for (const probe of [position, ring.oldest, ordinal - 1, ordinal, ordinal + 1]) {
            const expected = all.findIndex((entry, index) => index >= ring.firstSequence && entry.ordinal >= probe)
            expect(ring.sequenceOf(probe)).toBe(expected === -1 ? all.length : expected)
          }
        }
      ),
      { numRuns: 60 }
    )
  })

  it('keeps one message that is larger than the ring', () => {
    const ring = new MessageRing(0, 100)
    ring.push(message(0, porch, { text: 'y'.repeat(1_000) }))
    ring.push(message(3, porch, { text: 'z'.repeat(1_000) }))
    expect([ring.at(1)?.ordinal, ring.at(0), ring.oldest, ring.next]).toEqual([3, undefined, 1, 4])
  })
})

async function follow(
  url: string,
  headers: Readonly<Record<string, string>> = {}
): Promise<{ response: IncomingMessage; text: () => string }> {
  const response = await responseOf(http.get(url, { agent: false, headers }))
  let text = ''
  response.setEncoding('utf8').on('data', chunk => (text += String(chunk)))
  response.on('error', () => {})
  return { response, text: () => text }
}

describe('GET /api/v1/stream', () => {
  it('sends Server-Sent Events over HTTP, filtered as asked, with the security headers', async () => {
    const stream = streamOf()
    await using api = await openApi({ stream: () => stream })
    const { response, text } = await follow(`${await listen(api)}/api/v1/stream?device=hall&device=x&fields=t&epoch=ns`)
    expect(response.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff'
    })
    await until(() => stream.clients === 1, 'the client is there')
    stream.publish([message(0, porch), message(1, hall)])
    await until(() => parseEvents(text()).length === 1, 'an event')
    expect(parseEvents(text())[0]).toMatchObject({ id: `${journal}:1`, data: expect.stringContaining(`"time":"${nowNs + 1n}"`) })
    response.destroy()
    await until(() => stream.clients === 0, 'the client is forgotten')
  })

  it('resumes by the Last-Event-ID header', async () => {
    const stream = streamOf()
    stream.publish([message(0), message(1), message(2)])
    await using api = await openApi({ stream: () => stream })
    const { response, text } = await follow(`${await listen(api)}/api/v1/stream`, { 'last-event-id': `${journal}:0` })
    await until(() => parseEvents(text()).length === 2, 'two events')
    expect(parseEvents(text()).map(({ id }) => id)).toEqual([`${journal}:1`, `${journal}:2`])
    response.destroy()
  })

  it('answers a problem when there are too many clients or a parameter is wrong', async () => {
    await using none = streamOf({ clients: 0 })
    await using api = await openApi({ stream: () => none })
    const full = await api.inject({ url: '/api/v1/stream' })
    expect([full.statusCode, full.headers['retry-after']]).toEqual([503, '1'])
    expect(full.json()).toMatchObject({ code: 'TG_STREAM_BUSY' })
    expect((await api.inject({ url: '/api/v1/stream?devices=x' })).json()).toMatchObject({ status: 400, parameter: 'devices' })
  })

  it('ends its clients when the server closes, also one that does not read', async () => {
    // the reader is in this process too and falls behind for a while
    const stream = streamOf({ ringBytes: 64 * 1_024 * 1_024 })
    const api = await openApi({ stream: () => stream })
    const base = await listen(api)
    const { response } = await follow(`${base}/api/v1/stream`)
    const stuck = http.get(`${base}/api/v1/stream`, { agent: false })
    stuck.on('error', () => {})
    const unread = await responseOf(stuck)
    unread.pause()
    unread.on('error', () => {})
    await until(() => stream.clients === 2, 'two clients')
    for (let ordinal = 0; ordinal < 20_000; ordinal += 1_000) {
      stream.publish(Array.from({ length: 1_000 }, (_, index) => message(ordinal + index, porch, { text: 'x'.repeat(300) })))
      await new Promise(resolve => setImmediate(resolve))
    }
    const ended = once(response, 'end')
    await api.close()
    await ended
    expect(stream.clients).toBe(0)
  })
})
