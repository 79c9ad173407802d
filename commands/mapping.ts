import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { TidegateError } from '../errors.ts'
import type { Answer } from './ask.ts'
import { addHttpOption, ask, text } from './ask.ts'
import type { CommandContext } from './context.ts'

interface TestOptions {
  readonly http: string
  readonly client?: string
  readonly json?: boolean
}

/** Adds `mapping test`, which asks a running Tidegate what it would make of a message. */
export function addMapping(program: Command, context: CommandContext): void {
  const command = program
    .command('mapping')
    .helpCommand(false)
    .description('try the routes')
    .command('test')
    .argument('<topic>', 'topic of the message')
    .argument('<payload>', 'payload; @file reads a file, - standard input')
    .description('ask a running Tidegate what it would make of a message; nothing is stored. Exit code 0 if it would give points')
    .option('--client <id>', 'client id of the publisher')
  addHttpOption(command)
    .option('--json', 'the answer as it is')
    .action(async (topic: string, payload: string, options: TestOptions) => {
      const answer = await testMapping(topic, payload, options)
      context.print(options.json === true ? JSON.stringify(answer, undefined, 2) : answerText(answer))
      if (answer['outcome'] !== 'stored') context.exitWith(1)
    })
}

async function testMapping(topic: string, payload: string, options: TestOptions): Promise<Answer> {
  const bytes = payload === '-' ? readFileSync(0) : payload.startsWith('@') ? readPayload(payload.slice(1)) : Buffer.from(payload)
  const body = { topic, payloadBase64: bytes.toString('base64'), ...(options.client === undefined ? {} : { clientId: options.client }) }
  return await ask(options.http, { method: 'POST', path: '/api/v1/mappings/test', body })
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
