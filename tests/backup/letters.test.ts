import { rm } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { restoreBackup } from '../../backup/restore.ts'
import { writeBackup } from '../../backup/write-backup.ts'
import { DeadLetters, type DeadLetter } from '../../ingest/dead-letters.ts'
import { letterBoundFile } from '../../ingest/letter-bound.ts'
import { nodeFiles } from '../../journal/files.ts'
import type { Journal } from '../../journal/journal.ts'
import { scan } from '../../journal/scan.ts'
import { recordOf } from '../ingest/fakes.ts'
import { appendRecords, makeFolder, openJournal, silent, until } from '../journal/fixture.ts'
import { makeFolders, sourcesOf } from './fixture.ts'

const never = new AbortController().signal
const maxBytes = 60_000

interface Letters extends AsyncDisposable {
  readonly journal: Journal
  readonly deadLetters: DeadLetters
}

/** The dead letters of a data folder as the service opens them, beside a checkpoint whose totals began at 0. */
async function openLetters(data: string, records: { readonly journal: string; readonly position: number }): Promise<Letters> {
  const folder = path.join(data, 'dead-letters')
  let nowMs = 0
  // Every look at this clock is later than the 60 s for which what was freed stays on the disk.
  const journal = await openJournal(folder, { segmentBytes: 8192, keep: { timeMs: 0, bytes: 0 }, monotonic: () => (nowMs += 70_000) })
  const deadLetters = await DeadLetters.open({
    journal,
    scan: ({ from, to }) => scan({ folder, from: Math.max(from, journal.oldest), to, log: silent }),
    bound: letterBoundFile(folder),
    maxBytes,
    records: { ...records, since: 0 },
    log: silent
  })
  return {
    journal,
    deadLetters,
    [Symbol.asyncDispose]: async () => {
      await deadLetters.close()
      await journal.close()
    }
  }
}

/** Every record of [from, to) becomes a letter, and the checkpoint passes them. */
async function letter(letters: DeadLetters, from: number, to: number): Promise<void> {
  for (let ordinal = from; ordinal < to; ordinal += 1) {
    letters.append(recordOf({ ordinal, payload: `{"broken":${ordinal},` + 'x'.repeat(100) }), 'broken-json', 'at the end')
    // What is appended together lies in one segment.
    if (ordinal % 20 === 0) await letters.durable()
  }
  await letters.durable()
  letters.forgetBelow(to)
}

async function pageOf(letters: DeadLetters, count: number): Promise<readonly DeadLetter[]> {
  return (await letters.list({ limit: count })).items
}

interface Backup {
  readonly backup: string
  /** UUID of the journal, the checkpoint, and the letters at the moment of the backup. */
  readonly journal: string
  readonly position: number
}

/**
 * Letters of 600 records, of which some were evicted, some replayed and some purged; and a backup during which as many again
 * come, and press those of before over the cap as soon as nothing holds them.
 */
async function makeBackup(folder: string): Promise<Backup> {
  const { data, backup } = await makeFolders(folder)
  await using journal = await openJournal(path.join(data, 'journal'))
  await appendRecords(journal, 600)
  await using opened = await openLetters(data, { journal: journal.uuid, position: 0 })
  const { deadLetters, journal: lettersJournal } = opened
  await letter(deadLetters, 0, 600)
  await until(() => deadLetters.evicted > 0, 'the oldest go')
  await until(async () => {
    // Has it look once more whether something may go.
    const release = await lettersJournal.pin(Infinity)
    release()
    return lettersJournal.oldest > 0
  }, 'their files too')
  await deadLetters.bury(await pageOf(deadLetters, 70), 'replayed')
  await deadLetters.bury(await pageOf(deadLetters, 50), 'purged')
  const sources = sourcesOf(data, {
    journal,
    letters: lettersJournal,
    position: () => 600,
    meanwhile: async () => {
      await appendRecords(journal, 600)
      await letter(deadLetters, 600, 1200)
    },
    pinLetters: async () => {
      const release = await deadLetters.pin()
      const releaseSegments = await lettersJournal.pin(0)
      return () => {
        releaseSegments()
        release()
      }
    }
  })
  const evicted = deadLetters.evicted
  await writeBackup(backup, sources, never)
  await until(() => deadLetters.evicted > evicted + 100, 'what was held goes')
  return { backup, journal: journal.uuid, position: 600 }
}

/** Letters of the records that the checkpoint counts, as the ledger finds them. */
async function accountsOf({ journal, position }: Backup, data: string) {
  await using opened = await openLetters(data, { journal, position })
  const { deadLetters } = opened
  const accounts = await deadLetters.accounts({ journal, since: 0, below: position })
  const known = deadLetters.countIn(position, 2 * position)
  return { accounts: accounts ?? expect.fail('they can be counted'), evicted: deadLetters.evicted, known }
}

test('letters that went, were replayed or purged are counted in the restored as they were: its totals balance', async () => {
  await using folder = await makeFolder()
  const made = await makeBackup(folder.path)
  const target = path.join(folder.path, 'restored')
  await restoreBackup(made.backup, target, nodeFiles)
  const { accounts, evicted, known } = await accountsOf(made, target)
  expect(accounts.kept + accounts.tombstoned + accounts.evicted).toBe(600)
  expect(accounts.tombstoned).toBe(120)
  expect(evicted).toBeGreaterThan(0)
  // The letters of records beyond the checkpoint are known: these come again, and get no second one.
  expect(known).toBe(600)

  // Without the bound what went is missing: this is what the test looks at.
  await rm(path.join(target, 'dead-letters', 'bound'))
  const without = (await accountsOf(made, target)).accounts
  expect(without.kept + without.tombstoned + without.evicted).toBeLessThan(600)
})
