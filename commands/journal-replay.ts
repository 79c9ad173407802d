import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import type { Command } from 'commander'
import { TidegateError } from '../errors.ts'
import type { CommandContext } from './context.ts'

interface ReplayOptions {
  readonly from?: string
  readonly to?: string
  readonly topic?: string
  readonly http: string
  readonly json?: boolean
}

type Report = Readonly<Record<string, unknown>>

/** Adds `journal replay`, which has a running Tidegate write kept records into its store again. */
export function addJournalReplay(journal: Command, context: CommandContext): void {
  journal
    .command('replay')
    .description(
      'have a running Tidegate write kept records into its store again: an emptied or restored database is refilled, and no outcome ' +
        'changes. Exit code 0 only if everything of the range was written'
    )
    .option('--from <position|time>', 'first record: a position, or its received time (default: the oldest that is kept)')
    .option('--to <position|time>', 'behind the last record: a position, or a received time (default: all)')
    .option('--topic <filter>', 'an MQTT topic filter, for example devices/+/telemetry')
    .option('--http <address>', 'address of the API', 'http://127.0.0.1:8080')
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
async function replay({ from, to, topic, http }: ReplayOptions, onProgress: (report: Report) => void): Promise<Report> {
  if (!URL.canParse(http)) throw optionFault(`--http: "${http}" is not an address such as http://127.0.0.1:8080`)
  const url = new URL('/api/v1/journal/replay', http)
  const body = JSON.stringify({ from, to, topic })
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body }).catch((error: unknown) => {
    throw optionFault(`--http: no Tidegate answers at ${http}`, error)
  })
  if (!response.ok || response.body === null) {
    const answer: unknown = await response.json().catch(() => undefined)
    if (!isRecord(answer)) throw optionFault(`--http: what answers at ${http} is not a Tidegate (HTTP ${response.status})`)
    throw optionFault(`${http} refuses the request: ${text(answer['detail'] ?? answer['title'])}`)
  }
  try {
    for await (const line of createInterface({ input: Readable.fromWeb(response.body) })) {
      if (line.trim() === '') continue
      const report: unknown = JSON.parse(line)
      if (!isRecord(report)) break
      const { error } = report
      if (isRecord(error)) throw new TidegateError('TG_STORE_UNAVAILABLE', `the replay ended before its end: ${text(error['detail'])}`)
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
function faultsOf(report: Report): readonly string[] {
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

function progressText(report: Report): string {
  return `at ${text(report['position'])} of ${text(report['end'])}: ${count(report, 'records')} records, ${count(report, 'points')} points`
}

function reportText(report: Report): string {
  const names = ['from', 'to', 'records', 'points', 'ignored', 'deadLettered', 'refused', 'damaged', 'dropped']
  return names.map(name => `${name.padEnd(14)}${text(report[name])}`).join('\n')
}

function count(report: Report, name: string): number {
  const value = report[name]
  return typeof value === 'number' ? value : 0
}

function optionFault(message: string, cause?: unknown): TidegateError {
  return new TidegateError('TG_OPTION_INVALID', message, cause === undefined ? {} : { cause })
}

function isRecord(value: unknown): value is Report {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null)
}
