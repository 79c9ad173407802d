import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { TidegateError } from '../errors.ts'
import type { CommandContext } from './context.ts'

interface TestOptions {
  readonly http: string
  readonly client?: string
  readonly json?: boolean
}

/** Adds `mapping test`, which asks a running Tidegate what it would make of a message. */
export function addMapping(program: Command, context: CommandContext): void {
  program
    .command('mapping')
    .helpCommand(false)
    .description('try the routes')
    .command('test')
    .argument('<topic>', 'topic of the message')
    .argument('<payload>', 'payload; @file reads a file, - standard input')
    .description('ask a running Tidegate what it would make of a message; nothing is stored. Exit code 0 if it would give points')
    .option('--client <id>', 'client id of the publisher')
    .option('--http <address>', 'address of the API', 'http://127.0.0.1:8080')
    .option('--json', 'the answer as it is')
    .action(async (topic: string, payload: string, options: TestOptions) => {
      const answer = await ask(topic, payload, options)
      context.print(options.json === true ? JSON.stringify(answer, undefined, 2) : answerText(answer))
      if (answer['outcome'] !== 'stored') context.exitWith(1)
    })
}

type Answer = Readonly<Record<string, unknown>>

async function ask(topic: string, payload: string, options: TestOptions): Promise<Answer> {
  const bytes = payload === '-' ? readFileSync(0) : payload.startsWith('@') ? readPayload(payload.slice(1)) : Buffer.from(payload)
  const body = { topic, payloadBase64: bytes.toString('base64'), ...(options.client === undefined ? {} : { clientId: options.client }) }
  if (!URL.canParse(options.http))
    throw new TidegateError('TG_OPTION_INVALID', `--http: "${options.http}" is not an address such as http://127.0.0.1:8080`)
  const url = new URL('/api/v1/mappings/test', options.http)
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }).catch(
    (error: unknown) => {
      throw new TidegateError('TG_OPTION_INVALID', `--http: no Tidegate answers at ${options.http}`, { cause: error })
    }
  )
  const answer: unknown = await response.json().catch(() => undefined)
  if (typeof answer !== 'object' || answer === null) {
    throw new TidegateError('TG_OPTION_INVALID', `--http: what answers at ${options.http} is not a Tidegate (HTTP ${response.status})`)
  }
  const fields: Answer = { ...answer }
  if (response.ok) return fields
  throw new TidegateError('TG_OPTION_INVALID', `${options.http} refuses the request: ${text(fields['detail'] ?? fields['title'])}`)
}

function readPayload(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    throw new TidegateError('TG_OPTION_INVALID', `<payload>: ${file} cannot be read`, { cause: error })
  }
}

function answerText(answer: Answer): string {
  const points = Array.isArray(answer['points']) ? answer['points'] : []
  const lines = [`outcome  ${text(answer['outcome'])}`, `route    ${text(answer['route'])}`]
  if (answer['reason'] !== undefined) lines.push(`reason   ${text(answer['reason'])}`)
  if (answer['detail'] !== undefined) lines.push(`detail   ${text(answer['detail'])}`)
  return [...lines, ...points.map(point => `point    ${JSON.stringify(point)}`)].join('\n')
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null)
}
