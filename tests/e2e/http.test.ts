import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { connectAsync } from 'mqtt'
import { describe, expect, it } from 'vitest'
import { readLedger } from '../harness/recorder.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

async function post(
  tidegate: Tidegate,
  route: string,
  body: string | Uint8Array,
  type = 'application/json'
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${tidegate.httpUrl}${route}`, { method: 'POST', body, headers: { 'content-type': type } })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

async function get(tidegate: Tidegate, route: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${tidegate.httpUrl}${route}`)
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

describe('HTTP, with the real processes', () => {
  it('a posted reading equals a publish: durable, routed to subscribers, and readable after its position', async () => {
    await using tidegate = await Tidegate.start()
    const received: string[] = []
    const client = await connectAsync(tidegate.mqttUrl, { clientId: 'listener' })
    client.on('message', (topic, payload) => received.push(`${topic} ${payload.toString()}`))
    await client.subscribeAsync('devices/#', { qos: 1 })
    const { status, body } = await post(tidegate, '/api/v1/telemetry?topic=devices/oven/telemetry', '{"temperature":180}')
    expect(status).toBe(202)
    const position = String(body['position'])
    const answer = await get(tidegate, `/api/v1/query?measurement=telemetry&after=${encodeURIComponent(position)}`)
    expect(answer).toMatchObject({ status: 200, body: { items: [{ device: 'oven', fields: { temperature: 180 } }], nextCursor: null } })
    await eventually('the subscriber has it', () => (received.length === 1 ? true : undefined))
    expect(received).toEqual(['devices/oven/telemetry {"temperature":180}'])
    expect(await get(tidegate, '/api/v1/devices/oven')).toMatchObject({ status: 200, body: { device: 'oven' } })
    expect(await get(tidegate, '/api/v1/devices/stove')).toMatchObject({ status: 404, body: { code: 'TG_DEVICE_UNKNOWN' } })
    await client.endAsync()
  })

  it('bytes go as they are, and what cannot be a publish is refused by name', async () => {
    await using tidegate = await Tidegate.start()
    expect(
      await post(tidegate, '/api/v1/telemetry?topic=raw/level', new TextEncoder().encode('42.5'), 'application/octet-stream')
    ).toMatchObject({ status: 202 })
    expect(await post(tidegate, '/api/v1/telemetry?topic=raw/level', '1', 'text/plain')).toMatchObject({
      status: 415,
      body: { code: 'TG_MEDIA_TYPE' }
    })
    for (const topic of ['a/%2B/b', 'a/%23', '%24SYS/x', '']) {
      expect(await post(tidegate, `/api/v1/telemetry?topic=${topic}`, '1'), topic).toMatchObject({
        status: 400,
        body: { parameter: 'topic' }
      })
    }
    await eventually('one record has its outcome', async () => ((await readLedger(tidegate.httpUrl)).stored === 1 ? true : undefined))
  })

  it('a damaged database stops no publish: readiness says what to do, and when that is done everything is there', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-damaged-'))
    const file = path.join(folder, 'tidegate.duckdb')
    await writeFile(file, 'no database '.repeat(1000))
    try {
      await using tidegate = await Tidegate.start({ folder })
      const client = await connectAsync(tidegate.mqttUrl, { clientId: 'kiln' })
      for (let index = 0; index < 5; index += 1) {
        await client.publishAsync('devices/kiln/telemetry', JSON.stringify({ heat: 900 + index }), { qos: 1 })
      }
      await eventually('readiness says it', async () => {
        const { status, body } = await get(tidegate, '/readyz')
        const said = JSON.stringify(body['reasons'])
        return status === 200 && /TG_STORE_UNREADABLE/.test(said) && /restore it from a backup, or move it/.test(said) ? true : undefined
      })
      expect(await get(tidegate, '/api/v1/devices')).toMatchObject({ status: 503, body: { code: 'TG_STORE_UNAVAILABLE' } })
      await rename(file, `${file}.damaged`)
      const items = await eventually('the readings are there', async () => {
        const { body } = await get(tidegate, '/api/v1/query?device=kiln')
        const found = body['items']
        return Array.isArray(found) && found.length === 5 ? (found as { fields: unknown }[]) : undefined
      })
      expect(items.map(item => item.fields)).toEqual([900, 901, 902, 903, 904].map(heat => ({ heat })))
      expect(await get(tidegate, '/readyz')).toMatchObject({ status: 200, body: { reasons: [] } })
      // Said when it began and when it ended, however often it was tried.
      const said = tidegate.log.filter(line => line['code'] === 'TG_STORE_UNREADABLE')
      expect(said).toHaveLength(1)
      await client.endAsync()
    } finally {
      await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
    }
  })

  it('a device is online while the client that last published for it is connected', async () => {
    await using tidegate = await Tidegate.start()
    const online = async (): Promise<unknown> => (await get(tidegate, '/api/v1/devices/door')).body['online']
    const client = await connectAsync(tidegate.mqttUrl, { clientId: 'door-client' })
    await client.publishAsync('devices/door/telemetry', '{"open":true}', { qos: 1 })
    await eventually('online', async () => ((await online()) === true ? true : undefined))
    await client.endAsync()
    await eventually('not online', async () => ((await online()) === false ? true : undefined))
    const again = await connectAsync(tidegate.mqttUrl, { clientId: 'door-client' })
    await eventually('online again', async () => ((await online()) === true ? true : undefined))
    const service = tidegate.servicePid()
    process.kill(service ?? -1, 'SIGKILL')
    await eventually('another service knows it too', async () =>
      tidegate.servicePid() !== service && (await online()) === true ? true : undefined
    )
    await again.endAsync()
  })

  it('the stream has one event a message, after the commit, and resumes behind an id', async () => {
    await using tidegate = await Tidegate.start()
    const follow = async (
      lastEventId?: string
    ): Promise<{ next(): Promise<{ id: string; event: string; data: unknown }>; end(): void }> => {
      const abort = new AbortController()
      const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId }
      const response = await fetch(`${tidegate.httpUrl}/api/v1/stream`, { headers, signal: abort.signal })
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
      let text = ''
      return {
        end: () => abort.abort(),
        async next() {
          for (;;) {
            const end = text.indexOf('\n\n')
            if (end >= 0) {
              const block = text.slice(0, end)
              text = text.slice(end + 2)
              const field = (name: string): string => new RegExp(`^${name}: ?(.*)$`, 'm').exec(block)?.[1] ?? ''
              if (field('data') !== '') return { id: field('id'), event: field('event'), data: JSON.parse(field('data')) as unknown }
              continue
            }
            const chunk = await reader?.read()
            if (chunk === undefined || chunk.done) throw new Error('the stream ended')
            text += chunk.value
          }
        }
      }
    }
    await eventually('the store is open', async () => ((await get(tidegate, '/api/v1/ledger')).status === 200 ? true : undefined))
    const live = await follow()
    await post(tidegate, '/api/v1/telemetry?topic=devices/one/telemetry', '[{"a":1,"ts":1000},{"a":2,"time":"2001-01-01T00:00:00Z"}]')
    await post(tidegate, '/api/v1/telemetry?topic=devices/two/telemetry', '{"b":2}')
    const first = await live.next()
    const second = await live.next()
    expect([first.data, second.data]).toMatchObject([
      {
        position: first.id,
        items: [
          { device: 'one', fields: { a: 1 } },
          { device: 'one', fields: { a: 2 } }
        ]
      },
      { position: second.id, items: [{ device: 'two', fields: { b: 2 } }] }
    ])
    live.end()
    const resumed = await follow(first.id)
    expect(await resumed.next()).toEqual(second)
    resumed.end()
    const foreign = await follow('00000000-0000-0000-0000-000000000000:0')
    expect(await foreign.next()).toMatchObject({ event: 'gap' })
    foreign.end()
  })

  it('lists what could not be stored with the reason, and loses no neighbour', async () => {
    await using tidegate = await Tidegate.start()
    const client = await connectAsync(tidegate.mqttUrl, { clientId: 'sloppy' })
    const bad = ['{"a":', '{"a":1e999}', '{"a":null}', Buffer.from([0x7b, 0xff, 0x7d]), `${'{"a":'.repeat(40)}1${'}'.repeat(40)}`, '']
    for (const [index, payload] of bad.entries()) {
      await client.publishAsync('devices/sloppy/telemetry', payload, { qos: 1 })
      await client.publishAsync('devices/sloppy/telemetry', JSON.stringify({ ts: Date.now() - 1000 + index, good: index }), { qos: 1 })
    }
    await eventually('all have their outcome', async () => {
      const { stored, deadLettered, inJournal } = await readLedger(tidegate.httpUrl)
      return stored === bad.length && deadLettered === bad.length && inJournal === 0 ? true : undefined
    })
    const letters = (await get(tidegate, '/api/v1/dead-letters')).body['items'] as { topic: string; reason: string }[]
    expect(letters.map(letter => letter.reason)).toEqual([
      'broken-json',
      'non-finite-number',
      'null-value',
      'not-utf8',
      'too-deep',
      'empty-payload'
    ])
    const { body } = await get(tidegate, '/api/v1/query?device=sloppy&order=asc')
    expect((body['items'] as { fields: { good: number } }[]).map(item => item.fields.good)).toEqual([0, 1, 2, 3, 4, 5])
    await client.endAsync()
  })
})
