import { fork, type ChildProcess } from 'node:child_process'
import type { ToEdge, ToService } from './messages.ts'
import { Outbox } from './outbox.ts'

export interface ServiceProcessOptions {
  /** The module that runs in the child. */
  readonly modulePath: string
  readonly onMessage: (message: ToEdge) => void
  /** A process that has said nothing for so long, not even the answer to a ping, hangs and is killed; in milliseconds. */
  readonly hangsAfterMs: number
  readonly onHang: () => void
}

const pingsPerHang = 6

/** One child process that runs the service, from fork to exit. */
export class ServiceProcess {
  /** Resolves, when the process is gone, with how it ended. */
  readonly exited: Promise<string>
  readonly outbox: Outbox<ToService>
  readonly #child: ChildProcess
  #ended = false

  constructor(options: ServiceProcessOptions) {
    const child = fork(options.modulePath, [], { serialization: 'advanced', execArgv: [...process.execArgv, '--no-warnings'] })
    this.#child = child
    this.outbox = new Outbox<ToService>((message, done) => {
      if (child.connected) child.send(message, done)
      else done(new Error('the channel is closed'))
    })
    let silentRounds = 0
    child.on('message', (message: ToEdge) => {
      silentRounds = 0
      if (!this.#ended) options.onMessage(message)
    })
    // Rounds are counted, not time: after a sleep of the machine both sides get their turn before anyone is taken for dead.
    const pinging = setInterval(() => {
      silentRounds++
      if (silentRounds > pingsPerHang) {
        options.onHang()
        this.kill()
      } else this.outbox.postNewest('ping', () => ({ type: 'ping' }))
    }, options.hangsAfterMs / pingsPerHang)
    this.exited = new Promise<string>(resolve => {
      const end = (how: string): void => {
        this.#ended = true
        clearInterval(pinging)
        this.outbox.close()
        resolve(how)
      }
      child.on('error', error => {
        // Without a process id it never was; else it still is, and its exit is the end.
        if (child.pid === undefined) end(`could not start: ${error.message}`)
        else this.kill()
      })
      child.once('exit', (code, signal) => end(signal === null ? `exit code ${code ?? 'unknown'}` : `signal ${signal}`))
    })
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  get ended(): boolean {
    return this.#ended
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}
