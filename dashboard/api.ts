import type { DeviceEntry, Item, LedgerNumbers, Readiness } from './readings.ts'
import { parseDevices, parseItems, parseLedger, parseLetterCount, parseMeans, parseReadiness, tagsKey } from './readings.ts'

/** Which line a chart shows: one field of one source. */
export interface SeriesKey {
  readonly device: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly field: string
}

/** Devices that the page knows at most; more are counted as "more than". */
export const deviceLimit = 2000
const rawLimit = 2000

async function get(path: string, options: { readonly anyStatus?: boolean } = {}): Promise<unknown> {
  const response = await fetch(path, { headers: { accept: 'application/json' }, signal: AbortSignal.timeout(20_000) })
  if (!response.ok && options.anyStatus !== true) throw new Error(`${path} answered ${response.status}`)
  return await response.json()
}

/** Devices by name, up to deviceLimit. */
export async function loadDevices(): Promise<{ readonly items: readonly DeviceEntry[]; readonly more: boolean }> {
  const items: DeviceEntry[] = []
  let cursor: string | undefined
  do {
    const search = new URLSearchParams({ limit: '1000', epoch: 'ms' })
    if (cursor !== undefined) search.set('cursor', cursor)
    const page = parseDevices(await get(`/api/v1/devices?${search.toString()}`))
    items.push(...page.items)
    cursor = page.cursor
  } while (cursor !== undefined && items.length < deviceLimit)
  return { items: items.slice(0, deviceLimit), more: cursor !== undefined }
}

/** The newest readings of all devices, newest first. */
export async function loadRecent(): Promise<readonly Item[]> {
  const search = new URLSearchParams({ from: String(Date.now() - 120_000), order: 'desc', limit: '1000', epoch: 'ms' })
  return parseItems(await get(`/api/v1/query?${search.toString()}`)).items
}

/** The newest value of each field of a device. */
export async function loadLatest(device: string): Promise<readonly Item[]> {
  return parseItems(await get(`/api/v1/devices/${encodeURIComponent(device)}/latest?epoch=ms`)).items
}

export interface LoadedPoints {
  readonly points: readonly { readonly timeMs: number; readonly value: number }[]
  /** False when they are means over time. */
  readonly raw: boolean
}

/** The points of a series over the last minutes: as stored where they are few, else their means. */
export async function loadPoints({ device, measurement, tags, field }: SeriesKey, minutes: number): Promise<LoadedPoints> {
  const search = new URLSearchParams({ device, measurement, fields: field, from: String(Date.now() - minutes * 60_000), epoch: 'ms' })
  for (const [name, value] of Object.entries(tags)) search.append('tag', `${name}:${value}`)
  const wanted = tagsKey(tags)
  if (minutes <= 60) {
    const { items, more } = parseItems(await get(`/api/v1/query?${search.toString()}&limit=${rawLimit}`))
    if (!more) return { raw: true, points: items.filter(item => tagsKey(item.tags) === wanted).flatMap(item => numbersOf(item, field)) }
  }
  const body = await get(`/api/v1/query?${search.toString()}&every=auto&agg=mean&limit=${rawLimit}`)
  return { raw: false, points: parseMeans(body, field).filter(point => point.tags === wanted) }
}

export async function loadLedger(): Promise<LedgerNumbers> {
  return parseLedger(await get('/api/v1/ledger'))
}

/** How many dead letters are kept. */
export async function loadLetterCount(): Promise<number> {
  return parseLetterCount(await get('/api/v1/dead-letters?limit=1'))
}

/** Readiness; a server that is not ready says so with 503 and the same body. */
export async function loadReadiness(): Promise<Readiness> {
  return parseReadiness(await get('/readyz', { anyStatus: true }))
}

/** The point that an item is for a numeric field: one or none. */
export function numbersOf(item: Item, field: string): readonly { readonly timeMs: number; readonly value: number }[] {
  return item.fields.flatMap(([name, value]) => (name === field && typeof value === 'number' ? [{ timeMs: item.timeMs, value }] : []))
}
