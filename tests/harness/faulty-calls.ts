import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { programPath } from './servers.ts'

/**
 * While it is open, system calls of one running process end as strace's `inject` says: `fdatasync:error=EIO` fails each
 * without doing it, `fdatasync:error=EIO:when=2+3` every third from the second on, `fdatasync:delay_enter=3s` makes it slow.
 * Children that the process starts meanwhile are met, too; those that it has are not. With a path only calls on that file
 * are met. Needs strace.
 */
export class FaultyCalls implements AsyncDisposable {
  readonly #strace: ChildProcess
  /** Calls that were failed or made slow so far. */
  met = 0

  private constructor(strace: ChildProcess) {
    this.#strace = strace
  }

  /** Resolves when calls are met. */
  static async inject(pid: number, faults: readonly string[], path?: string): Promise<FaultyCalls> {
    const program = programPath('strace')
    if (program === undefined) throw new Error('strace is not installed')
    const calls = faults.map(fault => fault.slice(0, fault.indexOf(':'))).join(',')
    const args = ['-f', '-e', `trace=${calls}`, ...faults.flatMap(fault => ['-e', `inject=${fault}`])]
    if (path !== undefined) args.push('-P', path)
    const strace = spawn(program, [...args, '-p', String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] })
    const faulty = new FaultyCalls(strace)
    const said: string[] = []
    await new Promise<void>((resolve, reject) => {
      createInterface({ input: strace.stderr }).on('line', line => {
        if (/\((INJECTED|DELAYED)\)/.test(line)) faulty.met++
        else if (/Process \d+ attached/.test(line)) resolve()
        else if (said.length < 20) said.push(line)
      })
      strace.once('error', reject)
      strace.once('exit', code => reject(new Error(`strace ended with ${code}: ${said.join('\n')}`)))
    })
    return faulty
  }

  /** Calls do again what they should. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#strace.exitCode !== null || this.#strace.signalCode !== null) return
    const gone = once(this.#strace, 'exit')
    this.#strace.kill('SIGTERM')
    await gone
  }
}
