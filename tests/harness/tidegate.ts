import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const top = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))))

/** One line of the log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg?: string }

export interface TidegateOptions {
  /** Data folder; without one a new temporary folder is used and removed at the end. */
  readonly folder?: string
  /** Configuration keys by path, for example `{ 'journal.syncDelay': '5ms' }`. */
  readonly set?: Readonly<Record<string, string | number>>
  /** Ports to take; 0, the default, takes free ones. */
  readonly mqttPort?: number
  readonly httpPort?: number
  /** Environment variables besides those of the tests. */
  readonly env?: Readonly<Record<string, string>>
}

/** A data folder that outlives its Tidegate; removed at the end. */
export async function makeDataFolder(): Promise<{ readonly folder: string } & AsyncDisposable> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidegate-'))
  return { folder, [Symbol.asyncDispose]: async () => await removeFolder(folder) }
}

/** Until the files of a process that was killed are let go of. */
async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
}

/** A real Tidegate: the edge process, started from dist/ as a user would, with its child. */
export class Tidegate implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #ownFolder: boolean
  readonly #exited: Promise<unknown>
  /** Its log has been read to the end, which may be after its exit. */
  readonly #logRead: Promise<unknown>
  readonly folder: string
  readonly log: LogLine[] = []
  readonly #watchers = new Set<(line: LogLine) => void>()
  mqttPort = 0
  httpPort = 0

  private constructor(child: ChildProcess, folder: string, ownFolder: boolean) {
    this.#child = child
    this.folder = folder
    this.#ownFolder = ownFolder
    this.#exited = once(child, 'exit')
    const outputs = [child.stdout, child.stderr].filter(output => output !== null)
    this.#logRead = Promise.all(
      outputs.map(async output => {
        const lines = createInterface({ input: output }).on('line', line => this.#read(line))
        await once(lines, 'close')
      })
    )
  }

  /** Starts one and resolves when it says that it is ready. Rejects with its log when it ends before. */
  static async start(options: TidegateOptions = {}): Promise<Tidegate> {
    const folder = options.folder ?? (await mkdtemp(path.join(tmpdir(), 'tidegate-')))
    const args = [path.join(top, 'bin/tidegate.mjs'), 'start', '--data', folder]
    args.push('--mqtt-port', String(options.mqttPort ?? 0), '--http-port', String(options.httpPort ?? 0))
    for (const [key, value] of Object.entries(options.set ?? {})) args.push('--set', `${key}=${value}`)
    const child = spawn(process.execPath, args, { cwd: top, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...options.env } })
    const tidegate = new Tidegate(child, folder, options.folder === undefined)
    const ready = await Promise.race([
      tidegate.logged(line => line.msg === 'tidegate is ready', 30_000),
      tidegate.#exited.then(async () => await tidegate.#logRead).then(() => undefined)
    ])
    if (ready === undefined) {
      await tidegate[Symbol.asyncDispose]()
      throw new Error(`tidegate ended before it was ready:\n${tidegate.logText()}`)
    }
    tidegate.mqttPort = Number(ready['mqttPort'])
    tidegate.httpPort = Number(ready['httpPort'])
    return tidegate
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  get mqttUrl(): string {
    return `mqtt://127.0.0.1:${this.mqttPort}`
  }

  get httpUrl(): string {
    return `http://127.0.0.1:${this.httpPort}`
  }

  /** Process id of the service that runs now, from /proc. */
  servicePid(): number | undefined {
    return childPid(this.pid)
  }

  /** Resolves with the first line, past or to come, that the test accepts. */
  async logged(accept: (line: LogLine) => boolean, deadlineMs = 15_000): Promise<LogLine> {
    const past = this.log.find(accept)
    if (past !== undefined) return past
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#watchers.delete(watch)
        reject(new Error(`not logged within ${deadlineMs} ms; the log is\n${this.logText()}`))
      }, deadlineMs)
      const watch = (line: LogLine) => {
        if (!accept(line)) return
        clearTimeout(timer)
        this.#watchers.delete(watch)
        resolve(line)
      }
      this.#watchers.add(watch)
    })
  }

  logText(): string {
    return this.log
      .slice(-40)
      .map(line => JSON.stringify(line))
      .join('\n')
  }

  /** SIGKILL to the edge and its service at one time; resolves when the edge is gone. */
  async kill(): Promise<void> {
    const service = this.servicePid()
    this.#child.kill('SIGKILL')
    if (service !== undefined) {
      try {
        process.kill(service, 'SIGKILL')
      } catch {
        // It has ended already, as it does by itself when its edge is gone.
      }
    }
    await this.#exited
  }

  /** SIGTERM; resolves with the exit code when the whole log has been read. */
  async stop(): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGTERM')
    await this.#exited
    await this.#logRead
    return this.#child.exitCode
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.kill()
    if (this.#ownFolder) await removeFolder(this.folder)
  }

  #read(text: string): void {
    let line: LogLine
    try {
      const parsed: unknown = JSON.parse(text)
      line = typeof parsed === 'object' && parsed !== null ? { ...parsed } : { msg: text }
    } catch {
      line = { msg: text }
    }
    this.log.push(line)
    for (const watch of this.#watchers) watch(line)
  }
}

/** The first child of a process, from /proc. */
export function childPid(parent: number): number | undefined {
  try {
    const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(' ')
    const pid = Number(children[0])
    return pid > 0 ? pid : undefined
  } catch {
    return undefined
  }
}

/** Polls until the condition answers something, or fails with `what` after the deadline. */
export async function eventually<T>(
  what: string,
  condition: () => Promise<T | undefined> | T | undefined,
  deadlineMs = 15_000
): Promise<T> {
  const until = performance.now() + deadlineMs
  let last: unknown
  for (;;) {
    try {
      const value = await condition()
      if (value !== undefined) return value
      last = undefined
    } catch (error) {
      last = error
    }
    if (performance.now() > until) throw new Error(`not within ${deadlineMs} ms: ${what}`, { cause: last })
    await new Promise<void>(resolve => {
      setTimeout(resolve, 25)
    })
  }
}
