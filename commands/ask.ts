import http from 'node:http'
import https from 'node:https'
import type { Command } from 'commander'
import type { ErrorCode } from '../errors.ts'
import { errorTable, TidegateError } from '../errors.ts'

/** The members of a JSON answer. */
export type Answer = Readonly<Record<string, unknown>>

export interface Question {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  /** Parameters; those that are undefined are left out. */
  readonly query?: Readonly<Record<string, string | undefined>>
  /** JSON; what changes something has an empty object at least. */
  readonly body?: object
}

/** Adds --http, the address that `ask` takes. */
export function addHttpOption(command: Command): Command {
  return command.option('--http <address>', 'address of the API', 'http://127.0.0.1:8080')
}

/**
 * Asks a running Tidegate and waits for the answer as long as it takes.
 * @throws TidegateError with the code of the answer, or TG_OPTION_INVALID when no Tidegate answers there
 */
export async function ask(address: string, question: Question): Promise<Answer> {
  if (!URL.canParse(address))
    throw new TidegateError('TG_OPTION_INVALID', `--http: "${address}" is not an address such as http://127.0.0.1:8080`)
  const url = new URL(question.path, address)
  for (const [name, value] of Object.entries(question.query ?? {})) if (value !== undefined) url.searchParams.set(name, value)
  const { status, text } = await exchange(url, question).catch((error: unknown) => {
    throw new TidegateError('TG_OPTION_INVALID', `--http: no Tidegate answers at ${address}`, { cause: error })
  })
  const answer = parseAnswer(text)
  if (answer === undefined)
    throw new TidegateError('TG_OPTION_INVALID', `--http: what answers at ${address} is not a Tidegate (HTTP ${status})`)
  if (status < 400) return answer
  const why = [answer['detail'], answer['title']].find(each => typeof each === 'string')
  throw new TidegateError(codeOf(answer['code']), `${address} refuses the request: ${typeof why === 'string' ? why : `HTTP ${status}`}`)
}

/** Not by fetch, which gives up on an answer that takes more than five minutes. */
async function exchange(url: URL, { method, body }: Question): Promise<{ readonly status: number; readonly text: string }> {
  return await new Promise((resolve, reject) => {
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    const headers = bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': bytes.length }
    const request = (url.protocol === 'https:' ? https : http).request(url, { method, headers }, response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }))
    })
    request.on('error', reject)
    request.end(bytes)
  })
}

function parseAnswer(text: string): Answer | undefined {
  try {
    const answer: unknown = JSON.parse(text)
    return typeof answer === 'object' && answer !== null ? { ...answer } : undefined
  } catch {
    return undefined
  }
}

function codeOf(code: unknown): ErrorCode {
  return Object.keys(errorTable).find((known): known is ErrorCode => known === code) ?? 'TG_OPTION_INVALID'
}
