import { request } from 'node:http'
import { errorTable, TidegateError, type ErrorCode } from '../errors.ts'

export type Answer = Readonly<Record<string, unknown>>

/**
 * Asks a running Tidegate to do something that may take long: there is no time limit, and ending this process ends the
 * request. The base address comes from the option --http or the configuration.
 * @throws TidegateError what the Tidegate answers, or TG_OPTION_INVALID when none does
 */
export async function askRunning(base: string, route: string, body: unknown): Promise<Answer> {
  if (!URL.canParse(base) || !base.startsWith('http:')) {
    throw new TidegateError('TG_OPTION_INVALID', `--http: "${base}" is not an address such as http://127.0.0.1:8080`)
  }
  const { status, text } = await post(new URL(route, base), JSON.stringify(body)).catch((error: unknown) => {
    throw new TidegateError('TG_OPTION_INVALID', `--http: no Tidegate answers at ${base}`, { cause: error })
  })
  const answer = parse(text)
  if (answer === undefined)
    throw new TidegateError('TG_OPTION_INVALID', `--http: what answers at ${base} is not a Tidegate (HTTP ${status})`)
  if (status === 200) return answer
  const { code, detail } = answer
  throw new TidegateError(isCode(code) ? code : 'TG_OPTION_INVALID', typeof detail === 'string' ? detail : `HTTP ${status}`)
}

function post(url: URL, body: string): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method: 'POST', headers: { 'content-type': 'application/json' } }, response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => void chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }))
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

function parse(text: string): Answer | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? { ...parsed } : undefined
  } catch {
    return undefined
  }
}

function isCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(errorTable, code)
}
