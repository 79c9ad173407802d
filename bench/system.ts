import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const readyWithinMs = 60_000
const top = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))))

/** A Tidegate under measurement: the real command with a data folder of its own, removed at the end. */
export class System implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #folder: string
  readonly #killAtExit = (): boolean => this.#child.kill('SIGKILL')
  readonly mqttPort: number
  readonly httpUrl: string
  /** From the start of the command to MQTT and HTTP both answering. */
  readonly startMs: number

  private constructor(child: ChildProcess, folder: string, ports: { readonly mqtt: number; readonly http: number }, startMs: number) {
    this.#child = child
    this.#folder = folder
    this.mqttPort = ports.mqtt
    this.httpUrl = `http://127.0.0.1:${ports.http}`
    this.startMs = startMs
    process.once('exit', this.#killAtExit)
  }

  /**
   * Starts one with these keys of the configuration; `prepare` gets the empty data folder before. The ports are read from the
   * log, so log.level stays at info.
   */
  static async start(settings: Readonly<Record<string, string | number>> = {}, prepare?: (folder: string) => void): Promise<System> {
    const folder = mkdtempSync(path.join(tmpdir(), 'tidegate-bench-'))
    prepare?.(folder)
    const args = [path.join(top, 'bin/tidegate.mjs'), 'start', '--data', folder, '--mqtt-port', '0', '--http-port', '0']
    for (const [key, value] of Object.entries(settings)) args.push('--set', `${key}=${value}`)
    const startedMs = performance.now()
    const child = spawn(process.execPath, args, { cwd: top, stdio: ['ignore', 'pipe', 'inherit'] })
    if (child.stdout === null) throw new Error('no output')
    const killer = setTimeout(() => child.kill('SIGKILL'), readyWithinMs)
    for await (const line of createInterface({ input: child.stdout })) {
      const ready = /"mqttPort":(\d+).*"httpPort":(\d+).*"tidegate is ready"/.exec(line)
      if (ready === null) continue
      clearTimeout(killer)
      child.stdout.resume()
      return new System(child, folder, { mqtt: Number(ready[1]), http: Number(ready[2]) }, performance.now() - startedMs)
    }
    clearTimeout(killer)
    rmSync(folder, { recursive: true, force: true })
    throw new Error(`Tidegate ended before it was ready, or was not within ${readyWithinMs} ms`)
  }

  get edgePid(): number {
    return this.#child.pid ?? 0
  }

  get servicePid(): number {
    return Number(readFileSync(`/proc/${this.edgePid}/task/${this.edgePid}/children`, 'utf8').trim().split(' ')[0])
  }

  async ledger(): Promise<{ readonly accepted: number; readonly stored: number; readonly inJournal: number }> {
    const answer: unknown = await (await fetch(`${this.httpUrl}/api/v1/ledger`)).json()
    return { accepted: numberAt(answer, 'accepted'), stored: numberAt(answer, 'stored'), inJournal: numberAt(answer, 'inJournal') }
  }

  /** A metric without labels. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.httpUrl}/metrics`)).text()
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
  }

  /** Ends it at once, without the time that a service gets to store what is left; the service ends with it. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end('SIGTERM')
  }

  async #end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    process.off('exit', this.#killAtExit)
    const exited = once(this.#child, 'exit')
    this.#child.kill(signal)
    await exited
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** The number under a key of a JSON answer; throws when it is none. */
export function numberAt(answer: unknown, key: string): number {
  const value: unknown = typeof answer === 'object' && answer !== null ? Reflect.get(answer, key) : undefined
  if (typeof value !== 'number') throw new Error(`no number ${key} in ${JSON.stringify(answer)}`)
  return value
}
