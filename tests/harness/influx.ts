import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { programPath } from './servers.ts'

const startWithinMs = 20_000

/** A real InfluxDB 2 in a folder of its own. One for each test file; tests take a bucket each. */
export class InfluxServer implements AsyncDisposable {
  readonly org = 'tidegate-tests'
  readonly token = 'token-of-the-tests'
  readonly port: number
  readonly #program: string
  readonly #folder: string
  #child: ChildProcess | undefined
  #buckets = 0

  private constructor(program: string, folder: string, port: number) {
    this.#program = program
    this.#folder = folder
    this.port = port
  }

  /** Starts a server and sets it up. Call it inside of describeWith(['influxd'], …). */
  static async open(): Promise<InfluxServer> {
    const program = programPath('influxd')
    if (program === undefined) throw new Error('influxd is not installed')
    const server = new InfluxServer(program, await mkdtemp(path.join(tmpdir(), 'tidegate-influxd-')), await freePort())
    try {
      await server.start()
      await server.post('/api/v2/setup', {
        username: 'tests',
        password: 'password of the tests',
        org: server.org,
        bucket: 'first',
        token: server.token
      })
      return server
    } catch (error) {
      await server[Symbol.asyncDispose]()
      throw error
    }
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Starts the server, on the same port and with the same data as before. Resolves when it answers. */
  async start(): Promise<void> {
    const file = (name: string): string => path.join(this.#folder, name)
    const child = spawn(
      this.#program,
      ['--http-bind-address', `127.0.0.1:${this.port}`, '--bolt-path', file('b.bolt'), '--sqlite-path', file('b.sqlite')].concat([
        '--engine-path',
        file('engine'),
        '--reporting-disabled',
        '--log-level',
        'error'
      ]),
      { stdio: 'ignore' }
    )
    this.#child = child
    const deadline = Date.now() + startWithinMs
    while (Date.now() < deadline) {
      if (child.exitCode !== null) throw new Error(`influxd ended with code ${child.exitCode}`)
      const answer = await fetch(`${this.url}/health`).catch(() => undefined)
      await answer?.body?.cancel()
      if (answer?.status === 200) return
      await delay(20)
    }
    throw new Error(`influxd does not answer after ${startWithinMs} ms`)
  }

  /** Ends the server and waits until it is gone; nothing when it is not running. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise(resolve => child.once('exit', resolve))
    child.kill(signal)
    await gone
  }

  /** Stops the server's time: when it resolves, the server answers nothing, and lives. */
  async pause(): Promise<void> {
    const child = this.#child
    if (child?.pid === undefined) return
    child.kill('SIGSTOP')
    // The signal is on its way: on a busy machine the server may answer once more. A system without /proc is not looked at.
    while ((await stateOf(child.pid)) === 'running') await delay(5)
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  /** Makes a new bucket; with a retention, points that are older are refused. */
  async makeBucket(retentionSeconds = 0): Promise<string> {
    this.#buckets += 1
    const name = `bucket ${this.#buckets}`
    const answer = await this.#request('GET', `/api/v2/orgs?org=${this.org}`)
    const orgs: unknown = await answer.json()
    const orgID = /"id":\s*"([0-9a-f]{16})"/.exec(JSON.stringify(orgs))?.[1]
    await this.post('/api/v2/buckets', { orgID, name, retentionRules: [{ type: 'expire', everySeconds: retentionSeconds }] })
    return name
  }

  /** Posts JSON. Throws unless the answer is a success. */
  async post(route: string, body: unknown): Promise<void> {
    await (await this.#request('POST', route, JSON.stringify(body))).arrayBuffer()
  }

  /** Writes line protocol as another client would; answers the status. */
  async writeLines(bucket: string, lines: string): Promise<number> {
    const route = `/api/v2/write?org=${this.org}&bucket=${encodeURIComponent(bucket)}&precision=ns`
    const answer = await fetch(this.url + route, { method: 'POST', headers: { authorization: `Token ${this.token}` }, body: lines })
    await answer.arrayBuffer()
    return answer.status
  }

  /** Ends the server and removes its data. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL')
    await rm(this.#folder, { recursive: true, force: true })
  }

  async #request(method: string, route: string, body?: string): Promise<Response> {
    const headers = { authorization: `Token ${this.token}`, 'content-type': 'application/json' }
    const answer = await fetch(this.url + route, { method, headers, ...(body === undefined ? {} : { body }) })
    if (!answer.ok) throw new Error(`${method} ${route}: ${answer.status} ${await answer.text()}`)
    return answer
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** Whether all threads of a process are stopped. */
async function stateOf(pid: number): Promise<'running' | 'stopped'> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => [])
  const states = await Promise.all(threads.map(async thread => await readFile(`/proc/${pid}/task/${thread}/stat`, 'utf8').catch(() => '')))
  // The name in parentheses may hold anything.
  return states.some(stat => stat !== '' && !/^[Tt]/.test(stat.slice(stat.lastIndexOf(')') + 2))) ? 'running' : 'stopped'
}
