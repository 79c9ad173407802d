import type { Command } from 'commander'
import { TidegateError } from '../errors.ts'
import type { Answer } from './ask.ts'
import { addHttpOption, ask, text } from './ask.ts'
import type { CommandContext } from './context.ts'

interface Filters {
  readonly reason?: string
  readonly topic?: string
  readonly from?: string
  readonly to?: string
}

interface Options extends Filters {
  readonly http: string
  readonly json?: boolean
}

const path = '/api/v1/dead-letters'
const defaultLimit = 100
/** Letters that the API answers at once, at most. */
const pageLimit = 1_000
const shownPayload = 120

/** Adds `dead-letters list | replay | purge`, which ask a running Tidegate. */
export function addDeadLetters(program: Command, context: CommandContext): void {
  const command = program
    .command('dead-letters')
    .helpCommand(false)
    .description('messages that could not be stored: look at them, send them through the pipeline again, purge them')

  addOptions(command.command('list'))
    .description('list the dead letters that a running Tidegate keeps, oldest first. Exit code 0 if it answers')
    .option('--limit <number>', 'letters at most; the last line says when there are more', String(defaultLimit))
    .action(async (options: Options & { readonly limit: string }) => {
      const listed = await list(options)
      context.print(options.json === true ? JSON.stringify(listed, undefined, 2) : listText(listed))
    })

  addOptions(command.command('replay'))
    .description(
      'send dead letters through the pipeline again, after the route or the limit that refused them was changed. ' +
        'Exit code 0 if none of those selected remains; what cannot be stored this time either becomes a new dead letter'
    )
    .action(async (options: Options) => {
      const answer = await ask(options.http, { method: 'POST', path: `${path}/replay`, query: filtersOf(options), body: {} })
      context.print(options.json === true ? JSON.stringify(answer, undefined, 2) : replayText(answer))
      if (answer['remaining'] !== 0) context.exitWith(1)
    })

  addOptions(command.command('purge'))
    .description('purge dead letters: they are gone for good. Exit code 0 if none of those selected is left')
    .option('--all', 'purge all of them; needed where no filter says which')
    .action(async (options: Options & { readonly all?: boolean }) => {
      const filtered = Object.values(filtersOf(options)).some(value => value !== undefined)
      if (filtered === (options.all === true)) {
        const fault = filtered ? '--all: purges whatever a filter says; give one or the other' : 'purge: give --all, or a filter'
        throw new TidegateError('TG_OPTION_INVALID', `${fault} (--reason, --topic, --from, --to)`)
      }
      const answer = await ask(options.http, { method: 'DELETE', path, query: filtersOf(options), body: {} })
      context.print(options.json === true ? JSON.stringify(answer, undefined, 2) : `purged  ${text(answer['purged'])}`)
    })
}

function addOptions(command: Command): Command {
  command
    .option('--reason <reason>', 'only letters with this reason')
    .option('--topic <filter>', 'only letters whose topic matches this MQTT topic filter')
    .option('--from <time>', 'received from then on: ISO 8601 with a zone, or milliseconds since 1970')
    .option('--to <time>', 'received before then')
  return addHttpOption(command).option('--json', 'the answer as it is')
}

function filtersOf({ reason, topic, from, to }: Filters): Readonly<Record<string, string | undefined>> {
  return { reason, topic, from, to }
}

interface Listed {
  readonly items: readonly Answer[]
  readonly nextCursor: unknown
  readonly counts: unknown
}

/** Reads pages until there are as many letters as wanted. */
async function list(options: Options & { readonly limit: string }): Promise<Listed> {
  const wanted = Number(options.limit)
  if (!Number.isSafeInteger(wanted) || wanted < 1) {
    throw new TidegateError('TG_OPTION_INVALID', `--limit: "${options.limit}" is not a whole number from 1 on`)
  }
  const items: Answer[] = []
  let cursor: string | undefined
  for (;;) {
    const limit = String(Math.min(pageLimit, wanted - items.length))
    const page = await ask(options.http, { method: 'GET', path, query: { ...filtersOf(options), limit, cursor } })
    if (Array.isArray(page['items'])) items.push(...page['items'].map(membersOf))
    const { nextCursor, counts } = page
    if (typeof nextCursor !== 'string' || items.length >= wanted) return { items, nextCursor, counts }
    cursor = nextCursor
  }
}

function listText({ items, nextCursor, counts }: Listed): string {
  const lines = items.flatMap(item => [
    `${text(item['time'])}  ${text(item['topic'])}  by ${text(item['clientId'])}`,
    `  ${text(item['reason'])}: ${text(item['detail'])}`,
    `  ${payloadText(item)}`
  ])
  const kept = Object.entries(membersOf(counts)).map(([reason, count]) => `${reason} ${text(count)}`)
  if (kept.length > 0 && items.length === 0) lines.push('none that is kept is selected')
  if (nextCursor !== null) lines.push(`… and more: --limit takes a larger number than ${items.length}`)
  return [...lines, kept.length === 0 ? 'no dead letters are kept' : `kept: ${kept.join(', ')}`].join('\n')
}

function payloadText({ payload, payloadBase64 }: Answer): string {
  const whole = payload === undefined ? `base64 ${text(payloadBase64)}` : JSON.stringify(payload)
  return text(whole.length > shownPayload ? `${whole.slice(0, shownPayload)}…` : whole)
}

function replayText(answer: Answer): string {
  const lines = ['replayed', 'failed', 'remaining'].map(name => `${name.padEnd(9)}  ${text(answer[name])}`)
  const error = answer['error']
  if (typeof error === 'object' && error !== null && 'message' in error) lines.push(`error      ${text(error.message)}`)
  return lines.join('\n')
}

function membersOf(value: unknown): Answer {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}
