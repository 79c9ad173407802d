import type { Command } from 'commander'
import { TidegateError } from '../errors.ts'
import type { Answer } from './ask.ts'
import { addHttpOption, askForLines, text } from './ask.ts'
import type { CommandContext } from './context.ts'

interface ReplayOptions {
  readonly from?: string
  readonly to?: string
  readonly topic?: string
  readonly http: string
  readonly json?: boolean
}

/** Adds `journal replay`, which has a running Tidegate write kept records into its store again. */
export function addJournalReplay(journal: Command, context: CommandContext): void {
  addHttpOption(
    journal
      .command('replay')
      .description(
        'have a running Tidegate write kept records into its store again: an emptied or restored database is refilled, and no outcome ' +
          'changes. Exit code 0 only if everything of the range was written'
      )
      .option('--from <position|time>', 'first record: a position, or its received time (default: the oldest that is kept)')
      .option('--to <position|time>', 'behind the last record: a position, or a received time (default: all)')
      .option('--topic <filter>', 'an MQTT topic filter, for example devices/+/telemetry')
  )
    .option('--json', 'the report as JSON')
    .action(async (options: ReplayOptions) => {
      const report = await replay(options, line => context.complain(progressText(line)))
      context.print(options.json === true ? JSON.stringify(report, undefined, 2) : reportText(report))
      const faults = faultsOf(report)
      for (const fault of options.json === true ? [] : faults) context.complain(fault)
      if (faults.length > 0) context.exitWith(1)
    })
}

/** Resolves with the last report; calls `onProgress` with those before. */
async function replay({ from, to, topic, http }: ReplayOptions, onProgress: (report: Answer) => void): Promise<Answer> {
  const path = '/api/v1/journal/replay'
  try {
    for await (const report of askForLines(http, { method: 'POST', path, body: { from, to, topic } })) {
      const { error } = report
      if (typeof error === 'object' && error !== null && 'detail' in error)
        throw new TidegateError('TG_STORE_UNAVAILABLE', `the replay ended before its end: ${text(error.detail)}`)
      if (report['done'] === true) return report
      onProgress(report)
    }
  } catch (error) {
    if (error instanceof TidegateError) throw error
    throw new TidegateError('TG_STORE_UNAVAILABLE', `the connection to ${http} broke: what was not written is not in the store`, {
      cause: error
    })
  }
  throw new TidegateError('TG_STORE_UNAVAILABLE', `${http} ended the answer before the replay was through`)
}

/** Why not everything of the range is in the store, one line each. */
function faultsOf(report: Answer): readonly string[] {
  const faults: string[] = []
  if (report['beyondKept'] === true)
    faults.push('The range begins before the oldest record that is kept: journal.keep bounds how far back a replay reaches.')
  for (const [name, why] of Object.entries(losses)) if (count(report, name) > 0) faults.push(`${count(report, name)} ${why}`)
  return faults
}

const losses = {
  damaged: 'records of the range cannot be read any more.',
  dropped: 'records of the range were dropped (journal.whenFull: drop-oldest).',
  refused: 'points were refused by the store.'
} as const

function progressText(report: Answer): string {
  return `at ${text(report['position'])} of ${text(report['end'])}: ${count(report, 'records')} records, ${count(report, 'points')} points`
}

function reportText(report: Answer): string {
  const names = ['from', 'to', 'records', 'points', 'ignored', 'deadLettered', 'refused', 'damaged', 'dropped']
  return names.map(name => `${name.padEnd(14)}${text(report[name])}`).join('\n')
}

function count(report: Answer, name: string): number {
  const value = report[name]
  return typeof value === 'number' ? value : 0
}
