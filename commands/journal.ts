import path from 'node:path'
import type { Command } from 'commander'
import { nodeFiles } from '../journal/files.ts'
import { listJournal, verifyJournal } from '../journal/inspection.ts'
import { addConfigOptions } from './context.ts'
import type { CommandContext, ConfigOptions } from './context.ts'
import { dataFolder, journalFolder } from './data-folder.ts'
import { addJournalExport } from './journal-export.ts'
import { addJournalReplay } from './journal-replay.ts'
import { listingText, listingToJson, verificationText, verificationToJson } from './journal-text.ts'

/**
 * Adds `journal ls`, `journal verify` and `journal export`, which read files whether Tidegate runs or not, and change none,
 * and `journal replay`, which asks a running one.
 */
export function addJournal(program: Command, context: CommandContext): void {
  const journal = program
    .command('journal')
    .helpCommand(false)
    .description('the journal and the dead letters on the disk, and what is kept of them')
  addConfigOptions(journal.command('ls').description('the segments of the journal and of the dead letters'))
    .option('--json', 'as JSON')
    .action(async (options: ConfigOptions) => {
      const listings = await ofBoth(dataFolder(options, context), async folder => await listJournal(nodeFiles, folder))
      const { journal: records, deadLetters } = listings
      const shown = { journal: listingToJson(records), deadLetters: deadLetters === undefined ? null : listingToJson(deadLetters) }
      context.print(options['json'] === true ? JSON.stringify(shown, undefined, 2) : listingText(records, deadLetters))
    })
  addConfigOptions(
    journal
      .command('verify')
      .description('read every byte and check every record; nothing is changed. Exit code 0 only if nothing is damaged or missing')
  )
    .option('--json', 'as JSON')
    .action(async (options: ConfigOptions) => {
      const verifications = await ofBoth(dataFolder(options, context), async folder => await verifyJournal(nodeFiles, folder))
      const { journal: records, deadLetters } = verifications
      const whole = records.whole && deadLetters?.whole !== false
      const shown = {
        whole,
        journal: verificationToJson(records),
        deadLetters: deadLetters === undefined ? null : verificationToJson(deadLetters)
      }
      context.print(options['json'] === true ? JSON.stringify(shown, undefined, 2) : verificationText(records, deadLetters))
      if (!whole) context.exitWith(1)
    })
  addJournalExport(journal, context)
  addJournalReplay(journal, context)
}

async function ofBoth<Found>(
  data: string,
  look: (folder: string) => Promise<Found>
): Promise<{ readonly journal: Found; readonly deadLetters: Found | undefined }> {
  const folder = await journalFolder(data)
  const letters = path.join(data, 'dead-letters')
  const hasLetters = (await nodeFiles.stat(letters)) !== undefined
  return { journal: await look(folder), deadLetters: hasLetters ? await look(letters) : undefined }
}
