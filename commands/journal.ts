import type { Command } from 'commander'
import type { CommandContext } from './context.ts'
import { addJournalReplay } from './journal-replay.ts'

/** Adds `journal` and its commands. */
export function addJournal(program: Command, context: CommandContext): void {
  const journal = program.command('journal').helpCommand(false).description('the kept records')
  addJournalReplay(journal, context)
}
