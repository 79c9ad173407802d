import { createServer, type ServerResponse } from 'node:http'
import { runCommand } from '../../cli.ts'

export interface Run {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Runs a command in this process, with its own environment, folder and output. */
export async function tidegate(
  argv: readonly string[],
  { folder = '/nonexistent', environment = {} }: { folder?: string; environment?: Readonly<Record<string, string>> } = {}
): Promise<Run> {
  const out: string[] = []
  const err: string[] = []
  let code = 0
  await runCommand(argv, {
    environment,
    folder,
    print: text => void out.push(text),
    complain: text => void err.push(text),
    write: async text => void out.push(text.replace(/\n$/, '')),
    exitWith: wanted => {
      code = wanted
    }
  })
  return { code, out: out.join('\n'), err: err.join('\n') }
}

/** A stand-in for the API, and what it was asked. */
export type StandIn = { readonly url: string; readonly asked: unknown[] } & AsyncDisposable

/** A stand-in for the API that gives the answers in turn, the last one again and again, and keeps what it was asked. */
export async function serve(status: number, ...answers: readonly unknown[]): Promise<StandIn> {
  return await standIn((response, turn) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answers[Math.min(turn, answers.length) - 1]))
  })
}

/** A stand-in for the API that answers its first request as turn 1, and keeps what it was asked. */
export async function standIn(answer: (response: ServerResponse, turn: number) => void): Promise<StandIn> {
  const asked: unknown[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      asked.push({
        method: request.method,
        url: request.url,
        type: request.headers['content-type'],
        body: body === '' ? undefined : JSON.parse(body)
      })
      answer(response, asked.length)
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    [Symbol.asyncDispose]: async () => {
      await new Promise(resolve => server.close(resolve))
    }
  }
}
