import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { connectAsync } from 'mqtt'
import { expect, it } from 'vitest'
import { readLedger } from '../harness/recorder.ts'
import { describeWith, programPath } from '../harness/servers.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'

const run = promisify(execFile)

async function publish(tidegate: Tidegate, topic: string, payload: string, ...options: string[]): Promise<void> {
  await run(programPath('mosquitto_pub') ?? '', [
    '-h',
    '127.0.0.1',
    '-p',
    String(tidegate.mqttPort),
    '-t',
    topic,
    '-m',
    payload,
    ...options
  ])
}

async function items(tidegate: Tidegate, query: Readonly<Record<string, string>>): Promise<readonly Record<string, unknown>[]> {
  const response = await fetch(`${tidegate.httpUrl}/api/v1/query?${new URLSearchParams(query).toString()}`)
  expect(response.status).toBe(200)
  return ((await response.json()) as { items: Record<string, unknown>[] }).items
}

describeWith(['mosquitto_pub', 'mosquitto_sub'], 'clients of others', () => {
  it('mosquitto_pub at every QoS becomes rows, by the routes for its topic', async () => {
    await using tidegate = await Tidegate.start({
      set: { routes: JSON.stringify([{ topic: 'plant/{line}/{device}/{field}', measurement: 'plant' }]) }
    })
    await publish(tidegate, 'devices/pump-1/telemetry', '{"pressure":4.25,"running":true}', '-q', '1')
    await publish(tidegate, 'tele/plug/SENSOR', '{"Time":"2017-02-16T10:13:52","ENERGY":{"Power":17,"Total":3.5}}', '-q', '2')
    await publish(tidegate, 'plant/a/press-7/force', '1200.5', '-q', '0')
    await publish(tidegate, 'weather', 'cabin,site=hut temperature=-4.5,snow=12i 1700000000000000000', '-q', '1')
    await eventually('four records have their outcome', async () => {
      const { stored, accepted, inJournal } = await readLedger(tidegate.httpUrl)
      return stored === 4 && accepted === 4 && inJournal === 0 ? true : undefined
    })
    expect(await items(tidegate, { measurement: 'telemetry' })).toMatchObject([
      { device: 'pump-1', tags: {}, fields: { pressure: 4.25, running: true } }
    ])
    expect(await items(tidegate, { measurement: 'home' })).toMatchObject([
      { device: 'plug', fields: { ENERGY_Power: 17, ENERGY_Total: 3.5 } }
    ])
    expect(await items(tidegate, { measurement: 'plant' })).toMatchObject([
      { device: 'press-7', tags: { line: 'a' }, fields: { force: 1200.5 } }
    ])
    expect(await items(tidegate, { measurement: 'cabin', from: '2023-11-01T00:00:00Z', to: '2024-01-01T00:00:00Z' })).toEqual([])
    const cabin = await items(tidegate, { measurement: 'cabin' })
    // 2023 lies outside the window around the received time, so the received time is used and the original kept.
    expect(cabin).toMatchObject([{ tags: { site: 'hut' }, fields: { temperature: -4.5, snow: 12, device_time: '1700000000000000000' } }])
  })

  it('mosquitto_sub gets what others publish, retained messages included, and the mqtt package too', async () => {
    await using tidegate = await Tidegate.start()
    await publish(tidegate, 'home/lamp/state', 'ON', '-q', '1', '-r')
    const subscriber = spawn(programPath('mosquitto_sub') ?? '', [
      '-h',
      '127.0.0.1',
      '-p',
      String(tidegate.mqttPort),
      '-t',
      'home/#',
      '-q',
      '1',
      '-F',
      '%r %q %t %p'
    ])
    const lines: string[] = []
    createInterface({ input: subscriber.stdout }).on('line', line => lines.push(line))
    try {
      await eventually('the retained message comes', () => (lines.length === 1 ? true : undefined))
      const received: string[] = []
      const client = await connectAsync(tidegate.mqttUrl, { clientId: 'follower' })
      client.on('message', (topic, payload, packet) =>
        received.push(`${packet.retain ? 1 : 0} ${packet.qos} ${topic} ${payload.toString()}`)
      )
      await client.subscribeAsync('home/+/state', { qos: 2 })
      for (let count = 1; count <= 20; count++) await publish(tidegate, 'home/lamp/state', `level ${count}`, '-q', String(count % 3))
      await eventually('both have all', () => (lines.length === 21 && received.length === 21 ? true : undefined))
      const live = (maxQos: number) =>
        Array.from({ length: 20 }, (_, index) => `0 ${Math.min(maxQos, (index + 1) % 3)} home/lamp/state level ${index + 1}`)
      expect(lines).toEqual(['1 1 home/lamp/state ON', ...live(1)])
      expect(received).toEqual(['1 1 home/lamp/state ON', ...live(2)])
      await client.endAsync()
    } finally {
      subscriber.kill()
      await once(subscriber, 'exit')
    }
  })

  it('a will is stored and reaches subscribers when its client dies, and not when it says goodbye', async () => {
    await using tidegate = await Tidegate.start()
    const received: string[] = []
    const watcher = await connectAsync(tidegate.mqttUrl, { clientId: 'watcher' })
    watcher.on('message', (topic, payload) => received.push(`${topic} ${payload.toString()}`))
    await watcher.subscribeAsync('devices/+/telemetry', { qos: 1 })
    const will = (device: string) => ({
      topic: `devices/${device}/telemetry`,
      payload: Buffer.from('{"alive":false}'),
      qos: 1 as const,
      retain: false
    })
    const dying = await connectAsync(tidegate.mqttUrl, { clientId: 'dying', reconnectPeriod: 0, will: will('dying') })
    const leaving = await connectAsync(tidegate.mqttUrl, { clientId: 'leaving', reconnectPeriod: 0, will: will('leaving') })
    await leaving.endAsync()
    dying.stream.destroy()
    await eventually('the will comes', () => (received.length > 0 ? true : undefined))
    await eventually('it is stored', async () => ((await readLedger(tidegate.httpUrl)).stored === 1 ? true : undefined))
    expect(received).toEqual(['devices/dying/telemetry {"alive":false}'])
    expect(await items(tidegate, { measurement: 'telemetry' })).toMatchObject([{ device: 'dying', fields: { alive: false } }])
    await watcher.endAsync()
  })

  it('a publish to $SYS is refused, and a refused connection is one line with the reason', async () => {
    await using tidegate = await Tidegate.start({ set: { 'access.anonymous': 'never' } })
    await expect(publish(tidegate, 'a/b', '1', '-q', '1')).rejects.toThrow(/not authori[sz]ed/i)
    const line = await tidegate.logged(line => /refused/i.test(line.msg ?? ''))
    expect(JSON.stringify(line)).toMatch(/anonymous/)
    await using open = await Tidegate.start()
    const client = await connectAsync(open.mqttUrl, { clientId: 'sys', reconnectPeriod: 0 })
    const closed = new Promise<void>(resolve => {
      client.once('close', resolve)
    })
    client.publish('$SYS/broker/uptime', '1', { qos: 1 }, () => undefined)
    await closed
    await eventually('nothing was accepted', async () => ((await readLedger(open.httpUrl)).accepted === 0 ? true : undefined))
    await client.endAsync(true)
  })
})
