import { createHash } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { Journal, type JournalOptions } from '../../journal/journal.ts'
import { JournalReader } from '../../journal/reader.ts'
import type { AppendRecord, JournalBatch, JournalGap, JournalRecord } from '../../journal/record.ts'

export const silent = pino({ level: 'silent' })

/** A fresh folder that goes with its owner. */
export async function makeFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-journal-'))
  return { path: folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
}

export function openJournal(folder: string, options: Partial<JournalOptions> = {}): Promise<Journal> {
  return Journal.open({
    folder,
    sync: 'fsync',
    syncDelayMs: 1,
    segmentBytes: 1024 * 1024,
    maxBytes: 1024 * 1024 * 1024,
    reserveBytes: 0,
    whenFull: 'reject-new',
    keep: { timeMs: 86_400_000, bytes: 1024 * 1024 * 1024 },
    log: silent,
    ...options
  })
}

/** A record that no other number makes. */
export function recordOf(number: number, payloadBytes = 20): AppendRecord {
  const payload = Buffer.alloc(payloadBytes, number % 251)
  payload.write(`p${number}`)
  return {
    clientId: Buffer.from(`client-${number}`),
    user: number % 3 === 0 ? Buffer.from(`user-${number}`) : undefined,
    topic: Buffer.from(`devices/ü${number}/telemetry`),
    payload,
    qos: number % 3 === 0 ? 0 : number % 3 === 1 ? 1 : 2,
    retain: number % 2 === 0,
    dup: number % 5 === 0,
    will: number % 7 === 0,
    packetId: number % 65_536,
    properties: number % 4 === 0 ? Buffer.from(`properties-${number}`) : undefined,
    received: undefined
  }
}

/** What a reader must make of `recordOf(number)`, without its place and time. */
export function plain(record: AppendRecord | JournalRecord): Record<string, unknown> {
  return {
    clientId: text(record.clientId),
    user: text(record.user),
    topic: text(record.topic),
    payload: `${record.payload.length}:${createHash('sha1').update(record.payload).digest('hex')}`,
    qos: record.qos,
    retain: record.retain,
    dup: record.dup,
    will: record.will,
    packetId: record.packetId,
    properties: record.properties === undefined ? undefined : Buffer.from(record.properties).toString('hex')
  }
}

function text(value: Uint8Array | string | undefined): string | undefined {
  return typeof value === 'string' || value === undefined ? value : Buffer.from(value).toString('utf8')
}

/** A door that is shut until it is opened, for good. */
export function makeDoor(): { readonly passed: Promise<void>; readonly open: () => void } {
  const door: { open: () => void } = { open: () => undefined }
  const passed = new Promise<void>(resolve => {
    door.open = resolve
  })
  return { passed, open: () => door.open() }
}

/** Appends records numbered like their ordinals and waits until they are durable. */
export async function appendRecords(journal: Journal, count: number, payloadBytes?: number): Promise<void> {
  for (let index = 0; index < count; index++) journal.append(recordOf(journal.head, payloadBytes))
  await journal.drain()
}

/** Everything from an ordinal up to `durable`: each ordinal once, as a record or in a gap (thrown otherwise). */
export async function readAll(
  folder: string,
  from: number,
  durable: number,
  limits = { maxRecords: 1000, maxBytes: 1024 * 1024 }
): Promise<{ records: JournalRecord[]; gaps: JournalGap[]; reader: JournalReader['stats'] }> {
  await using reader = await JournalReader.open({ folder, from, durable, log: silent })
  const records: JournalRecord[] = []
  const gaps: JournalGap[] = []
  let position = from
  while (position < durable) {
    const batch = await reader.read(limits)
    checkBatch(batch, position)
    records.push(...batch.records)
    gaps.push(...batch.gaps)
    position = batch.to
  }
  return { records, gaps, reader: reader.stats }
}

/** Throws unless the batch begins at the position and has every ordinal once. */
export function checkBatch(batch: JournalBatch, position: number): void {
  const runs = [
    ...batch.gaps.map(({ from, to }) => [from, to] as const),
    ...batch.records.map(({ ordinal }) => [ordinal, ordinal + 1] as const)
  ]
  runs.sort((a, b) => a[0] - b[0])
  let next = position
  for (const [from, to] of runs) {
    if (from !== next || to <= from) throw new Error(`ordinal ${next} is missing or twice in a batch from ${batch.from} to ${batch.to}`)
    next = to
  }
  if (batch.from !== position || batch.to !== next)
    throw new Error(`a batch says ${batch.from} to ${batch.to} and has ${position} to ${next}`)
}

/** Segment files of a folder, oldest first. */
export async function segmentPaths(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter(name => name.endsWith('.seg'))
  return names.toSorted().map(name => path.join(folder, name))
}

/** The ordinals of gaps, one by one. */
export function ordinalsOf(gaps: readonly JournalGap[], kind: JournalGap['kind']): number[] {
  return gaps.filter(gap => gap.kind === kind).flatMap(({ from, to }) => Array.from({ length: to - from }, (_, index) => from + index))
}

/** Resolves when the condition holds; fails after five seconds. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 30_000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`timed out: ${what}`)
    await new Promise(resolve => {
      setTimeout(resolve, 2)
    })
  }
}
