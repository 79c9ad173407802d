import { mkdirSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { openClient } from './clients.ts'
import { freePort, Program, programPath } from './program.ts'
import { System } from './system.ts'

/** What a broker is compared with: Debian's mosquitto without persistence, and aedes with nothing around it. */
export const brokerNames = ['tidegate', 'mosquitto', 'aedes'] as const
export type BrokerName = (typeof brokerNames)[number]

/** A broker under measurement; `pid` is the process whose CPU and memory count. */
export interface MeasuredBroker extends AsyncDisposable {
  readonly port: number
  readonly pid: number
}

/** Tidegate's edge, everything at its defaults and fsync with it. */
export class Edge implements MeasuredBroker {
  readonly #system: System

  private constructor(system: System) {
    this.#system = system
  }

  /**
   * The real command, with a folder where the store's file belongs: the service waits for its store, so that the edge is
   * measured alone and not the two sharing a machine's cores. What is published stays in the journal.
   */
  static async start(): Promise<Edge> {
    return new Edge(await System.start({ 'journal.maxBytes': '64GiB' }, folder => mkdirSync(path.join(folder, 'tidegate.duckdb'))))
  }

  get port(): number {
    return this.#system.mqttPort
  }

  get pid(): number {
    return this.#system.edgePid
  }

  /** Records in its journal: what it took and did not shed. */
  async journaled(): Promise<number> {
    return await this.#system.metric('tidegate_journal_head_position')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#system.kill()
  }
}

export async function startBroker(name: BrokerName): Promise<MeasuredBroker> {
  if (name === 'tidegate') return await Edge.start()
  const port = await freePort()
  const [file, args] =
    name === 'aedes'
      ? [process.execPath, () => [fileURLToPath(new URL('aedes-broker.js', import.meta.url)), String(port)]]
      : [programPath('mosquitto'), (folder: string) => ['-c', writeMosquittoConfig(folder, port)]]
  const program = await Program.start(file, args, async () => {
    const socket = await openClient(port, { clientId: 'bench-start' })
    socket.destroy()
    return true
  })
  return { port, pid: program.pid, [Symbol.asyncDispose]: async () => await program[Symbol.asyncDispose]() }
}

/** Starts one of each, for measurements that take turns, and ends them afterwards. */
export async function withBrokers<Result>(
  measure: (brokers: Readonly<Record<BrokerName, MeasuredBroker>>) => Promise<Result>
): Promise<Result> {
  await using tidegate = await startBroker('tidegate')
  await using mosquitto = await startBroker('mosquitto')
  await using aedes = await startBroker('aedes')
  return await measure({ tidegate, mosquitto, aedes })
}

/** Debian's defaults, but for access, and without the log that costs it time. The user is kept, since it writes nowhere else. */
function writeMosquittoConfig(folder: string, port: number): string {
  const file = path.join(folder, 'mosquitto.conf')
  const lines = [`listener ${port} 127.0.0.1`, 'allow_anonymous true', 'persistence false', 'log_dest none', `user ${userInfo().username}`]
  writeFileSync(file, `${lines.join('\n')}\n`)
  return file
}
