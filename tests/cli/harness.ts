import { createServer } from 'node:http'
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

/** A stand-in for the API that gives the answers in turn, the last one again and again, and keeps what it was asked. */
export async function serve(status: number, ...answers: readonly unknown[]): Promise<{ url: string; asked: unknown[] } & AsyncDisposable> {
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
      response
        .writeHead(status, { 'content-type': 'application/json' })
        .end(JSON.stringify(answers[Math.min(asked.length, answers.length) - 1]))
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
