import { readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { loadConfig } from '../../config/load.ts'
import { Tidegate } from '../harness/tidegate.ts'
import { top } from '../layout/sources.ts'

interface Example {
  readonly topic: string
  readonly payload: string
  readonly measurement: string
  readonly device: string
  readonly fields: string
}

const document = readFileSync(path.join(top, 'docs/devices.md'), 'utf8')
const blocks = [...document.matchAll(/```yaml\n([\s\S]*?)```/g)].map(match => match[1] ?? '')
const routes: unknown = parse(blocks.at(-1) ?? '')

/** The rows of the table of examples with a name. */
function examples(name: string): readonly Example[] {
  const part = new RegExp(`<!-- examples: ${name}, client id attic-1 -->([\\s\\S]*?)<!-- /examples -->`).exec(document)?.[1] ?? ''
  const rows = part.split('\n').filter(line => line.startsWith('| `'))
  return rows.map(row => {
    const [topic = '', payload = '', measurement = '', device = '', fields = ''] = row
      .slice(2, -2)
      .split(' | ')
      .map(cell => cell.replaceAll('`', ''))
    return { topic, payload, measurement, device, fields }
  })
}

let tidegate: Tidegate
beforeAll(async () => {
  const own = typeof routes === 'object' && routes !== null && 'routes' in routes ? routes.routes : []
  tidegate = await Tidegate.start({ set: { routes: JSON.stringify(own) } })
  // Devices are served at once, questions when the store is open.
  const deadline = Date.now() + 10_000
  while (Date.now() < deadline && !(await fetch(`${tidegate.httpUrl}/api/v1/devices`)).ok) await delay(20)
})
afterAll(async () => await tidegate[Symbol.asyncDispose]())

describe('docs/devices.md', () => {
  it('has examples for what is built in and for the routes that it shows', () => {
    expect([examples('built-in').length, examples('own').length]).toEqual([12, 4])
  })

  it.each([...examples('built-in'), ...examples('own')])('$topic with $payload becomes what it says', async example => {
    const { topic, payload, measurement, device, fields } = example
    const answer = await fetch(`${tidegate.httpUrl}/api/v1/mappings/test`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ topic, payload, clientId: 'attic-1' })
    })
    const expected = { measurement, device, fields: JSON.parse(fields) as unknown }
    expect(await answer.json()).toMatchObject({ outcome: 'stored', points: [expected] })
  })

  it.each(blocks)('the configuration %j is accepted', yaml => {
    const readFile = (file: string): string | undefined => (file === '/example.yaml' ? yaml : undefined)
    expect(() => loadConfig({ folder: '/', configFile: 'example.yaml', readFile })).not.toThrow()
  })

  it('its requests are answered', async () => {
    const urls = [...document.matchAll(/^curl '?http:\/\/127\.0\.0\.1:8080(\/[^' \n]*)/gm)].map(match => match[1] ?? '')
    expect(urls.length).toBeGreaterThan(6)
    const put = await fetch(`${tidegate.httpUrl}/api/v1/telemetry?topic=devices/kitchen/telemetry`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"temperature":21.5}'
    })
    expect(put.status).toBe(202)
    const { position } = (await put.json()) as { readonly position: string }
    await fetch(`${tidegate.httpUrl}/api/v1/query?device=kitchen&after=${position}`)
    for (const url of urls) {
      const answer = await fetch(tidegate.httpUrl + url)
      // A device that the test did not make is the one answer that may differ.
      expect(answer.status, url).toBe(url.includes('%2F') ? 404 : 200)
      await answer.body?.cancel()
    }
  })
})
