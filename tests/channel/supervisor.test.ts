import { mkdtemp, rm, writeFile } from 'node:fs/promises'
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
 * to by a connection change, and dies when a client called `die` connects.
 */
const childSource = `
let started
const heard = []
process.on('message', message => {
  heard.push(message.type)
  if (message.type === 'start') { started = message; process.send({ type: started.config.http.hosts[0] ?? 'listening', port: message.httpPort || 4321, code: 'TG_PORT_TAKEN', message: 'http.port 80 is taken' }) }
  if (message.type === 'journal') process.send({ type: 'checkpoint', position: message.durable })
  if (message.type === 'durable') process.send({ type: 'checkpoint', position: message.durable })
  if (message.type === 'connections') {
    for (const clientId of message.connected) {
      if (clientId === 'die') process.exit(3)
      if (!message.all) process.send({ type: 'append', request: 9, publish: { clientId, topic: heard.join(' '), payload: Buffer.from([0, 255]) } })
    }
  }
  if (message.type === 'appended') process.send({ type: 'checkpoint', position: message.ordinal })
  if (message.type === 'appendRefused') process.send({ type: 'checkpoint', position: message.code.length })
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

function ports(options: { readonly firstMessage?: string; readonly append?: (publish: ForwardedPublish) => Promise<number> } = {}) {
  const checkpoints: number[] = []
  const config = defaultConfig()
  const made: SupervisorPorts = {
    config: { ...config, http: { ...config.http, port: 0, hosts: options.firstMessage === undefined ? [] : [options.firstMessage] } },
    log: pino({ level: 'silent' }),
    modulePath,
    append: options.append ?? (() => Promise.resolve(0)),
    counts: () => Promise.resolve({} as EdgeCounts),
    onCheckpoint: position => checkpoints.push(position),
    connectedClientIds: () => []
  }
  return { made, checkpoints }
}

const journal = { uuid: 'u', oldest: () => 5 }

describe('Supervisor', () => {
  it('resolves when the service listens and knows the port that it took', async () => {
    await using supervisor = await Supervisor.start(ports().made)
    expect(supervisor.httpPort).toBe(4321)
  })

  it('rejects with the reason of a service that cannot start', async () => {
    await expect(Supervisor.start(ports({ firstMessage: 'failed' }).made)).rejects.toMatchObject({
      code: 'TG_PORT_TAKEN',
      message: 'http.port 80 is taken'
    })
  })

  it('rejects when the service ends before it listens', async () => {
    const { made } = ports()
    await expect(Supervisor.start({ ...made, modulePath: path.join(folder, 'missing.mjs') })).rejects.toMatchObject({ code: 'TG_BUG' })
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
