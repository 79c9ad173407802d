import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { Journal } from '../journal/journal.ts'
import type { JournalOptions } from '../journal/options.ts'
import { JournalReader } from '../journal/reader.ts'
import { type AppendRecord, blankRecord } from '../journal/record.ts'
import { percentile, round, type Figures } from './figures.ts'

const gib = 1024 ** 3
const log = pino({ level: 'warn' })

/** A folder that is gone at the end. */
class Folder implements Disposable {
  readonly path: string

  constructor() {
    this.path = mkdtempSync(path.join(tmpdir(), 'tidegate-bench-'))
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}

function openJournal(folder: string): Promise<Journal> {
  const options: JournalOptions = {
    folder,
    log,
    sync: 'fsync',
    syncDelayMs: 2,
    segmentBytes: 64 * 1024 ** 2,
    maxBytes: 64 * gib,
    reserveBytes: 0,
    whenFull: 'reject-new',
    keep: { timeMs: 3_600_000, bytes: 64 * gib }
  }
  return Journal.open(options)
}

/** Devices that append; each has its next record under way when its last one is durable. */
const callers = 500
/** Records of one caller that wait for the disk. */
const inFlight = 40
const topicBytes = 24

/** A record of `payloadBytes` of distinct JSON; the same object each time, since append copies. */
class Records {
  readonly #record: AppendRecord
  readonly #payload: Buffer
  readonly #clients = Array.from({ length: callers }, (_, index) => Buffer.from(`dev-${String(index).padStart(4, '0')}`))

  constructor(payloadBytes: number) {
    const payload = Buffer.alloc(payloadBytes, '7')
    payload.write('{"n":')
    payload.write('}', payloadBytes - 1)
    this.#payload = payload
    this.#record = { ...blankRecord(), topic: Buffer.alloc(topicBytes, 'devices/bench/telemetry/x'), payload, qos: 1, packetId: 1 }
  }

  next(count: number): AppendRecord {
    this.#payload.write(String(count).padStart(12, '1'), 5, 'latin1')
    this.#record.clientId = this.#clients[count % callers] ?? new Uint8Array()
    return this.#record
  }
}

/** Appends `count` records as fast as they become durable; resolves with the seconds that took. */
async function appendAll(journal: Journal, count: number, payloadBytes: number): Promise<number> {
  const records = new Records(payloadBytes)
  const begunMs = performance.now()
  let appended = 0
  await new Promise<void>(resolve => {
    const base = journal.head
    const refill = (durable: number): void => {
      while (appended < count && journal.head - durable < callers * inFlight && journal.state === 'accepting') {
        journal.append(records.next(appended))
        appended++
      }
      if (durable - base < count) return
      for (const each of stop) each()
      resolve()
    }
    // A journal that was full says that it accepts again after it said what is durable.
    const stop = [journal.onDurable(refill), journal.onState(() => refill(journal.durable))]
    refill(journal.durable)
  })
  return (performance.now() - begunMs) / 1000
}

/** 2 M records of 150 bytes from 500 callers, each durable before its caller goes on beyond 40. */
export async function measureAppend(): Promise<Figures> {
  using folder = new Folder()
  await using journal = await openJournal(folder.path)
  await appendAll(journal, 200_000, 150)
  const count = 2_000_000
  const { groups } = journal.stats
  const seconds = await appendAll(journal, count, 150)
  return {
    records: count,
    recordBytes: 150,
    seconds: round(seconds),
    perSecond: Math.round(count / seconds),
    groups: journal.stats.groups - groups
  }
}

/** From opening a journal of 1 M records without a checkpoint to the last of them read, checked and decoded. */
export async function measureRecovery(): Promise<Figures> {
  using folder = new Folder()
  const count = 1_000_000
  {
    await using journal = await openJournal(folder.path)
    await appendAll(journal, count, 150)
  }
  const begunMs = performance.now()
  await using journal = await openJournal(folder.path)
  const openMs = performance.now() - begunMs
  await using reader = await JournalReader.open({ folder: folder.path, from: 0, durable: journal.durable, log })
  let read = 0
  while (read < count) read += (await reader.read({ maxRecords: 2048, maxBytes: 1024 ** 2 })).records.length
  return { records: count, openMs: round(openMs, 0), openAndReadMs: round(performance.now() - begunMs, 0) }
}

/** Opening a journal of 4 GiB that has been written by a process before; the median of three. */
export async function measureLargeOpen(): Promise<Figures> {
  using folder = new Folder()
  let bytes = 0
  {
    await using journal = await openJournal(folder.path)
    while ((bytes = journal.stats.diskBytes) < 4 * gib) await appendAll(journal, 200_000, 1000)
  }
  const times: number[] = []
  for (let turn = 0; turn < 3; turn++) {
    const begunMs = performance.now()
    await using _ = await openJournal(folder.path)
    times.push(performance.now() - begunMs)
  }
  times.sort((a, b) => a - b)
  return { journalGiB: round(bytes / gib), openMsMedian: round(percentile(times, 0.5), 0), openMsMax: round(times.at(-1) ?? 0, 0) }
}

/** What the disk itself takes for a write of 4 KiB and its fdatasync: percentiles in ms of 2,000. */
export function measureDisk(): { readonly p50: number; readonly p99: number } {
  using folder = new Folder()
  const fd = openSync(path.join(folder.path, 'probe'), 'w')
  const block = Buffer.alloc(4096, 1)
  const times: number[] = []
  for (let turn = 0; turn < 2_000; turn++) {
    const begunMs = performance.now()
    writeSync(fd, block, 0, block.length, turn * block.length)
    fdatasyncSync(fd)
    times.push(performance.now() - begunMs)
  }
  closeSync(fd)
  times.sort((a, b) => a - b)
  return { p50: round(percentile(times, 0.5)), p99: round(percentile(times, 0.99)) }
}
