import { open, rm } from 'node:fs/promises'
import path from 'node:path'
import { Option, type Command } from 'commander'
import { pino } from 'pino'
import { encodePayload } from '../api/payload-text.ts'
import { parseTime, timeToText } from '../api/times.ts'
import { TidegateError } from '../errors.ts'
import { patternFault, TopicPattern } from '../ingest/topic-pattern.ts'
import { errnoOf, nodeFiles } from '../journal/files.ts'
import { describeJournal } from '../journal/inspection.ts'
import { receivedNs, type JournalRecord } from '../journal/record.ts'
import { scan } from '../journal/scan.ts'
import { decodePosition, encodePosition } from '../telemetry.ts'
import { addConfigOptions } from './context.ts'
import type { CommandContext, ConfigOptions } from './context.ts'
import { dataFolder, journalFolder } from './data-folder.ts'
import { describeRun } from './journal-text.ts'

/** Adds `journal export`. */
export function addJournalExport(journal: Command, context: CommandContext): void {
  addConfigOptions(
    journal
      .command('export')
      .description('the records that are kept, oldest first. Exit code 0 only if none of the range is damaged or missing')
  )
    .option('--from <position|time>', 'first record: a position, or the time of receipt (ISO 8601 with a zone, or milliseconds since 1970)')
    .option('--to <position|time>', 'the record, or time, before which to end')
    .option('--topic <filter>', 'only topics that match an MQTT topic filter')
    .addOption(new Option('--format <format>', 'one JSON object a line').choices(['ndjson']).default('ndjson'))
    .option('--output <file>', 'write to a new file (default: standard output)')
    .option('--json', 'with --output, what was exported as JSON')
    .action(async (options: ConfigOptions) => await exportRecords(options, context))
}

interface Selection {
  readonly timeline: string
  readonly from: number | undefined
  readonly to: number | undefined
  readonly fromNs: bigint | undefined
  readonly toNs: bigint | undefined
  readonly pattern: TopicPattern | undefined
}

/** Takes text; resolves when it was taken, so that nothing piles up. */
type Write = (text: string) => Promise<void>

interface Exported {
  records: number
  damaged: number
  dropped: number
}

/** Text is handed on in pieces of about this size. */
const pieceChars = 64 * 1024

async function exportRecords(options: ConfigOptions, context: CommandContext): Promise<void> {
  const folder = await journalFolder(dataFolder(options, context))
  const { timeline = '' } = await describeJournal(nodeFiles, folder)
  const selection = selectionOf(options, timeline)
  const output = textOption(options, 'output')
  const exported = await (output === undefined
    ? toStandardOutput(folder, selection, context)
    : toFile(path.resolve(context.folder, output), folder, selection, context))
  if (exported === undefined) return
  const { records, damaged, dropped } = exported
  if (output !== undefined) {
    const facts = { file: path.resolve(context.folder, output), records, damaged, dropped }
    context.print(options['json'] === true ? JSON.stringify(facts, undefined, 2) : `${records} records exported to ${facts.file}`)
  }
  if (damaged > 0) context.exitWith(1)
}

/** Undefined when the reader has gone, which is its right: `… | head`. */
async function toStandardOutput(folder: string, selection: Selection, context: CommandContext): Promise<Exported | undefined> {
  try {
    return await writeRecords(folder, selection, context, context.write)
  } catch (error) {
    if (errnoOf(error) === 'EPIPE') return undefined
    throw error
  }
}

/** A file that was begun and could not be ended goes away. */
async function toFile(file: string, folder: string, selection: Selection, context: CommandContext): Promise<Exported> {
  try {
    await using handle = await open(file, 'wx', 0o640)
    try {
      const exported = await writeRecords(folder, selection, context, async text => await handle.writeFile(text))
      await handle.sync()
      return exported
    } catch (error) {
      await rm(file, { force: true })
      throw error
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    const why = errnoOf(error) === 'EEXIST' ? 'it is there already' : errnoOf(error)
    throw new TidegateError('TG_OPTION_INVALID', `--output: ${file} cannot be written: ${why}`, { cause: error })
  }
}

async function writeRecords(folder: string, selection: Selection, context: CommandContext, write: Write): Promise<Exported> {
  const exported: Exported = { records: 0, damaged: 0, dropped: 0 }
  let text = ''
  const { from, to, timeline } = selection
  const range = { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) }
  const log = pino({ level: 'silent' })
  for await (const batch of scan({ folder, ...range, quarantine: false, log })) {
    for (const gap of batch.gaps) {
      exported[gap.kind] += gap.to - gap.from
      context.complain(`tidegate: ${gap.kind}: ${describeRun({ timeline }, gap)}`)
    }
    for (const record of batch.records) {
      if (!isSelected(record, selection)) continue
      exported.records++
      text += `${recordToJson(record, timeline)}\n`
      if (text.length < pieceChars) continue
      await write(text)
      text = ''
    }
  }
  if (text !== '') await write(text)
  return exported
}

function isSelected(record: JournalRecord, { fromNs, toNs, pattern }: Selection): boolean {
  if (fromNs !== undefined && receivedNs(record) < fromNs) return false
  if (toNs !== undefined && receivedNs(record) >= toNs) return false
  return pattern === undefined || pattern.match(record.topic.split('/')) !== undefined
}

function recordToJson(record: JournalRecord, timeline: string): string {
  const { clientId, user = null, topic, qos, retain, dup, will, packetId, properties, payload } = record
  return JSON.stringify({
    position: encodePosition(timeline, record.ordinal),
    time: timeToText(receivedNs(record), 'iso'),
    clientId,
    user,
    topic,
    qos,
    retain,
    dup,
    will,
    packetId,
    ...(properties === undefined ? {} : { propertiesBase64: Buffer.from(properties).toString('base64') }),
    ...encodePayload(payload)
  })
}

function selectionOf(options: ConfigOptions, timeline: string): Selection {
  const topic = textOption(options, 'topic')
  const fault = topic === undefined ? undefined : patternFault(topic)
  if (fault !== undefined) throw new TidegateError('TG_OPTION_INVALID', `--topic: ${fault}`)
  const from = limitOf('--from', textOption(options, 'from'), timeline)
  const to = limitOf('--to', textOption(options, 'to'), timeline)
  return {
    timeline,
    from: from.ordinal,
    to: to.ordinal,
    fromNs: from.ns,
    toNs: to.ns,
    pattern: topic === undefined ? undefined : new TopicPattern(topic)
  }
}

function limitOf(option: string, text: string | undefined, timeline: string): { readonly ordinal?: number; readonly ns?: bigint } {
  if (text === undefined) return {}
  const position = decodePosition(text)
  if (position === undefined) {
    try {
      return { ns: parseTime(option, text) }
    } catch (error) {
      throw new TidegateError('TG_OPTION_INVALID', `${error instanceof Error ? error.message : option}; or a position`, { cause: error })
    }
  }
  if (position.journal !== timeline)
    throw new TidegateError('TG_POSITION_FOREIGN', `${option}: ${text} is not of this journal (${timeline})`)
  return { ordinal: position.ordinal }
}

function textOption(options: ConfigOptions, name: string): string | undefined {
  const value = options[name]
  return typeof value === 'string' ? value : undefined
}
