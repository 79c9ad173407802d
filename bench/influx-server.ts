import path from 'node:path'
import { freePort, Program, programPath } from './program.ts'

const account = { username: 'bench', password: 'password of the bench', org: 'bench', bucket: 'bench', token: 'token-of-the-bench' }

/** A real InfluxDB 2, empty, with one bucket. */
export class InfluxServer implements AsyncDisposable {
  readonly #program: Program
  readonly #url: string

  private constructor(program: Program, url: string) {
    this.#program = program
    this.#url = url
  }

  static async start(): Promise<InfluxServer> {
    const port = await freePort()
    const url = `http://127.0.0.1:${port}`
    const program = await Program.start(
      programPath('influxd'),
      folder =>
        Object.entries({
          'http-bind-address': `127.0.0.1:${port}`,
          'bolt-path': path.join(folder, 'b.bolt'),
          'sqlite-path': path.join(folder, 'b.sqlite'),
          'engine-path': path.join(folder, 'engine'),
          'log-level': 'warn',
          'reporting-disabled': 'true'
        }).map(([flag, value]) => `--${flag}=${value}`),
      async () => (await fetch(`${url}/health`)).ok
    )
    const answer = await fetch(`${url}/api/v2/setup`, { method: 'POST', body: JSON.stringify(account) })
    if (answer.ok) return new InfluxServer(program, url)
    await program[Symbol.asyncDispose]()
    throw new Error(`influxd cannot be set up: ${answer.status} ${await answer.text()}`)
  }

  get pid(): number {
    return this.#program.pid
  }

  /** The keys of a Tidegate that stores here. */
  get settings(): Readonly<Record<string, string>> {
    return {
      'store.kind': 'influx',
      'store.influx.url': this.#url,
      'store.influx.org': account.org,
      'store.influx.bucket': account.bucket,
      'store.influx.token': account.token
    }
  }

  /** How many points of a measurement have a field; asked of the server itself. */
  async count(measurement: string, field: string): Promise<number> {
    const query = encodeURIComponent(`select count(${field}) from ${measurement}`)
    const answer = await fetch(`${this.#url}/query?db=${account.bucket}&q=${query}`, {
      headers: { authorization: `Token ${account.token}` }
    })
    const { results } = (await answer.json()) as { readonly results: readonly { readonly series?: readonly Counted[] }[] }
    return results[0]?.series?.[0]?.values[0]?.[1] ?? 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]()
  }
}

/** A series of one row: its time and the count. */
interface Counted {
  readonly values: readonly (readonly [unknown, number])[]
}
