import { execFile, spawn } from 'node:child_process'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Tidegate } from '../harness/tidegate.ts'

let folder = ''
let taken: Server
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tidegate-start-'))
  taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
})
afterAll(async () => {
  taken.close()
  await rm(folder, { recursive: true, force: true })
})
const takenPort = (): number => (taken.address() as AddressInfo).port

/** Runs `tidegate start` with arguments and answers how it ended. */
async function start(...args: string[]): Promise<{ readonly code: unknown; readonly stdout: string; readonly stderr: string }> {
  return await new Promise(resolve => {
    execFile(process.execPath, ['bin/tidegate.mjs', 'start', ...args], { timeout: 30_000 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, stdout, stderr })
    )
  })
}

/** One line that names the setting, exit code 1. */
function expectOneLine(result: { readonly code: unknown; readonly stderr: string }, setting: RegExp): void {
  expect(result).toMatchObject({ code: 1 })
  expect(result.stderr.trim().split('\n')).toHaveLength(1)
  expect(result.stderr).toMatch(setting)
}

describe('a start that cannot be', () => {
  it('names mqtt.port when it is taken', async () => {
    const data = path.join(folder, 'mqtt')
    expectOneLine(await start('--data', data, '--mqtt-port', String(takenPort()), '--http-port', '0'), /mqtt\.port.*\d+/)
  })

  it('names mqtt.host when this machine has no such address', async () => {
    const data = path.join(folder, 'host')
    expectOneLine(
      await start('--data', data, '--mqtt-host', '192.0.2.1', '--mqtt-port', '0', '--http-port', '0'),
      /mqtt\.host: 192\.0\.2\.1/
    )
  })

  it('names http.host when this machine has no such address', async () => {
    const data = path.join(folder, 'http-host')
    expectOneLine(
      await start('--data', data, '--http-host', '192.0.2.1', '--mqtt-port', '0', '--http-port', '0'),
      /http\.host: 192\.0\.2\.1/
    )
  })

  it('names http.port when it is taken, and leaves no process behind that holds the folder', async () => {
    const data = path.join(folder, 'http')
    expectOneLine(await start('--data', data, '--mqtt-port', '0', '--http-port', String(takenPort())), /http\.port.*\d+/)
    await using tidegate = await Tidegate.start({ folder: data })
    expect(tidegate.mqttPort).toBeGreaterThan(0)
  })

  it('names data when the folder cannot be written', async () => {
    const file = path.join(folder, 'a-file')
    await writeFile(file, 'not a folder')
    expectOneLine(await start('--data', path.join(file, 'data'), '--mqtt-port', '0', '--http-port', '0'), /data/)
  })

  it('says which process has the data folder', async () => {
    await using first = await Tidegate.start()
    expectOneLine(
      await start('--data', first.folder, '--mqtt-port', '0', '--http-port', '0'),
      new RegExp(`data.*${first.pid}|${first.pid}.*data`)
    )
    expect((await fetch(`${first.httpUrl}/readyz`)).status).toBe(200)
  })

  it('suggests the setting that was meant', async () => {
    expectOneLine(await start('--set', 'journal.sinc=os'), /journal\.sync/)
    expectOneLine(await start('--no-such-option'), /no-such-option/)
    expect(await readdir(folder)).not.toContain('data')
  })
})

describe('a stop that is asked for early', () => {
  it('is in order: a SIGTERM at the first line of the log ends with exit code 0, and the last line says stopped', async () => {
    const data = path.join(folder, 'early')
    const child = spawn(process.execPath, ['bin/tidegate.mjs', 'start', '--data', data, '--mqtt-port', '0', '--http-port', '0'], {
      stdio: ['ignore', 'pipe', 'inherit']
    })
    const closed = once(child, 'close')
    const lines: string[] = []
    for await (const line of createInterface({ input: child.stdout })) {
      if (lines.push(line) === 1) child.kill('SIGTERM')
    }
    await closed
    expect({ code: child.exitCode, signal: child.signalCode }).toEqual({ code: 0, signal: null })
    expect(lines.at(-1)).toContain('"msg":"stopped"')
  })
})
