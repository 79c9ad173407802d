import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { listLetters } from '../harness/letters.ts'
import { readFreshLedger, readLedger } from '../harness/recorder.ts'
import { eventually, Tidegate } from '../harness/tidegate.ts'
import { framesOf } from '../journal/damage-fixture.ts'
import { openJournal, recordOf, segmentPaths } from '../journal/fixture.ts'

const beginsMs = Date.now() - 3_600_000

/** Appends readings numbered from a number on, one a millisecond of their own time, to the journal of a data folder. */
async function writeReadings(data: string, first: number, count: number, isBroken = (_number: number) => false): Promise<void> {
  await using journal = await openJournal(path.join(data, 'journal'), { segmentBytes: 4000 })
  for (let number = first; number < first + count; number++) {
    const payload = Buffer.from(isBroken(number) ? `{"v":${number}` : JSON.stringify({ ts: beginsMs + number, v: number }))
    journal.append({ ...recordOf(number), topic: Buffer.from('devices/probe/telemetry'), payload, will: false })
    await journal.drain()
  }
}

async function makeData(): Promise<{ readonly path: string } & AsyncDisposable> {
  const data = await mkdtemp(path.join(tmpdir(), 'tidegate-damaged-'))
  return { path: data, [Symbol.asyncDispose]: () => rm(data, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }) }
}

/** Values in the store, in the order of their times. */
async function readValues(tidegate: Tidegate): Promise<number[]> {
  const from = beginsMs - 1000
  const answer = await fetch(`${tidegate.httpUrl}/api/v1/query?measurement=telemetry&device=probe&from=${from}&limit=10000`)
  const { items } = (await answer.json()) as { readonly items: readonly { readonly fields: { readonly v: number } }[] }
  return items.map(item => item.fields.v)
}

async function workedOff(tidegate: Tidegate) {
  await eventually('all has its outcome', async () => ((await readLedger(tidegate.httpUrl)).inJournal === 0 ? true : undefined))
  return await readFreshLedger(tidegate.httpUrl)
}

