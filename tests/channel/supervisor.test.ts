import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Supervisor, type SupervisorPorts } from '../../channel/supervisor.ts'
import type { EdgeCounts, ForwardedPublish } from '../../channel/messages.ts'
import { TidegateError } from '../../errors.ts'
import { defaultConfig } from '../../config/load.ts'
import { eventually } from '../harness/tidegate.ts'

/**
 * A service in miniature: it reports what it was told as a checkpoint (so that the test sees it), appends what it is told
 * to by a connection change, dies when a client called `die` connects and hangs for one called `hang`. With a file in
 * http.hosts it cannot bind in its second life, and says so without ending.
 */
const childSource = `
import { appendFileSync, readFileSync } from 'node:fs'
let started
let durable
let pings = 0
const heard = []
function firstMessage([first, livesFile]) {
  if (livesFile === undefined) return first ?? 'listening'
  appendFileSync(livesFile, 'x')
  return readFileSync(livesFile, 'utf8') === 'xx' ? 'failed' : 'listening'
}
process.on('message', message => {
  if (message.type === 'ping') {
    pings++
    process.send(pings === 8 ? { type: 'checkpoint', position: -8 } : { type: 'pong' })
  }
  heard.push(message.type)
  if (message.type === 'durable') durable = message.durable
  if (message.type === 'start') { started = message; process.send({ type: firstMessage(started.config.http.hosts), port: message.httpPort || 4321, code: 'TG_PORT_TAKEN', message: 'http.port 80 is taken' }) }
  if (message.type === 'journal') process.send({ type: 'checkpoint', position: message.durable, keepFrom: message.oldest })
  if (message.type === 'durable') process.send({ type: 'checkpoint', position: message.durable })
  if (message.type === 'connections') {
    for (const clientId of message.connected) {
      if (clientId === 'die') process.exit(3)
      if (clientId === 'pin' && !message.all) { process.send({ type: 'pin', request: 1, from: 7 }); continue }
      if (clientId === 'hang') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
      if (!message.all) process.send({ type: 'append', request: 9, publish: { clientId, topic: heard.join(' '), payload: Buffer.from([0, 255]) } })
    }
  }
  if (message.type === 'pinned') process.send({ type: 'checkpoint', position: message.readable })
  if (message.type === 'appended') process.send({ type: 'checkpoint', position: message.ordinal })
  if (message.type === 'appendRefused') process.send({ type: 'checkpoint', position: message.code.length })
  if (message.type === 'drain' && durable === 666) process.exit(4)
  if (message.type === 'drain') process.send({ type: 'drained' }, () => process.exit(0))
})
process.on('disconnect', () => process.exit(0))
`
let folder = ''
let modulePath = ''
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tidegate-supervisor-'))
  modulePath = path.join(folder, 'child.mjs')
  await writeFile(modulePath, childSource)
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

function ports(
  options: {
    readonly firstMessage?: string
    readonly livesFile?: string
    readonly hangsAfterMs?: number
    readonly append?: (publish: ForwardedPublish) => Promise<number>
  } = {}
) {
  const checkpoints: number[] = []
  const keptFrom: number[] = []
  const pins: number[] = []
  const config = defaultConfig()
  const made: SupervisorPorts = {
    config: { ...config, http: { ...config.http, port: 0, hosts: hostsOf(options) } },
    log: pino({ level: 'silent' }),
    modulePath,
    append: options.append ?? (() => Promise.resolve(0)),
    counts: () => Promise.resolve({} as EdgeCounts),
    onCheckpoint: (position, keepFrom) => {
      checkpoints.push(position)
      keptFrom.push(keepFrom)
    },
    pin: from => {
      pins.push(from)
      return Promise.resolve({ readable: 7007, release: () => void pins.splice(pins.indexOf(from), 1) })
    },
    connectedClientIds: () => [],
    ...(options.hangsAfterMs === undefined ? {} : { hangsAfterMs: options.hangsAfterMs })
  }
  return { made, checkpoints, keptFrom, pins }
}

/** What the child is told by a setting that it has no use for. */
function hostsOf({ firstMessage, livesFile }: { readonly firstMessage?: string; readonly livesFile?: string }): readonly string[] {
  if (livesFile !== undefined) return ['', livesFile]
  return firstMessage === undefined ? [] : [firstMessage]
}

const journal = { uuid: 'u', timeline: 'u', oldest: () => 5 }

