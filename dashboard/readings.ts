/** What the API sends, checked: nothing beyond this file trusts the shape of an answer. */

/** Characters of a text that are kept; a card shows fewer. */
const textLimit = 200

export type FieldValue = number | boolean | string

/** One reading: some fields of one device at one time. */
export interface Item {
  /** ms since 1970. */
  readonly timeMs: number
  readonly device: string
  readonly measurement: string
  readonly tags: Readonly<Record<string, string>>
  readonly fields: readonly (readonly [name: string, value: FieldValue])[]
}

export interface DeviceEntry {
  readonly device: string
  /** Null where it cannot be known. */
  readonly online: boolean | null
  readonly lastSeenMs: number
}

export interface LedgerNumbers {
  readonly stored: number
  readonly inJournal: number
}

export interface Readiness {
  readonly ready: boolean
  readonly reasons: readonly string[]
  /** Port of the MQTT listener, where the server says it. */
  readonly mqttPort: number | undefined
  /** Who is served without credentials, where the server says it. */
  readonly anonymous: string | undefined
}

/** A page of raw readings; what is not one is left out. */
export function parseItems(body: unknown): { readonly items: readonly Item[]; readonly more: boolean } {
  const { items, nextCursor } = recordOf(body)
  return { items: listOf(items).flatMap(itemOf), more: typeof nextCursor === 'string' }
}

/** The items of one event of the stream. */
export function parseEvent(text: string): readonly Item[] {
  return listOf(recordOf(parseJson(text))['items']).flatMap(itemOf)
}

/** The points of one numeric field in a page of means. */
export function parseMeans(
  body: unknown,
  field: string
): readonly { readonly timeMs: number; readonly value: number; readonly tags: string }[] {
  return listOf(recordOf(body)['items']).flatMap(entry => {
    const { time, tags, fields } = recordOf(entry)
    const { mean } = recordOf(recordOf(fields)[field])
    const timeMs = timeOf(time)
    return typeof mean === 'number' && timeMs !== undefined ? [{ timeMs, value: mean, tags: tagsKey(tagsOf(tags)) }] : []
  })
}

export function parseDevices(body: unknown): { readonly items: readonly DeviceEntry[]; readonly cursor: string | undefined } {
  const { items, nextCursor } = recordOf(body)
  return {
    items: listOf(items).flatMap(entry => {
      const { device, online, lastSeen } = recordOf(entry)
      if (typeof device !== 'string') return []
      return [{ device, online: typeof online === 'boolean' ? online : null, lastSeenMs: timeOf(lastSeen) ?? 0 }]
    }),
    cursor: typeof nextCursor === 'string' ? nextCursor : undefined
  }
}

export function parseLedger(body: unknown): LedgerNumbers {
  const { stored, inJournal } = recordOf(body)
  return { stored: numberOf(stored), inJournal: numberOf(inJournal) }
}

/** How many dead letters are kept: those that were replayed, purged or evicted are none any more. */
export function parseLetterCount(body: unknown): number {
  return Object.values(recordOf(recordOf(body)['counts'])).reduce((sum: number, count) => sum + numberOf(count), 0)
}

export function parseReadiness(body: unknown): Readiness {
  const { ready, reasons, mqttPort, anonymous } = recordOf(body)
  return {
    ready: ready === true,
    reasons: listOf(reasons).flatMap(reason => {
      const { message } = recordOf(reason)
      return typeof message === 'string' ? [message] : []
    }),
    mqttPort: typeof mqttPort === 'number' ? mqttPort : undefined,
    anonymous: typeof anonymous === 'string' ? anonymous : undefined
  }
}

/** A text that is equal exactly for equal tags. */
export function tagsKey(tags: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(tags).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

function itemOf(entry: unknown): readonly Item[] {
  const { time, device, measurement, tags, fields } = recordOf(entry)
  const timeMs = timeOf(time)
  if (timeMs === undefined || typeof device !== 'string' || typeof measurement !== 'string') return []
  const known = Object.entries(recordOf(fields)).flatMap(([name, value]): readonly (readonly [string, FieldValue])[] =>
    typeof value === 'number' || typeof value === 'boolean'
      ? [[name, value]]
      : typeof value === 'string'
        ? [[name, value.slice(0, textLimit)]]
        : []
  )
  return [{ timeMs, device, measurement, tags: tagsOf(tags), fields: known }]
}

function tagsOf(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(recordOf(value)).flatMap(([name, tag]) => (typeof tag === 'string' ? [[name, tag]] : [])))
}

function timeOf(value: unknown): number | undefined {
  const ms = typeof value === 'number' ? value : typeof value === 'string' ? Date.parse(value) : Number.NaN
  return Number.isFinite(ms) ? ms : undefined
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
