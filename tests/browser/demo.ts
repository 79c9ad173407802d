import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { childPid } from '../harness/tidegate.ts'
import { top } from '../layout/sources.ts'

/** The demo, started by its command as a user would, in a folder of its own. */
export class Demo implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>
  readonly #folder: string
  /** When the command was started, on the clock of `performance.now()`. */
  readonly startedMs: number
  page = ''
  mqtt = ''

  private constructor(folder: string) {
    this.#folder = folder
    this.startedMs = performance.now()
    const argv = ['demo', '--data', path.join(folder, 'demo'), '--mqtt-port', '0', '--http-port', '0', '--json']
    this.#child = spawn(process.execPath, [path.join(top, 'bin/tidegate.mjs'), ...argv], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit']
    })
    this.#exited = once(this.#child, 'exit')
  }

  /** Resolves when it has printed its addresses. */
  static async start(): Promise<Demo> {
    const demo = new Demo(await mkdtemp(path.join(tmpdir(), 'tidegate-browser-')))
    const { stdout } = demo.#child
    if (stdout === null) throw new Error('the demo has no output')
    const printed = once(createInterface({ input: stdout }), 'line', { signal: AbortSignal.timeout(30_000) })
    const line: unknown[] = await Promise.race([printed, demo.#exited.then(() => [])])
    if (line.length === 0) throw new Error(`the demo ended with ${demo.#child.exitCode} before it said where it is`)
    const { page, mqtt }: { page: string; mqtt: string } = JSON.parse(String(line[0]))
    demo.page = page
    demo.mqtt = mqtt
    return demo
  }

  /** SIGKILL to its service, which the edge starts again. */
  killService(): void {
    const pid = childPid(this.#child.pid ?? -1)
    if (pid === undefined) throw new Error('the demo has no service')
    process.kill(pid, 'SIGKILL')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGTERM')
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.#exited
    clearTimeout(late)
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }
}
