import { readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connectAsync } from 'mqtt'
import { describe, expect, it } from 'vitest'
import { InfluxServer } from '../harness/influx.ts'
import { describeWith } from '../harness/servers.ts'
import { Tidegate } from '../harness/tidegate.ts'
import { top } from '../layout/sources.ts'

interface Dashboard {
  readonly templating: { readonly list: readonly { readonly query: string; readonly allValue: string }[] }
  readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly query: string }[] }[]
}

const file = path.join(top, 'deploy/grafana/dashboards/home.json')
const dashboard = JSON.parse(readFileSync(file, 'utf8')) as Dashboard

/** A query as Grafana sends it for a selection of devices. */
function filled(query: string, device: string): string {
  return query.replace('$timeFilter', 'time > now() - 15m').replace('$__interval', '1m').replace('$device', device)
}

/** The answer of InfluxDB's InfluxQL endpoint, which the provisioned data source asks. */
async function ask(influx: InfluxServer, query: string): Promise<string> {
  const answer = await fetch(`${influx.url}/query?db=first&epoch=ms`, {
    method: 'POST',
    headers: { authorization: `Token ${influx.token}` },
    body: new URLSearchParams({ q: query })
  })
  const text = await answer.text()
  expect({ query, status: answer.status, error: /"error":.*/.exec(text)?.[0] }).toEqual({ query, status: 200, error: undefined })
  return text
}

describe('the Grafana dashboard', () => {
  it('lets the devices be chosen', () => {
    expect(dashboard.templating.list.map(({ allValue }) => allValue)).toEqual(['.*'])
    for (const { targets } of dashboard.panels) for (const { query } of targets) expect(query).toContain('/^$device$/')
  })
})

describeWith(['influxd'], 'the Grafana dashboard on a real InfluxDB that Tidegate fills', () => {
  it('every panel and the list of devices has data, for all devices and for one with a slash in its name', async () => {
    await using influx = await InfluxServer.open()
    const set = { 'store.kind': 'influx', 'store.influx.url': influx.url, 'store.influx.org': influx.org, 'store.influx.bucket': 'first' }
    await using tidegate = await Tidegate.start({ set: { ...set, 'store.influx.token': influx.token } })
    const client = await connectAsync(`mqtt://127.0.0.1:${tidegate.mqttPort}`)
    await client.publishAsync('devices/plug/telemetry', '{"temperature":31.5,"humidity":41,"power":120,"energy":3.5}', { qos: 1 })
    await client.publishAsync('zigbee2mqtt/hall/plug', '{"temperature":18.5,"humidity":52,"power":7,"energy":9.5}', { qos: 1 })
    await client.endAsync()

    const devices = dashboard.templating.list[0]?.query ?? ''
    const deadline = Date.now() + 10_000
    while (Date.now() < deadline && !(await ask(influx, devices)).includes('hall/plug')) await delay(50)
    expect(await ask(influx, devices)).toMatch(/\["device","hall\/plug"\].*\["device","plug"\]/)
    for (const { title, targets } of dashboard.panels) {
      for (const { query } of targets) {
        const all = await ask(influx, filled(query, '.*'))
        expect(
          [...all.matchAll(/"device":"([^"]+)"/g)].map(match => match[1]),
          title
        ).toEqual(['hall/plug', 'plug'])
        const one = await ask(influx, filled(query, String.raw`(hall\/plug)`))
        expect(
          [...one.matchAll(/"device":"([^"]+)"/g)].map(match => match[1]),
          title
        ).toEqual(['hall/plug'])
      }
    }
  })
})