async function metric(tidegate: Tidegate, name: string): Promise<number> {
  const text = await (await fetch(`${tidegate.httpUrl}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
}

async function readiness(tidegate: Tidegate): Promise<{ readonly status: number; readonly reasons: readonly Record<string, unknown>[] }> {
  const answer = await fetch(`${tidegate.httpUrl}/readyz`)
  return { status: answer.status, reasons: ((await answer.json()) as { readonly reasons: Record<string, unknown>[] }).reasons }
}

/** A number of numbers, without some. */
const numbers = (first: number, count: number, without: readonly number[] = []): number[] =>
  Array.from({ length: count }, (_, index) => first + index).filter(number => !without.includes(number))

describe('a damaged journal', () => {
  it('starts, stores all that can be read, and says exactly what cannot, in the log, in /readyz and as metrics', async () => {
    await using data = await makeData()
    const folder = path.join(data.path, 'journal')
    await writeReadings(data.path, 0, 100)
    const frames = await framesOf(folder, 1)
    const [, second = ''] = await segmentPaths(folder)
    const first = Number(second.slice(-19, -4))
    const bytes = await readFile(second)
    bytes[(frames[2]?.start ?? 0) + 60] = (bytes[(frames[2]?.start ?? 0) + 60] ?? 0) ^ 1
    bytes.fill(0x77, frames[5]?.start, frames[7]?.start)
    await writeFile(second, bytes)
    await writeFile(path.join(folder, '0000000090-000000000009999.seg'), Buffer.alloc(500, 'junk '))
    const size = (index: number): number => (frames[index]?.end ?? 0) - (frames[index]?.start ?? 0)
    const counts = { records: 3, bytes: size(2) + size(5) + size(6) }

    await using tidegate = await Tidegate.start({ folder: data.path })
    const ledger = await workedOff(tidegate)
    expect(ledger).toMatchObject({ since: 0, accepted: 100, stored: 97, damaged: 3, balanced: true })
    expect(await readValues(tidegate)).toEqual(numbers(0, 100, [first + 2, first + 5, first + 6]))
    expect(await readiness(tidegate)).toEqual({
      status: 200,
      reasons: [
        { code: 'TG_JOURNAL_DAMAGED', message: expect.stringContaining('journal/quarantine'), counts: { ...counts, quarantinedFiles: 1 } },
        { code: 'TG_JOURNAL_DAMAGED', message: expect.stringContaining('3 records'), counts }
      ]
    })
    expect(await metric(tidegate, 'tidegate_journal_damaged_records_total')).toBe(counts.records)
    expect(await metric(tidegate, 'tidegate_journal_damaged_bytes_total')).toBe(counts.bytes)
    expect(await metric(tidegate, 'tidegate_journal_quarantined_files_total')).toBe(1)
    expect(await metric(tidegate, 'tidegate_journal_read_damaged_records_total')).toBe(counts.records)
    expect(await metric(tidegate, 'tidegate_journal_read_damaged_bytes_total')).toBe(counts.bytes)
    const said = tidegate.log.filter(line => line['code'] === 'TG_JOURNAL_DAMAGED')
    expect(said.find(line => line.msg === 'the journal was repaired')).toMatchObject({
      damagedRecords: counts.records,
      damagedBytes: counts.bytes,
      quarantinedFiles: 1
    })
    expect(said.find(line => line.msg === 'records of the journal are damaged')).toMatchObject(counts)
    expect(await tidegate.stop()).toBe(0)

    // What was found and worked off is no reason any more, but as long as it is kept it is found again.
    await using again = await Tidegate.start({ folder: data.path })
    await workedOff(again)
    const { reasons } = await readiness(again)
    expect(reasons.map(reason => reason['counts'])).toEqual([{ ...counts, quarantinedFiles: 0 }])
  })
})

describe('the checkpoint', () => {
  it('that is lost begins anew at the oldest record, and nothing is stored twice', async () => {
    await using data = await makeData()
    await writeReadings(data.path, 0, 40)
    {
      await using tidegate = await Tidegate.start({ folder: data.path })
      await workedOff(tidegate)
      expect(await tidegate.stop()).toBe(0)
    }
    for (const name of ['tidegate.duckdb', 'tidegate.duckdb.wal']) await rm(path.join(data.path, name), { force: true })
    await using tidegate = await Tidegate.start({ folder: data.path })
    expect(await tidegate.logged(line => line.msg === 'ingest starts')).toMatchObject({
      since: 0,
      position: 0,
      anew: 'the catalogue has no checkpoint'
    })
    expect(await workedOff(tidegate)).toMatchObject({ since: 0, accepted: 40, stored: 40, balanced: true })
    expect(await readValues(tidegate)).toEqual(numbers(0, 40))
  })

  it('of another journal begins anew at the oldest record of this one', async () => {
    await using data = await makeData()
    await writeReadings(data.path, 0, 40)
    {
      await using tidegate = await Tidegate.start({ folder: data.path })
      await workedOff(tidegate)
      expect(await tidegate.stop()).toBe(0)
    }
    await rm(path.join(data.path, 'journal'), { recursive: true })
    await writeReadings(data.path, 1000, 30)
    await using tidegate = await Tidegate.start({ folder: data.path })
    expect(await tidegate.logged(line => line.msg === 'ingest starts')).toMatchObject({
      since: 0,
      anew: 'the checkpoint is of another journal'
    })
    expect(await workedOff(tidegate)).toMatchObject({ since: 0, accepted: 30, stored: 30, balanced: true })
    expect(await readValues(tidegate)).toEqual([...numbers(0, 40), ...numbers(1000, 30)])
  })

  it('that is ahead of the journal begins anew at the oldest record, also when as many records come as were lost', async () => {
    await using data = await makeData()
    const folder = path.join(data.path, 'journal')
    const isBroken = (number: number): boolean => number % 4 === 3
    const broken = numbers(0, 60).filter(isBroken)
    await writeReadings(data.path, 0, 60, isBroken)
    {
      await using tidegate = await Tidegate.start({ folder: data.path })
      await workedOff(tidegate)
      expect(await tidegate.stop()).toBe(0)
    }
    // Without the marks nothing but the checkpoint knows of the records that the cut takes away.
    await rm(path.join(folder, 'marks'))
    const last = (await segmentPaths(folder)).at(-1) ?? ''
    await truncate(last, 64)
    const head = Number(last.slice(-19, -4))
    expect(head).toBeLessThan(57)
    const kept = broken.filter(number => number < head)
    {
      await using tidegate = await Tidegate.start({ folder: data.path })
      expect(await tidegate.logged(line => line.msg === 'ingest starts')).toMatchObject({
        since: 0,
        anew: 'the checkpoint is ahead of the journal'
      })
      for (let number = 2000; number < 2100; number++) {
        const body = JSON.stringify({ ts: beginsMs + number, v: number })
        const answer = await fetch(`${tidegate.httpUrl}/api/v1/telemetry?topic=devices/probe/telemetry`, {
          method: 'POST',
          body,
          headers: { 'content-type': 'application/json' }
        })
        expect(answer.status).toBe(202)
      }
      const counts = { accepted: head + 100, stored: head + 100 - kept.length, deadLettered: kept.length }
      expect(await workedOff(tidegate)).toMatchObject({ since: 0, ...counts, balanced: true })
      expect(await readValues(tidegate)).toEqual([...numbers(0, 60, broken), ...numbers(2000, 100)])
      // Those of records that were lost are there, too, and are nobody else's.
      expect((await listLetters(tidegate)).map(({ payload }) => payload)).toEqual(broken.map(number => `{"v":${number}`))
      expect(await tidegate.stop()).toBe(0)
    }
    await using again = await Tidegate.start({ folder: data.path })
    expect(await workedOff(again)).toMatchObject({ deadLettered: kept.length, balanced: true })
  })
})
