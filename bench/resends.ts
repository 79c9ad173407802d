import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { Resends } from '../broker/resends.ts'
import { Journal } from '../journal/journal.ts'
import { type AppendRecord, blankRecord } from '../journal/record.ts'
import { type Figures, median } from './figures.ts'

const clients = 500
const records = 50_000
const rounds = 9
/** Tail of the journal that a start reads: 64 MiB of records of 150 bytes. */
const tailRecords = 400_000

/**
 * What remembering a publish costs beside its append, in turns in one process, and how long a start reads the tail of a
 * journal. Medians.
 */
export async function measureResends(): Promise<Figures> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-bench-'))
  try {
    const resends = buildResends()
    const appends: number[] = []
    const remembered: number[] = []
    {
      await using journal = await openJournal(folder)
      const names = Array.from({ length: clients }, (_, number) => resends.attach(`meter-${number}`))
      const record = buildRecord()
      for (let round = 0; round < rounds * 2; round++) {
        const start = performance.now()
        for (let index = 0; index < records; index++) {
          const client = names[index % clients]
          record.packetId = 1 + ((round * 100 + Math.floor(index / clients)) % 65_535)
          const ordinal = journal.append(record)
          if (round % 2 === 1 && client !== undefined) resends.remember(client, record, ordinal)
        }
        ;(round % 2 === 1 ? remembered : appends).push(((performance.now() - start) * 1e6) / records)
        await journal.drain()
      }
      for (let index = 0; index < tailRecords; index++) {
        record.clientId = Buffer.from(`meter-${index % clients}`)
        record.packetId = 1 + (Math.floor(index / clients) % 65_535)
        journal.append(record)
        if (index % 10_000 === 0) await journal.drain()
      }
    }
    const { tailMs, openMs, publishes } = await measureTail(folder)
    const append = median(appends)
    const both = median(remembered)
    return {
      appendNs: Math.round(append),
      appendAndRememberNs: Math.round(both),
      rememberToAppend: Number((both / append).toFixed(2)),
      openMs: Math.round(openMs),
      tailMs: Math.round(tailMs),
      tailPublishes: publishes
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function measureTail(folder: string): Promise<{ readonly openMs: number; readonly tailMs: number; readonly publishes: number }> {
  const start = performance.now()
  await using journal = await openJournal(folder)
  const opened = performance.now()
  const resends = buildResends()
  await journal.readTail(Infinity, record => resends.recall(record))
  return { openMs: opened - start, tailMs: performance.now() - opened, publishes: resends.count }
}

function buildResends(): Resends {
  return new Resends({ limit: 500_000, limitBytes: 32 * 1024 * 1024, onEvicted: () => undefined, monotonic: () => performance.now() })
}

async function openJournal(folder: string): Promise<Journal> {
  return await Journal.open({
    folder,
    sync: 'none',
    syncDelayMs: 2,
    segmentBytes: 64 * 1024 * 1024,
    maxBytes: 4 * 1024 ** 3,
    reserveBytes: 0,
    whenFull: 'reject-new',
    keep: { timeMs: 86_400_000, bytes: 1024 ** 3 },
    log: pino({ level: 'silent' }),
    pendingBytes: 64 * 1024 * 1024
  })
}

/** 150 bytes in the journal: frame 44, client id 9, topic 25, payload 72. */
function buildRecord(): AppendRecord {
  return {
    ...blankRecord(),
    clientId: Buffer.from('meter-123'),
    topic: Buffer.from('devices/meter-1/telemetry'),
    payload: Buffer.alloc(72, '{"temperature":21.5}'),
    qos: 1,
    packetId: 1
  }
}