describe('Supervisor', () => {
  it('resolves when the service listens and knows the port that it took', async () => {
    await using supervisor = await Supervisor.start(ports().made)
    expect(supervisor.httpPort).toBe(4321)
  })

  it('passes on the checkpoint, and from where on records may be read again', async () => {
    const { made, checkpoints, keptFrom } = ports()
    await using supervisor = await Supervisor.start(made)
    supervisor.openJournal(journal, 17)
    await eventually('the checkpoint', () => (checkpoints.length > 0 ? true : undefined))
    expect([checkpoints, keptFrom]).toEqual([[17], [5]])
  })

  it('rejects with the reason of a service that cannot start', async () => {
    await expect(Supervisor.start(ports({ firstMessage: 'failed' }).made)).rejects.toMatchObject({
      code: 'TG_PORT_TAKEN',
      message: 'http.port 80 is taken'
    })
  })

  it('rejects when the service ends before it listens', async () => {
    const { made } = ports()
    const short = path.join(folder, 'short.mjs')
    await writeFile(short, 'process.exit(7)')
    const lines: string[] = []
    const log = pino({ level: 'trace' }, { write: line => lines.push(line) })
    await expect(Supervisor.start({ ...made, modulePath: short, log })).rejects.toMatchObject({
      code: 'TG_BUG',
      message: 'the service ended before it listened (exit code 7)'
    })
    // It is not started again, and nothing says that it is.
    expect(lines).toEqual([])
  })

  it('lets go of what a service has pinned when it dies', async () => {
    const { made, checkpoints, pins } = ports()
    await using supervisor = await Supervisor.start(made)
    supervisor.openJournal(journal, 100)
    supervisor.connections({ connected: ['pin'], disconnected: [] })
    await eventually('the service is told that the journal is pinned', () => (checkpoints.includes(7007) ? true : undefined))
    expect(pins).toEqual([7])
    process.kill(supervisor.pid ?? expect.fail(), 'SIGKILL')
    await eventually('nothing is pinned', () => (pins.length === 0 ? true : undefined))
  })

  it('starts a dead service again on the same port and tells it the journal anew', async () => {
    const { made, checkpoints } = ports()
    await using supervisor = await Supervisor.start(made)
    supervisor.openJournal(journal, 100)
    await eventually('the first service knows the journal', () => (checkpoints.includes(100) ? true : undefined))
    const firstPid = supervisor.pid
    supervisor.advance(250)
    await eventually('the first service knows how far it is durable', () => (checkpoints.includes(250) ? true : undefined))
    supervisor.connections({ connected: ['die'], disconnected: [] })
    await eventually('another service runs', () => (supervisor.pid !== firstPid && supervisor.restarts === 1 ? true : undefined))
    await eventually('it starts at the newest position', () =>
      checkpoints.filter(position => position === 250).length === 2 ? true : undefined
    )
    expect(supervisor.httpPort).toBe(4321)
  })

  it('tells how far a checkpoint may reach: to where the journal was opened, until a service has told one', async () => {
    const { made, checkpoints } = ports()
    const lives = path.join(folder, 'checkpoint-lives')
    const forgetful = path.join(folder, 'forgetful.mjs')
    // It tells no checkpoint in its first life, and dies when it hears how far the journal is durable in the first two.
    await writeFile(
      forgetful,
      `import { appendFileSync, readFileSync } from 'node:fs'
      appendFileSync(${JSON.stringify(lives)}, 'x')
      const life = readFileSync(${JSON.stringify(lives)}, 'utf8').length
      process.on('message', message => {
        if (message.type === 'start') process.send({ type: 'listening', port: 4321 })
        if (message.type === 'journal' && life > 1) process.send({ type: 'checkpoint', position: message.checkpointAtMost })
        if (message.type === 'durable' && life < 3) process.exit(3)
      })
      process.on('disconnect', () => process.exit(0))`
    )
    await using supervisor = await Supervisor.start({ ...made, modulePath: forgetful })
    supervisor.openJournal(journal, 10)
    supervisor.advance(50)
    await eventually('the second life began', () => (checkpoints.length === 1 ? true : undefined))
    supervisor.advance(60)
    await eventually('the third life began', () => (checkpoints.length === 2 ? true : undefined))
    expect(checkpoints).toEqual([10, 60])
  })

  it('kills a service that hangs, and starts another', async () => {
    const { made, checkpoints } = ports({ hangsAfterMs: 1800 })
    await using supervisor = await Supervisor.start(made)
    supervisor.openJournal(journal, 40)
    const firstPid = supervisor.pid
    await eventually('more pings were answered than make a silent service hang', () => (checkpoints.includes(-8) ? true : undefined))
    expect([supervisor.pid, supervisor.restarts]).toEqual([firstPid, 0])
    supervisor.connections({ connected: ['hang'], disconnected: [] })
    await eventually('another service has read the journal', () =>
      supervisor.pid !== firstPid && checkpoints.filter(position => position === 40).length === 2 ? true : undefined
    )
    expect(supervisor.restarts).toBe(1)
  })

  it('starts a service again that could not bind its port in a later life, instead of leaving it without one', async () => {
    const { made, checkpoints } = ports({ livesFile: path.join(folder, 'lives') })
    await using supervisor = await Supervisor.start(made)
    supervisor.openJournal(journal, 8)
    await eventually('the first knows the journal', () => (checkpoints.includes(8) ? true : undefined))
    supervisor.connections({ connected: ['die'], disconnected: [] })
    await eventually('the third life runs', () => (supervisor.restarts === 2 ? true : undefined))
    expect(await readFile(path.join(folder, 'lives'), 'utf8')).toMatch(/^xx/)
    await eventually('it listens', async () => ((await readFile(path.join(folder, 'lives'), 'utf8')) === 'xxx' ? true : undefined))
  })

  it('takes five deaths for accidents, then waits longer and longer for a service that dies without having moved the checkpoint', async () => {
    const waits: unknown[] = []
    const { made, checkpoints } = ports()
    const log = pino({ level: 'error' }, { write: line => waits.push((JSON.parse(line) as { backoffMs: number }).backoffMs) })
    await using supervisor = await Supervisor.start({ ...made, log })
    supervisor.openJournal(journal, 30)
    for (const life of [1, 2, 3, 4, 5, 6, 7]) {
      await eventually('it knows the journal', () => (checkpoints.length >= life ? true : undefined))
      supervisor.connections({ connected: ['die'], disconnected: [] })
      await eventually('it is dead', () => (waits.length === life ? true : undefined))
    }
    expect(waits).toEqual([50, 50, 50, 50, 50, 100, 200])
    await eventually('the eighth knows the journal', () => (checkpoints.length >= 8 ? true : undefined))
    supervisor.advance(31)
    await eventually('it has moved the checkpoint', () => (checkpoints.includes(31) ? true : undefined))
    supervisor.connections({ connected: ['die'], disconnected: [] })
    await eventually('it is dead too', () => (waits.length === 8 ? true : undefined))
    expect(waits.at(-1)).toBe(50)
  })

  it('tells a service that drains how far the journal is durable before it does', async () => {
    const { made, checkpoints } = ports()
    const supervisor = await Supervisor.start(made)
    supervisor.openJournal(journal, 10)
    await eventually('it knows the journal', () => (checkpoints.includes(10) ? true : undefined))
    supervisor.advance(11)
    expect(await supervisor.drain(5_000)).toBe(true)
    expect(checkpoints).toEqual([10, 11])
    await supervisor.close()
  })

  it('says so when the service dies instead of draining', async () => {
    const supervisor = await Supervisor.start(ports().made)
    supervisor.advance(666)
    expect(await supervisor.drain(5_000)).toBe(false)
    expect(supervisor.restarts).toBe(0)
    await supervisor.close()
    expect(await supervisor.drain(5_000)).toBe(false)
  })

  it('appends for the service and answers with the ordinal, or with the code of the refusal', async () => {
    const seen: ForwardedPublish[] = []
    const { made, checkpoints } = ports({
      append: async publish => {
        seen.push(publish)
        if (publish.clientId === 'bad') throw new TidegateError('TG_JOURNAL_FULL', 'full')
        return 777
      }
    })
    await using supervisor = await Supervisor.start(made)
    supervisor.openJournal(journal, 1)
    supervisor.connections({ connected: ['good'], disconnected: [] })
    await eventually('the ordinal came back', () => (checkpoints.includes(777) ? true : undefined))
    supervisor.connections({ connected: ['bad'], disconnected: [] })
    await eventually('the code came back', () => (checkpoints.includes('TG_JOURNAL_FULL'.length) ? true : undefined))
    expect(seen.map(publish => [publish.clientId, [...publish.payload]])).toEqual([
      ['good', [0, 255]],
      ['bad', [0, 255]]
    ])
    expect(seen[0]?.topic).toMatch(/^start journal connections/)
  })

  it('drains: the service ends by itself and is not started again', async () => {
    const supervisor = await Supervisor.start(ports().made)
    expect(await supervisor.drain(5_000)).toBe(true)
    expect(supervisor.restarts).toBe(0)
    await supervisor.close()
    await supervisor.close()
  })
})
