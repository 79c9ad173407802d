import { once } from 'node:events'
import { spawn } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { connectAsync } from 'mqtt'
import { readLedger } from './recorder.ts'
import { eventually, type Tidegate } from './tidegate.ts'

const top = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))))

/** What comes here starts like JSON and is none: a dead letter, until `rawRoutes` says that it is text. */
export const rawTopic = 'plant/raw'
export const rawRoutes = JSON.stringify([{ topic: rawTopic, measurement: 'plant', payload: 'scalar' }])

/** What a meter sends there. */
export function rawPayload(number: number): string {
  return `{"n":${number} is what the meter says`
}

/** Publishes payloads that nobody can read, numbered, and waits until they are dead letters; QoS 1 by one client. */
export async function publishLetters(tidegate: Tidegate, count: number, first = 0): Promise<void> {
  const { deadLettered } = await eventually('the ledger answers', async () => await readLedger(tidegate.httpUrl))
  const client = await connectAsync(tidegate.mqttUrl, { clientId: 'meter' })
  await Promise.all(
    Array.from({ length: count }, async (_, index) => await client.publishAsync(rawTopic, rawPayload(first + index), { qos: 1 }))
  )
  await client.endAsync()
  await eventually(
    'all are dead letters',
    async () => ((await readLedger(tidegate.httpUrl)).deadLettered === deadLettered + count ? true : undefined),
    60_000
  )
}

export interface ListedLetter {
  readonly time: string
  readonly clientId: string
  readonly topic: string
  readonly payload: string
  readonly reason: string
}

/** Every dead letter that the API lists, page by page. */
export async function listLetters(tidegate: Tidegate): Promise<readonly ListedLetter[]> {
  const letters: ListedLetter[] = []
  let cursor: string | null = null
  do {
    const url: string = `${tidegate.httpUrl}/api/v1/dead-letters?limit=1000${cursor === null ? '' : `&cursor=${cursor}`}`
    const page = (await readJson(url)) as { readonly items: readonly ListedLetter[]; readonly nextCursor: string | null }
    letters.push(...page.items)
    cursor = page.nextCursor
  } while (cursor !== null)
  return letters
}

/** Every point of the measurement `plant`: its time and its text. */
export async function listPlant(tidegate: Tidegate): Promise<readonly { readonly time: string; readonly value: unknown }[]> {
  const points: { time: string; value: unknown }[] = []
  let cursor: string | null = null
  do {
    const query = new URLSearchParams({ measurement: 'plant', from: '0', limit: '5000', order: 'asc' })
    if (cursor !== null) query.set('cursor', cursor)
    const page = (await readJson(`${tidegate.httpUrl}/api/v1/query?${query.toString()}`)) as {
      readonly items: readonly { readonly time: string; readonly fields: Readonly<Record<string, unknown>> }[]
      readonly nextCursor: string | null
    }
    points.push(...page.items.map(({ time, fields }) => ({ time, value: Object.values(fields)[0] })))
    cursor = page.nextCursor
  } while (cursor !== null)
  return points
}

/** Runs the real command `dead-letters` against a Tidegate. */
export async function deadLettersCommand(
  tidegate: Tidegate,
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly out: string }> {
  const script = path.join(top, 'bin/tidegate.mjs')
  const child = spawn(process.execPath, [script, 'dead-letters', ...args, '--json', '--http', tidegate.httpUrl], { cwd: top })
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (out += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  return { code, out }
}

async function readJson(url: string): Promise<unknown> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  return await response.json()
}
