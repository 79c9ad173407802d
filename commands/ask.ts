import http from 'node:http'
import https from 'node:https'
import { createInterface } from 'node:readline'
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
  const response = await send(address, question)
  const text = await readText(response).catch((error: unknown) => {
    throw new TidegateError('TG_OPTION_INVALID', `--http: the answer of ${address} broke off`, { cause: error })
  })
  const answer = parseAnswer(text)
  if (answer === undefined || isRefusal(response)) throw refusal(address, response, answer)
  return answer
}

/**
 * Asks for an answer of many lines of JSON; each comes as soon as it is there. Empty lines keep the connection alive.
 * @throws TidegateError as `ask`, before the first line; what breaks the connection later, as it is
 */
export async function* askForLines(address: string, question: Question): AsyncGenerator<Answer, void, void> {
  const response = await send(address, question)
  if (isRefusal(response)) throw refusal(address, response, parseAnswer(await readText(response).catch(() => '')))
  try {
    for await (const line of createInterface({ input: response })) {
      if (line.trim() === '') continue
      const answer = parseAnswer(line)
      if (answer === undefined) throw refusal(address, response, undefined)
      yield answer
    }
  } finally {
    response.destroy()
  }
  // A broken connection ends the lines like the end of the answer does.
  if (!response.complete) throw new Error('the connection broke')
}

/** Resolves when the answer begins. Not by fetch, which gives up on one that takes more than five minutes. */
async function send(address: string, { method, path, query = {}, body }: Question): Promise<http.IncomingMessage> {
  if (!URL.canParse(address) || !/^https?:/i.test(address))
    throw new TidegateError('TG_OPTION_INVALID', `--http: "${address}" is not an address such as http://127.0.0.1:8080`)
  const url = new URL(path, address)
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value)
  const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
  const headers = bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': bytes.length }
  return await new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? https : http).request(url, { method, headers }, resolve)
    request.on('error', error => {
      const why = `--http: no Tidegate answers at ${address}; start it, or give the address of its API`
      reject(new TidegateError('TG_OPTION_INVALID', why, { cause: error }))
    })
    request.end(bytes)
  })
}

async function readText(response: http.IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of response) if (chunk instanceof Uint8Array) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

function isRefusal({ statusCode = 0 }: http.IncomingMessage): boolean {
  return statusCode >= 400
}

/** Why there is no answer: what it says itself, or that it is of something else. */
function refusal(address: string, { statusCode = 0 }: http.IncomingMessage, answer: Answer | undefined): TidegateError {
  if (answer === undefined)
    return new TidegateError('TG_OPTION_INVALID', `--http: what answers at ${address} is not a Tidegate (HTTP ${statusCode})`)
  const why = [answer['detail'], answer['title']].find(each => typeof each === 'string')
  return new TidegateError(
    codeOf(answer['code']),
    `${address} refuses the request: ${typeof why === 'string' ? why : `HTTP ${statusCode}`}`
  )
}

function parseAnswer(text: string): Answer | undefined {
  try {
    const answer: unknown = JSON.parse(text)
    return typeof answer === 'object' && answer !== null && !Array.isArray(answer) ? { ...answer } : undefined
  } catch {
    return undefined
  }
}

function codeOf(code: unknown): ErrorCode {
  return Object.keys(errorTable).find((known): known is ErrorCode => known === code) ?? 'TG_OPTION_INVALID'
}

/**
 * A member of an answer as it is shown. It may hold whatever a client sent: control characters stay visible, so that they are
 * none to the terminal.
 */
export function text(value: unknown): string {
  const plain = typeof value === 'string' ? value : JSON.stringify(value ?? null)
  return plain.replaceAll(/\p{Cc}/gu, character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
