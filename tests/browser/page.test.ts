import { connectAsync } from 'mqtt'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeWith } from '../harness/servers.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'
import { Demo } from './demo.ts'
import type { Plotted } from './visit.ts'
import { Visit } from './visit.ts'

const phone = { width: 390, height: 844 }
/** What the browser itself says of a server that went away. */
const networkLoss = /Failed to load resource|net::ERR_/
const hasChart = 'window.tidegateChart?.timesMs.length > 1'

/** The stored points of the series between the first and the last plotted one. */
async function storedLike(
  origin: string,
  { device, measurement, field, timesMs }: Plotted
): Promise<readonly (readonly [number, number])[]> {
  const search = new URLSearchParams({ device, measurement, fields: field, epoch: 'ms', limit: '5000' })
  search.set('from', String(timesMs[0] ?? 0))
  search.set('to', String((timesMs.at(-1) ?? 0) + 1))
  const response = await fetch(new URL(`/api/v1/query?${search.toString()}`, origin))
  expect(response.status).toBe(200)
  const { items, nextCursor } = (await response.json()) as {
    items: { time: number; fields: Record<string, number> }[]
    nextCursor: unknown
  }
  expect(nextCursor).toBeNull()
  return items.map(({ time, fields }) => [time, fields[field] ?? Number.NaN])
}

function pointsOf({ timesMs, values }: Plotted): readonly (readonly [number, number])[] {
  return timesMs.map((timeMs, index) => [timeMs, values[index] ?? Number.NaN])
}

async function publish(mqtt: string, topic: string, payloads: readonly object[]): Promise<void> {
  const client = await connectAsync(mqtt, { clientId: 'browser-test', reconnectPeriod: 0 })
  for (const payload of payloads) await client.publishAsync(topic, JSON.stringify(payload), { qos: 1 })
  await client.endAsync()
}

/** Distinct readings of the last seconds, one a second. */
function readings(count: number, field: string): readonly { readonly ts: number; readonly [field: string]: number }[] {
  const endMs = Math.floor(Date.now() / 1000) * 1000
  return Array.from({ length: count }, (_, index) => ({ ts: endMs - (count - index) * 1000, [field]: 40 + index * 1.25 }))
}

