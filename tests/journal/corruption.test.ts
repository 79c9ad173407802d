import { expect, test } from 'vitest'
import type { Journal } from '../../journal/journal.ts'
import { JournalReader } from '../../journal/reader.ts'
import type { AppendRecord, JournalRecord } from '../../journal/record.ts'
import { Dice, folder, makeSample, open, Patient, type Sample } from './corruptions.ts'
import { checkBatch, recordOf, silent } from './fixture.ts'
import type { MemoryFiles } from './memory-files.ts'

const given = (name: string): number | undefined => {
  const value = Number(process.env[name] ?? NaN)
  return Number.isSafeInteger(value) ? value : undefined
}
/** How many (10,000 with `npm run test:journal`); and the one that a failure names, alone. */
const count = given('TIDEGATE_CORRUPTIONS') ?? 500
const only = given('TIDEGATE_CORRUPTION')
const firstSeed = given('TIDEGATE_SEED') ?? 1

interface Contents {
  readonly records: ReadonlyMap<number, JournalRecord>
  readonly damaged: number[]
  readonly counted: { readonly damagedRecords: number; readonly damagedBytes: number }
}

async function readAll(files: MemoryFiles, head: number, dice: Dice): Promise<Contents> {
  await using reader = await JournalReader.open({ folder, files: files.port, from: 0, durable: head, log: silent })
  const records = new Map<number, JournalRecord>()
  const damaged: number[] = []
  for (let position = 0; position < head;) {
    const batch = await reader.read({ maxRecords: 1 + dice.under(60), maxBytes: 1 + dice.under(30_000) })
    checkBatch(batch, position)
    for (const record of batch.records) records.set(record.ordinal, record)
    for (const { from, to } of batch.gaps) for (let ordinal = from; ordinal < to; ordinal++) damaged.push(ordinal)
    position = batch.to
  }
  return { records, damaged, counted: { ...reader.stats } }
}

function isSame(record: JournalRecord, { clientId, user, topic, payload, properties, ...rest }: AppendRecord): boolean {
  return (
    record.clientId === clientId.toString() &&
    record.user === user?.toString() &&
    record.topic === topic.toString() &&
    Buffer.from(payload).equals(record.payload) &&
    Buffer.from(properties ?? []).equals(record.properties ?? Buffer.alloc(0)) &&
    record.qos === rest.qos &&
    record.retain === rest.retain &&
    record.dup === rest.dup &&
    record.will === rest.will &&
    record.packetId === rest.packetId
  )
}

/** Opens a damaged journal, reads it, appends, reads again, opens it again. */
async function check(patient: Patient, dice: Dice): Promise<void> {
  const { files, sample } = patient
  const survivors = patient.survivors()
  const journal = await open(files)
  let contents: Contents
  try {
    expect(journal.state).toBe('accepting')
    const { head } = journal
    expect(head).toBeGreaterThanOrEqual(Math.max(sample.records.length === 0 ? 0 : -1, ...survivors) + 1)
    expect(head).toBeLessThanOrEqual(sample.records.length + 1)
    contents = await readAll(files, head, dice)
    for (const [ordinal, record] of contents.records) {
      const written = sample.records[ordinal]
      if (written === undefined || !isSame(record, written)) expect.fail(`record ${ordinal} was never written so`)
    }
    expect([...survivors].filter(ordinal => !contents.records.has(ordinal))).toEqual([])
    expectCounts(journal, contents, sample)
    await appendAndRead(journal, files, contents, dice)
  } finally {
    await journal.close()
  }
  const quarantined = files.names(`${folder}/quarantine`).map(name => files.get(`${folder}/quarantine/${name}`))
  for (const bytes of patient.newer) expect(quarantined.some(each => each?.equals(bytes) === true)).toBe(true)
  await using again = await open(files)
  expect(again.head).toBe(journal.head)
  const read = await readAll(files, again.head, dice)
  expect([...read.records.keys()]).toEqual([...contents.records.keys(), again.head - 3, again.head - 2, again.head - 1])
  await again.close()
  expect(files.opened).toBe(0)
}

function expectCounts(journal: Journal, { damaged, counted }: Contents, sample: Sample): void {
  expect(counted.damagedRecords).toBe(damaged.length)
  // What lies before the oldest file, and behind the last one up to what is known to be committed, is in no file.
  const kept = damaged.filter(ordinal => ordinal >= journal.oldest)
  if (journal.head > sample.committedBelow) expect(journal.stats.damagedRecords).toBe(kept.length)
  else expect(journal.stats.damagedRecords).toBeLessThanOrEqual(kept.length)
}

async function appendAndRead(journal: Journal, files: MemoryFiles, before: Contents, dice: Dice): Promise<void> {
  const { head } = journal
  for (let number = 0; number < 3; number++) expect(journal.append(recordOf(900_000 + number))).toBe(head + number)
  await journal.drain()
  const after = await readAll(files, head + 3, dice)
  expect([...after.records.keys()]).toEqual([...before.records.keys(), head, head + 1, head + 2])
  expect(after.damaged).toEqual(before.damaged)
  for (let number = 0; number < 3; number++) {
    const record = after.records.get(head + number)
    expect(record !== undefined && isSame(record, recordOf(900_000 + number))).toBe(true)
  }
}

test(`${only === undefined ? count : 1} corruptions of real journals: it always starts, and what was not hit is read once, as it was`, async () => {
  const samples: Sample[] = []
  for (let seed = 0; seed < 16; seed++) samples.push(await makeSample(seed))
  const seeds = only === undefined ? Array.from({ length: count }, (_, index) => firstSeed + index) : [only]
  for (const seed of seeds) {
    const dice = new Dice(seed)
    const patient = new Patient(dice.of(samples), dice.of(samples), dice)
    for (let times = 1 + dice.under(dice.of([1, 3, 6])); times > 0; times--) patient.damage()
    patient.settle()
    try {
      await check(patient, dice)
    } catch (error) {
      throw new Error(`npm run test:journal -- corruption.test --corruption ${seed} repeats it: ${patient.did.join(', ')}`, {
        cause: error
      })
    }
  }
}, 600_000)
