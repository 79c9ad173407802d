import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

const answersWithinMs = 20_000

/**
 * Where a program of another system is: $TIDEGATE_SERVERS or ~/.cache/tidegate-servers/bin first (influxd there is InfluxDB 2),
 * then PATH, then where Debian keeps daemons.
 * @throws Error when the machine has none
 */
export function programPath(name: string): string {
  const folders = [
    process.env['TIDEGATE_SERVERS'] ?? path.join(homedir(), '.cache/tidegate-servers/bin'),
    ...(process.env['PATH'] ?? '').split(':'),
    '/usr/sbin'
  ]
  const file = folders.map(folder => path.join(folder, name)).find(candidate => existsSync(candidate))
  if (file === undefined) throw new Error(`${name} is not installed: neither in $TIDEGATE_SERVERS nor on PATH`)
  return file
}

/** A program that runs beside Tidegate in a folder of its own. It is killed and its folder removed at the end. */
export class Program implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #folder: string
  readonly #killAtExit = (): boolean => this.#child.kill('SIGKILL')

  private constructor(child: ChildProcess, folder: string) {
    this.#child = child
    this.#folder = folder
    process.once('exit', this.#killAtExit)
  }

  /** Starts it with the arguments made for its folder, and resolves when `answers` does not throw or answer false. */
  static async start(file: string, args: (folder: string) => readonly string[], answers: () => Promise<boolean>): Promise<Program> {
    const folder = mkdtempSync(path.join(tmpdir(), 'tidegate-bench-'))
    const child = spawn(file, args(folder), { stdio: 'ignore' })
    const program = new Program(child, folder)
    let fault: Error | undefined
    child.once('error', error => (fault = error))
    const deadlineMs = performance.now() + answersWithinMs
    while (!(await answers().catch(() => false))) {
      const ended = fault?.message ?? (child.exitCode === null ? undefined : `ended with code ${child.exitCode}`)
      const why = ended ?? (performance.now() > deadlineMs ? `does not answer after ${answersWithinMs} ms` : undefined)
      if (why !== undefined) {
        await program[Symbol.asyncDispose]()
        throw new Error(`${file} ${why}`)
      }
      await delay(50)
    }
    return program
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('exit', this.#killAtExit)
    if (this.#child.pid !== undefined && this.#child.exitCode === null && this.#child.signalCode === null) {
      const gone = once(this.#child, 'exit')
      this.#child.kill('SIGKILL')
      await gone
    }
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