describeWith(['chromium'], 'the page of the demo', () => {
  let demo: Demo
  /** Opened at once after the start of the command. */
  let first: Visit

  beforeAll(async () => {
    demo = await Demo.start()
    first = await Visit.open(demo.page)
  })

  afterAll(async () => {
    await first?.[Symbol.asyncDispose]()
    await demo?.[Symbol.asyncDispose]()
  })

  it('shows numbers and a chart that moves within seconds of the start of the command', async () => {
    const printedMs = performance.now() - demo.startedMs
    await first.until(`${hasChart} && document.querySelectorAll('[data-testid=device]').length >= 20`, 30_000)
    const before = await first.plotted()
    await first.until(`window.tidegateChart?.timesMs.at(-1) > ${before.timesMs.at(-1)}`, 30_000)
    const movingMs = performance.now() - demo.startedMs
    await eventually('the numbers are there', async () => {
      const numbers = await Promise.all(['message-rate', 'device-count', 'stored'].map(id => first.text(id)))
      return numbers.every(text => Number(text.replaceAll(',', '')) > 0) ? numbers : undefined
    })
    console.log(`browser open ${Math.round(printedMs)} ms and chart moving ${Math.round(movingMs)} ms after the start of the command`)
    expect(movingMs).toBeLessThan(30_000)
    expect(Number((await first.text('device-count')).replaceAll(',', ''))).toBeGreaterThanOrEqual(20)
    expect(await first.text('state')).toBe('ready')
    expect(await first.text('mqtt')).toBe(demo.mqtt)
    expect(await first.text('served')).toContain('only this machine')
  })

  it('plots exactly what the store answers, for the first device and for one that is chosen', async () => {
    const shown = await first.plotted()
    expect(shown.raw).toBe(true)
    expect(pointsOf(shown)).toEqual(await storedLike(demo.page, shown))
    await first.page.locator('[data-device="cellar-meter"]').click()
    await first.until(`window.tidegateChart?.device === 'cellar-meter' && ${hasChart}`)
    const loaded = (await first.plotted()).timesMs.length
    await first.until(`window.tidegateChart.timesMs.length > ${loaded + 2}`)
    const chosen = await first.plotted()
    expect(pointsOf(chosen)).toEqual(await storedLike(demo.page, chosen))
    await first.page.getByTestId('field').selectOption({ label: 'voltage' })
    await first.until(`window.tidegateChart?.field === 'voltage' && ${hasChart}`)
    const other = await first.plotted()
    expect(pointsOf(other)).toEqual(await storedLike(demo.page, other))
    expect(other.values).not.toEqual(chosen.values)
  })

  it('plots the values that a device published, in the order of their times', async () => {
    const published = readings(24, 'level')
    await publish(demo.mqtt, 'devices/zz-probe/telemetry', published.toReversed())
    await first.page.locator('[data-device="zz-probe"]').click()
    await first.until(`window.tidegateChart?.device === 'zz-probe' && window.tidegateChart.timesMs.length >= 24`)
    expect(pointsOf(await first.plotted())).toEqual(published.map(({ ts, level }) => [ts, level]))
    await first.until(`document.querySelector('[data-testid=chart-value]').textContent === '68.75'`)
    await first.page.getByTestId('chart').hover()
    await first.until(`document.querySelector('[data-testid=chart-value]').textContent !== '68.75'`)
    const values = published.map(({ level }) => level)
    expect(values).toContain(Number(await first.text('chart-value')))
    await first.page.mouse.move(2, 2)
    await first.until(`document.querySelector('[data-testid=chart-value]').textContent === '68.75'`)
  })

  it('moves: two pictures of the chart, taken apart, differ', async () => {
    await first.page.locator('[data-device="bathroom-climate"]').click()
    await first.until(`window.tidegateChart?.device === 'bathroom-climate' && ${hasChart}`)
    const lastMs = (await first.plotted()).timesMs.at(-1) ?? 0
    const before = await first.page.screenshot()
    const chartBefore = await first.page.getByTestId('chart').screenshot()
    await first.until(`window.tidegateChart.timesMs.at(-1) > ${lastMs}`)
    await eventually('the pictures differ', async () => {
      const chart = await first.page.getByTestId('chart').screenshot()
      return !chart.equals(chartBefore) && !(await first.page.screenshot()).equals(before) ? true : undefined
    })
  })

  it('asks no other host for anything and complains of nothing', () => {
    first.expectInOrder()
  })

  it('shows hostile names and values as text', async () => {
    const device = '<img src=x onerror=window.hacked=1>'
    const field = '<svg onload=window.hacked=2>'
    const text = '<img src=y onerror=window.hacked=3>'
    await using visit = await Visit.open(demo.page)
    await publish(
      demo.mqtt,
      `devices/${device}/telemetry`,
      readings(3, field).map(reading => ({ ...reading, text }))
    )
    const card = visit.page.getByTestId('device').filter({ hasText: device })
    await card.waitFor()
    await card.click()
    await visit.until(`window.tidegateChart?.device.startsWith('<img') && ${hasChart}`)
    expect(await visit.text('chart-title')).toBe(device)
    expect(await card.innerText()).toContain(text)
    expect(await visit.page.getByTestId('field').locator('option').allInnerTexts()).toEqual([field])
    expect(await visit.page.evaluate(`[document.querySelectorAll('img, svg:not(.mark)').length, typeof window.hacked]`)).toEqual([
      0,
      'undefined'
    ])
    visit.expectInOrder()
  })

  it('fits a phone, with long names too', async () => {
    const device = 'a-device-with-a-name-that-nobody-would-choose-and-somebody-did'.repeat(2).slice(0, 120)
    const field = 'field_'.repeat(20)
    await publish(
      demo.mqtt,
      `devices/${device}/telemetry`,
      readings(3, field).map(reading => ({ ...reading, text: 'w'.repeat(300) }))
    )
    await using visit = await Visit.open(demo.page, phone)
    const card = visit.page.locator(`[data-device="${device}"]`)
    await card.click()
    await visit.until(`window.tidegateChart?.device === '${device}' && ${hasChart}`)
    await visit.page.locator('#chart-note', { hasText: field }).waitFor()
    await card.filter({ hasText: 'www' }).waitFor()
    expect(await visit.page.evaluate('[innerWidth, document.documentElement.scrollWidth, document.body.scrollWidth]')).toEqual([
      390, 390, 390
    ])
    const box = await card.boundingBox()
    expect((box?.x ?? -1) >= 0 && (box?.x ?? 0) + (box?.width ?? 391) <= 390).toBe(true)
    visit.expectInOrder()
  })

  it('says so when the service is killed, recovers by itself, and the chart has no hole', async () => {
    await using visit = await Visit.open(demo.page)
    await visit.page.locator('[data-device="bathroom-climate"]').click()
    await visit.until(
      `window.tidegateChart?.device === 'bathroom-climate' && ${hasChart} && document.querySelector('[data-testid=state]').dataset.state === 'ready'`
    )
    const saidSo = visit.until(
      `document.querySelector('[data-testid=state]').dataset.state === 'lost' && !document.querySelector('#reasons').hidden`
    )
    demo.killService()
    await saidSo
    const killedMs = Date.now()
    await visit.until(`document.querySelector('[data-testid=state]').dataset.state === 'ready'`, 30_000)
    await visit.until(`window.tidegateChart.timesMs.at(-1) > ${killedMs + 4000}`, 30_000)
    const shown = await visit.plotted()
    expect(pointsOf(shown)).toEqual(await storedLike(demo.page, shown))
    const gaps = shown.timesMs.slice(1).map((timeMs, index) => timeMs - (shown.timesMs[index] ?? 0))
    expect(Math.max(...gaps)).toBeLessThan(3000)
    expect(await visit.page.getByTestId('reasons').isHidden()).toBe(true)
    visit.expectInOrder(networkLoss)
  })

  it('has the API described at /docs, from this host alone', async () => {
    await using visit = await Visit.open(new URL('/docs', demo.page).href)
    await visit.page.locator('.opblock').first().waitFor()
    expect(await visit.page.locator('.opblock').count()).toBeGreaterThan(8)
    await visit.page.locator('.opblock-summary-path', { hasText: '/api/v1/query' }).click()
    await visit.page.locator('.opblock.is-open .parameters').first().waitFor()
    visit.expectInOrder()
  })
})

