import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { serveBroker as serveOurs } from '../broker/raw-client.ts'

/** A broker that serves, with its fake journal. */
export type Served = Awaited<ReturnType<typeof serveOurs>>

/**
 * The command of another server to judge in place of ours, with {port} where its port belongs, as in `mosquitto -p {port}`.
 * Each test starts one of its own.
 */
export const against: string | undefined = process.env['TIDEGATE_CONFORMANCE_AGAINST']

/** The rest of a test looks into our broker or sets it up, which another server does not let us do. */
export class OnlyOurs extends Error {}

/** A server of its own for one test: our broker, or the one that the suite is run against. */
export async function serve(): Promise<Served> {
  return against === undefined ? await serveOurs() : await serveOther(against)
}

/** Our broker with these options; against another server the test ends here. */
export async function serveBroker(options: Parameters<typeof serveOurs>[0] = {}): Promise<Served> {
  if (against !== undefined) throw new OnlyOurs()
  return await serveOurs(options)
}

async function serveOther(command: string): Promise<Served> {
  const port = await freePort()
  const [program = '', ...args] = command.split(' ').map(word => word.replaceAll('{port}', String(port)))
  const child = spawn(program, args, { stdio: 'ignore' })
  const ended = once(child, 'exit').then(
    () => true,
    () => true
  )
  while (!(await accepts(port))) {
    if (await Promise.race([ended, delay(5, false)])) throw new Error(`it ended before it served: ${command}`)
  }
  return {
    port,
    get broker(): never {
      throw new OnlyOurs()
    },
    get journal(): never {
      throw new OnlyOurs()
    },
    async [Symbol.asyncDispose]() {
      child.kill()
      await ended
    }
  }
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

async function accepts(port: number): Promise<boolean> {
  const socket = net.connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