describeWith(['chromium'], 'the page without readings', () => {
  it('says how to publish one, and shows it when it comes', async () => {
    await using tidegate = await Tidegate.start()
    await using visit = await Visit.open(tidegate.httpUrl)
    await visit.page.getByTestId('empty').waitFor()
    await visit.until(`document.querySelector('[data-testid=state]').dataset.state === 'ready'`)
    expect(await visit.text('mqtt')).toBe(tidegate.mqttUrl)
    expect(await visit.text('served')).toContain('access.anonymous: loopback')
    expect(await visit.text('example')).toContain(`-h 127.0.0.1 -p ${tidegate.mqttPort} `)
    expect(await visit.text('example-http')).toContain(`${tidegate.httpUrl}/api/v1/telemetry?topic=`)
    expect(await visit.page.locator('#chart-panel').isHidden()).toBe(true)
    expect(await visit.text('device-count')).toBe('0')

    await publish(tidegate.mqttUrl, 'devices/door/telemetry', [{ state: 'open' }])
    await visit.page.locator('[data-device="door"]').click()
    expect(await visit.page.getByTestId('empty').isHidden()).toBe(true)
    await visit.page.getByText('This device sends no numbers.').waitFor()
    expect(await visit.page.getByTestId('field').isHidden()).toBe(true)

    await publish(tidegate.mqttUrl, 'devices/door/telemetry', [{ state: 'shut', battery: 77 }])
    await visit.until(`window.tidegateChart?.field === 'battery' && window.tidegateChart.values.at(-1) === 77`)
    await visit.page.getByTestId('chart').waitFor()
    await visit.until(`document.querySelector('[data-testid=chart-value]').textContent === '77'`)
    visit.expectInOrder()
  })

  it('says who is served as it is configured', async () => {
    await using tidegate = await Tidegate.start({ set: { 'access.anonymous': 'any' } })
    await using visit = await Visit.open(tidegate.httpUrl)
    await visit.page.getByText('Anyone who can reach it is served without credentials (access.anonymous: any)').waitFor()
    visit.expectInOrder()
  })
})
